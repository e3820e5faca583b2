"""What fails comes back by itself, and leaves nothing: shown with the real programs.

Each case builds a router and two sites in network namespaces, with a load between hosts behind
them, does its worst, and measures how long it takes until traffic flows again. Then descriptors,
tasks and memory of each program must be what they were before, the programs must end when asked to,
and nothing of theirs may be left: interfaces, routes, rules, tables, settings, sockets, files.

What a service manager does is done by the benchmark: a program that has ended is started again
0.2 s later. Exit status 1 if something did not come back in time, or was left.

Needs root and /dev/net/tun; some cases need nft, cc, or a control group for memory, and are skipped
with the reason where there is none.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.endurance import certificate_faults, host_faults, network_faults
from bench.endurance.outcome import Outcome, markdown, table
from bench.endurance.scene import Scene
from bench.side_by_side import machine
from bench.side_by_side.network import RunFailed
from bench.side_by_side.output import STDOUT, write
from bench.side_by_side.progress import Progressing
from polevpn_trio.errors import PoleVpnError
from polevpn_trio.lab.namespaces import Lab, become_root_in_user_namespace, check_permitted
from polevpn_trio.lab.overlay import TRANSPORTS

CUTS = (1, 10, 120)
"""Seconds."""

REBINDINGS = 5


@attrs.frozen
class Case:
    """A fault; ``run`` is given the scene and the case's name."""

    name: str
    description: str
    run: Callable[[Scene, str, argparse.Namespace], Outcome]
    missing: Callable[[], str] = lambda: ""
    """Says why it cannot run here; "" if it can."""


def _plain(run: Callable[[Scene, str], Outcome]) -> Callable[..., Outcome]:
    return lambda scene, case, options: run(scene, case)


def _cuts(run: Callable[[Scene, str, float], Outcome], name: str, description: str) -> list[Case]:
    def for_seconds(seconds: float, scene: Scene, case: str, _: argparse.Namespace) -> Outcome:
        return run(scene, case, seconds)

    return [
        Case(f"{name}-{seconds}", f"{description} for {seconds} s", partial(for_seconds, seconds))
        for seconds in CUTS
    ]


CASES = (
    Case(
        "kill",
        "SIGKILL to router and gateways at random moments",
        lambda scene, case, options: host_faults.kill(scene, case, options.kills, options.seed),
    ),
    *_cuts(network_faults.cut, "cut", "the network loses all packets"),
    *_cuts(network_faults.unplug, "unplug", "a gateway's network interface is down"),
    Case(
        "nat",
        "a NAT forgets a gateway's connection, whose port changes",
        lambda scene, case, options: network_faults.rebind(scene, case, REBINDINGS),
        network_faults.missing_nft,
    ),
    Case(
        "clock",
        "the wall clock jumps by an hour and by a month, forward and back",
        _plain(host_faults.shift_clock),
        host_faults.missing_compiler,
    ),
    Case("disk", "no room for logs and state", _plain(host_faults.fill_disk)),
    Case(
        "memory",
        "the kernel kills the router, which is out of memory",
        _plain(host_faults.run_out_of_memory),
        host_faults.missing_memory_limit,
    ),
    Case("certificate", "the router's certificate expires", _plain(certificate_faults.expire)),
    Case("device", "a gateway's TUN device is deleted", _plain(host_faults.delete_device)),
    Case("names", "the name server is silent, or refuses", _plain(network_faults.break_names)),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases that the command line asks for; exit status 0 if all came back."""
    options = _parser().parse_args(argv)
    console = Console(stderr=True)
    try:
        # Must come before any thread is started.
        become_root_in_user_namespace()
        check_permitted()
    except PoleVpnError as error:
        print(f"faults: {error}", file=sys.stderr)
        return 1
    chosen = [case for case in CASES if case.name in (options.cases or {case.name})]
    transports = options.transports or ["kcp", "tls"]
    outcomes: list[Outcome] = []
    interrupted = False
    facts = machine.look()
    with Progressing(console, len(chosen) * len(transports)) as progress:
        try:
            for case in chosen:
                for transport in transports:
                    progress.begins(f"{case.name}, {transport}")
                    outcomes.append(_run(case, transport, options))
                    progress.ends(*_said(outcomes[-1]))
        except KeyboardInterrupt:
            interrupted = True
    _publish(outcomes, options, facts, sys.argv[1:] if argv is None else argv)
    if interrupted:
        return 130
    return 0 if all(one.passed for one in outcomes) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run bench faults",
        description=__doc__,
        epilog="cases:\n" + "".join(f"  {one.name:12} {one.description}\n" for one in CASES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--case",
        action="append",
        choices=[one.name for one in CASES],
        dest="cases",
        metavar="NAME",
        help="only this one, see below; may be repeated",
    )
    parser.add_argument(
        "--transport",
        action="append",
        choices=TRANSPORTS,
        dest="transports",
        help="of the gateways; may be repeated (kcp and tls, one after the other)",
    )
    parser.add_argument("--kills", type=int, default=100, help="of the case kill (100)")
    parser.add_argument("--seed", type=int, default=1, help="of the case kill (1)")
    parser.add_argument("--rate", type=float, default=5.0, help="of the load, Mbit/s (5)")
    file: dict[str, Any] = {"nargs": "?", "const": STDOUT, "metavar": "FILE"}
    parser.add_argument("--json", help="write all findings (without FILE: to stdout)", **file)
    parser.add_argument("--markdown", help="write the table (without FILE: to stdout)", **file)
    return parser


def _run(case: Case, transport: str, options: argparse.Namespace) -> Outcome:
    reason = case.missing()
    if reason:
        return Outcome(case.name, transport, skipped=reason)
    try:
        with Lab() as lab:
            return case.run(Scene(lab, transport, options.rate), case.name, options)
    except (
        RunFailed,
        PoleVpnError,
        OSError,
        ChildProcessError,
        subprocess.SubprocessError,
        ValueError,
    ) as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        return Outcome(case.name, transport, problems=(problem,))


def _said(outcome: Outcome) -> list[str]:
    """What came of a case, in lines."""
    if outcome.skipped:
        return [f"{outcome.case}, {outcome.transport}: skipped: {outcome.skipped}"]
    return [
        f"{outcome.case}, {outcome.transport}: {'ok' if outcome.passed else 'FAILED'}",
        *(f"  {one}" for one in outcome.recoveries),
        *(f"  said: {line}" for line in outcome.said),
        *(f"  PROBLEM: {problem}" for problem in outcome.problems),
    ]


def _publish(
    outcomes: Sequence[Outcome],
    options: argparse.Namespace,
    facts: machine.Machine,
    words: Sequence[str],
) -> None:
    if STDOUT not in (options.json, options.markdown):
        out = Console()
        out = out if out.is_terminal else Console(width=200)
        out.print(table(outcomes))
    if options.json:
        document = {
            "benchmark": "faults",
            "command": shlex.join(["./run", "bench", "faults", *words]),
            "ended": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": attrs.asdict(facts),
            "outcomes": [one.as_json() for one in outcomes],
        }
        write(json.dumps(document, indent=1) + "\n", options.json)
    if options.markdown:
        write(markdown(outcomes), options.markdown)


if __name__ == "__main__":
    sys.exit(main())
