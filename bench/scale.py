"""What grows with the number of gateways and of routes, and what must not.

gateways: one router with two real gateways, and then with hundreds of idle ones beside them
(real sockets, handshakes and logins, a heartbeat every ten seconds; no TUN devices). Memory for
each gateway, the router's rest, logins in a second, and what the two real ones still get through.

prefixes: the route table alone, in this process: lookups and registrations with 10 to 100,000
networks in the table.

Medians of several rounds. The first series needs root (or user namespaces), /dev/net/tun and
iperf3; the second nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.case_by_case import route_table
from bench.case_by_case.command import Benchmark, Case, Outcome, Series, at_least_one, main
from bench.case_by_case.crowd import AT_ONCE
from bench.case_by_case.gateways import LARGEST_CROWD
from bench.case_by_case.stage import Stage, proportional_mib
from bench.case_by_case.targets import Target
from bench.side_by_side import traffic
from bench.side_by_side.network import SECOND, RunFailed, cpu_seconds
from bench.side_by_side.results import Measure
from polevpn_trio.lab import probes
from polevpn_trio.lab.namespaces import Lab
from polevpn_trio.lab.overlay import TRANSPORTS

REAL = 2
"""Gateways with TUN devices, in every case."""

SETTLE = 8.0
"""Seconds from the last login until the router's rest is measured: an idle link gives large
buffers back after five, and every gateway must have beaten once after that to notice."""

GATEWAY_MEASURES = (
    Measure("memory", "Router memory for each idle gateway", "KiB", "lower"),
    Measure("memory_all", "Router memory, all of it", "MiB", "lower", plotted=False),
    Measure("idle", "Router with all of them idle", "% of a core", "lower"),
    Measure("logins", "Logins, the clients on the same machine", "1/s", "higher"),
    Measure("login_cpu", "Router's processor time for a login", "ms", "lower"),
    Measure("stream", "TCP stream between two gateways", "Mbit/s", "higher"),
    Measure("small", "UDP of 64 bytes, unpaced, arriving", "1/s", "higher", plotted=False),
    Measure("ping", "Ping between them, average", "ms", "lower"),
    Measure("ping_p99", "Ping between them, 99 %", "ms", "lower", plotted=False),
)

PING_INTERVAL = 0.01
SMALL = 64


def with_gateways(size: int, options: argparse.Namespace) -> Outcome:
    """Measure a router with ``size`` gateways, two of them real."""
    if not traffic.has_iperf3():
        raise RunFailed("iperf3 is not installed")
    figures: dict[str, float] = {}
    with Lab() as lab:
        stage = Stage(lab, options.transport)
        empty = proportional_mib(stage.router)
        idle_began = time.monotonic() + SETTLE
        others = []
        if size > REAL:
            used = cpu_seconds(stage.router)
            logins = stage.log_in(size - REAL, options.at_once)
            used = cpu_seconds(stage.router) - used
            figures["logins"] = logins.size / logins.seconds
            figures["login_cpu"] = used / logins.size * 1e3
            others.append(logins.process)
            idle_began = time.monotonic() + SETTLE
        time.sleep(max(idle_began - time.monotonic(), 0.0))
        used = cpu_seconds(stage.router)
        time.sleep(options.idle_seconds)
        figures["idle"] = (cpu_seconds(stage.router) - used) / options.idle_seconds * 100
        figures["memory_all"] = proportional_mib(stage.router)
        if size > REAL:
            figures["memory"] = (figures["memory_all"] - empty) / (size - REAL) * 1024
        stage.check(*others)
        echo = stage.tunnel.network.first.call(
            probes.ping,
            SECOND,
            count=round(options.seconds / PING_INTERVAL),
            interval=PING_INTERVAL,
        )
        figures["ping"] = echo.average
        figures["ping_p99"] = echo.percentile(99)
        figures["stream"], _ = traffic.one_stream(stage.tunnel, options.seconds)
        flood = traffic.datagrams(stage.tunnel, options.seconds, SMALL)
        figures["small"] = flood.received_per_second
        stage.check(*others)
    return Outcome(figures)


def gateway_cases(options: argparse.Namespace) -> Sequence[Case]:
    """Give the cases: two gateways, and each number that was asked for."""
    return [
        Case(
            _gateways(size),
            f"{size} gateways over {options.transport}, {REAL} of them with a TUN device",
            partial(with_gateways, size),
        )
        for size in sorted({REAL, *options.gateways})
    ]


def gateway_targets(options: argparse.Namespace) -> Sequence[Target]:
    """What should come with the largest number of gateways."""
    largest = max(options.gateways)
    case = _gateways(largest)
    return [
        Target("idle", case, "at most", 3.0 * max(largest, 1000) / 1000),
        Target("stream", case, "at least", 0.9, "ratio"),
        Target("small", case, "at least", 0.9, "ratio"),
        Target("ping", case, "at most", 1.1, "ratio"),
    ]


def _gateways(size: int) -> str:
    return f"{size:,} gateways"


def _sizes(text: str) -> list[int]:
    sizes = [int(word) for word in text.split(",")]
    if not all(REAL < size <= LARGEST_CROWD for size in sizes):
        raise argparse.ArgumentTypeError(f"not numbers from {REAL + 1} to {LARGEST_CROWD}: {text}")
    return sizes


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this benchmark may be told."""
    parser.add_argument("--seconds", type=at_least_one, default=5, help="of each transfer (5)")
    parser.add_argument(
        "--idle-seconds",
        type=at_least_one,
        default=20,
        help="for which the router is watched at rest; whole heartbeats of 10 s are best (20)",
    )
    parser.add_argument(
        "--gateways",
        type=_sizes,
        default=[100, 1000],
        metavar="N,N,...",
        help="numbers of gateways beside the case of two (100,1000)",
    )
    parser.add_argument("--transport", choices=TRANSPORTS, default="kcp", help="(kcp)")
    parser.add_argument(
        "--at-once", type=at_least_one, default=AT_ONCE, help=f"logins at a time ({AT_ONCE})"
    )


BENCHMARK = Benchmark(
    name="scale",
    description=__doc__,
    series=(
        Series(
            name="gateways",
            title="One router and many gateways",
            measures=GATEWAY_MEASURES,
            cases=gateway_cases,
            reference=_gateways(REAL),
            targets=gateway_targets,
        ),
        Series(
            name="prefixes",
            title="The route table",
            measures=route_table.MEASURES,
            cases=route_table.cases,
            reference=route_table.REFERENCE,
            targets=route_table.targets,
            needs_lab=False,
        ),
    ),
    add_options=add_options,
)


if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
