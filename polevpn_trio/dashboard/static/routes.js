// The route table, searched on the router.

import { get } from "/api.js";
import { h } from "/dom.js";
import { count, duration } from "/format.js";
import { troubles } from "/parts.js";
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
}
