// The first page: what is wrong, then the map, the traffic, and all sites.

import { Charts, sparkline } from "/charts.js";
import { h } from "/dom.js";
import { count, duration, milliseconds, plural, rate, share } from "/format.js";
import { badge, since, troubles } from "/parts.js";
import { state, worstFirst } from "/state.js";
import { href, topology } from "/topology.js";

const MOST_ROWS = 300;

export class Overview {
  constructor(again) {
    this.charts = new Charts("", ["total"]);
    this.filter = "";
    this.again = again;
    this.map = h("div", { class: "mapbox", "data-key": "mapbox" });
    this.width = 0;
  }

  title() {
    return "Overview";
  }

  redraw() {
    this.charts.redraw();
  }

  destroy() {
    this.charts.destroy();
  }

  render() {
    const { status } = state;
    const width = document.querySelector(".mapbox")?.clientWidth || Math.min(660, window.innerWidth - 64);
    return [
      h("h1", { class: "unseen" }, "Overview"),
      attention(status),
      h(
        "div",
        { class: "columns" },
        h("section", { class: "card", "aria-labelledby": "map-title" }, h("h2", { id: "map-title" }, "Sites"), h("div", { class: "mapbox" }, status.sites.length ? topology(status.sites, width) : nobody())),
        h("section", { class: "card", "aria-labelledby": "traffic-title" }, h("h2", { id: "traffic-title" }, "Router"), this.charts.element, facts(status)),
      ),
      this.table(status),
    ];
  }

  table(status) {
    const wanted = this.filter.trim().toLowerCase();
    const all = worstFirst(status.sites);
    const found = all.filter((site) => !wanted || [site.name, ...site.addresses, ...site.networks, site.connection?.peer ?? ""].some((text) => text.toLowerCase().includes(wanted)));
    return h(
      "section",
      { class: "card", "aria-labelledby": "sites-title", "data-key": "sites" },
      h(
        "div",
        { class: "head" },
        h("h2", { id: "sites-title" }, "All sites"),
        h("input", { type: "search", "aria-label": "Find a site by name, address or network", placeholder: "Name, address, network", oninput: (event) => { this.filter = event.target.value; this.again(); } }),
      ),
      h(
        "table",
        { class: "sites" },
        h("thead", {}, h("tr", {}, ["Site", "State", "Round trip", "Loss", "From it", "To it", "Two minutes", "Link"].map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", {}, found.slice(0, MOST_ROWS).map((site) => row(status, site))),
      ),
      found.length === 0 ? h("p", { class: "muted" }, "No site is like that.") : null,
      found.length > MOST_ROWS ? h("p", { class: "muted" }, `${count(found.length - MOST_ROWS)} more: type a part of what you look for.`) : null,
    );
  }
}

function nobody() {
  return h("p", { class: "muted" }, "No site has joined yet. Start a gateway, and it appears here within seconds.");
}

function attention(status) {
  const wrong = worstFirst(status.sites).filter((site) => site.state !== "up");
  const down = wrong.filter((site) => site.state === "down").length;
  const parts = [];
  if (down) parts.push(`${plural(down, "site is", "sites are")} down`);
  if (wrong.length > down) parts.push(`${plural(wrong.length - down, "needs", "need")} a look`);
  const calm = status.sites.length ? `${status.sites.length === 1 ? "The one site is" : `All ${count(status.sites.length)} sites are`} up` : "Waiting for the first site";
  return h(
    "section",
    { class: `attention ${down ? "down" : wrong.length ? "degraded" : "up"}`, "aria-labelledby": "attention-title", "data-key": "attention" },
    h("h2", { id: "attention-title" }, parts.length ? parts.join(", ") : calm),
    h(
      "ul",
      { class: "wrong" },
      wrong.slice(0, 20).map((site) =>
        h("li", { "data-key": `wrong ${site.name}` }, h("div", { class: "who" }, h("a", { href: href(site.name) }, site.name), badge(site.state), h("span", { class: "when" }, since(status, site))), troubles(site.troubles)),
      ),
      status.troubles.map((trouble) => h("li", { class: "program" }, h("div", { class: "who" }, h("span", {}, "router")), troubles([trouble]))),
    ),
    wrong.length > 20 ? h("p", {}, `and ${count(wrong.length - 20)} more, in the list below`) : null,
  );
}

function facts(status) {
  const sum = (counts) => Object.values(counts).reduce((all, number) => all + number, 0);
  return h(
    "dl",
    { class: "facts" },
    [
      ["Running for", duration(status.uptime)],
      ["Packets passed on", count(status.forwarded)],
      ["Packets without a way", count(sum(status.drops))],
      ["Strangers turned away", count(status.strangers)],
      ["Beyond a limit", count(sum(status.limited))],
      ["Version", `${status.version}${status.kernels === "compiled" ? "" : `, ${status.kernels} Python`}`],
    ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

function losses(link) {
  const worse = (member) => {
    const known = [link.loss_sent[member], link.loss_received[member]].filter((value) => value !== null);
    return known.length ? Math.max(...known) : null;
  };
  const before = worse("before_repair");
  const after = worse("after_repair");
  if (before === null || before === 0) return share(before);
  return `${share(before)} → ${share(after)}`;
}

function row(status, site) {
  const { link } = site;
  const up = site.state !== "down";
  const cell = (label, ...content) => h("td", { "data-label": label }, ...content);
  return h(
    "tr",
    { "data-key": site.name, class: site.state },
    h("th", { scope: "row" }, h("a", { href: href(site.name) }, site.name)),
    cell("State", badge(site.state), h("span", { class: "muted age" }, duration(site.age))),
    cell("Round trip", up ? milliseconds(link.rtt) : "–"),
    cell("Loss", up ? losses(link) : "–"),
    cell("From it", up ? rate(link.rates?.bytes_received) : "–"),
    cell("To it", up ? rate(link.rates?.bytes_sent) : "–"),
    cell("Two minutes", sparkline(state.recent.get(site.name) ?? [], `traffic of ${site.name} in the last two minutes`)),
    cell("Link", site.connection ? `${site.connection.transport} ${site.connection.peer}` : "–"),
  );
}
