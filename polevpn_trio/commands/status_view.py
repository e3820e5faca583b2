"""How the state of a program looks: for a terminal, and as plain lines for pipes and mails."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
from rich.box import SIMPLE_HEAD, Box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from polevpn_trio.commands import units
from polevpn_trio.control.log import printable
from polevpn_trio.management.answers import DEGRADED, DOWN, STATES, UP

STYLES = {UP: "green", DEGRADED: "yellow", DOWN: "bold red"}
MARKS = {UP: "●", DEGRADED: "▲", DOWN: "✗"}

USUAL, WIDE, WIDER, WIDEST = 78, 100, 124, 140
"""Columns of a terminal from which on there is room for more."""

RULES_SHOWN = 5
"""Rules of a policy that are named; more are counted."""

Site = Mapping[str, Any]
Status = Mapping[str, Any]


def by_urgency(sites: list[Site]) -> list[Site]:
    """Those that need somebody first; else in the order of their names."""
    return sorted(sites, key=lambda site: (-STATES.index(site["state"]), site["name"]))


def verdict(status: Status) -> str:
    """Everything in one line."""
    sites = status["sites"]
    if status["role"] == "gateway":
        return {UP: "up", DEGRADED: "up, but look at this", DOWN: "DOWN"}[status["state"]]
    down = sum(site["state"] == DOWN for site in sites)
    degraded = sum(site["state"] == DEGRADED for site in sites)
    if not sites:
        return "no site has connected yet"
    if not down and not degraded:
        look = ", but look at this" if status["state"] == DEGRADED else ""
        return (f"all {len(sites)} sites up" if len(sites) > 1 else "1 site up") + look
    parts = [f"{down} of {len(sites)} sites DOWN"] if down else []
    if degraded:
        parts.append(f"{degraded} to look at")
    return ", ".join(parts)


def losses(link: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The worse direction: lost on the path, and left of that after repair; None if unknown."""
    directions = (link["loss_sent"], link["loss_received"])
    before = [each["before_repair"] for each in directions if each["before_repair"] is not None]
    after = [each["after_repair"] for each in directions if each["after_repair"] is not None]
    return max(before, default=None), max(after, default=None)


def loss_text(link: Mapping[str, Any], *, wide: bool = True) -> str:
    """Lost on the path, and behind a slash after repair if that is some."""
    before, after = losses(link)
    if not after:
        return units.share(before)
    if wide:
        return f"{units.share(before)}/{units.share(after)}"
    return f"{units.brief_share(before)}/{units.brief_share(after)}"


def drops_text(drops: Mapping[str, int]) -> str:
    """Packets dropped, by reason."""
    return ", ".join(f"{name} {units.count(number)}" for name, number in drops.items())


def rtt_text(link: Mapping[str, Any], *, jitter: bool = True) -> str:
    """The round trip, and how much it varies."""
    text = units.milliseconds(link["rtt"])
    if jitter and link["jitter"] is not None:
        text += f" ±{units.milliseconds(link['jitter'])[:4].rstrip('.')}"
    return text


def rate_texts(link: Mapping[str, Any]) -> tuple[str, str]:
    """What comes from the site's link and what goes onto it: bits a second, or bytes so far."""
    rates = link["rates"]
    if rates is None:
        return units.count(link["bytes_received"]), units.count(link["bytes_sent"])
    return units.bit_rate(rates["bytes_received"]), units.bit_rate(rates["bytes_sent"])


# --- For a terminal


def render(status: Status, width: int) -> RenderableType:
    """A whole status: what is wrong first, then all sites."""
    parts: list[RenderableType] = [_headline(status)]
    found = list(troubles(status))
    if found:
        drawn = _trouble_table(found) if width >= USUAL else _trouble_blocks(found)
        parts.append(Padding(drawn, (1, 0, 0, 0)))
    if status["sites"]:
        parts.append(sites_table(by_urgency(list(status["sites"])), width))
    if status["servers"]:
        parts.append(_servers_table(status["servers"]))
    footer = _footer(status)
    if footer:
        parts.append(Text(footer, style="dim"))
    return Group(*parts)


def _headline(status: Status) -> Text:
    state = status["state"]
    text = Text()
    text.append(
        f" {MARKS[state]} {status['instance'] or status['role']} ", f"reverse {STYLES[state]}"
    )
    text.append(f"  {verdict(status)}", STYLES[state])
    facts = [f"running for {units.duration(status['uptime'])}", f"pid {status['pid']}"]
    if status["kernels"] != "compiled":
        facts.append(f"kernels {status['kernels']}, slower")
    text.append(f"   {', '.join(facts)}", "dim")
    return text


@attrs.frozen
class Complaint:
    """Something that is not well: ``who`` with a mark, since when, why, and what to do."""

    who: str
    since: str
    trouble: Mapping[str, str]
    style: str


def troubles(status: Status) -> Iterator[Complaint]:
    """All that is not well: the program's configuration, then sites, the worst first."""
    for trouble in status["troubles"]:
        yield Complaint("! configuration", "", trouble, STYLES[DEGRADED])
    for site in by_urgency(list(status["sites"])):
        since = "look at it"
        if site["state"] == DOWN:
            since = f"DOWN {units.duration(site['age'])}"
        for trouble, following in itertools.zip_longest(site["troubles"], site["troubles"][1:]):
            who = f"{MARKS[site['state']]} {printable(site['name'])}"
            if following and following["advice"] == trouble["advice"]:
                # One piece of advice for all that it mends, below the last of it.
                trouble = {**trouble, "advice": ""}
            yield Complaint(who, since, trouble, STYLES[site["state"]])


def _trouble_table(found: list[Complaint]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for each in found:
        who, since = Text(f"  {each.who}", each.style), Text(each.since, each.style)
        table.add_row(who, since, _trouble(each.trouble))
    return table


def _trouble_blocks(found: list[Complaint]) -> Group:
    """Where a column beside the names would be too narrow to read: below them."""
    parts: list[RenderableType] = []
    for each in found:
        parts.append(Text(f"{each.who} {each.since}".rstrip(), each.style))
        parts.append(Padding(_trouble(each.trouble), (0, 0, 0, 2)))
    return Group(*parts)


def _trouble(trouble: Mapping[str, str]) -> Text:
    text = Text(printable(trouble["what"]))
    if trouble["advice"]:
        text.append(f"\n→ {printable(trouble['advice'])}", "cyan")
    return text


@attrs.frozen
class Column:
    """A column of the table of sites; ``most`` is None where its text says how wide it may be."""

    key: str
    name: str
    least: int
    most: int | None = None
    right: bool = False


GAP, EDGES = 2, 2
"""Blanks between two columns, and what a box takes on its sides."""

LEAST_MISSED = ("link", "out", "in", "loss", "rtt")
"""Columns that a narrow terminal goes without, in this order."""


def columns(width: int, *, rates: bool, edges: int = 0, sorted_by: str = "") -> list[Column]:
    """The columns that there is room for; the one called ``sorted_by`` has an arrow."""
    wide = width >= WIDE
    amount = "b/s" if rates else "B"
    found = [
        Column("site", "site", 9),
        Column("state", "state", 13, 13),
        Column("link", "link", 20 if wide else 16, None if wide else 16),
        Column("rtt", "rtt ms", 10 if wide else 6, 11 if wide else 6, right=True),
        Column("loss", "loss", 6, None if wide else 9, right=True),
        Column("in", f"in {amount}", 6, 6, right=True),
        Column("out", f"out {amount}", 7, 7, right=True),
    ]
    if wide:
        found.append(Column("drops", "drops", 6))
    if width >= WIDER:
        found.insert(-1, Column("queue", "queue ms", 8, 8, right=True))
    if width >= WIDEST:
        found.append(Column("networks", "networks", 10))
    found = [_with_arrow(each, sorted_by) for each in found]
    for key in LEAST_MISSED:
        if edges + least_width(found) <= width:
            break
        found = [each for each in found if each.key != key]
    return found


def least_width(shown: Sequence[Column]) -> int:
    """What columns take at least, with the blanks between them."""
    return sum(column.least + GAP for column in shown) - GAP


def _with_arrow(column: Column, sorted_by: str) -> Column:
    key, _, arrow = sorted_by.partition(" ")
    if key != column.key:
        return column
    name = column.name + arrow
    least = max(column.least, len(name))
    return attrs.evolve(
        column, name=name, least=least, most=column.most and max(column.most, least)
    )


def new_table(
    shown: list[Column], rows: Sequence[Mapping[str, Text]], width: int, *, box: Box | None
) -> Table:
    """A table whose columns fit the terminal: each as narrow as it may be, then as it needs."""
    # A box has an edge of a column on either side, and a blank of its own between two columns.
    edges, padding = (EDGES, GAP - 1) if box is not None else (0, GAP)
    table = Table(box=box, header_style="bold", pad_edge=False, padding=(0, padding, 0, 0))
    left = width - edges - least_width(shown)
    widths = [column.least for column in shown]
    # A long name must not take the room of a link's loss, or of its address.
    first = {"loss": 0, "link": 1}
    for index in sorted(range(len(shown)), key=lambda at: first.get(shown[at].key, 2)):
        column = shown[index]
        needed = max([column.least, *(row[column.key].cell_len for row in rows)])
        more = max(0, min(left, min(needed, column.most or needed) - column.least))
        widths[index] += more
        left -= more
    for column, wanted in zip(shown, widths, strict=True):
        table.add_column(
            column.name,
            width=wanted,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in rows:
        table.add_row(*(row[column.key] for column in shown))
    return table


def sites_table(sites: list[Site], width: int) -> Table:
    """The sites, a line each; narrow terminals get the columns that matter most."""
    rates = not sites or any(site["link"]["rates"] for site in sites)
    rows = [site_cells(site, wide=width >= WIDE) for site in sites]
    shown = columns(width, rates=rates, edges=EDGES)
    return new_table(shown, rows, width, box=SIMPLE_HEAD)


def state_text(site: Site) -> str:
    """Mark, state, and since when, in 13 characters."""
    word = {UP: "up", DEGRADED: "warn", DOWN: "DOWN"}[site["state"]]
    return f"{MARKS[site['state']]} {word} {units.duration(site['age'])}"


def site_cells(site: Site, *, wide: bool) -> Mapping[str, Text]:
    """What stands in a site's line of `sites_table`, by the key of the column."""
    style = STYLES[site["state"]]
    link, connection = site["link"], site["connection"]
    cells = {
        "site": Text(printable(site["name"]), style),
        "state": Text(state_text(site), style),
        **{key: Text() for key in ("link", "rtt", "loss", "in", "out", "queue")},
        "drops": Text(drops_text(link["drops"]), "yellow"),
        "networks": Text(printable(", ".join(site["networks"])), "dim"),
    }
    if connection is not None:
        peer = connection["peer"] if wide else connection["peer"].rpartition(":")[0]
        received, sent = rate_texts(link)
        cells |= {
            "link": Text(printable(f"{connection['transport']} {peer or connection['peer']}")),
            "rtt": Text(rtt_text(link, jitter=wide)),
            "loss": Text(loss_text(link, wide=wide)),
            "in": Text(received),
            "out": Text(sent),
            "queue": Text(units.milliseconds(link["queue_delay"])),
        }
    return cells


def _servers_table(servers: list[Mapping[str, Any]]) -> Table:
    styles = {"used": "green", "failed": "red", "works": "", "untried": "dim"}
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("server", no_wrap=True, overflow="ellipsis")
    table.add_column("", no_wrap=True)
    table.add_column("last attempt", ratio=1)
    for server in servers:
        when = "" if server["age"] is None else f"{units.duration(server['age'])} ago"
        what = Text(when)
        if server["trouble"] is not None:
            what.append(f": {printable(server['trouble']['what'])}")
        style = styles[server["state"]]
        table.add_row(Text(printable(server["url"])), Text(server["state"], style), what)
    return table


def _footer(status: Status) -> str:
    parts = []
    if status["forwarded"] is not None:
        parts.append(f"{units.count(status['forwarded'])} packets forwarded")
    if status["drops"]:
        parts.append(f"dropped: {drops_text(status['drops'])}")
    if status["strangers"]:
        parts.append(f"{units.count(status['strangers'])} connections without a login")
    if status["limited"]:
        parts.append(f"beyond limits: {drops_text(status['limited'])}")
    denied = _denied(status)
    if denied:
        parts.append(f"denied by policy: {denied}")
    return f"  {'; '.join(parts)}" if parts else ""


def _denied(status: Status) -> str:
    """Packets by the rule that denied them, those with the most first."""
    # A program of an older version says nothing about it.
    policy = status.get("policy")
    rules = [rule for rule in policy["rules"] if rule["denied"]] if policy else []
    rules.sort(key=lambda rule: -int(rule["denied"]))
    text = ", ".join(f"{printable(rule['name'])} {rule['denied']}" for rule in rules[:RULES_SHOWN])
    return text + (f" and {len(rules) - RULES_SHOWN} more" if len(rules) > RULES_SHOWN else "")


# --- As lines


def lines(status: Status) -> Iterator[str]:
    """The same in plain lines, which grep and mails can bear: one for each site and trouble."""
    name = status["instance"] or status["role"]
    facts = f"running for {units.duration(status['uptime'])}, pid {status['pid']}"
    # There the verdict is the state already.
    state = "" if status["role"] == "gateway" else f"{status['state']}: "
    yield f"{name}: {state}{verdict(status)} ({facts}, kernels {status['kernels']})"
    for trouble in status["troubles"]:
        yield f"{name}: warning: {_line(trouble)}"
    for site in by_urgency(list(status["sites"])):
        yield f"{name}: site {printable(site['name'])}: {_site_line(site)}"
        for trouble in site["troubles"]:
            yield f"{name}: site {printable(site['name'])}: {site['state']}: {_line(trouble)}"
    for server in status["servers"]:
        trouble = server["trouble"]
        text = f" {units.duration(server['age'])} ago: {_line(trouble)}" if trouble else ""
        yield f"{name}: server {printable(server['url'])}: {server['state']}{text}"
    footer = _footer(status).strip()
    if footer:
        yield f"{name}: {footer}"


def _site_line(site: Site) -> str:
    # Its age is that of being up or down, whatever else is wrong.
    state = "degraded, up" if site["state"] == DEGRADED else site["state"]
    parts = [f"{state} for {units.duration(site['age'])}"]
    connection, link = site["connection"], site["link"]
    if connection is not None:
        parts += [
            f"{connection['transport']} {printable(connection['peer'])}",
            f"rtt {rtt_text(link)} ms",
            f"loss {loss_in_words(link)}",
            f"in {_amount(link, 'bytes_received')}",
            f"out {_amount(link, 'bytes_sent')}",
        ]
        if link["queue_delay"] is not None:
            parts.append(f"queue {units.milliseconds(link['queue_delay'])} ms")
    if link["drops"]:
        parts.append(f"dropped {drops_text(link['drops'])}")
    if site["networks"]:
        parts.append(f"networks {printable(' '.join(site['networks']))}")
    return ", ".join(parts)


def loss_in_words(link: Mapping[str, Any]) -> str:
    """Lost on the path, and what is left of that after repair if it is some."""
    before, after = losses(link)
    return units.share(before) + (f" ({units.share(after)} after repair)" if after else "")


def _amount(link: Mapping[str, Any], name: str) -> str:
    rates = link["rates"]
    return units.size(link[name]) if rates is None else units.bit_rate(rates[name], "b/s")


def _line(trouble: Mapping[str, str]) -> str:
    advice = f"; what to do: {printable(trouble['advice'])}" if trouble["advice"] else ""
    return f"{printable(trouble['what'])}{advice}"


# --- The tree


def tree(node: Mapping[str, Any]) -> Tree:
    """The live tree of nurseries and tasks, with their ages and what they have counted."""
    drawn = Tree(_node(node), guide_style="dim")
    _grow(drawn, node)
    return drawn


def _grow(drawn: Tree, node: Mapping[str, Any]) -> None:
    for child in node["children"]:
        _grow(drawn.add(_node(child)), child)


def _node(node: Mapping[str, Any]) -> Text:
    text = Text(printable(node["name"]), "bold")
    text.append(f"  {units.duration(node['age'])}", "cyan")
    counters = ", ".join(f"{name} {number}" for name, number in _counters(node["statistics"]))
    if counters:
        text.append(f"  {printable(counters)}", "dim")
    return text


def _counters(statistics: object) -> Iterator[tuple[str, str]]:
    """The counters that are not 0, those of parts included."""
    if isinstance(statistics, Mapping):
        for name, value in statistics.items():
            if isinstance(value, Mapping | list):
                yield from _counters(value)
            elif isinstance(value, int | float) and value and not isinstance(value, bool):
                yield name, f"{value:g}" if isinstance(value, float) else str(value)
    elif isinstance(statistics, list):
        for part in statistics:
            yield from _counters(part)
