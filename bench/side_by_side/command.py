"""The command line that all side-by-side benchmarks share, and the order in which they run.

Every round takes the parts of a benchmark one after the other, and in each part every subject
once, in a lab of its own, beginning with another one each time. So a subject and its reference
run shortly after one another, and a machine that gets slower by and by slows all of them alike.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs
from rich.console import Console

from bench.side_by_side import machine, traffic
from bench.side_by_side.network import Network, RunFailed, Subject, Tunnel
from bench.side_by_side.ours import WITHOUT, Ours, our_subjects
from bench.side_by_side.output import STDOUT, write
from bench.side_by_side.peers import REFERENCE, peers
from bench.side_by_side.presentation import Presentation
from bench.side_by_side.progress import Progressing
from bench.side_by_side.results import Measure, Report, Run, combined
from polevpn_trio.control.registration import FEATURES
from polevpn_trio.errors import HostError
from polevpn_trio.lab.namespaces import Lab, become_root_in_user_namespace, check_permitted


@attrs.frozen
class Settings:
    """What the command line says about every run."""

    rounds: int
    seconds: int
    """Of each transfer."""
    idle_seconds: int
    """For which the programs are watched while nothing is sent."""
    congestion: str
    """Of TCP streams inside the tunnel, unless a part says otherwise."""


@attrs.frozen
class Part:
    """Measurements that belong together, made one after the other on a tunnel of their own."""

    name: str
    measure: Callable[[Tunnel, Settings], dict[str, float]]
    """Does the work for one subject; figures by the names of the benchmark's measures."""
    needs_iperf3: bool = False
    profile: str = ""
    """Name of the path that it is measured on, where a benchmark has several."""
    start: Callable[[Lab, Subject], Tunnel] = Tunnel.start
    """Builds the network and starts the subject."""
    suits: Callable[[Subject], bool] = lambda subject: True
    """Whether it makes sense for a subject."""

    @property
    def title(self) -> str:
        """Profile and name."""
        return f"{self.profile} {self.name}".strip()


def side_by_side(*, classic: bool, tuned: bool) -> list[Subject]:
    """Ours and all peers; ours in the classic dialect, and a peer with large buffers, if asked."""
    return [*our_subjects(classic=classic), *peers(tuned=tuned)]


class SubjectsOf(Protocol):
    """Gives a benchmark's subjects; with both options all that it can be told to take."""

    def __call__(self, *, classic: bool, tuned: bool) -> list[Subject]: ...


@attrs.frozen
class Benchmark:
    """A set of things to measure."""

    name: str
    title: str
    description: str
    """For ``--help``."""
    measures: Sequence[Measure]
    parts: Sequence[Part]
    rounds: int = 5
    """How often every subject is measured unless the command line says otherwise."""
    idle_seconds: int | None = None
    """For how long unless the command line says otherwise; None if it watches nothing idle."""
    subjects: SubjectsOf = side_by_side
    reference: str = REFERENCE
    """Name of the subject that all others are compared with."""
    presentation: Presentation = attrs.field(factory=Presentation)


@attrs.frozen
class Turn:
    """One subject's turn to be measured."""

    round: int
    part: Part
    subject: Subject


def in_turns(subjects: Sequence[Subject], parts: Sequence[Part], rounds: int) -> list[Turn]:
    """Give the order of a whole benchmark: rounds, from 1 on; in each, parts; in each, subjects."""
    order: list[Turn] = []
    blocks = [(number, part) for number in range(1, rounds + 1) for part in parts]
    for count, (number, part) in enumerate(blocks):
        first = count % len(subjects)
        turned = (*subjects[first:], *subjects[:first])
        order += [Turn(number, part, subject) for subject in turned if part.suits(subject)]
    return order


def _said(run: Run, measures: Sequence[Measure]) -> str:
    """What came of a run, in a line."""
    units = {measure.name: measure.unit for measure in measures}
    figures = [f"{name} {value:.4g} {units[name]}" for name, value in run.figures.items()]
    said = ", ".join([*figures, *([run.problem] if run.problem else [])])
    return f"round {run.round}, {run.part}, {run.subject}: {said}"


def main(benchmark: Benchmark, argv: Sequence[str] | None = None) -> int:
    """Run a benchmark from the command line; exit status 0 if every run gave figures."""
    options = _parser(benchmark).parse_args(argv)
    for file in (options.json, options.markdown, options.plot):
        if file:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
    if options.files:
        return _publish_again(benchmark, options)
    # Must come before any thread is started.
    try:
        become_root_in_user_namespace()
        check_permitted()
    except HostError as error:
        print(f"{benchmark.name}: {error}", file=sys.stderr)
        return 1
    console = Console(stderr=True)
    subjects, parts, skipped = _choose(benchmark, options)
    facts = machine.look()
    _warn(console, facts, skipped, options.without)
    if not subjects or not parts:
        console.print("nothing is left to measure")
        return 1
    settings = Settings(
        options.runs,
        options.seconds,
        getattr(options, "idle_seconds", 0),
        options.congestion,
    )
    words = sys.argv[1:] if argv is None else argv
    report = Report(
        benchmark=benchmark.name,
        title=benchmark.title,
        command=shlex.join(["./run", "bench", benchmark.name, *words]),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine={**attrs.asdict(facts), "lines": facts.lines()},
        settings={**attrs.asdict(settings), "parts": [part.title for part in parts]},
        subjects={
            each.name: {"description": each.description, "ours": each.ours} for each in subjects
        },
        skipped=skipped,
        reference=benchmark.reference,
        measures=benchmark.measures,
        runs=[],
    )
    runs: list[Run] = []
    interrupted = False
    turns = in_turns(subjects, parts, settings.rounds)
    with Progressing(console, len(turns)) as progress:
        try:
            for turn in turns:
                progress.begins(f"round {turn.round}, {turn.part.title}: {turn.subject.name}")
                runs.append(_run(turn, settings))
                progress.ends(_said(runs[-1], benchmark.measures))
                # Each time, so that little is lost if the rest comes to grief.
                if options.json and options.json != STDOUT:
                    _write_json(attrs.evolve(report, runs=runs), options.json)
        except KeyboardInterrupt:
            interrupted = True
    report = attrs.evolve(report, runs=in_order(runs, [each.name for each in subjects]))
    if runs:
        _publish(benchmark, report, options)
    for run in report.problems:
        said = f"round {run.round}, {run.part}, {run.subject}: {run.problem}"
        console.print(said, markup=False, soft_wrap=True)
    if interrupted:
        return 130
    return 1 if report.problems else 0


def in_order(runs: Sequence[Run], names: Sequence[str]) -> list[Run]:
    """Sort runs by subject as in ``names``, so that tables begin with ours, then by round."""
    return sorted(runs, key=lambda run: (names.index(run.subject), run.round))


def _publish_again(benchmark: Benchmark, options: argparse.Namespace) -> int:
    """Measure nothing; put together what earlier runs have written."""
    try:
        written = [json.loads(Path(file).read_text(encoding="utf-8")) for file in options.files]
        report = combined(benchmark.title, benchmark.measures, written)
    except (OSError, ValueError, KeyError) as error:
        print(f"{benchmark.name}: --from: {error}", file=sys.stderr)
        return 1
    known = [each.name for each in benchmark.subjects(classic=True, tuned=True)]

    def rank(name: str) -> int:
        whole = name.partition(WITHOUT)[0]
        return known.index(whole) if whole in known else len(known)

    names = sorted(report.subjects, key=rank)
    subjects = {name: report.subjects[name] for name in names}
    runs = in_order(report.runs, names)
    _publish(benchmark, attrs.evolve(report, subjects=subjects, runs=runs), options)
    return 0


def _parser(benchmark: Benchmark) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"./run bench {benchmark.name}", description=benchmark.description
    )
    names = [each.name for each in benchmark.subjects(classic=True, tuned=True)]
    parser.add_argument(
        "--runs",
        type=_at_least_one,
        default=benchmark.rounds,
        help=f"how often each is measured ({benchmark.rounds})",
    )
    parser.add_argument(
        "--congestion",
        default=Network.congestion,
        metavar="NAME",
        help=f"control of TCP streams that run through the tunnel ({Network.congestion})",
    )
    parser.add_argument("--seconds", type=_at_least_one, default=10, help="of each transfer (10)")
    if benchmark.idle_seconds is not None:
        parser.add_argument(
            "--idle-seconds",
            type=_at_least_one,
            default=benchmark.idle_seconds,
            help=f"for which the programs are watched at rest ({benchmark.idle_seconds})",
        )
    parser.add_argument(
        "--subject",
        action="append",
        choices=names,
        dest="subjects",
        metavar="NAME",
        help=f"only this one; may be repeated: {', '.join(names)}",
    )
    parser.add_argument(
        "--classic", action="store_true", help="ours in the classic dialect too, side by side"
    )
    parser.add_argument(
        "--tuned", action="store_true", help="OpenVPN with large socket buffers too, side by side"
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="FEATURE",
        help="switch off a native feature of ours at all ends; may be repeated",
    )
    parser.add_argument(
        "--part",
        action="append",
        choices=list(dict.fromkeys(part.name for part in benchmark.parts)),
        dest="parts",
        help="only this part; may be repeated",
    )
    profiles = list(dict.fromkeys(part.profile for part in benchmark.parts if part.profile))
    if profiles:
        parser.add_argument(
            "--profile",
            action="append",
            choices=profiles,
            dest="profiles",
            metavar="NAME",
            help=f"only this path; may be repeated: {', '.join(profiles)}",
        )
    parser.add_argument(
        "--from",
        action="append",
        dest="files",
        metavar="FILE",
        help="measure nothing, show what an earlier run wrote by --json; may be repeated",
    )
    file: dict[str, Any] = {"nargs": "?", "const": STDOUT, "metavar": "FILE"}
    parser.add_argument("--json", help="write all figures (without FILE: to stdout)", **file)
    parser.add_argument("--markdown", help="write the table (without FILE: to stdout)", **file)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write bars as SVG")
    return parser


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _choose(
    benchmark: Benchmark, options: argparse.Namespace
) -> tuple[list[Subject], list[Part], dict[str, str]]:
    """Give the subjects and parts to run, and why what was asked for is skipped."""
    if options.subjects:
        known = benchmark.subjects(classic=True, tuned=True)
        subjects = [each for each in known if each.name in options.subjects]
    else:
        subjects = benchmark.subjects(classic=options.classic, tuned=options.tuned)
    subjects = [_without(each, options.without) for each in subjects]
    reasons = {each.name: each.missing() for each in subjects}
    profiles = getattr(options, "profiles", None)
    parts = [
        part
        for part in benchmark.parts
        if part.name in (options.parts or {part.name})
        and part.profile in (profiles or {part.profile})
    ]
    if not traffic.has_iperf3():
        reasons |= {part.title: "no iperf3 is installed" for part in parts if part.needs_iperf3}
    skipped = {name: reason for name, reason in reasons.items() if reason}
    return (
        [each for each in subjects if each.name not in skipped],
        [part for part in parts if part.title not in skipped],
        skipped,
    )


def _without(subject: Subject, features: Sequence[str]) -> Subject:
    if isinstance(subject, Ours) and subject.native:
        return attrs.evolve(subject, without=tuple(features))
    return subject


def _warn(
    console: Console, facts: machine.Machine, skipped: dict[str, str], without: Sequence[str]
) -> None:
    for line in facts.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for name, reason in skipped.items():
        console.print(f"{name} is skipped: {reason}", markup=False)
    for text in facts.warnings():
        console.print(f"WARNING: {text}", markup=False, soft_wrap=True)
    for feature in without:
        if feature not in FEATURES:
            said = f"WARNING: this version has no native feature {feature}: nothing is different"
            console.print(said, markup=False)
    if not traffic.has_iperf3():
        console.print("WARNING: no iperf3 here: single TCP streams, by our own slower probe")


def _run(turn: Turn, settings: Settings) -> Run:
    name = turn.subject.name
    try:
        with Lab() as lab:
            tunnel = turn.part.start(lab, turn.subject)
            tunnel.network.congestion = settings.congestion
            figures = turn.part.measure(tunnel, settings)
            return Run(turn.round, turn.part.title, name, figures)
    # KeyError and ValueError: a traffic program that does not say what is expected of it.
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
        return Run(turn.round, turn.part.title, name, figures, problem)


def _publish(benchmark: Benchmark, report: Report, options: argparse.Namespace) -> None:
    show = benchmark.presentation
    if STDOUT not in (options.json, options.markdown):
        # A table cut off at the edge of a file or pipe is of no use to anybody.
        out = Console()
        (out if out.is_terminal else Console(width=200)).print(show.table(report))
    if options.json:
        _write_json(report, options.json)
    if options.markdown:
        write(show.markdown(report), options.markdown)
    if options.plot:
        streams = report.settings.get("congestion") or report.machine["tcp_congestion_control"]
        settings = f"{report.started}, transfers of {report.settings['seconds']} s, TCP {streams}"
        write(show.draw(report, [*report.machine["lines"], settings]), str(options.plot))


def _write_json(report: Report, file: str) -> None:
    write(json.dumps(report.as_json(), indent=1) + "\n", file)
