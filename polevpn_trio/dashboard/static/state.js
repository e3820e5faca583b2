// What the router has told so far, and who wants to know.

import { follow, get } from "/api.js";

export const state = {
  status: null,
  events: [],
  staleSince: null,
  recent: new Map(),
  // By rule of the policy: when it was last seen to deny something.
  denied: new Map(),
};

const KEPT_EVENTS = 1000;
const KEPT_RECENT = 60;
const AGAIN_SECONDS = 3;

let source = null;
let again = null;

export function begin({ changed, announced, ended }) {
  stop();
  source = follow(
    (kind, content) => {
      if (kind === "logout") {
        stop();
        ended();
        return;
      }
      if (kind === "recent") {
        state.recent = new Map(Object.entries(content));
        return;
      }
      if (kind === "status") {
        state.staleSince = null;
        announced(changes(state.status, content));
        noteDenials(state.status?.policy, content);
        state.status = content;
        remember(content);
      } else {
        const known = state.events.at(-1)?.number ?? 0;
        const first = content.events[0]?.number ?? 0;
        // A router that was started anew counts from 1 again.
        const kept = first <= known && content.events.length ? [] : state.events;
        state.events = [...kept, ...content.events].slice(-KEPT_EVENTS);
      }
      changed(kind);
    },
    async (closed) => {
      state.staleSince ??= Date.now() / 1000;
      changed("stale");
      if (!closed) return;
      // Browsers do not say why; the router does.
      stop();
      const session = await get("session").catch(() => null);
      if (session && !session.logged_in) {
        ended();
        return;
      }
      again = setTimeout(() => begin({ changed, announced, ended }), AGAIN_SECONDS * 1000);
    },
  );
}

export function stop() {
  source?.close();
  source = null;
  clearTimeout(again);
}

export function forget() {
  state.status = null;
  state.events = [];
  state.recent.clear();
  state.denied.clear();
}

function changes(before, after) {
  if (!before) return [];
  const were = new Map(before.sites.map((site) => [site.name, site.state]));
  return after.sites
    .filter((site) => were.has(site.name) && were.get(site.name) !== site.state)
    .map((site) => `${site.name} is ${site.state}`);
}

function noteDenials(before, status) {
  if (!before || !status.policy) return;
  const were = new Map(before.rules.map((rule) => [rule.name, rule.denied]));
  for (const { name, denied } of status.policy.rules) {
    if (denied > (were.get(name) ?? 0)) state.denied.set(name, status.time);
  }
}

function remember(status) {
  const names = new Set();
  for (const site of status.sites) {
    names.add(site.name);
    const rates = site.link.rates;
    const line = state.recent.get(site.name) ?? [];
    line.push(site.state === "down" || !rates ? null : rates.bytes_sent + rates.bytes_received);
    state.recent.set(site.name, line.slice(-KEPT_RECENT));
  }
  for (const name of state.recent.keys()) if (!names.has(name)) state.recent.delete(name);
}

const WORST_FIRST = { down: 0, degraded: 1, up: 2 };

export function worstFirst(sites) {
  return [...sites].sort(
    (a, b) => WORST_FIRST[a.state] - WORST_FIRST[b.state] || a.name.localeCompare(b.name, "en", { numeric: true }),
  );
}
