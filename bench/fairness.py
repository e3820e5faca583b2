"""What one gateway can do to the others: by flooding, and by not taking what it is sent.

flood: two gateways carry a TCP stream, and pings beside it, while a third one sends as fast as
the router takes it: to a site that is alive, to one that is stalled, to nowhere, or records that
open with no key. The victims' stream is limited to a share of what this machine carries, and the
flooder gets only the processor time that no other program wants, on other cores than the router:
what the victims lose, they lose inside of the router. The reference is a third gateway that burns
the same time without sending.

stall: two gateways send to a third, which has been stopped (SIGSTOP), as fast as the router takes
it. The router's memory over time, by transport.

Medians of several rounds. Needs root (or user namespaces), /dev/net/tun, iperf3 and two cores.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.case_by_case import victims
from bench.case_by_case.command import Benchmark, Case, Outcome, Series, at_least_one, main
from bench.case_by_case.flooder import LARGE, SMALL
from bench.case_by_case.gateways import nth_address
from bench.case_by_case.memory import Watch, bound_mib
from bench.case_by_case.stage import Stage, first_words, last_words, settle
from bench.case_by_case.targets import Target
from bench.side_by_side import traffic
from bench.side_by_side.network import RunFailed
from bench.side_by_side.results import Measure
from polevpn_trio.lab.namespaces import Lab, Process
from polevpn_trio.lab.overlay import TRANSPORTS

FLOODER, LIVE, STALLED, NOWHERE = (nth_address(number) for number in (1, 0, 0, 4000))
"""Addresses: of the flooder, of the fourth site (alive or stopped), of nobody."""

LOGIN_TIMEOUT = 20.0

# --- flood

FLOOD_MEASURES = (
    Measure("stream", "The victims' TCP stream", "Mbit/s", "higher"),
    Measure("ping", "The victims' ping beside it, average", "ms", "lower"),
    Measure("ping_p99", "The victims' ping, 99 %", "ms", "lower"),
    Measure("ping_longest", "The victims' ping, longest", "ms", "lower", plotted=False),
    Measure("ping_lost", "The victims' pings lost", "%", "lower", plotted=False),
    Measure("offered", "what the stream is limited to", "Mbit/s", "higher", plotted=False),
    Measure("flood", "Packets or records of the flooder", "1/s", "higher", plotted=False),
    Measure("router", "Router's processor time", "% of a core", "lower"),
)

REFERENCE = "no flood"

FLOODS: dict[str, tuple[str, list[str]]] = {
    REFERENCE: ("the flooder burns its processor time and sends nothing", ["nothing"]),
    "large, live": (
        f"packets of {LARGE} bytes to a fourth site",
        ["packets", "--size", str(LARGE), "--to", str(LIVE)],
    ),
    "small, live": (
        f"packets of {SMALL} bytes to a fourth site",
        ["packets", "--size", str(SMALL), "--to", str(LIVE)],
    ),
    "large, stalled": (
        f"packets of {LARGE} bytes to a fourth site that is stopped",
        ["packets", "--size", str(LARGE), "--to", str(STALLED)],
    ),
    "small, stalled": (
        f"packets of {SMALL} bytes to a fourth site that is stopped",
        ["packets", "--size", str(SMALL), "--to", str(STALLED)],
    ),
    "small, nowhere": (
        f"packets of {SMALL} bytes to an address that nobody has",
        ["packets", "--size", str(SMALL), "--to", str(NOWHERE)],
    ),
    "small, scan": (
        f"packets of {SMALL} bytes, each to another address that nobody has",
        ["scan", "--size", str(SMALL), "--to", str(NOWHERE)],
    ),
    "forged": ("records that open with no key, from the flooder's own address", ["forged"]),
    "tiny": ("small ones of these, one datagram in a system call", ["tiny"]),
}


def flooded_by(kind: str, options: argparse.Namespace) -> Outcome:
    """Measure the victims during one kind of flood."""
    if not traffic.has_iperf3():
        raise RunFailed("iperf3 is not installed")
    with Lab() as lab:
        stage = Stage(lab, options.transport)
        with victims.apart(stage):
            fourth = stage.start("crowd", "fourth", ["--size", "1", "--idle-class"])
            first_words(fourth, LOGIN_TIMEOUT)
            offered = victims.offered_rate(stage, options.share)
            words = [*FLOODS[kind][1], "--own", str(FLOODER), "--idle-class"]
            flooder = stage.start("flooder", "flooder", words)
            first_words(flooder, LOGIN_TIMEOUT)
            if "stalled" in kind:
                fourth.send_signal(signal.SIGSTOP)
            settle()
            figures = victims.measure(stage, offered, options.seconds)
            stage.check(flooder, fourth)
            figures["flood"] = _rate(flooder)
    return Outcome({"offered": offered, **figures})


def _rate(flooder: Process) -> float:
    """End a flooder and ask how much it has sent in a second."""
    said = last_words(flooder)
    return float(said["sent"] / said["seconds"])


def flood_cases(options: argparse.Namespace) -> Sequence[Case]:
    """Give a case for each kind of flood."""
    return [
        Case(name, description, partial(flooded_by, name))
        for name, (description, _) in FLOODS.items()
        if name not in ("forged", "tiny") or options.transport == "kcp"
    ]


def flood_targets(options: argparse.Namespace) -> Sequence[Target]:
    """Nobody shall notice a flood."""
    return [
        target
        for case in flood_cases(options)
        if case.name != REFERENCE
        for target in (
            Target("stream", case.name, "at least", 0.9, "ratio"),
            Target("ping_p99", case.name, "at most", 10.0),
            Target("ping_lost", case.name, "at most", 0.0),
        )
    ]


# --- stall

STALL_MEASURES = (
    Measure("before", "Router memory before", "MiB", "lower", plotted=False),
    Measure("growth", "Growth while the receiver is stopped", "MiB", "lower"),
    Measure("late", "Growth in the second half of it", "MiB", "lower"),
    Measure("after", "Above the start once it has gone on", "MiB", "lower", plotted=False),
    Measure("sent", "Sent to it meanwhile", "MiB", "higher", plotted=False),
)

SENDERS = 2

RECOVERY_SECONDS = 10.0
"""How long the receiver runs again before the router's memory is looked at."""


def stalled_over(transport: str, options: argparse.Namespace) -> Outcome:
    """Watch the router's memory while one gateway takes nothing and two send to it."""
    with Lab() as lab:
        stage = Stage(lab, transport)
        receiver = stage.start("crowd", "receiver", ["--size", "1"])
        first_words(receiver, LOGIN_TIMEOUT)
        senders = []
        receiver.send_signal(signal.SIGSTOP)
        with Watch(stage.router) as watch:
            for number in range(SENDERS):
                own = nth_address(10 + number)
                words = ["packets", "--own", str(own), "--to", str(STALLED)]
                senders.append(stage.start("flooder", f"sender{number}", words))
            for sender in senders:
                first_words(sender, LOGIN_TIMEOUT)
            time.sleep(options.stall_seconds)
            curve = watch.curve
            sent = sum(_rate(sender) * LARGE * options.stall_seconds for sender in senders)
            receiver.send_signal(signal.SIGCONT)
            time.sleep(RECOVERY_SECONDS)
        stage.check()
    start, highest = curve[0][1], max(mib for _, mib in curve)
    half = max(mib for second, mib in curve if second <= curve[-1][0] / 2)
    return Outcome(
        {
            "before": start,
            "growth": highest - start,
            "late": highest - half,
            "after": watch.curve[-1][1] - start,
            "sent": sent / 2**20,
        },
        {"router memory, MiB": watch.curve},
    )


def stall_cases(options: argparse.Namespace) -> Sequence[Case]:
    """Give a case for each transport."""
    return [
        Case(name, f"the stopped gateway and its senders over {name}", partial(stalled_over, name))
        for name in TRANSPORTS
    ]


def stall_targets(options: argparse.Namespace) -> Sequence[Target]:
    """What the router may hold for a gateway that takes nothing, and for those who send to it."""
    return [
        target
        for name in TRANSPORTS
        for target in (
            Target("growth", name, "at most", bound_mib(SENDERS, name)),
            Target("late", name, "at most", 1.0),
        )
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this benchmark may be told."""
    parser.add_argument("--seconds", type=at_least_one, default=8, help="of each stream (8)")
    parser.add_argument(
        "--share",
        type=at_least_one,
        default=30,
        metavar="PERCENT",
        help="of what an unlimited stream carries, that the victims send (30)",
    )
    parser.add_argument(
        "--stall-seconds",
        type=at_least_one,
        default=20,
        help="for which the receiver is stopped; below 60, when the router gives it up (20)",
    )
    parser.add_argument("--transport", choices=TRANSPORTS, default="kcp", help="of flood (kcp)")


BENCHMARK = Benchmark(
    name="fairness",
    description=__doc__,
    series=(
        Series(
            name="flood",
            title="Two gateways beside one that floods",
            measures=FLOOD_MEASURES,
            cases=flood_cases,
            reference=REFERENCE,
            targets=flood_targets,
        ),
        Series(
            name="stall",
            title="A gateway that takes nothing",
            measures=STALL_MEASURES,
            cases=stall_cases,
            reference="kcp",
            targets=stall_targets,
        ),
    ),
    add_options=add_options,
)


if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
