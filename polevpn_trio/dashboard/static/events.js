// What has happened of late, newest first.

import { h } from "/dom.js";
import { eventList } from "/parts.js";
import { state } from "/state.js";

const MOST = 300;
const RANK = { info: 0, warning: 1, error: 2, critical: 2 };

export class EventsPage {
  constructor(again) {
    this.again = again;
    this.search = "";
    this.least = "info";
  }

  title() {
    return "Events";
  }

  redraw() {}

  destroy() {}

  render() {
    const wanted = this.search.trim().toLowerCase();
    const found = state.events
      .filter((event) => (RANK[event.level] ?? 0) >= RANK[this.least])
      .filter((event) => !wanted || [event.message, event.site, event.connection, event.source, event.advice].some((text) => text.toLowerCase().includes(wanted)))
      .slice(-MOST)
      .reverse();
    return [
      h("h1", {}, "Events"),
      h(
        "section",
        { class: "card", "aria-label": "Events" },
        h(
          "div",
          { class: "head" },
          h(
            "label",
            { class: "least" },
            "Show ",
            h(
              "select",
              { onchange: (event) => { this.least = event.target.value; this.again(); } },
              [["info", "everything"], ["warning", "warnings and errors"], ["error", "errors"]].map(([value, text]) => h("option", { value, selected: value === this.least }, text)),
            ),
          ),
          h("input", { type: "search", "aria-label": "Find events", placeholder: "Site, connection, words", oninput: (event) => { this.search = event.target.value; this.again(); } }),
        ),
        eventList(found),
      ),
    ];
  }
}
