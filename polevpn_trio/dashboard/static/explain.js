// What would become of a packet: asked of the router, decision by decision.

import { get } from "/api.js";
import { h } from "/dom.js";
import { capital, duration } from "/format.js";
import { advised } from "/parts.js";
import { href } from "/topology.js";

const PROTOCOLS = [["", "any"], ["tcp", "TCP"], ["udp", "UDP"], ["icmp", "ICMP"], ["sctp", "SCTP"], ["47", "GRE"], ["50", "ESP"]];
const WITH_PORTS = ["tcp", "udp", "sctp", "6", "17", "132"];
const FIELDS = ["source", "destination", "protocol", "port"];

export class ExplainPage {
  constructor(asked, again) {
    this.asked = Object.fromEntries(FIELDS.map((name) => [name, asked.get(name) ?? ""]));
    this.again = again;
    this.way = null;
    this.problem = null;
    if (this.asked.source && this.asked.destination) this.ask();
  }

  title() {
    return "Explain";
  }

  redraw() {}

  destroy() {
    this.asking?.abort();
  }

  submit(form) {
    const given = Object.fromEntries(new FormData(form));
    this.asked = Object.fromEntries(FIELDS.map((name) => [name, (given[name] ?? "").trim()]));
    // Whoever is sent this address sees the same.
    history.replaceState(null, "", `#/explain?${new URLSearchParams(this.filled())}`);
    this.ask();
  }

  filled() {
    return Object.fromEntries(Object.entries(this.asked).filter(([, value]) => value));
  }

  async ask() {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    try {
      const way = await get("explain", this.filled(), asking.signal);
      if (asking.signal.aborted) return;
      [this.way, this.problem] = [way, null];
    } catch (problem) {
      if (asking.signal.aborted) return;
      [this.way, this.problem] = [null, problem.message];
    }
    this.again();
  }

  choose(protocol) {
    this.asked.protocol = protocol;
    this.again();
  }

  render() {
    const { protocol } = this.asked;
    const wrong = FIELDS.filter((name) => this.problem?.split(":")[0].includes(name));
    const field = (name, attributes) =>
      h("input", { name, id: `way-${name}`, value: this.asked[name], autocomplete: "off", spellcheck: "false", "aria-invalid": wrong.includes(name) && "true", "aria-describedby": wrong.includes(name) && "way-problem", ...attributes });
    const labelled = (name, text, control) => h("div", { class: `field ${name}` }, h("label", { for: `way-${name}` }, text), control);
    const known = PROTOCOLS.some(([value]) => value === protocol);
    const choices = known ? PROTOCOLS : [...PROTOCOLS, [protocol, `protocol ${protocol}`]];
    return [
      h("h1", {}, "The way of a packet"),
      h(
        "section",
        { class: "card", "aria-label": "Question" },
        h(
          "form",
          { class: "packet", onsubmit: (event) => { event.preventDefault(); this.submit(event.target); } },
          labelled("source", "From address", field("source", { required: true, placeholder: "192.168.1.10", inputmode: "url" })),
          labelled("destination", "To address", field("destination", { required: true, placeholder: "192.168.2.10", inputmode: "url" })),
          labelled(
            "protocol",
            "Protocol",
            h(
              "select",
              { name: "protocol", id: "way-protocol", onchange: (event) => this.choose(event.target.value), "aria-describedby": "way-hint" },
              choices.map(([value, text]) => h("option", { value, selected: value === protocol }, text)),
            ),
          ),
          labelled("port", "To port", field("port", { inputmode: "numeric", pattern: "[0-9]{1,5}", maxlength: 5, placeholder: "any", title: "a number from 0 to 65535", disabled: !WITH_PORTS.includes(protocol) })),
          h("button", { type: "submit" }, "Explain"),
        ),
        h("p", { id: "way-hint", class: "muted hint" }, "A packet that opens a connection. Protocol and port matter where the router has a ", h("a", { href: "#/policy" }, "policy"), "."),
        h("p", { id: "way-problem", class: "trouble", role: "alert" }, this.problem ? `${capital(this.problem)}.` : ""),
      ),
      h("div", { class: "answer", role: "status" }, this.way ? explained(this.way) : null),
    ];
  }
}

function explained(way) {
  const passes = way.verdict === "delivered";
  const site = (name) => (name ? h("a", { href: href(name) }, name) : "none");
  const facts = [
    ["From site", site(way.source_site)],
    ["To site", site(way.site)],
    ["Route", way.route ? h("code", {}, way.route) : "none"],
    way.policy ? ["Policy", way.policy] : null,
    ["Link", way.link ? `${way.link.transport} ${way.link.peer}, heard ${duration(way.link.silent)} ago` : "none"],
    way.mtu || way.link ? ["Largest packet", way.mtu ? `${way.mtu} bytes` : "no limit here: the link is a stream"] : null,
  ].filter(Boolean);
  return h(
    "section",
    { class: `attention ${passes ? "up" : "down"}`, "aria-labelledby": "way-title" },
    h("h2", { id: "way-title" }, h("span", { class: `badge ${passes ? "up" : "down"}` }, way.verdict), ` ${way.source} → ${way.destination}`, way.reason ? `: ${way.reason.replaceAll("_", " ")}` : ""),
    way.advice ? h("p", { class: "advice" }, h("b", {}, "What to do: "), advised(capital(way.advice))) : null,
    h("h3", {}, "Decisions"),
    h(
      "ol",
      { class: "steps" },
      way.steps.map((step) =>
        h("li", { class: step.passes ? "up" : "down" }, h("span", { class: "mark", "aria-hidden": "true" }, step.passes ? "✓" : "✗"), h("span", {}, h("span", { class: "muted" }, `${capital(step.question)} `), step.answer, step.passes ? "" : h("span", { class: "unseen" }, " It ends here."))),
      ),
    ),
    way.alternatives.length ? [h("h3", {}, "Why not another way"), h("ul", { class: "alternatives" }, way.alternatives.map((other) => h("li", {}, h("b", {}, other.what, ": "), other.why_not)))] : null,
    h("h3", {}, "What is known"),
    h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
  );
}
