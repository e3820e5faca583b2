"""From the figures of many runs to medians, ratios, JSON and tables.

A ratio to the reference is taken within each round, where both ran minutes apart at most, and
the median of these is reported: what slows the machine for a while slows both.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs
from rich.table import Table

FORMAT = 1
"""Of the JSON; changes when a member changes its meaning."""


@attrs.frozen
class Measure:
    """One thing that is measured."""

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower"]
    plotted: bool = True


@attrs.frozen
class Run:
    """What one subject did in its turn; ``problem`` says in one line why there is no figure."""

    round: int
    part: str
    """Of the benchmark, in whose turn this was."""
    subject: str
    figures: Mapping[str, float]
    problem: str | None = None


@attrs.frozen
class Summary:
    """One measure of one subject over all rounds that gave a figure."""

    median: float
    minimum: float
    maximum: float
    count: int
    """Rounds that gave a figure."""
    ratio: float | None
    """To the reference, median over the rounds that have both; None without any."""


def summarise(
    runs: Iterable[Run], measures: Sequence[Measure], reference: str
) -> dict[str, dict[str, Summary]]:
    """Give the summary of each measure, by subject and the measure's name.

    A subject is there once it ran, even if in vain; a measure without any figure is not.
    """
    by_subject: dict[str, dict[int, dict[str, float]]] = {}
    for run in runs:
        rounds = by_subject.setdefault(run.subject, {})
        rounds[run.round] = {**rounds.get(run.round, {}), **run.figures}
    return {
        subject: {
            measure.name: _summary(rounds, by_subject.get(reference, {}), measure.name)
            for measure in measures
            if any(_is_figure(figures.get(measure.name)) for figures in rounds.values())
        }
        for subject, rounds in by_subject.items()
    }


def _is_figure(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _summary(
    rounds: Mapping[int, Mapping[str, float]],
    reference: Mapping[int, Mapping[str, float]],
    name: str,
) -> Summary:
    values = {
        number: figures[name] for number, figures in rounds.items() if _is_figure(figures.get(name))
    }
    ratios = [
        value / reference[number][name]
        for number, value in values.items()
        if number in reference
        and _is_figure(reference[number].get(name))
        and reference[number][name] > 0
    ]
    return Summary(
        median=statistics.median(values.values()),
        minimum=min(values.values()),
        maximum=max(values.values()),
        count=len(values),
        ratio=statistics.median(ratios) if ratios else None,
    )


def format_figure(value: float) -> str:
    """Give a figure three significant digits, or all before the point: 1,234  56.7  0.0890."""
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    digits = max(2 - math.floor(math.log10(abs(value))), 0)
    return f"{value:,.{min(digits, 4)}f}"


def format_ratio(ratio: float | None) -> str:
    """Give a ratio as ``3.39x``; empty for None."""
    return "" if ratio is None else f"{ratio:.2f}x"


@attrs.frozen
class Report:
    """All that a benchmark found out."""

    benchmark: str
    title: str
    command: str
    started: str
    """Date and time, ISO 8601, UTC."""
    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    subjects: Mapping[str, Mapping[str, Any]]
    """What ran: by name, ``description`` and whether it is ``ours``."""
    skipped: Mapping[str, str]
    """What did not run, and why."""
    reference: str
    measures: Sequence[Measure]
    runs: Sequence[Run]

    @property
    def summary(self) -> dict[str, dict[str, Summary]]:
        return summarise(self.runs, self.measures, self.reference)

    @property
    def problems(self) -> list[Run]:
        return [run for run in self.runs if run.problem]

    def as_json(self) -> dict[str, Any]:
        """Everything, down to the figures of each run."""
        return {
            "format": FORMAT,
            "benchmark": self.benchmark,
            "command": self.command,
            "started": self.started,
            "machine": dict(self.machine),
            "settings": dict(self.settings),
            "subjects": {name: dict(facts) for name, facts in self.subjects.items()},
            "skipped": dict(self.skipped),
            "reference": self.reference,
            "measures": [attrs.asdict(measure) for measure in self.measures],
            "runs": [attrs.asdict(run) for run in self.runs],
            "summary": {
                subject: {name: attrs.asdict(one) for name, one in figures.items()}
                for subject, figures in self.summary.items()
            },
        }

    def _rows(self) -> list[list[str]]:
        summary = self.summary
        return [
            [f"{measure.title}, {measure.unit}", _arrow(measure)]
            + [_cell(figures.get(measure.name)) for figures in summary.values()]
            for measure in self.measures
            if any(measure.name in figures for figures in summary.values())
        ]

    def table(self) -> Table:
        """Make the table for a terminal: a row for each measure, a column for each subject."""
        table = Table(title=f"{self.title}: medians, and ratios to {self.reference}")
        table.add_column("measure")
        table.add_column("better")
        for subject in self.summary:
            table.add_column(subject, justify="right")
        for row in self._rows():
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """Make the same table in Markdown, with what ran below it."""
        heads = ["measure", "better", *self.summary]
        lines = [
            f"| {' | '.join(heads)} |",
            f"|---|---|{'---:|' * len(self.summary)}",
            *(f"| {' | '.join(row)} |" for row in self._rows()),
            "",
            *(f"* `{name}`: {facts['description']}" for name, facts in self.subjects.items()),
            *(f"* `{name}` was skipped: {reason}" for name, reason in self.skipped.items()),
        ]
        return "\n".join(lines) + "\n"


def _arrow(measure: Measure) -> str:
    return "more" if measure.better == "higher" else "less"


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return "-"
    ratio = format_ratio(summary.ratio)
    return format_figure(summary.median) + (f" ({ratio})" if ratio else "")


def combined(
    title: str, measures: Sequence[Measure], written: Sequence[Mapping[str, Any]]
) -> Report:
    """Put several reports together that `Report.as_json` gave, as if they were one.

    Their rounds stay apart, so that ratios are within a report still. Raises KeyError or
    ValueError for what no benchmark with these ``measures`` wrote.
    """
    runs: list[Run] = []
    subjects: dict[str, Mapping[str, Any]] = {}
    skipped: dict[str, str] = {}
    for one in written:
        if one["format"] != FORMAT or one["benchmark"] != written[0]["benchmark"]:
            raise ValueError("the files are of different benchmarks or versions")
        before = max((run.round for run in runs), default=0)
        runs += [Run(**{**run, "round": before + run["round"]}) for run in one["runs"]]
        subjects |= one["subjects"]
        skipped |= one["skipped"]
    first = written[0]
    return Report(
        benchmark=first["benchmark"],
        title=title,
        command=" && ".join(one["command"] for one in written),
        started=first["started"],
        machine=first["machine"],
        settings=first["settings"],
        subjects=subjects,
        skipped={name: reason for name, reason in skipped.items() if name not in subjects},
        reference=first["reference"],
        measures=measures,
        runs=runs,
    )
