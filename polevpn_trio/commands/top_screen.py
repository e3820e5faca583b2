"""What ``top`` shows and how keys change it. No I/O: the terminal is `top`'s business."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from polevpn_trio.commands import status_view, units
from polevpn_trio.commands.events_view import render_event
from polevpn_trio.control.log import printable
from polevpn_trio.management.answers import STATES

KEPT_RATES = 120
"""Looks that a sparkline can show."""

SPARKLINE = 12
"""Columns of one in the table, and how many there are in the detail."""
WIDE_SPARKLINE = 60

EVENT_LINES = 4

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

_SORTED_BY = {
    "state": "state",
    "name": "site",
    "in": "in b/s",
    "out": "out b/s",
    "rtt": "rtt ms",
    "loss": "loss",
}
"""The column that shows by what they are sorted."""

RATE_COLUMN = 7
"""Where the sparkline stands on wide terminals: after what comes and goes."""

HELP = (
    ("↑ ↓ or j k", "choose a site"),
    ("Enter", "show or hide all about it"),
    ("s / S", "sort by the next column / the other way round"),
    ("/", "show only sites with a word in name, peer, or networks; Esc ends that"),
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
        """Take a key: a character, or the name of one that is none (up, down, enter, escape)."""
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
        """Draw for a terminal of this size: never more lines than it has."""
        if self.helping:
            return self._help()
        if self.status is None:
            return Text(self.problem or "asking ...", "yellow")
        below: list[RenderableType] = []
        chosen = next((site for site in self.sites() if site["name"] == self.chosen), None)
        taken = 4
        if self.detailed and chosen is not None:
            detail = self._detail(chosen, width)
            below.append(detail)
            taken += detail.row_count + 1
        if self.shows_events and self.events:
            events = list(self.events)[-EVENT_LINES:]
            below.append(Text())
            taken += 1
            for event in events:
                text = render_event(event)
                text.truncate(width * 2)
                # What to do about it is in the detail and in `events`.
                first = text.split("\n")[0]
                first.truncate(width, overflow="ellipsis")
                below.append(first)
                taken += 1
        table = self._table(width, max(height - taken - 1, 3))
        return Group(self._headline(width), table, *below, self._footer(width))

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

    def _table(self, width: int, height: int) -> Table:
        sites = self.sites()
        names = [site["name"] for site in sites]
        if self.chosen not in names:
            self.chosen = names[0] if names else ""
        at = names.index(self.chosen) if names else 0
        rows = max(height - 2, 1)
        start = max(0, min(at - rows // 2, len(sites) - rows))
        columns = status_view.columns(width, rates=True)
        wide = len(columns) > RATE_COLUMN
        if wide:
            columns.insert(RATE_COLUMN, status_view.Column("rate", SPARKLINE))
        arrow = "▲" if self.reverse else "▼"
        columns = [
            attrs.evolve(each, name=each.name + arrow)
            if each.name == _SORTED_BY[self.order]
            else each
            for each in columns
        ]
        lines = []
        for site in sites[start : start + rows]:
            cells = status_view.site_cells(site, width)
            if wide:
                cells.insert(RATE_COLUMN, Text(self._sparkline(site["name"], SPARKLINE), "cyan"))
            if site["name"] == self.chosen and len(sites) > 1:
                # Colours and reverse together would be hard to read.
                cells = [Text(cell.plain, "reverse") for cell in cells]
            lines.append(cells)
        table = status_view.new_table(columns, lines, width, box=None)
        table.header_style = "bold reverse"
        return table

    def _sparkline(self, name: str, width: int) -> str:
        both = [received + sent for received, sent in self._rates.get(name, ())]
        return units.sparkline(both, width, ascii_only=self.ascii_only)

    def _detail(self, site: Site, width: int) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_row()
        for trouble in site["troubles"]:
            table.add_row(Text("  trouble", "red"), printable(trouble["what"]))
            if trouble["advice"]:
                table.add_row("  what to do", Text(printable(trouble["advice"]), "cyan"))
        table.add_row("  addresses", printable(", ".join(site["addresses"])) or units.NOTHING)
        table.add_row("  networks", printable(", ".join(site["networks"])) or units.NOTHING)
        connection = site["connection"]
        if connection is not None:
            features = connection["features"]
            dialect = "classic" if features is None else f"native {' '.join(features)}"
            table.add_row(
                "  connection",
                printable(
                    f"{connection['identifier'] or 'own'}, {dialect}, logged in "
                    f"{units.duration(connection['age'])} ago, heard "
                    f"{units.duration(connection['silent'])} ago, number {site['connections']}"
                ),
            )
        link = site["link"]
        if link["queue_delay"] is not None:
            table.add_row("  queue delay", f"{units.milliseconds(link['queue_delay'])} ms")
        table.add_row(
            "  in all",
            f"received {units.size(link['bytes_received'])}, sent {units.size(link['bytes_sent'])}",
        )
        if link["drops"]:
            table.add_row("  dropped", status_view.drops_text(link["drops"]))
        wide = min(WIDE_SPARKLINE, max(width - 30, SPARKLINE))
        for name, index in (("in", 0), ("out", 1)):
            values = [pair[index] for pair in self._rates.get(site["name"], ())]
            peak = units.bit_rate(max(values, default=0.0), "b/s")
            line = units.sparkline(values, wide, ascii_only=self.ascii_only)
            table.add_row(f"  {name}", Text.assemble((line, "cyan"), f"  peak {peak}"))
        return table

    def _footer(self, width: int) -> Text:
        if self.typing:
            return Text(f"/{self.word}█", "bold")
        text = Text(
            " q quit  s sort  / filter  p pause  Enter detail  e events  ? help ", "reverse"
        )
        if self.word:
            text = Text.assemble((f" only: {self.word} ", "bold yellow"), text)
        text.truncate(width, overflow="ellipsis")
        return text

    def _help(self) -> Group:
        table = Table.grid(padding=(0, 3, 0, 0))
        table.add_column(style="bold cyan", no_wrap=True)
        table.add_column()
        for keys, text in HELP:
            table.add_row(f"  {keys}", text)
        return Group(Text("Keys", "bold"), Text(), table, Text(), Text("any of ? h Esc: back"))
