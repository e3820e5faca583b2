"""From samples and counts to figures per packet, and to tables of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from rich.table import Table

from bench.profiling.allocations import Allocations
from bench.profiling.samples import GROUPS, Sample, group_of
from bench.side_by_side.results import format_figure

FORMAT = 1
"""Of the JSON; changes when a member changes its meaning."""

PAYLOAD = 1448
"""Bytes of TCP payload in a full packet of 1,500 bytes: what "a packet" means here."""

PROGRAMS = ("sending gateway", "router", "receiving gateway")

SYMBOLS = 40
"""How many functions the JSON names."""

LEAST_CALLS = 0.0005
"""Calls of one system call per packet, in any program, for which it gets a row."""

LEAST_OBJECTS = 0.05
"""The same of objects of one type."""


@attrs.frozen
class Stream:
    """The TCP stream that ran during a measurement."""

    megabits: float
    """Payload per second, as the receiver saw it."""
    transferred: int
    """Bytes of payload that arrived."""

    @property
    def packets(self) -> float:
        return self.transferred / PAYLOAD


@attrs.frozen
class Row:
    """A figure of each of `PROGRAMS`."""

    name: str
    figures: tuple[float, float, float]
    part_of: str = ""
    """Name of the row that contains this one; empty for those at the top."""

    def as_json(self) -> dict[str, Any]:
        figures = dict(zip(PROGRAMS, self.figures, strict=True))
        return {"name": self.name, "part_of": self.part_of, "figures": figures}


@attrs.frozen
class Section:
    """What was measured during one stream."""

    name: str
    title: str
    """What the figures are, with their unit."""
    stream: Stream
    rows: Sequence[Row]
    symbols: Sequence[Row] = ()
    """The functions in which the time goes, most first; where there are any."""

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "megabits_per_second": self.stream.megabits,
            "packets": self.stream.packets,
            "rows": [row.as_json() for row in self.rows],
            **({"symbols": [row.as_json() for row in self.symbols]} if self.symbols else {}),
        }


def time_section(
    samples: Iterable[Sample],
    pids: Sequence[int],
    cpu_seconds: Sequence[float],
    stream: Stream,
) -> Section:
    """Divide each program's processor time by where the samples found it.

    ``pids`` and ``cpu_seconds`` are in the order of `PROGRAMS`, as are all arguments of the kind
    below. The seconds come from the scheduler; the samples give the shares only, so one that is
    missed or late costs precision, not truth. Raises ValueError for a program without samples.
    """
    groups: Counter[tuple[int, str]] = Counter()
    parts: Counter[tuple[int, str, str]] = Counter()
    symbols: Counter[tuple[int, str, str]] = Counter()
    totals: Counter[int] = Counter()
    for sample in samples:
        group, part = group_of(sample)
        groups[sample.pid, group] += 1
        symbols[sample.pid, group, sample.symbol] += 1
        totals[sample.pid] += 1
        if part:
            parts[sample.pid, group, part] += 1
    for name, pid in zip(PROGRAMS, pids, strict=True):
        if not totals[pid]:
            raise ValueError(f"perf took no sample of the {name}")
    costs = [
        seconds / stream.packets * 1e6 / totals[pid]
        for pid, seconds in zip(pids, cpu_seconds, strict=True)
    ]

    def row(name: str, part_of: str, counted: Mapping[Any, int], *key: str) -> Row:
        first, second, third = (
            counted.get((pid, *key), 0) * cost for pid, cost in zip(pids, costs, strict=True)
        )
        return Row(name, (first, second, third), part_of)

    def rows_below(counted: Mapping[tuple[int, str, str], int], group: str) -> list[Row]:
        names = sorted({name for _, above, name in counted if above == group})
        return _most_first(row(name, group, counted, group, name) for name in names)

    rows: list[Row] = []
    for group in GROUPS:
        rows += [row(group, "", groups, group), *rows_below(parts, group)]
    rows.append(_sum([each for each in rows if not each.part_of]))
    functions = _most_first(each for group in GROUPS for each in rows_below(symbols, group))
    return Section("time", "microseconds of processor time", stream, rows, functions[:SYMBOLS])


def calls_section(counts: Sequence[Mapping[str, int]], stream: Stream) -> Section:
    """Give system calls per packet; ``counts`` by name, "" for all."""
    total = Row("system calls", _per_packet([each[""] for each in counts], stream))
    names = [{name: count for name, count in each.items() if name} for each in counts]
    parts = _rows_by_name(names, stream, total.name, LEAST_CALLS)
    return Section("calls", "system calls", stream, [total, *parts])


def allocations_section(made: Sequence[Allocations], stream: Stream) -> Section:
    """Give allocations per packet; no objects at all means that they could not be counted."""
    rows = [Row("blocks of memory", _per_packet([each.blocks for each in made], stream))]
    if any(each.objects for each in made):
        total = Row("Python objects", _per_packet([each.objects for each in made], stream))
        types = [each.types for each in made]
        rows += [total, *_rows_by_name(types, stream, total.name, LEAST_OBJECTS)]
    return Section("allocations", "allocations by the interpreter", stream, rows)


def _rows_by_name(
    counts: Sequence[Mapping[str, int]], stream: Stream, part_of: str, least: float
) -> list[Row]:
    names = sorted({name for each in counts for name in each})
    rows = (
        Row(name, _per_packet([each.get(name, 0) for each in counts], stream), part_of)
        for name in names
    )
    return [row for row in _most_first(rows) if max(row.figures) >= least]


def _per_packet(counts: Sequence[int], stream: Stream) -> tuple[float, float, float]:
    first, second, third = (count / stream.packets for count in counts)
    return first, second, third


def _most_first(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: -sum(row.figures))


def _sum(rows: Sequence[Row]) -> Row:
    first, second, third = (
        sum(column) for column in zip(*(row.figures for row in rows), strict=True)
    )
    return Row("sum", (first, second, third))


# --- Writing


def _cells(section: Section) -> Iterator[tuple[Row, list[str]]]:
    for row in section.rows:
        yield row, [format_figure(figure) for figure in (*row.figures, sum(row.figures))]


def _heading(section: Section) -> str:
    return f"{section.title}, per packet of {PAYLOAD:,} bytes"


def table(subject: str, section: Section) -> Table:
    """Make the table of one section for a terminal."""
    made = Table(title=f"{subject}: {_heading(section)}, at {section.stream.megabits:,.0f} Mbit/s")
    made.add_column("")
    for name in (*PROGRAMS, "all"):
        made.add_column(name, justify="right")
    for row, cells in _cells(section):
        made.add_row(("  " if row.part_of else "") + row.name, *cells)
    return made


def markdown(subject: str, sections: Sequence[Section]) -> str:
    """Make one table of all sections of a subject; a row that is part of another is indented."""
    lines = [
        f"| {subject}, per packet of {PAYLOAD:,} bytes | {' | '.join((*PROGRAMS, 'all'))} |",
        f"|---|{'---:|' * (len(PROGRAMS) + 1)}",
    ]
    for section in sections:
        speed = f"{section.stream.megabits:,.0f} Mbit/s"
        lines.append(f"| **{section.title}** (at {speed}) |{' |' * (len(PROGRAMS) + 1)}")
        for row, cells in _cells(section):
            name = f"&emsp;{row.name}" if row.part_of else row.name
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
