// One site: why it is as it is, how it was, and all that is known of it.

import { Charts } from "/charts.js";
import { h } from "/dom.js";
import { count, duration, milliseconds, plural, share, size } from "/format.js";
import { badge, eventList, since, troubles } from "/parts.js";
import { state } from "/state.js";

export class SitePage {
  constructor(name) {
    this.name = name;
    this.charts = new Charts(name, ["traffic", "rtt", "loss"]);
  }

  title() {
    return this.name;
  }

  redraw() {
    this.charts.redraw();
  }

  destroy() {
    this.charts.destroy();
  }

  render() {
    const { status } = state;
    const site = status.sites.find((one) => one.name === this.name);
    const back = h("p", { class: "back" }, h("a", { href: "#/" }, "← All sites"));
    if (!site) {
      return [back, h("h1", {}, this.name), h("p", {}, "The router knows no site of this name."), this.charts.element];
    }
    const its = state.events.filter((event) => event.site === site.name).slice(-30).reverse();
    return [
      back,
      h(
        "section",
        { class: `attention ${site.state}`, "aria-labelledby": "site-title" },
        h("h1", { id: "site-title" }, site.name, " ", badge(site.state), h("span", { class: "when" }, since(status, site))),
        troubles(site.troubles),
      ),
      h("section", { class: "card", "aria-label": "History" }, this.charts.element),
      h(
        "div",
        { class: "columns even" },
        h("section", { class: "card", "aria-labelledby": "link-title" }, h("h2", { id: "link-title" }, "Link"), link(site)),
        h("section", { class: "card", "aria-labelledby": "has-title" }, h("h2", { id: "has-title" }, "What it has"), has(site)),
      ),
      h("section", { class: "card", "aria-labelledby": "events-title" }, h("h2", { id: "events-title" }, "Its last events"), eventList(its, { withSite: false })),
    ];
  }
}

function listed(pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs.filter(([, value]) => value !== null).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

function link(site) {
  const { connection, link: its } = site;
  const both = (loss) => (loss.before_repair === null ? "not measured" : `${share(loss.before_repair)} on the path, ${share(loss.after_repair)} after repair`);
  return listed([
    ["Transport", connection ? `${connection.transport} to ${connection.peer}` : "none"],
    ["Connected for", connection ? duration(connection.age) : null],
    ["Last heard", connection ? `${duration(connection.silent)} ago` : null],
    ["Connection in the log", connection?.identifier || null],
    ["Dialect", connection ? (connection.features === null ? "classic" : `native: ${connection.features.join(", ")}`) : null],
    ["Round trip", connection ? `${milliseconds(its.rtt)} ± ${milliseconds(its.jitter)}` : null],
    ["Loss to the site", connection ? both(its.loss_sent) : null],
    ["Loss from the site", connection ? both(its.loss_received) : null],
    ["Waiting for the link", connection && its.queued_bytes !== null ? `${size(its.queued_bytes)}${its.queue_delay === null ? "" : `, ${milliseconds(its.queue_delay)}`}` : null],
  ]);
}

function has(site) {
  const drops = Object.entries(site.link.drops);
  return listed([
    ["Addresses", site.addresses.join(", ") || "none"],
    ["Networks", site.networks.length ? h("span", { class: "wraps" }, site.networks.join(", ")) : "none: only itself"],
    ["Routes", h("a", { href: `#/routes?search=${encodeURIComponent(site.name)}` }, "in the route table")],
    ["Connections", `${plural(site.connections, "connection", "connections")} since the router started`],
    ["From it", size(site.link.bytes_received)],
    ["To it", size(site.link.bytes_sent)],
    ["Dropped packets", drops.length ? drops.map(([reason, number]) => `${reason.replaceAll("_", " ")}: ${count(number)}`).join(", ") : "none"],
  ]);
}
