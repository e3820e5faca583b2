// The map: the router in the middle, a link to each site, how well it does.

import { svg } from "/dom.js";
import { duration, milliseconds, rate } from "/format.js";

const LABELLED = 24;
const CROWDED = 60;
const TOP = { up: 0, degraded: 1, down: 2 };

export function href(name) {
  return `#/site/${encodeURIComponent(name)}`;
}

// Places on as many ellipses as it takes; few sites keep their distance from the edge.
function places(number, width, height, room) {
  const across = Math.max(60, width / 2 - room.x);
  const down = Math.max(50, height / 2 - room.y);
  const rings = number <= LABELLED ? 1 : number <= CROWDED ? 2 : Math.ceil(number / 48) + 1;
  const sizes = Array.from({ length: rings }, (_, ring) => (ring + 2) / (rings + 1));
  const whole = sizes.reduce((sum, part) => sum + part, 0);
  const found = [];
  let left = number;
  sizes.forEach((part, ring) => {
    const here = ring === rings - 1 ? left : Math.min(left, Math.round((number * part) / whole));
    left -= here;
    for (let index = 0; index < here; index += 1) {
      // Two sites stand beside the router, three with one on top.
      const turn = number === 2 ? Math.PI : -Math.PI / 2 + (ring % 2) * (Math.PI / Math.max(1, here));
      const angle = turn + (2 * Math.PI * index) / here;
      found.push([width / 2 + across * part * Math.cos(angle), height / 2 + down * part * Math.sin(angle)]);
    }
  });
  return found;
}

function mark(state, size) {
  const arm = size * 0.42;
  const shape = {
    up: `M${-arm} ${arm * 0.1}L${-arm * 0.2} ${arm * 0.8}L${arm} ${-arm * 0.7}`,
    degraded: `M0 ${-arm}V${arm * 0.25}M0 ${arm * 0.95}v.01`,
    down: `M${-arm * 0.8} ${-arm * 0.8}L${arm * 0.8} ${arm * 0.8}M${arm * 0.8} ${-arm * 0.8}L${-arm * 0.8} ${arm * 0.8}`,
  }[state];
  return svg("path", { class: "mark", d: shape });
}

// Begins with what is written at the node, so that who speaks to a browser finds it by that.
function told(site) {
  const rates = site.link.rates;
  if (site.state === "down") return `${site.name} down ${duration(site.age)}. ${site.troubles[0]?.what ?? ""}`;
  const passing = rates ? `, ${rate(rates.bytes_received)} from it, ${rate(rates.bytes_sent)} to it` : "";
  const trouble = site.troubles.length ? `. ${site.troubles[0].what}` : "";
  return `${site.name} ${milliseconds(site.link.rtt)} round trip, ${site.state}${passing}${trouble}`;
}

function thickness(site) {
  const bytes = site.link.rates ? site.link.rates.bytes_sent + site.link.rates.bytes_received : 0;
  return (1.2 + Math.min(4.8, Math.log10(1 + bytes / 2000) * 1.3)).toFixed(1);
}

function shortened(name, most) {
  return name.length > most ? `${name.slice(0, most - 1)}…` : name;
}

export function topology(sites, width) {
  const few = sites.length <= LABELLED;
  const narrow = width < 480;
  const height = Math.max(280, Math.min(few ? 380 : 520, width * (narrow ? 0.95 : 0.62)));
  const ordered = [...sites].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  const size = few ? (narrow && sites.length > 10 ? 10 : 15) : sites.length <= CROWDED ? 9 : 6;
  const spots = places(ordered.length, width, height, few ? { x: narrow ? 52 : 76, y: 60 } : { x: 24, y: 24 });
  const [x, y] = [width / 2, height / 2];
  const links = [];
  const nodes = [];
  // What somebody should look at is drawn last, on top of the rest.
  const drawn = ordered.map((site, index) => [site, spots[index]]).sort(([a], [b]) => TOP[a.state] - TOP[b.state]);
  drawn.forEach(([site, [ax, ay]]) => {
    links.push(
      svg("line", { class: `link ${site.state}`, "data-key": `link ${site.name}`, x1: x, y1: y, x2: ax, y2: ay, "stroke-width": few ? thickness(site) : "1.5" }),
    );
    const named = few || site.state !== "up";
    // Names stand on the far side of the link.
    const above = ay < y - 20;
    const below = few ? (site.state === "down" ? `down ${duration(site.age)}` : milliseconds(site.link.rtt)) : null;
    nodes.push(
      svg(
        "a",
        { class: `node ${site.state}`, "data-key": `node ${site.name}`, href: href(site.name), "aria-label": told(site), transform: `translate(${ax.toFixed(1)} ${ay.toFixed(1)})` },
        svg("title", {}, told(site)),
        svg("circle", { class: "halo", r: size + 5 }),
        svg("circle", { r: size }),
        size > 8 ? mark(site.state, size) : null,
        named ? svg("text", { class: "name", y: above ? -size - (below ? 24 : 9) : size + 17 }, shortened(site.name, narrow ? 12 : 20)) : null,
        // A blank, so that name and number are two words to who has them read out.
        named && below ? " " : null,
        named && below ? svg("text", { class: "below", y: above ? -size - 9 : size + 32 }, below) : null,
      ),
    );
  });
  return svg(
    "svg",
    { class: few ? "map" : "map crowded", viewBox: `0 0 ${width} ${height.toFixed(0)}`, role: "group", "aria-label": "Map of the sites around the router" },
    svg("g", {}, links),
    svg("g", { class: "hub", transform: `translate(${x} ${y})`, "aria-hidden": "true" }, svg("rect", { x: -34, y: -17, width: 68, height: 34, rx: 9 }), svg("text", { y: 4.5 }, "router")),
    svg("g", {}, nodes),
  );
}
