"""A long run under steady load: does memory grow, are descriptors or tasks left, do links break?

A router and two gateways with the real programs, in network namespaces, one gateway over kcp and
one over tls. Between hosts behind them runs a bounded load, TCP (80 %) over connections that are
replaced every ten seconds, UDP, and pings. Every few seconds memory, descriptors, threads and tasks
of each program are read. After a warm-up, the first sixth of the time, memory must not grow (by a
straight line fitted to it), descriptors and tasks must be the same at the end, and no link, ping or
connection may be lost. Exit status 1 if one of these does not hold.

Needs root (or user namespaces) and /dev/net/tun.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console
from rich.progress import TimeElapsedColumn, TimeRemainingColumn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.endurance import chart
from bench.endurance.soaking import PROGRAMS, Plan, Reading, Soak, verdicts
from bench.endurance.trend import Verdict
from bench.side_by_side import machine
from bench.side_by_side.network import RunFailed
from bench.side_by_side.output import STDOUT, write
from bench.side_by_side.progress import Progressing
from polevpn_trio.errors import PoleVpnError
from polevpn_trio.lab.namespaces import Lab, become_root_in_user_namespace, check_permitted
from polevpn_trio.lab.overlay import TRANSPORTS

WARM_UP_SHARE = 1 / 6
"""Of the time: caches and pools fill, and the interpreter finds its size."""

SAY_EVERY = 60.0
"""Seconds between two lines where there is no terminal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Soak as the command line says."""
    options = _parser().parse_args(argv)
    console = Console(stderr=True)
    if options.file:
        try:
            document = json.loads(Path(options.file).read_text(encoding="utf-8"))
            readings = [Reading.from_json(one) for one in document["readings"]]
            transports = tuple(document["plan"].pop("transports"))
            plan = Plan(transports=transports, **document["plan"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"soak: --from: {error}", file=sys.stderr)
            return 1
        return _finish(console, options, plan, document, readings)
    try:
        # Must come before any thread is started.
        become_root_in_user_namespace()
        check_permitted()
    except PoleVpnError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    plan = _plan(options)
    document = _description(plan, sys.argv[1:] if argv is None else argv)
    readings = []
    status = 0
    try:
        with Lab() as lab, _progress(console, plan) as tell:
            soak = Soak(lab, plan)
            before, started = soak.cpu(), time.monotonic()
            for reading in soak.readings():
                readings.append(reading)
                passed = time.monotonic() - started
                document["cpu_percent"] = round((soak.cpu() - before) / passed * 100, 1)
                tell(reading)
    except KeyboardInterrupt:
        status = 130
    except (RunFailed, PoleVpnError, OSError, subprocess.SubprocessError, ValueError) as error:
        console.print(f"soak: {error}", markup=False, soft_wrap=True)
        status = 1
    return _finish(console, options, plan, document, readings) or status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run bench soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=_positive, default=60.0, help="how long (60)")
    parser.add_argument(
        "--rate", type=_positive, default=20.0, help="Mbit/s, both directions together (20)"
    )
    parser.add_argument(
        "--transport",
        action="append",
        choices=TRANSPORTS,
        dest="transports",
        help="of the gateways; give it twice for two different ones (kcp and tls)",
    )
    parser.add_argument("--every", type=_positive, default=5.0, help="seconds between readings (5)")
    parser.add_argument(
        "--renew", type=_positive, default=600.0, help="seconds until a link has new keys (600)"
    )
    parser.add_argument(
        "--from", dest="file", metavar="FILE", help="run nothing, judge what --json wrote earlier"
    )
    file: dict[str, Any] = {"nargs": "?", "const": STDOUT, "metavar": "FILE"}
    parser.add_argument("--json", help="write all readings (without FILE: to stdout)", **file)
    parser.add_argument("--markdown", help="write the verdict (without FILE: to stdout)", **file)
    parser.add_argument("--plot", metavar="FILE", help="write curves as SVG")
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _plan(options: argparse.Namespace) -> Plan:
    chosen = options.transports or ["kcp", "tls"]
    seconds = options.minutes * 60
    return Plan(
        transports=(chosen[0], chosen[-1]),
        rate=options.rate,
        seconds=seconds,
        warm_up=seconds * WARM_UP_SHARE,
        every=options.every,
        renew=options.renew,
    )


def _description(plan: Plan, words: Sequence[str]) -> dict[str, Any]:
    return {
        "benchmark": "soak",
        "command": shlex.join(["./run", "bench", "soak", *words]),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": attrs.asdict(machine.look()),
        "plan": attrs.asdict(plan),
    }


@contextmanager
def _progress(console: Console, plan: Plan) -> Iterator[Any]:
    """Give a function to be told each reading: a bar on a terminal, a line a minute elsewhere."""
    columns = (TimeElapsedColumn(), TimeRemainingColumn())
    said = -SAY_EVERY

    def tell(reading: Reading) -> None:
        nonlocal said
        line = describe(reading)
        progress.reaches(reading.seconds, line)
        if not console.is_terminal and reading.seconds - said >= SAY_EVERY:
            said = reading.seconds
            progress.say(line)

    with Progressing(console, plan.seconds, *columns) as progress:
        progress.begins("starting")
        yield tell


def describe(reading: Reading) -> str:
    """Say a reading in one line."""
    memory = "/".join(f"{reading.programs[name].memory:.1f}" for name in PROGRAMS)
    files = "/".join(str(reading.programs[name].descriptors) for name in PROGRAMS)
    return (
        f"{reading.seconds / 60:.1f} min: {memory} MiB, {files} descriptors, "
        f"{reading.megabits:.2f} Mbit/s, longest ping {reading.ping_ms:.1f} ms"
    )


def _finish(
    console: Console,
    options: argparse.Namespace,
    plan: Plan,
    document: dict[str, Any],
    readings: Sequence[Reading],
) -> int:
    """Judge the readings and write what is asked for; 0 if all held."""
    try:
        found = verdicts(plan, readings)
    except ValueError as error:
        found = [Verdict(False, str(error))]
    document["verdicts"] = [attrs.asdict(one) for one in found]
    document["plan"] = attrs.asdict(plan)
    document["readings"] = [attrs.asdict(one) for one in readings]
    if STDOUT not in (options.json, options.markdown):
        for one in found:
            console.print(str(one), markup=False, highlight=False, soft_wrap=True)
    if options.json:
        write(json.dumps(document) + "\n", options.json)
    if options.markdown:
        write(markdown(document, found), options.markdown)
    if options.plot and readings:
        drawing = chart.draw("Soak", subtitles(document), plan.warm_up, readings)
        write(drawing, options.plot)
    return 0 if all(one.held for one in found) else 1


def subtitles(document: Mapping[str, Any]) -> list[str]:
    """Say what was run, on what, in two lines."""
    plan, facts = document["plan"], document["machine"]
    first, second = plan["transports"]
    return [
        f"First gateway over {first}, second over {second}; {plan['rate']:g} Mbit/s of payload, "
        f"both directions together; new keys every {plan['renew'] / 60:g} min; all programs and "
        f"the load took {document.get('cpu_percent', 0):g} % of a core; shaded: warm-up",
        f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, polevpn_trio "
        f"{facts['polevpn_trio']} {facts['revision']} ({facts['kernels']} kernels), "
        f"Python {facts['python']}, {document['started']}",
    ]


def markdown(document: Mapping[str, Any], found: Sequence[Verdict]) -> str:
    """Give the verdicts as a list below the command and the machine."""
    lines = [f"    {document['command']}", "", *subtitles(document), ""]
    return "\n".join([*lines, *(f"* {one}" for one in found)]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
