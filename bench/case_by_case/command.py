"""The command line of benchmarks that put our router into one case after the other.

A series is the same measurement in several cases (2 gateways, then 1,000); one of the cases is
the reference, and the ratio to it says whether something grows that should not. Every round takes
the series one after the other, and in each all cases, beginning with another one each time.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console

from bench.case_by_case.targets import Target, verdicts
from bench.side_by_side import machine, svg
from bench.side_by_side.network import RunFailed
from bench.side_by_side.output import STDOUT, write
from bench.side_by_side.progress import Progressing
from bench.side_by_side.results import Measure, Report, Run
from polevpn_trio.errors import HostError
from polevpn_trio.lab.namespaces import become_root_in_user_namespace, check_permitted


@attrs.frozen
class Outcome:
    """What one case gave: figures by measure, and curves over time by name."""

    figures: Mapping[str, float]
    curves: Mapping[str, Sequence[tuple[float, float]]] = attrs.field(factory=dict)
    """Points of (seconds, value)."""


@attrs.frozen
class Case:
    """One circumstance."""

    name: str
    description: str
    measure: Callable[[argparse.Namespace], Outcome]
    """Given the options of the command line."""


@attrs.frozen
class Series:
    """The same measurement in several cases."""

    name: str
    title: str
    measures: Sequence[Measure]
    cases: Callable[[argparse.Namespace], Sequence[Case]]
    """In the order of the table."""
    reference: str
    """Name of the case that the ratios are to."""
    targets: Callable[[argparse.Namespace], Sequence[Target]]
    needs_lab: bool = True
    """Whether it builds network namespaces."""
    by_default: bool = True
    """Whether it is measured without being asked for."""


@attrs.frozen
class Benchmark:
    """Series that are measured by one command."""

    name: str
    description: str
    """For ``--help``."""
    series: Sequence[Series]
    add_options: Callable[[argparse.ArgumentParser], None]
    rounds: int = 3


@attrs.frozen
class Turn:
    """One case's turn to be measured."""

    round: int
    series: Series
    case: Case


def in_turns(
    series: Sequence[Series], cases: Mapping[str, Sequence[Case]], rounds: int
) -> list[Turn]:
    """Give the order: rounds, from 1 on; in each, the series; in each, its cases, rotated."""
    order: list[Turn] = []
    for number in range(1, rounds + 1):
        for one in series:
            own = cases[one.name]
            first = (number - 1) % len(own)
            order += [Turn(number, one, case) for case in (*own[first:], *own[:first])]
    return order


def _said(turn: Turn, run: Run) -> str:
    """What came of a run, in a line."""
    units = {measure.name: measure.unit for measure in turn.series.measures}
    said = run.problem or ", ".join(
        f"{name} {value:.4g} {units[name]}" for name, value in run.figures.items()
    )
    return f"round {run.round}, {run.part}, {run.subject}: {said}"


def main(benchmark: Benchmark, argv: Sequence[str] | None = None) -> int:
    """Run a benchmark from the command line; exit status 0 if every run gave figures."""
    options = _parser(benchmark).parse_args(argv)
    chosen = [
        one
        for one in benchmark.series
        if (one.name in options.series if options.series else one.by_default) and one.cases(options)
    ]
    if any(one.needs_lab for one in chosen):
        # Must come before any thread is started.
        try:
            become_root_in_user_namespace()
            check_permitted()
        except HostError as error:
            print(f"{benchmark.name}: {error}", file=sys.stderr)
            return 1
    console = Console(stderr=True)
    facts = machine.look()
    for line in (*facts.lines(), *(f"WARNING: {text}" for text in facts.warnings())):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for file in (options.json, options.markdown, options.plot):
        if file:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
    words = sys.argv[1:] if argv is None else argv
    cases = {one.name: one.cases(options) for one in chosen}
    found = Findings(
        benchmark=benchmark.name,
        command=shlex.join(["./run", "bench", benchmark.name, *words]),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        facts=facts,
        settings={name: value for name, value in vars(options).items() if name not in _FILES},
        series=chosen,
        cases=cases,
        targets={one.name: one.targets(options) for one in chosen},
    )
    interrupted = False
    turns = in_turns(chosen, cases, options.runs)
    with Progressing(console, len(turns)) as progress:
        try:
            for turn in turns:
                progress.begins(f"round {turn.round}, {turn.series.name}: {turn.case.name}")
                run = _run(turn, options, found)
                progress.ends(_said(turn, run))
                # Each time, so that little is lost if the rest comes to grief.
                if options.json and options.json != STDOUT:
                    write(found.as_json(), options.json)
        except KeyboardInterrupt:
            interrupted = True
    if found.runs:
        _publish(found, options)
    problems = [run for run in found.runs if run.problem]
    for run in problems:
        said = f"round {run.round}, {run.part}, {run.subject}: {run.problem}"
        console.print(said, markup=False, soft_wrap=True)
    if interrupted:
        return 130
    return 1 if problems else 0


_FILES = ("json", "markdown", "plot")


@attrs.define
class Findings:
    """All that a benchmark found out so far."""

    benchmark: str
    command: str
    started: str
    facts: machine.Machine
    settings: Mapping[str, Any]
    series: Sequence[Series]
    cases: Mapping[str, Sequence[Case]]
    targets: Mapping[str, Sequence[Target]]
    runs: list[Run] = attrs.field(factory=list)
    curves: list[dict[str, Any]] = attrs.field(factory=list)

    def report(self, one: Series) -> Report:
        """Give the report of a series."""
        names = [case.name for case in self.cases[one.name]]
        runs = [run for run in self.runs if run.part == one.name]
        return Report(
            benchmark=f"{self.benchmark}, {one.name}",
            title=one.title,
            command=self.command,
            started=self.started,
            machine=attrs.asdict(self.facts),
            settings=self.settings,
            subjects={
                case.name: {"description": case.description, "ours": True}
                for case in self.cases[one.name]
            },
            skipped={},
            reference=one.reference,
            measures=one.measures,
            runs=sorted(runs, key=lambda run: (names.index(run.subject), run.round)),
        )

    def verdicts(self, one: Series) -> list[str]:
        """Say which targets of a series are met."""
        return verdicts(self.targets[one.name], self.report(one).summary, one.measures)

    def as_json(self) -> str:
        """Give everything, down to the figures of each run."""
        document = {
            "benchmark": self.benchmark,
            "series": {
                one.name: {**self.report(one).as_json(), "targets": self.verdicts(one)}
                for one in self.series
            },
            "curves": self.curves,
        }
        return json.dumps(document, indent=1) + "\n"

    def markdown(self) -> str:
        """Give the tables with the targets below them."""
        parts = []
        for one in self.series:
            report = self.report(one)
            lines = [f"### {one.title}", "", report.markdown()]
            lines += [f"* {line}" for line in self.verdicts(one)]
            parts.append("\n".join(lines) + "\n")
        return "\n".join(parts)


def _parser(benchmark: Benchmark) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"./run bench {benchmark.name}",
        description=benchmark.description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--runs",
        type=at_least_one,
        default=benchmark.rounds,
        help=f"how often each case is measured ({benchmark.rounds})",
    )
    parser.add_argument(
        "--series",
        action="append",
        choices=[one.name for one in benchmark.series],
        help="this series; may be repeated"
        f" ({', '.join(one.name for one in benchmark.series if one.by_default)})",
    )
    benchmark.add_options(parser)
    file: dict[str, Any] = {"nargs": "?", "const": STDOUT, "metavar": "FILE"}
    parser.add_argument("--json", help="write all figures (without FILE: to stdout)", **file)
    parser.add_argument("--markdown", help="write the tables (without FILE: to stdout)", **file)
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="write bars as SVG; of several series each to a file of its own, FILE-SERIES",
    )
    return parser


def at_least_one(text: str) -> int:
    """Take a number of the command line. Raises argparse.ArgumentTypeError."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _run(turn: Turn, options: argparse.Namespace, found: Findings) -> Run:
    """Measure one case; add its figures and curves to what was found."""
    part, name = turn.series.name, turn.case.name
    try:
        outcome = turn.case.measure(options)
        run = Run(turn.round, part, name, outcome.figures)
        found.curves += [
            {"round": turn.round, "series": part, "case": name, "curve": title, "points": points}
            for title, points in outcome.curves.items()
        ]
    # KeyError and ValueError: a program that does not say what is expected of it.
    except (
        RunFailed,
        HostError,
        OSError,
        subprocess.SubprocessError,
        KeyError,
        ValueError,
    ) as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        figures = error.figures if isinstance(error, RunFailed) else {}
        run = Run(turn.round, part, name, figures, problem)
    found.runs.append(run)
    return run


def _publish(found: Findings, options: argparse.Namespace) -> None:
    if STDOUT not in (options.json, options.markdown):
        out = Console()
        # A table cut off at the edge of a file or pipe is of no use to anybody.
        out = out if out.is_terminal else Console(width=200)
        for one in found.series:
            out.print(found.report(one).table())
            for line in found.verdicts(one):
                out.print(line, markup=False, soft_wrap=True)
    if options.json:
        write(found.as_json(), options.json)
    if options.markdown:
        write(found.markdown(), options.markdown)
    if options.plot:
        for one in found.series:
            drawing = svg.draw(found.report(one), [*found.facts.lines(), found.started])
            write(drawing, str(plot_file(options.plot, one.name, len(found.series))))


def plot_file(file: Path, series: str, how_many: int) -> Path:
    """Give the file for the bars of a series."""
    return file if how_many == 1 else file.with_name(f"{file.stem}-{series}{file.suffix}")
