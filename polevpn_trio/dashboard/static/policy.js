// Who may talk to whom: the rules in their order, and what each has done.

import { h } from "/dom.js";
import { count, duration, share } from "/format.js";
import { state } from "/state.js";

const MOST = 300;
const RECENT_SECONDS = 60;

export class PolicyPage {
  constructor(again) {
    this.again = again;
    this.filter = "";
  }

  title() {
    return "Policy";
  }

  redraw() {}

  destroy() {}

  render() {
    const { policy } = state.status;
    return [
      h("h1", {}, "Policy"),
      policy
        ? [this.rules(policy), remembered(policy)]
        : h(
            "section",
            { class: "card", "aria-label": "No policy" },
            h("p", {}, "This router has no policy: every site may send to every other."),
            h("p", { class: "advice" }, h("b", {}, "To change that: "), "give its configuration a section ", h("code", {}, "policy"), " with ", h("code", {}, "rules"), ", and ", h("code", {}, "reload"), " it."),
          ),
    ];
  }

  rules(policy) {
    const wanted = this.filter.trim().toLowerCase();
    const found = policy.rules
      .map((rule, index) => ({ ...rule, number: index < policy.rules.length - 2 ? index + 1 : null }))
      .filter((rule) => !wanted || `${rule.name} ${rule.rule}`.toLowerCase().includes(wanted));
    return h(
      "section",
      { class: "card", "aria-labelledby": "rules-title" },
      h(
        "div",
        { class: "head" },
        h("h2", { id: "rules-title" }, "Rules"),
        h("input", { type: "search", "aria-label": "Find rules", placeholder: "Name, site, network, port", oninput: (event) => { this.filter = event.target.value; this.again(); } }),
      ),
      h("p", { class: "muted" }, "The first rule that matches decides whether a connection may be opened; what answers it passes. ", h("a", { href: "#/explain" }, "Explain"), " tells which rule that is for a packet."),
      h(
        "table",
        { class: "rules" },
        h("thead", {}, h("tr", {}, ["", "Rule", "What it says", "Opened", "Denied packets", "Last denied"].map((text, index) => h("th", { scope: "col", class: index > 2 ? "number" : null }, text || h("span", { class: "unseen" }, "Number"))))),
        h("tbody", {}, found.slice(0, MOST).map(row)),
      ),
      found.length === 0 ? h("p", { class: "muted", role: "status" }, "No rule is like that.") : null,
      found.length > MOST ? h("p", { class: "muted" }, `${count(found.length - MOST)} more: type a part of what you look for.`) : null,
    );
  }
}

function row(rule) {
  const denied = state.denied.get(rule.name);
  const ago = denied === undefined ? null : state.status.time - denied;
  const cell = (label, ...content) => h("td", { "data-label": label, class: "number" }, ...content);
  return h(
    "tr",
    { "data-key": `rule ${rule.number ?? rule.name}`, class: ago !== null && ago < RECENT_SECONDS ? "denies" : null },
    h("td", { class: "place" }, rule.number ?? ""),
    h("th", { scope: "row" }, rule.name),
    h("td", { class: "says" }, rule.rule),
    cell("Opened", rule.name === "unrelated" ? "–" : count(rule.flows)),
    cell("Denied packets", count(rule.denied)),
    cell("Last denied", ago === null ? (rule.denied ? "earlier" : "–") : `${duration(ago)} ago`),
  );
}

function remembered(policy) {
  return h(
    "section",
    { class: "card", "aria-labelledby": "flows-title" },
    h("h2", { id: "flows-title" }, "Open flows"),
    h("meter", { min: 0, max: policy.flows_limit, high: policy.flows_limit * 0.9, value: policy.flows, "aria-label": "Open flows that are remembered" }),
    h("p", {}, `${count(policy.flows)} of at most ${count(policy.flows_limit)} are remembered (${share(policy.flows / policy.flows_limit)}).`),
    policy.evicted ? h("p", { class: "trouble" }, `${count(policy.evicted)} were forgotten before their time, because there were so many: let policy.flows be larger.`) : null,
  );
}
