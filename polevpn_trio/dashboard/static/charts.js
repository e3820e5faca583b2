// Charts of the past, drawn by uPlot in the colours of the theme.

import { get } from "/api.js";
import { h } from "/dom.js";
import { milliseconds, rate, share } from "/format.js";

export const SPANS = [
  ["15m", "15 min", 10],
  ["2h", "2 hours", 10],
  ["2d", "2 days", 60],
  ["14d", "14 days", 300],
  ["60d", "60 days", 600],
];

const KINDS = {
  traffic: {
    title: "Traffic",
    series: [
      ["from the site", "received", "--series-1", true],
      ["to the site", "sent", "--series-2", false],
    ],
    format: rate,
    least: 1250,
  },
  total: {
    title: "Traffic of all sites",
    series: [["carried", "received", "--series-1", true]],
    format: rate,
    least: 1250,
  },
  rtt: {
    title: "Round trip",
    series: [
      ["mean", "rtt", "--series-1", false],
      ["worst", "rtt_worst", "--series-3", false],
    ],
    format: milliseconds,
    least: 0.01,
  },
  loss: {
    title: "Loss",
    series: [
      ["on the path", "loss", "--series-3", true],
      ["after repair", "unrepaired", "--bad", true],
    ],
    format: share,
    least: 0.01,
  },
};

const HEIGHT = 170;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function faded(value, alpha) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(value.slice(at, at + 2), 16));
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

// A chart of one kind, in an element of its own.
class Chart {
  constructor(kind) {
    this.kind = KINDS[kind];
    this.box = h("div", { class: "plot" });
    this.words = h("p", { class: "unseen" });
    this.element = h("figure", { class: "chart", "data-keep": true }, h("figcaption", {}, this.kind.title), this.box, this.words);
    this.past = null;
    this.plot = null;
    this.down = [];
    new ResizeObserver(() => this.fit()).observe(this.box);
  }

  fit() {
    const width = Math.floor(this.box.clientWidth);
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
    else if (!this.plot && width > 0 && this.past) this.draw();
  }

  show(past) {
    this.past = past;
    this.draw();
  }

  draw() {
    const { past, kind } = this;
    const width = Math.floor(this.box.clientWidth);
    if (!past || !width) return;
    const data = this.columns(past);
    this.box.setAttribute("role", "img");
    this.box.setAttribute("aria-label", this.sentence(data));
    this.words.textContent = this.sentence(data);
    if (this.plot && this.theme === colour("--text")) {
      this.plot.setData(data, false);
      this.plot.setScale("x", { min: past.start, max: past.end });
      return;
    }
    this.plot?.destroy();
    this.theme = colour("--text");
    this.plot = new uPlot(this.options(width), data, this.box);
    this.plot.setScale("x", { min: past.start, max: past.end });
  }

  // Times without a point are gaps: the router did not run.
  columns(past) {
    const { seconds, points } = past;
    const times = [];
    const rows = [];
    this.down = [];
    let at = null;
    for (const point of points) {
      if (at !== null && point.time > at + seconds) {
        times.push(at + seconds);
        rows.push(null);
      }
      at = point.time;
      times.push(at);
      rows.push(point);
      if (point.up !== null && point.up < 0.999) this.down.push([at, at + seconds, 1 - point.up]);
    }
    return [times, ...this.kind.series.map(([, member]) => rows.map((row) => (row?.up ? row[member] : null)))];
  }

  sentence(data) {
    const { title, series, format } = this.kind;
    const told = series.map(([name], index) => {
      const known = data[index + 1].filter((value) => value !== null);
      if (!known.length) return `${name}: nothing known`;
      return `${name}: ${format(known.at(-1))} now, ${format(Math.max(...known))} at most`;
    });
    return `${title}. ${told.join("; ")}.`;
  }

  options(width) {
    const { series, format, least } = this.kind;
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return {
      width,
      height: HEIGHT,
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false }, sync: { key: "time" } },
      legend: { live: true },
      scales: { x: { time: true, auto: false }, y: { range: (_, __, most) => [0, Math.max(least, (most ?? 0) * 1.12)] } },
      axes: [
        { ...axis, space: 64, size: 30, ...clockAxis() },
        { ...axis, size: 78, space: 36, values: (_, ticks) => ticks.map((tick) => (tick === 0 ? "0" : format(tick).replace(/\.0+ /, " ").replace(/(\.\d)0 /, "$1 "))) },
      ],
      series: [
        { label: "at", value: (_, time) => (time === null ? "–" : new Date(time * 1000).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" })) },
        ...series.map(([label, , name, filled]) => ({
          label,
          stroke: colour(name),
          fill: filled ? faded(colour(name), 0.14) : undefined,
          width: 1.6,
          points: { show: false },
          // Without a pointer over the chart, the legend tells the last of what is known.
          value: (plot, value, index, at) => format(at === null || at === undefined ? last(plot.data[index]) : value),
        })),
      ],
      hooks: { drawClear: [(plot) => this.shade(plot)] },
    };
  }

  // Behind the lines, when the site was down.
  shade(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    for (const [from, to, part] of this.down) {
      const left = Math.max(bbox.left, plot.valToPos(from, "x", true));
      const right = Math.min(bbox.left + bbox.width, plot.valToPos(to, "x", true));
      if (right <= left) continue;
      ctx.fillStyle = faded(colour("--bad"), 0.06 + 0.06 * part);
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
    }
    ctx.restore();
  }

  destroy() {
    this.plot?.destroy();
    this.plot = null;
  }
}

function last(values) {
  for (let at = values.length - 1; at >= 0; at -= 1) if (values[at] !== null) return values[at];
  return null;
}

function clockAxis() {
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
  return {
    values: (_, ticks, __, ___, step) =>
      ticks.map((tick) => {
        const date = new Date(tick * 1000);
        const midnight = date.getHours() === 0 && date.getMinutes() === 0;
        return step >= 86400 || midnight ? day.format(date) : clock.format(date);
      }),
  };
}

// Charts of one site ("" for all), of a span that is chosen above them.
export class Charts {
  constructor(site, kinds, span = "15m") {
    this.site = site;
    this.span = span;
    this.charts = kinds.map((kind) => new Chart(kind));
    this.note = h("p", { class: "muted", hidden: true });
    this.choice = h(
      "fieldset",
      { class: "spans" },
      h("legend", { class: "unseen" }, "Time shown"),
      SPANS.map(([value, label]) =>
        h(
          "label",
          {},
          h("input", { type: "radio", name: `span-${site}`, value, checked: value === span, onchange: () => this.choose(value) }),
          h("span", {}, label),
        ),
      ),
    );
    this.element = h("div", { class: "charts", "data-keep": true }, this.choice, this.note, h("div", { class: "plots" }, this.charts.map((chart) => chart.element)));
    this.load();
  }

  choose(span) {
    this.span = span;
    this.load();
  }

  async load() {
    clearTimeout(this.timer);
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    try {
      const past = await get("history", { site: this.site, span: this.span }, asking.signal);
      if (asking.signal.aborted) return;
      for (const chart of this.charts) chart.show(past);
      this.note.hidden = past.points.length > 1;
      this.note.textContent = "History begins now: the first points come within half a minute.";
    } catch (problem) {
      if (asking.signal.aborted) return;
      this.note.hidden = false;
      this.note.textContent = `No history: ${problem.message}.`;
    }
    const seconds = SPANS.find(([value]) => value === this.span)[2];
    this.timer = setTimeout(() => this.load(), seconds * 1000);
  }

  redraw() {
    for (const chart of this.charts) chart.draw();
  }

  destroy() {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.asking = new AbortController();
    this.asking.abort();
    for (const chart of this.charts) chart.destroy();
  }
}

// A small line of recent rates, without axes.
export function sparkline(values, label) {
  const [width, height] = [96, 22];
  const known = values.filter((value) => value !== null);
  const most = Math.max(1, ...known);
  const step = width / 59;
  const from = width - (values.length - 1) * step;
  let path = "";
  values.forEach((value, index) => {
    if (value === null) return;
    const begins = index === 0 || values[index - 1] === null;
    path += `${begins ? "M" : "L"}${(from + index * step).toFixed(1)} ${(height - 2 - (value / most) * (height - 4)).toFixed(1)}`;
  });
  const element = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  element.setAttribute("class", "spark");
  element.setAttribute("viewBox", `0 0 ${width} ${height}`);
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", label);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path || "M0 0");
  element.append(line);
  return element;
}
