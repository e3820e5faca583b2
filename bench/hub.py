"""A short look at everything: throughput, latency and cost, ours and others side by side.

One TCP stream in either direction, round trips at rest, processor time and memory; in a single
round unless more are asked for. `throughput`, `latency` and `cost` measure each with more care.
Needs root (or user namespaces) and /dev/net/tun.
"""

from __future__ import annotations

import sys
from pathlib import Path

import attrs

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import cost, latency, throughput
from bench.side_by_side import traffic
from bench.side_by_side.command import Benchmark, Part, Settings, main
from bench.side_by_side.network import Tunnel

_SHOWN = (
    "stream",
    "one_stream_back",
    "idle_average",
    "idle_p99",
    "cpu",
    "router_memory",
    "gateway_memory",
    "router_idle",
    "gateway_idle",
)

_ALL = {one.name: one for one in (*throughput.MEASURES, *latency.MEASURES, *cost.MEASURES)}

MEASURES = tuple(
    attrs.evolve(throughput.MEASURES[0], name=name) if name == "stream" else _ALL[name]
    for name in _SHOWN
)


def everything(tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """Rest, ping, and run a stream each way."""
    figures = {
        **cost.at_rest(tunnel, settings),
        **latency.at_rest(tunnel, settings),
        **cost.busy(tunnel, settings),
    }
    figures["one_stream_back"], _ = traffic.one_stream(tunnel, settings.seconds, reverse=True)
    return {name: figures[name] for name in _SHOWN}


BENCHMARK = Benchmark(
    name="hub",
    title="Through the hub",
    description=__doc__,
    measures=MEASURES,
    parts=(Part("everything", everything),),
    rounds=1,
    idle_seconds=10,
)


if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
