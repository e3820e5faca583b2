// The route table, searched on the router; and what would become of a packet.

import { get } from "/api.js";
import { h } from "/dom.js";
import { count, duration } from "/format.js";
import { advised, troubles } from "/parts.js";
import { href } from "/topology.js";

const PAGE = 100;
const TYPING_MILLISECONDS = 200;
const AGAIN_SECONDS = 10;

export class RoutesPage {
  constructor(search, again) {
    this.search = search;
    this.again = again;
    this.offset = 0;
    this.found = null;
    this.problem = null;
    this.way = null;
    this.wayProblem = null;
    this.load();
  }

  title() {
    return "Routes";
  }

  redraw() {}

  destroy() {
    clearTimeout(this.timer);
    this.asking?.abort();
  }

  type(text) {
    this.search = text;
    this.offset = 0;
    history.replaceState(null, "", text ? `#/routes?search=${encodeURIComponent(text)}` : "#/routes");
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), TYPING_MILLISECONDS);
  }

  async load() {
    clearTimeout(this.timer);
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    try {
      const found = await get("routes", { search: this.search, offset: this.offset, most: PAGE }, asking.signal);
      if (asking.signal.aborted) return;
      this.found = found;
      this.problem = null;
    } catch (problem) {
      if (asking.signal.aborted) return;
      this.problem = problem.message;
    }
    this.timer = setTimeout(() => this.load(), AGAIN_SECONDS * 1000);
    this.again();
  }

  async explain(form) {
    const { source, destination } = Object.fromEntries(new FormData(form));
    try {
      this.way = await get("explain", { source: source.trim(), destination: destination.trim() });
      this.wayProblem = null;
    } catch (problem) {
      this.way = null;
      this.wayProblem = problem.message;
    }
    this.again();
  }

  turn(by) {
    this.offset = Math.max(0, this.offset + by);
    this.load();
  }

  render() {
    return [
      h("h1", {}, "Routes"),
      h(
        "section",
        { class: "card", "aria-labelledby": "table-title" },
        h(
          "div",
          { class: "head" },
          h("h2", { id: "table-title" }, "Route table"),
          h("input", { type: "search", value: this.search, "aria-label": "Find routes: an address finds the networks that hold it", placeholder: "Address, network, site, conflict", oninput: (event) => this.type(event.target.value) }),
        ),
        this.problem ? h("p", { class: "trouble" }, `No routes: ${this.problem}.`) : null,
        this.found ? this.table() : h("p", { class: "muted" }, "Asking the router …"),
      ),
      this.packet(),
    ];
  }

  table() {
    const { routes, offset, matching, total } = this.found;
    if (!matching) return h("p", { class: "muted", role: "status" }, total ? "No route is like that: a packet there is dropped." : "No route yet: no site has joined.");
    return [
      h("p", { class: "muted", role: "status" }, this.search ? `${count(matching)} of ${count(total)} routes` : `${count(total)} routes`),
      h(
        "table",
        { class: "routes" },
        h("thead", {}, h("tr", {}, ["Network", "Site", "By", "Origin", "For"].map((text) => h("th", { scope: "col" }, text)))),
        h(
          "tbody",
          {},
          routes.map((route) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, h("code", {}, route.network), route.conflicts.length ? h("div", { class: "conflict" }, troubles(route.conflicts)) : null),
              h("td", { "data-label": "Site" }, h("a", { href: href(route.site) }, route.site)),
              h("td", { "data-label": "By" }, route.via || "–"),
              h("td", { "data-label": "Origin" }, route.origin),
              h("td", { "data-label": "For" }, duration(route.age)),
            ),
          ),
        ),
      ),
      matching > PAGE
        ? h(
            "p",
            { class: "pages" },
            h("button", { type: "button", disabled: offset === 0, onclick: () => this.turn(-PAGE) }, "Before"),
            h("span", { class: "muted" }, `${count(offset + 1)} to ${count(Math.min(offset + PAGE, matching))}`),
            h("button", { type: "button", disabled: offset + PAGE >= matching, onclick: () => this.turn(PAGE) }, "After"),
          )
        : null,
    ];
  }

  packet() {
    return h(
      "section",
      { class: "card", "aria-labelledby": "packet-title" },
      h("h2", { id: "packet-title" }, "The way of a packet"),
      h(
        "form",
        { class: "packet", onsubmit: (event) => { event.preventDefault(); this.explain(event.target); } },
        h("label", {}, "From ", h("input", { name: "source", required: true, placeholder: "192.168.1.10", autocomplete: "off" })),
        h("label", {}, "to ", h("input", { name: "destination", required: true, placeholder: "192.168.2.10", autocomplete: "off" })),
        h("button", { type: "submit" }, "Explain"),
      ),
      h("div", { role: "status" }, this.wayProblem ? h("p", { class: "trouble" }, `${this.wayProblem}.`) : this.way ? explained(this.way) : null),
    );
  }
}

function explained(way) {
  const passes = way.verdict === "delivered";
  return [
    h("p", { class: "verdict" }, h("span", { class: `badge ${passes ? "up" : "down"}` }, way.verdict), way.site ? [" to ", h("a", { href: href(way.site) }, way.site), way.link ? ` by ${way.link.transport} ${way.link.peer}` : "", way.mtu ? `, packets of up to ${way.mtu} bytes` : ""] : null, way.reason ? ` ${way.reason.replaceAll("_", " ")}` : null),
    way.advice ? h("p", { class: "advice" }, h("b", {}, "What to do: "), advised(way.advice)) : null,
    h("ol", { class: "steps" }, way.steps.map((step) => h("li", { class: step.passes ? "up" : "down" }, h("span", { class: "muted" }, `${step.question} `), step.answer))),
    way.alternatives.length ? h("ul", { class: "alternatives" }, way.alternatives.map((other) => h("li", {}, `Not ${other.what}: ${other.why_not}`))) : null,
  ];
}
