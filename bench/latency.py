"""Round trips through the hub, ours and others side by side: at rest and beside a bulk transfer.

Echo requests from one gateway to the other by the lab's own probe, every 10 ms; then the same
beside one TCP stream in the direction of the requests, as fast as it goes. Medians of several
rounds; needs root (or user namespaces) and /dev/net/tun.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.side_by_side import traffic
from bench.side_by_side.command import Benchmark, Part, Settings, main
from bench.side_by_side.network import SECOND, RunFailed, Tunnel
from bench.side_by_side.results import Measure
from polevpn_trio.lab import probes

INTERVAL = 0.01
"""Seconds between two echo requests."""

SETTLE = 1.0
"""Seconds before the requests begin: for the programs to calm down, for a transfer to get up."""

MEASURES = (
    Measure("idle_average", "Ping at rest, average", "ms", "lower"),
    Measure("idle_p50", "Ping at rest, median", "ms", "lower", plotted=False),
    Measure("idle_p99", "Ping at rest, 99 %", "ms", "lower"),
    Measure("idle_maximum", "Ping at rest, longest", "ms", "lower", plotted=False),
    Measure("loaded_average", "Ping beside a TCP stream, average", "ms", "lower"),
    Measure("loaded_p50", "Ping beside a TCP stream, median", "ms", "lower", plotted=False),
    Measure("loaded_p99", "Ping beside a TCP stream, 99 %", "ms", "lower"),
    Measure("loaded_maximum", "Ping beside a TCP stream, longest", "ms", "lower", plotted=False),
    Measure("loaded_lost", "Pings lost beside a TCP stream", "%", "lower", plotted=False),
    Measure("loaded_stream", "that TCP stream", "Mbit/s", "higher", plotted=False),
)


def at_rest(tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """Ping for the time of a transfer, with nothing else on the way."""
    time.sleep(SETTLE)
    return _figures("idle", _ping(tunnel, settings))


def beside_a_stream(tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """Ping for the time of a transfer while there is one."""
    bulk = traffic.Bulk.start(tunnel, settings.seconds + 2 * SETTLE)
    time.sleep(SETTLE)
    echo = _ping(tunnel, settings)
    stream = bulk.finish()
    lost = echo.lost / echo.sent * 100
    return {**_figures("loaded", echo), "loaded_lost": lost, "loaded_stream": stream}


def _ping(tunnel: Tunnel, settings: Settings) -> probes.EchoResult:
    count = round(settings.seconds / INTERVAL)
    echo = tunnel.network.first.call(probes.ping, SECOND, count=count, interval=INTERVAL)
    tunnel.check()
    if not echo.received:
        raise RunFailed("no echo request was answered")
    return echo


def _figures(name: str, echo: probes.EchoResult) -> dict[str, float]:
    return {
        f"{name}_average": echo.average,
        f"{name}_p50": echo.percentile(50),
        f"{name}_p99": echo.percentile(99),
        f"{name}_maximum": echo.maximum,
    }


BENCHMARK = Benchmark(
    name="latency",
    title="Round trips through the hub",
    description=__doc__,
    measures=MEASURES,
    parts=(Part("idle", at_rest), Part("loaded", beside_a_stream)),
)


if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
