// What several pages show.

import { h } from "/dom.js";
import { capital, duration, moment } from "/format.js";
import { href } from "/topology.js";

const WORDS = { up: "up", degraded: "degraded", down: "down" };

export function badge(state) {
  return h("span", { class: `badge ${state}` }, WORDS[state] ?? state);
}

export function since(status, site) {
  return [h("time", {}, `since ${moment(status.time - site.age)}`), h("span", { class: "muted" }, ` · ${duration(site.age)}`)];
}

export function troubles(list) {
  return list.map((trouble) =>
    h(
      "div",
      { class: "trouble" },
      h("p", { class: "what" }, capital(trouble.what)),
      trouble.advice ? h("p", { class: "advice" }, h("b", {}, "What to do: "), advised(capital(trouble.advice))) : null,
    ),
  );
}

// Advice sets what can be typed between backticks.
export function advised(text) {
  return text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
}

export function eventList(events, { withSite = true } = {}) {
  if (!events.length) return h("p", { class: "muted" }, "Nothing yet.");
  return h(
    "ol",
    { class: "events" },
    events.map((event) =>
      h(
        "li",
        { class: event.level, "data-key": `event ${event.number}` },
        h("time", { datetime: new Date(event.time * 1000).toISOString() }, moment(event.time, true)),
        h("span", { class: "level" }, event.level),
        h(
          "div",
          {},
          h("p", {}, withSite && event.site ? [h("a", { href: href(event.site) }, event.site), " "] : null, event.message),
          event.advice ? h("p", { class: "advice" }, h("b", {}, "What to do: "), advised(capital(event.advice))) : null,
        ),
      ),
    ),
  );
}
