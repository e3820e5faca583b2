"""How events look."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from polevpn_trio.control.log import printable

Event = Mapping[str, Any]

STYLES = {"error": "bold red", "critical": "bold red", "warning": "yellow", "info": ""}
MARKS = {"error": "✗", "critical": "✗", "warning": "▲"}
"""Beside the colour, which not everybody sees."""

WHO = 12
"""Columns of a site's name, or what else an event comes from; more if need be."""

NARROW = 60
"""Columns of a terminal below which the message stands on a line of its own."""


def render_event(event: Event, width: int) -> RenderableType:
    """One event, and below it what to do about it."""
    moment = datetime.datetime.fromtimestamp(event["time"]).astimezone()
    when = Text(f"{moment:%a %H:%M:%S}", "dim")
    who = Text(f"{_who(event):<{WHO}}", "bold")
    what = _what(event)
    if event["connection"]:
        what.append(f"  {event['connection']}", "dim")
    if event["advice"]:
        what.append(f"\n→ {printable(event['advice'])}", "cyan")
    if width < NARROW:
        return Group(Text.assemble(when, " ", who), Padding(what, (0, 0, 0, 2)))
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    table.add_row(when, who, what)
    return table


def event_summary(event: Event, width: int) -> Text:
    """One event in one line that fits: when, whom it is about, and as much as there is room for."""
    moment = datetime.datetime.fromtimestamp(event["time"]).astimezone()
    text = Text.assemble((f"{moment:%H:%M:%S} ", "dim"), (f"{_who(event)}: ", "bold"), _what(event))
    text.truncate(width, overflow="ellipsis")
    return text


def _who(event: Event) -> str:
    return printable(event["site"] or event["source"])


def _what(event: Event) -> Text:
    level = event["level"]
    mark = f"{MARKS[level]} " if level in MARKS else ""
    return Text(mark + printable(event["message"]), STYLES.get(level, ""))


def event_line(event: Event) -> str:
    """One event in one plain line, as the log has it."""
    moment = datetime.datetime.fromtimestamp(event["time"]).astimezone()
    advice = f"; what to do: {printable(event['advice'])}" if event["advice"] else ""
    names = [f"{name}={event[name]}" for name in ("site", "connection") if event[name]]
    context = f" [{' '.join(names)}]" if names else ""
    return (
        f"{moment.isoformat(timespec='seconds')} {event['level'].upper()} {event['source']}: "
        f"{printable(event['message'])}{advice}{context}"
    )
