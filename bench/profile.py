"""Where the processor time of one TCP stream goes, and what a packet costs in calls and objects.

Runs one TCP stream through two gateways and a router, and tells for each program, per packet of
1,448 bytes of payload: microseconds of processor time by what they are spent on, system calls,
and Python objects and blocks of memory allocated. Needs root, /dev/net/tun and Linux's perf; a C
compiler for the allocations.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.profiling import allocations, perf, tables
from bench.profiling.tables import Section, Stream
from bench.side_by_side import machine, traffic
from bench.side_by_side.network import RunFailed, Tunnel
from bench.side_by_side.ours import Ours, our_subjects
from bench.side_by_side.output import STDOUT, write
from polevpn_trio.errors import HostError
from polevpn_trio.lab.namespaces import Lab, become_root_in_user_namespace, check_permitted
from polevpn_trio.lab.overlay import TRANSPORTS

NAME = "profile"

WARM_UP = 1.0
"""Seconds of traffic before each measurement: TCP's start, and memory that is taken but once."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; exit status 0 if all that can be measured here gave figures."""
    options = _parser().parse_args(argv)
    # Must come before any thread is started.
    try:
        become_root_in_user_namespace()
        check_permitted()
    except HostError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    console = Console(stderr=True)
    skipped = {part.name: reason for part in PARTS if (reason := part.unavailable_reason())}
    facts = machine.look()
    for line in facts.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for name, reason in skipped.items():
        console.print(f"{name} skipped: {reason}", markup=False, soft_wrap=True)
    parts = [part for part in PARTS if part.name not in skipped]
    if not parts:
        return 1
    for text in facts.warnings():
        console.print(f"WARNING: {text}", markup=False, soft_wrap=True)
    words = sys.argv[1:] if argv is None else argv
    report: dict[str, Any] = {
        "format": tables.FORMAT,
        "benchmark": NAME,
        "command": shlex.join(["./run", "bench", NAME, *words]),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": attrs.asdict(facts),
        "settings": {"seconds": options.seconds, "without": options.without},
        "skipped": skipped,
        "subjects": {},
        "problems": {},
    }
    found: dict[str, list[Section]] = {}
    wanted = options.subjects or TRANSPORTS
    for subject in our_subjects(classic=True):
        if subject.name not in wanted:
            continue
        subject = attrs.evolve(subject, without=tuple(options.without))
        console.print(f"{subject.name} ...", markup=False)
        found[subject.name], problem = _measure(subject, parts, options.seconds)
        if problem:
            report["problems"][subject.name] = problem
            console.print(f"{subject.name}: {problem}", markup=False, soft_wrap=True)
        report["subjects"][subject.name] = {
            "description": subject.description,
            "sections": {section.name: section.as_json() for section in found[subject.name]},
        }
    _publish(report, found, options)
    return 1 if report["problems"] else 0


def _measure(
    subject: Ours, parts: Sequence[Part], seconds: float
) -> tuple[list[Section], str | None]:
    """Give what was found out about a subject, and in one line why that is not all."""
    sections: list[Section] = []
    try:
        for part in parts:
            sections += part.measure(subject, seconds)
    # KeyError and ValueError: a program that does not say what is expected of it.
    except (
        RunFailed,
        HostError,
        OSError,
        subprocess.SubprocessError,
        KeyError,
        ValueError,
    ) as error:
        return sections, " ".join(str(error).split()) or type(error).__name__
    return sections, None


def time_and_calls(subject: Ours, seconds: float) -> list[Section]:
    """Run two streams through a subject: one to sample where it spends its time, one to count."""
    with Lab() as lab, tempfile.TemporaryDirectory() as name:
        tunnel = Tunnel.start(lab, subject)
        traffic.one_stream(tunnel, WARM_UP)
        return [
            _time(tunnel, seconds, Path(name)),
            _calls(tunnel, seconds, Path(name)),
        ]


def _time(tunnel: Tunnel, seconds: float, folder: Path) -> Section:
    with perf.Sampling(_pids(tunnel), folder) as sampling:
        sampling.enable()
        before = _cpu_seconds(tunnel)
        stream = _stream(tunnel, seconds)
        after = _cpu_seconds(tunnel)
        sampling.disable()
    used = [end - start for start, end in zip(before, after, strict=True)]
    return tables.time_section(sampling.samples(), _pids(tunnel), used, stream)


def _calls(tunnel: Tunnel, seconds: float, folder: Path) -> Section:
    with ExitStack() as stack:
        counting = [stack.enter_context(perf.CallCounting(pid, folder)) for pid in _pids(tunnel)]
        for each in counting:
            each.enable()
        stream = _stream(tunnel, seconds)
        for each in counting:
            each.disable()
    return tables.calls_section([each.counts() for each in counting], stream)


def allocated(subject: Ours, seconds: float) -> list[Section]:
    """Run a stream through a subject whose programs count what they allocate."""
    with tempfile.TemporaryDirectory() as name, Lab() as lab:
        folder = Path(name)
        with allocations.counting(allocations.build(folder), folder):
            tunnel = Tunnel.start(lab, subject)
        traffic.one_stream(tunnel, WARM_UP)
        pids = _pids(tunnel)
        before = [allocations.read(folder, pid) for pid in pids]
        stream = _stream(tunnel, seconds)
        after = [allocations.read(folder, pid) for pid in pids]
    made = [end.since(start) for start, end in zip(before, after, strict=True)]
    return [tables.allocations_section(made, stream)]


@attrs.frozen
class Part:
    """Measurements that need the same things, made on a tunnel of their own."""

    name: str
    measure: Callable[[Ours, float], list[Section]]
    unavailable_reason: Callable[[], str | None]


PARTS = (
    Part("time and calls", time_and_calls, perf.unavailable_reason),
    Part("allocations", allocated, allocations.unavailable_reason),
)


def _stream(tunnel: Tunnel, seconds: float) -> Stream:
    stream = Stream(*traffic.one_stream(tunnel, seconds))
    if not stream.transferred:
        raise RunFailed("no packet arrived")
    return stream


def _pids(tunnel: Tunnel) -> list[int]:
    """Give the processes in the order of `tables.PROGRAMS`: the stream goes first to second."""
    router, first, second = tunnel.programs.all
    return [first.pid, router.pid, second.pid]


def _cpu_seconds(tunnel: Tunnel) -> list[float]:
    router, first, second = tunnel.cpu_seconds()
    return [first, router, second]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"./run bench {NAME}", description=__doc__)
    names = [each.name for each in our_subjects(classic=True)]
    parser.add_argument(
        "--subject",
        action="append",
        choices=names,
        dest="subjects",
        metavar="NAME",
        help=f"only this one; may be repeated: {', '.join(names)} ({', '.join(TRANSPORTS)})",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="FEATURE",
        help="switch off a native feature at all ends; may be repeated",
    )
    parser.add_argument("--seconds", type=_at_least_one, default=10, help="of each stream (10)")
    file: dict[str, Any] = {"nargs": "?", "const": STDOUT, "metavar": "FILE"}
    parser.add_argument("--json", help="write all figures (without FILE: to stdout)", **file)
    parser.add_argument("--markdown", help="write the tables (without FILE: to stdout)", **file)
    return parser


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _publish(
    report: dict[str, Any], found: dict[str, list[Section]], options: argparse.Namespace
) -> None:
    if STDOUT not in (options.json, options.markdown):
        # A table cut off at the edge of a file or pipe is of no use to anybody.
        out = Console()
        out = out if out.is_terminal else Console(width=200)
        for name, sections in found.items():
            for section in sections:
                out.print(tables.table(name, section))
    if options.json:
        write(json.dumps(report, indent=1) + "\n", options.json)
    if options.markdown:
        texts = [tables.markdown(name, sections) for name, sections in found.items()]
        write("\n".join(texts), options.markdown)


if __name__ == "__main__":
    sys.exit(main())
