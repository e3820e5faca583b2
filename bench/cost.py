"""What the hub costs, ours and others side by side: processor time, and memory.

Processor time of the router and both gateways while one TCP stream runs, for each gigabyte (10^9
bytes) of its payload; resident memory after it; processor time with both gateways connected and
nothing sent. Medians of several rounds; needs root (or user namespaces) and /dev/net/tun.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.side_by_side import traffic
from bench.side_by_side.command import Benchmark, Part, Settings, main
from bench.side_by_side.network import Tunnel, memory_mib
from bench.side_by_side.results import Measure

SETTLE = 1.0
"""Seconds for the programs to calm down before their rest is measured."""

MEASURES = (
    Measure("cpu", "Processor time, all three programs", "s/GB", "lower"),
    Measure("cpu_router", "Processor time, router", "s/GB", "lower"),
    Measure("cpu_sender", "Processor time, sending gateway", "s/GB", "lower", plotted=False),
    Measure("cpu_receiver", "Processor time, receiving gateway", "s/GB", "lower", plotted=False),
    Measure("stream", "the TCP stream of it", "Mbit/s", "higher", plotted=False),
    Measure("router_memory", "Resident memory, router", "MiB", "lower"),
    Measure("gateway_memory", "Resident memory, sending gateway", "MiB", "lower"),
    Measure("router_idle", "Router at rest", "% of a core", "lower"),
    Measure("gateway_idle", "Gateway at rest", "% of a core", "lower"),
)


def at_rest(tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """Watch the programs while nothing is sent."""
    time.sleep(SETTLE)
    before = tunnel.cpu_seconds()
    time.sleep(settings.idle_seconds)
    after = tunnel.cpu_seconds()
    router, first, _ = (
        (end - start) / settings.idle_seconds * 100
        for start, end in zip(before, after, strict=True)
    )
    return {"router_idle": router, "gateway_idle": first}


def busy(tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """Run one stream, and look at the memory then."""
    before = tunnel.cpu_seconds()
    megabits, moved = traffic.one_stream(tunnel, settings.seconds)
    after = tunnel.cpu_seconds()
    router, sender, receiver = (
        (end - start) / (moved / 1e9) for start, end in zip(before, after, strict=True)
    )
    hub, gateway, _ = tunnel.programs.all
    return {
        "cpu": router + sender + receiver,
        "cpu_router": router,
        "cpu_sender": sender,
        "cpu_receiver": receiver,
        "stream": megabits,
        "router_memory": memory_mib(hub),
        "gateway_memory": memory_mib(gateway),
    }


BENCHMARK = Benchmark(
    name="cost",
    title="What the hub costs",
    description=__doc__,
    measures=MEASURES,
    parts=(Part("idle", at_rest), Part("busy", busy)),
    # Three times the longest interval at which one of the subjects sends its keepalives.
    idle_seconds=30,
)


if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
