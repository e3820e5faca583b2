"""How the route table and the explanation of a packet look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from polevpn_trio.commands import units
from polevpn_trio.commands.status_view import USUAL, Column, new_table
from polevpn_trio.control.log import printable

Entry = Mapping[str, Any]
Explained = Mapping[str, Any]

_MARKED, _UNMARKED = "▲ ", "  "

ANSWER = 19
"""Columns that an answer has at least: those of the longest IPv4 network, and some more."""

VERDICT_STYLES = {"delivered": "green", "local": "yellow", "dropped": "bold red"}


def matching(entries: Sequence[Entry], word: str | None) -> list[Entry]:
    """The entries with a word in their network, site, or way."""
    if not word:
        return list(entries)
    return [
        entry
        for entry in entries
        if any(word in entry[member] for member in ("network", "site", "via"))
    ]


def render_routes(entries: Sequence[Entry], width: int) -> RenderableType:
    """The table, and below it the conflicts with what to do about them."""
    if not entries:
        return Text("no routes", "dim")
    # Of a network cut off nobody knows which it is; others have room for less.
    widest = max(len(entry["network"]) for entry in entries)
    shown = [
        Column("network", "network", widest + len(_UNMARKED)),
        Column("site", "site", 9),
        Column("link", "by way of", 9),
        Column("since", "since", 6, right=True),
    ]
    if width >= USUAL:
        shown.insert(-1, Column("from", "from", 10))
    rows = [_route_cells(entry) for entry in entries]
    table = new_table(shown, rows, width, box=SIMPLE_HEAD)
    found: list[RenderableType] = []
    advice: dict[str, None] = {}
    for entry in entries:
        for conflict in entry["conflicts"]:
            found.append(_marked("▲", f"{entry['network']}: {conflict['what']}", "yellow"))
            if conflict["advice"]:
                advice[conflict["advice"]] = None
    found += [_marked("→", each, "cyan") for each in advice]
    return Group(table, Padding(Group(*found), (0, 0, 0, 1))) if found else table


def _route_cells(entry: Entry) -> Mapping[str, Text]:
    mark, style = (_MARKED, "bold yellow") if entry["conflicts"] else (_UNMARKED, "bold")
    # All of them texts: rich takes brackets in a string, such as those of IPv6, for its markup.
    return {
        "network": Text(mark + printable(entry["network"]), style),
        "site": Text(printable(entry["site"])),
        "link": Text(printable(entry["via"])),
        "from": Text(entry["origin"]),
        "since": Text(units.duration(entry["age"])),
    }


def route_lines(entries: Sequence[Entry]) -> Iterator[str]:
    """One line a route."""
    for entry in entries:
        conflicts = "".join(f"; {printable(each['what'])}" for each in entry["conflicts"])
        yield (
            f"{printable(entry['network'])} site {printable(entry['site'])} "
            f"via {printable(entry['via'])} {entry['origin']} "
            f"{units.duration(entry['age'])}{conflicts}"
        )


def render_explanation(found: Explained, width: int) -> RenderableType:
    """The way of a packet, decision by decision."""
    style = VERDICT_STYLES[found["verdict"]]
    parts: list[RenderableType] = [
        Text.assemble(
            (f" {found['source']} → {found['destination']} ", f"reverse {style}"),
            (f"  {_verdict(found)}", style),
        )
    ]
    if found["advice"]:
        parts.append(Padding(_marked("→", found["advice"], "cyan"), (0, 0, 0, 2)))
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(ratio=1)
    for name, text in _facts(found):
        facts.add_row(f"  {name}", Text(printable(text)))
    parts.append(Padding(facts, (1, 0, 0, 0)))
    steps = Table.grid(padding=(0, 2, 0, 0))
    steps.add_column(no_wrap=True)
    steps.add_column(no_wrap=width >= USUAL)
    steps.add_column(ratio=1, min_width=ANSWER)
    for step in found["steps"]:
        mark = Text("  ✓", "green") if step["passes"] else Text("  ✗", "red")
        steps.add_row(mark, step["question"], Text(printable(step["answer"]), "bold"))
    parts.append(Padding(steps, (1, 0, 0, 0)))
    if found["alternatives"]:
        others = Table.grid(padding=(0, 1, 0, 0))
        others.add_column(no_wrap=True)
        others.add_column(ratio=1)
        for other in found["alternatives"]:
            what = Text(printable(other["what"]), "bold")
            others.add_row("  not", what.append(f": {printable(other['why_not'])}", "not bold"))
        parts.append(Padding(others, (1, 0, 0, 0)))
    return Group(*parts)


def _marked(mark: str, text: str, style: str) -> Table:
    """A text whose further lines stand below its first, not below the mark before it."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    table.add_row(Text(mark, style), Text(printable(text), style))
    return table


def _verdict(found: Explained) -> str:
    if found["verdict"] == "dropped":
        return f"dropped ({found['reason']})"
    if found["verdict"] == "local":
        return "does not enter the tunnel"
    where = f" to {printable(found['site'])}" if found["site"] else ""
    return f"goes{where}"


def _facts(found: Explained) -> Iterator[tuple[str, str]]:
    yield "from site", found["source_site"] or "unknown"
    yield "to site", found["site"] or units.NOTHING
    yield "route", found["route"] or "none"
    if found["policy"]:
        yield "policy", found["policy"]
    link = found["link"]
    if link is not None:
        features = link["features"]
        dialect = (
            "classic" if features is None else f"native: {' '.join(features) or 'no features'}"
        )
        heard = f"heard {units.duration(link['silent'])} ago"
        identifier = f", connection {link['identifier']}" if link["identifier"] else ""
        yield "link", f"{link['transport']} {link['peer']} ({dialect}), {heard}{identifier}"
    elif found["verdict"] != "local":
        yield "link", "none"
    if found["mtu"]:
        yield "mtu", f"{found['mtu']} bytes"
    elif link is not None:
        yield "mtu", "no limit here: the link is a stream"


def explanation_lines(found: Explained) -> Iterator[str]:
    """The same in plain lines."""
    yield f"{found['source']} -> {found['destination']}: {_verdict(found)}"
    if found["advice"]:
        yield f"what to do: {printable(found['advice'])}"
    for name, text in _facts(found):
        yield f"{name}: {printable(text)}"
    for step in found["steps"]:
        yield f"{'ok' if step['passes'] else 'no'}: {step['question']} {printable(step['answer'])}"
    for other in found["alternatives"]:
        yield f"not {printable(other['what'])}: {printable(other['why_not'])}"
