"""A report on long paths as tables: one for each thing of interest, a row a path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
from rich.console import Group, RenderableType
from rich.table import Table

from bench.long_haul import chart, sharing
from bench.long_haul.profiles import PROFILES
from bench.side_by_side.presentation import Presentation
from bench.side_by_side.results import Report, Summary, format_figure

PATHS = tuple((profile.name, profile.title) for profile in PROFILES)


@attrs.frozen
class View:
    """One table; a cell holds several figures of one subject on one path."""

    title: str
    figures: tuple[str, ...]
    rows: tuple[tuple[str, str], ...] = PATHS
    """Name of a path, or of what takes its place in the measures' names, and its title."""

    def cell(self, row: str, figures: Mapping[str, Summary]) -> str:
        found = [figures.get(f"{row}.{name}") for name in self.figures]
        if not any(found):
            return "-"
        return " / ".join("-" if one is None else format_figure(one.median) for one in found)


VIEWS = (
    View("TCP, Mbit/s: CUBIC / BBR inside", ("cubic", "bbr")),
    View(
        "Ping at rest: lost % / p50 / p95 / p99 / longest ms",
        ("idle_lost", "idle_p50", "idle_p95", "idle_p99", "idle_max"),
    ),
    View(
        "Ping beside CUBIC: lost % / p50 / p95 / p99 / longest ms",
        ("loaded_lost", "loaded_p50", "loaded_p95", "loaded_p99", "loaded_max"),
    ),
    View(
        "On the wire: packets per packet carried / bytes per byte / bytes back per byte",
        ("packets", "bytes", "back"),
    ),
    View(
        "Packets on the wire lost by sending too much, %: CUBIC / BBR inside",
        ("overrun", "overrun_bbr"),
    ),
    View("How late the emulator was, 99 %, ms", ("late",)),
    View("Speech in time, %: forward / backward", ("voice", "voice_back")),
    View(
        "Sharing, Mbit/s: first / second / share of the first, %",
        ("own", "other", "share"),
        sharing.ROWS,
    ),
)


class LongHaulPresentation(Presentation):
    """Rows are paths, since figures of one path mean little on another."""

    def table(self, report: Report) -> RenderableType:
        tables = []
        for view, rows in _filled(report):
            table = Table(title=view.title, title_justify="left")
            table.add_column("path")
            for subject in report.summary:
                table.add_column(subject, justify="right")
            for row in rows:
                table.add_row(*row)
            tables.append(table)
        return Group(*tables)

    def markdown(self, report: Report) -> str:
        lines = []
        for view, rows in _filled(report):
            lines += [
                f"**{view.title}**",
                "",
                f"| path | {' | '.join(report.summary)} |",
                f"|---|{'---:|' * len(report.summary)}",
                *(f"| {' | '.join(row)} |" for row in rows),
                "",
            ]
        lines += [f"* `{name}`: {facts['description']}" for name, facts in report.subjects.items()]
        lines += [f"* `{name}` was skipped: {reason}" for name, reason in report.skipped.items()]
        return "\n".join(lines) + "\n"

    def draw(self, report: Report, subtitles: Sequence[str]) -> str:
        return chart.draw(report, subtitles)


def _filled(report: Report) -> list[tuple[View, list[list[str]]]]:
    """Give the views of which there are figures, each with its rows of cells."""
    summary = report.summary
    filled = []
    for view in VIEWS:
        rows = []
        for name, title in view.rows:
            cells = [view.cell(name, figures) for figures in summary.values()]
            if any(cell != "-" for cell in cells):
                rows.append([title, *cells])
        if rows:
            filled.append((view, rows))
    return filled
