"""What ``top`` shows and how keys change it. No I/O: the terminal is `top`'s business."""

from __future__ import annotations

import textwrap
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from polevpn_trio.commands import status_view, units
from polevpn_trio.commands.events_view import event_summary
from polevpn_trio.control.log import printable
from polevpn_trio.management.answers import STATES

KEPT_RATES = 120
"""Looks that a sparkline can show."""

SPARKLINE = 12
"""Columns of one in the table, and how many there are in the detail."""
WIDE_SPARKLINE = 60

EVENT_LINES = 4

PAGE = 10
"""Sites that PgUp and PgDn go by."""

ROOMY = 16
"""Lines of a terminal from which on sites leave a third of it to what is wrong, and to events."""

Site = Mapping[str, Any]


def _rate(site: Site, name: str) -> float:
    rates = site["link"]["rates"]
    return float(rates[name]) if rates is not None else 0.0


def _loss(site: Site) -> float:
    link = site["link"]
    return max(
        link["loss_sent"]["before_repair"] or 0.0, link["loss_received"]["before_repair"] or 0.0
    )


ORDERS: Mapping[str, Callable[[Site], Any]] = {
    "state": lambda site: (-STATES.index(site["state"]), site["name"]),
    "name": lambda site: site["name"],
    "in": lambda site: -_rate(site, "bytes_received"),
    "out": lambda site: -_rate(site, "bytes_sent"),
    "rtt": lambda site: -(site["link"]["rtt"] or 0.0),
    "loss": lambda site: -_loss(site),
}
"""What sites may be sorted by."""

_KEYS = {name: "site" if name == "name" else name for name in ORDERS}
"""The column that shows by what they are sorted."""

FOOTER = (
    "q quit",
    "? help",
    "↑↓ choose",
    "Enter detail",
    "/ filter",
    "s sort",
    "p pause",
    "e events",
)
"""Keys in the last line, the most important ones first."""

HELP = (
    ("↑ ↓ or j k", "choose a site"),
    ("PgUp PgDn", "go by ten; Home, End: to the first, the last"),
    ("Enter", "show or hide all about it"),
    ("s / S", "sort by the next column / the other way round"),
    ("/", "only sites with a word in name, peer, or networks; Esc: all"),
    ("p or Space", "pause, and go on"),
    ("e", "show or hide the last events"),
    ("q", "quit"),
)


@attrs.define
class Screen:
    """The state of the screen. Feed it looks and keys, then `render` it."""

    status: Mapping[str, Any] | None = None
    events: deque[Mapping[str, Any]] = attrs.field(factory=lambda: deque(maxlen=50))
    problem: str = ""
    order: str = "state"
    reverse: bool = False
    word: str = ""
    typing: bool = False
    paused: bool = False
    helping: bool = False
    shows_events: bool = True
    detailed: bool = False
    chosen: str = ""
    ended: bool = False
    ascii_only: bool = False
    _rates: dict[str, deque[tuple[float, float]]] = attrs.field(factory=dict)

    def take_status(self, status: Mapping[str, Any]) -> None:
        """Take a new look at everything, unless paused."""
        if self.paused:
            return
        self.status = status
        self.problem = ""
        for site in status["sites"]:
            history = self._rates.setdefault(site["name"], deque(maxlen=KEPT_RATES))
            history.append((_rate(site, "bytes_received"), _rate(site, "bytes_sent")))
        for gone in self._rates.keys() - {site["name"] for site in status["sites"]}:
            del self._rates[gone]

    def take_events(self, events: list[Mapping[str, Any]]) -> None:
        """Take events that are new."""
        self.events.extend(events)

    def take_problem(self, text: str) -> None:
        """Note why there is no new look; the last one stays on the screen."""
        self.problem = text

    # --- Keys

    def press(self, key: str) -> None:
        """Take a key: a character, or the name of one that is none (up, page up, enter, escape)."""
        if self.typing:
            self._type(key)
            return
        match key:
            case "q" | "ctrl-c":
                self.ended = True
            case "s":
                names = list(ORDERS)
                self.order = names[(names.index(self.order) + 1) % len(names)]
                self.reverse = False
            case "S":
                self.reverse = not self.reverse
            case "/":
                self.typing, self.word = True, ""
            case "escape":
                self.word, self.detailed, self.helping = "", False, False
            case "p" | " ":
                self.paused = not self.paused
            case "e":
                self.shows_events = not self.shows_events
            case "?" | "h":
                self.helping = not self.helping
            case "enter":
                self.detailed = not self.detailed
            case "up" | "k":
                self._choose(-1)
            case "down" | "j":
                self._choose(1)
            case "page up":
                self._choose(-PAGE)
            case "page down":
                self._choose(PAGE)
            case "home":
                self._choose(-len(self.sites()))
            case "end":
                self._choose(len(self.sites()))

    def _type(self, key: str) -> None:
        match key:
            case "enter":
                self.typing = False
            case "escape" | "ctrl-c":
                self.typing, self.word = False, ""
            case "backspace":
                self.word = self.word[:-1]
            case _ if len(key) == 1 and key.isprintable():
                self.word += key

    def _choose(self, step: int) -> None:
        names = [site["name"] for site in self.sites()]
        if names:
            at = names.index(self.chosen) + step if self.chosen in names else 0
            self.chosen = names[max(0, min(at, len(names) - 1))]

    def sites(self) -> list[Site]:
        """The sites that are shown, in their order."""
        if self.status is None:
            return []
        found = [site for site in self.status["sites"] if self._matches(site)]
        return sorted(found, key=ORDERS[self.order], reverse=self.reverse)

    def _matches(self, site: Site) -> bool:
        connection = site["connection"] or {"peer": "", "transport": ""}
        texts = (site["name"], connection["peer"], connection["transport"], *site["networks"])
        return any(self.word.lower() in text.lower() for text in texts)

    # --- Drawing

    def render(self, width: int, height: int) -> RenderableType:
        """Draw for a terminal of this size: as many lines as it has."""
        if self.helping:
            return self._help(height)
        if self.status is None:
            return Text(self.problem or "asking ...", "yellow")
        sites = self.sites()
        names = [site["name"] for site in sites]
        if self.chosen not in names:
            self.chosen = names[0] if names else ""
        room, small = max(height - 2, 0), height < ROOMY
        detail: list[Text] = []
        if self.detailed and names:
            detail = self._detail(sites[names.index(self.chosen)], width)
            if small:
                # It takes the place of the table; the arrows go on to the next site.
                lines = _filled(detail, room)
                return Group(self._headline(width), *lines, self._footer(width, ""))
            detail.insert(0, Text())
        left = room - 1 - len(sites) - len(detail)
        others = [*detail, *self._below(width, left if small else max(room // 3, left), small)]
        rows = max(min(len(sites), room - 1 - len(others)), 1)
        start = max(0, min(names.index(self.chosen) - rows // 2, len(sites) - rows)) if names else 0
        shown = sites[start : start + rows]
        position = f"{start + 1}-{start + len(shown)} of {len(sites)}" if rows < len(sites) else ""
        return Group(
            self._headline(width),
            self._table(shown, width),
            *_filled(others, room - 1 - len(shown)),
            self._footer(width, position),
        )

    def _below(self, width: int, most: int, small: bool) -> list[Text]:
        """What is wrong and what to do about it, then the last events, in ``most`` lines."""
        blank = [] if small else [Text()]
        events: list[Text] = []
        if self.shows_events and self.events and most > EVENT_LINES:
            last = list(self.events)[-EVENT_LINES:]
            events = [*blank, *(event_summary(event, width) for event in last)]
        room = most - len(events) - len(blank)
        troubles: list[Text] = []
        if not self.detailed and room > 0:
            for each in status_view.troubles(self.status or {"troubles": [], "sites": []}):
                troubles += _trouble_lines(each, width)
            if len(troubles) > room:
                troubles = [*troubles[: room - 1], Text("  ... Enter shows more", "dim")]
        return [*(blank if troubles else []), *troubles, *events]

    def _headline(self, width: int) -> Text:
        status = self.status
        assert status is not None
        style = status_view.STYLES[status["state"]]
        text = Text()
        text.append(f" {status['instance'] or status['role']} ", f"reverse {style}")
        if self.problem:
            text.append(f" {self.problem}", "bold red")
            text.truncate(width, overflow="ellipsis")
            return text
        text.append(f" {status_view.verdict(status)}", style)
        received = sum(_rate(site, "bytes_received") for site in status["sites"])
        sent = sum(_rate(site, "bytes_sent") for site in status["sites"])
        text.append(f"   in {units.bit_rate(received, 'b/s')}, out {units.bit_rate(sent, 'b/s')}")
        if status["drops"]:
            text.append(f"  dropped: {status_view.drops_text(status['drops'])}", "dim")
        if self.paused:
            text.append("  PAUSED", "reverse yellow")
        text.truncate(width, overflow="ellipsis")
        return text

    def _table(self, sites: list[Site], width: int) -> Table:
        arrow = "▲" if self.reverse else "▼"
        wide = width >= status_view.WIDE
        columns = status_view.columns(width, rates=True, sorted_by=f"{_KEYS[self.order]} {arrow}")
        if wide:
            # After what comes and goes.
            after = [each.key for each in columns].index("out") + 1
            columns.insert(after, status_view.Column("rate", "rate", SPARKLINE))
            if status_view.least_width(columns) > width:
                # The detail has them.
                columns = [each for each in columns if each.key != "drops"]
        lines = []
        for site in sites:
            cells = dict(status_view.site_cells(site, wide=wide))
            cells["rate"] = Text(self._sparkline(site["name"], SPARKLINE), "cyan")
            if site["name"] == self.chosen and len(self.sites()) > 1:
                # Colours and reverse together would be hard to read.
                cells = {key: Text(cell.plain, "reverse") for key, cell in cells.items()}
            lines.append(cells)
        table = status_view.new_table(columns, lines, width, box=None)
        table.header_style = "bold reverse"
        return table

    def _sparkline(self, name: str, width: int) -> str:
        both = [received + sent for received, sent in self._rates.get(name, ())]
        return units.sparkline(both, width, ascii_only=self.ascii_only)

    def _detail(self, site: Site, width: int) -> list[Text]:
        """All about a site, line by line."""
        found: list[Text] = [Text(printable(site["name"]), "bold")]

        def add(name: str, text: str | Text, style: str = "") -> None:
            head = f"  {name:<11} "
            lines = [text]
            if not isinstance(text, Text):
                lines = [Text(line, style) for line in wrapped(text, width - len(head))]
            for number, line in enumerate(lines):
                start = Text(head if number == 0 else " " * len(head), "bold")
                found.append(Text.assemble(start, line))
                found[-1].truncate(width, overflow="ellipsis")

        for trouble in site["troubles"]:
            add("trouble", trouble["what"], status_view.STYLES[site["state"]])
            if trouble["advice"]:
                add("what to do", trouble["advice"], "cyan")
        add("addresses", ", ".join(site["addresses"]) or units.NOTHING)
        add("networks", ", ".join(site["networks"]) or units.NOTHING)
        connection, link = site["connection"], site["link"]
        if connection is not None:
            features = connection["features"]
            dialect = "classic" if features is None else f"native {' '.join(features)}"
            add(
                "connection",
                f"{connection['identifier'] or 'own'} by {connection['transport']} "
                f"{connection['peer']}, {dialect}, logged in "
                f"{units.duration(connection['age'])} ago, heard "
                f"{units.duration(connection['silent'])} ago, number {site['connections']}",
            )
            path = [f"round trip {status_view.rtt_text(link)} ms"]
            path.append(f"loss {status_view.loss_in_words(link)}")
            if link["queue_delay"] is not None:
                path.append(f"queue {units.milliseconds(link['queue_delay'])} ms")
            add("path", ", ".join(path))
        add(
            "in all",
            f"received {units.size(link['bytes_received'])}, sent {units.size(link['bytes_sent'])}",
        )
        if link["drops"]:
            add("dropped", status_view.drops_text(link["drops"]))
        wide = min(WIDE_SPARKLINE, max(width - 34, 1))
        for name, index in (("in", 0), ("out", 1)):
            values = [pair[index] for pair in self._rates.get(site["name"], ())]
            peak = units.bit_rate(max(values, default=0.0), "b/s")
            line = units.sparkline(values, wide, ascii_only=self.ascii_only)
            add(name, Text.assemble((line, "cyan"), f"  peak {peak}"))
        return found

    def _footer(self, width: int, position: str) -> Text:
        """The keys that there is room for, and which of the sites are shown."""
        if self.typing:
            return Text(f"/{self.word}█", "bold")
        text = Text()
        if position:
            text.append(f" {position} ", "bold")
        if self.word:
            text.append(f" only: {self.word} ", "bold yellow")
        for key in FOOTER:
            key = key.replace("detail", "back") if self.detailed else key
            if text.cell_len + len(key) + 2 <= width:
                text.append(f" {key} ", "reverse")
        text.truncate(width, overflow="ellipsis")
        return text

    def _help(self, height: int) -> RenderableType:
        table = Table.grid(padding=(0, 3, 0, 0))
        widest = max(len(keys) for keys, _ in HELP)
        table.add_column(style="bold cyan", no_wrap=True, min_width=widest + 2)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for keys, text in HELP:
            table.add_row(f"  {keys}", text)
        back = Text("any of ? h Esc: back")
        if height < len(HELP) + 4:
            return Group(table, back)
        return Group(Text("Keys", "bold"), Text(), table, Text(), back)


def _filled(lines: list[Text], height: int) -> list[Text]:
    """As many lines as there are to be."""
    kept = lines[: max(height, 0)]
    return kept + [Text()] * (height - len(kept))


def _trouble_lines(complaint: status_view.Complaint, width: int) -> list[Text]:
    first, *more = wrapped(f"{complaint.who}: {complaint.trouble['what']}", width - 2)
    found = [Text(line, complaint.style) for line in (first, *(f"  {each}" for each in more))]
    advice = complaint.trouble["advice"]
    if advice:
        lines = wrapped(f"→ {advice}", width - 2)
        found += [Text(f"  {line}", "cyan") for line in lines]
    for line in found:
        line.truncate(width, overflow="ellipsis")
    return found


def wrapped(text: str, width: int) -> list[str]:
    """Cut a text into lines between its words."""
    return textwrap.wrap(printable(text), max(width, 10)) or [""]
