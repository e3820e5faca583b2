"""How events look."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from rich.text import Text

from polevpn_trio.control.log import printable

Event = Mapping[str, Any]

STYLES = {"error": "bold red", "critical": "bold red", "warning": "yellow", "info": ""}


def render_event(event: Event) -> Text:
    """One event, and on a line of its own what to do about it."""
    moment = datetime.datetime.fromtimestamp(event["time"]).astimezone()
    style = STYLES.get(event["level"], "")
    text = Text()
    text.append(f"{moment:%a %H:%M:%S} ", "dim")
    text.append(f"{event['site'] or event['source']:<12} ", "bold")
    text.append(printable(event["message"]), style)
    if event["connection"]:
        text.append(f"  {event['connection']}", "dim")
    if event["advice"]:
        text.append(f"\n{'':13}→ {printable(event['advice'])}", "cyan")
    return text


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
