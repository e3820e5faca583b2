"""Two gateways with traffic between them, and what they notice of what somebody else does."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.case_by_case.stage import Stage, pin
from bench.side_by_side import traffic
from bench.side_by_side.network import SECOND, RunFailed, cpu_seconds
from polevpn_trio.lab import probes

PING_INTERVAL = 0.01

UNLIMITED = 100
"""Share, in percent, from which on a stream is not limited at all."""

CALIBRATION_SECONDS = 3


@contextmanager
def apart(stage: Stage) -> Iterator[None]:
    """Give the router a core of its own; this program, and what it starts, keep to the others."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        raise RunFailed("two processor cores are needed")
    own = {min(cores)}
    pin(stage.router, own)
    for each in stage.tunnel.programs.all[1:]:
        pin(each, cores - own)
    os.sched_setaffinity(0, cores - own)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def offered_rate(stage: Stage, share: int) -> float:
    """Say to what the victims' stream is limited, Mbit/s: ``share`` percent of what it could be.

    0 for no limit.
    """
    if share >= UNLIMITED:
        return 0.0
    carried, _ = traffic.one_stream(stage.tunnel, CALIBRATION_SECONDS)
    return carried * share / 100


def measure(stage: Stage, offered: float, seconds: int) -> dict[str, float]:
    """Run the stream, limited to ``offered`` Mbit/s unless that is 0, with pings beside it."""
    limit = ["-b", f"{offered * 1e6:.0f}"] if offered else []
    bulk = traffic.Bulk.start(stage.tunnel, seconds + 2, limit)
    time.sleep(1)
    used, began = cpu_seconds(stage.router), time.monotonic()
    echo = stage.tunnel.network.first.call(
        probes.ping, SECOND, count=round(seconds / PING_INTERVAL), interval=PING_INTERVAL
    )
    busy = (cpu_seconds(stage.router) - used) / (time.monotonic() - began)
    if not echo.received:
        raise RunFailed("no echo request was answered")
    return {
        "stream": bulk.finish(),
        "ping": echo.average,
        "ping_p99": echo.percentile(99),
        "ping_longest": echo.maximum,
        "ping_lost": echo.lost / echo.sent * 100,
        "router": busy * 100,
    }
