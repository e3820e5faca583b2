"""Throughput through the hub, ours and others side by side: TCP and UDP by iperf3.

Two gateways and a router in namespaces of their own. One TCP stream in either direction, four in
both directions at once, UDP datagrams of 1,200 and of 64 bytes at the highest rate of which less
than 0.1 % is lost. Medians of several rounds; needs root (or user namespaces) and /dev/net/tun.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.side_by_side import traffic
from bench.side_by_side.command import Benchmark, Part, Settings, main
from bench.side_by_side.network import Tunnel
from bench.side_by_side.results import Measure

STREAMS = 4
"""TCP streams in each direction, when there are several."""

LARGE, SMALL = 1200, 64
"""Payload of the datagrams, bytes."""

WARM_UP = 1.0
"""Seconds of traffic that is not counted."""

SEARCH_SHARE = 0.3
"""Length of each try of a search for a rate, as a share of a transfer's."""

MEASURES = (
    Measure("one_stream", "One TCP stream", "Mbit/s", "higher"),
    Measure("one_stream_back", "One TCP stream, the other way", "Mbit/s", "higher"),
    Measure("both_ways", f"{STREAMS} + {STREAMS} TCP streams, both ways", "Mbit/s", "higher"),
    Measure("both_ways_forward", "of these, first to second", "Mbit/s", "higher", plotted=False),
    Measure("both_ways_back", "of these, second to first", "Mbit/s", "higher", plotted=False),
    Measure("both_ways_slowest", "of these, slowest stream", "Mbit/s", "higher", plotted=False),
    Measure("udp", f"UDP, {LARGE:,} bytes, loss < 0.1 %", "Mbit/s", "higher"),
    Measure("small", f"UDP, {SMALL} bytes, loss < 0.1 %", "packets/s", "higher"),
    Measure("small_flooded", f"UDP, {SMALL} bytes, flooded", "packets/s arriving", "higher"),
)


def tcp(tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """One stream, in one direction and then in the other."""
    traffic.one_stream(tunnel, WARM_UP)
    forward, _ = traffic.one_stream(tunnel, settings.seconds)
    backward, _ = traffic.one_stream(tunnel, settings.seconds, reverse=True)
    return {"one_stream": forward, "one_stream_back": backward}


def parallel(tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """Several streams in both directions at once."""
    traffic.one_stream(tunnel, WARM_UP)
    streams = traffic.streams_both_ways(tunnel, settings.seconds, STREAMS)
    return {
        "both_ways": streams.forward + streams.backward,
        "both_ways_forward": streams.forward,
        "both_ways_back": streams.backward,
        "both_ways_slowest": streams.slowest,
    }


def udp(tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """The highest rate of large datagrams; the search begins with a flood, which warms up."""
    rate = traffic.carried_rate(tunnel, settings.seconds * SEARCH_SHARE, LARGE)
    return {"udp": rate * LARGE * 8 / 1e6}


def small(tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """The highest rate of small datagrams, and how many arrive of a flood."""
    seconds = settings.seconds * SEARCH_SHARE
    return {
        "small": traffic.carried_rate(tunnel, seconds, SMALL),
        "small_flooded": traffic.datagrams(tunnel, seconds, SMALL).received_per_second,
    }


BENCHMARK = Benchmark(
    name="throughput",
    title="Throughput through the hub",
    description=__doc__,
    measures=MEASURES,
    parts=(
        Part("tcp", tcp),
        Part("parallel", parallel, needs_iperf3=True),
        Part("udp", udp, needs_iperf3=True),
        Part("small", small, needs_iperf3=True),
    ),
)


if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
