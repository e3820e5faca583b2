"""The peer's clock as seen from here: offset, wrap, drift, and acknowledgements that come late."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from polevpn_trio.kcp.datagram.peer_clock import MEMORY, PeerClock
from polevpn_trio.kcp.datagram.wire import TICKS

TICK = 1 / TICKS


def read(clock: PeerClock, arrived_at: float, sent_at: float, now: float) -> None:
    """Tell of an arrival by the peer's clock, in seconds; the answer comes at ``now``."""
    clock.read(int((arrived_at % 1024.0) * TICKS) & 0xFFFFFF, sent_at, now - sent_at, now)


def test_nothing_is_known_at_first() -> None:
    clock = PeerClock()
    assert math.isnan(clock.one_way)
    assert math.isnan(clock.arrived_at)


@pytest.mark.parametrize("offset", [0.0, 5000.0, 1023.99, -77.7])
def test_late_acknowledgements_do_not_change_when_something_arrived(
    offset: float, seeds: Callable[[int], range]
) -> None:
    for seed in seeds(20):
        chance = random.Random(seed)
        clock = PeerClock()
        start = chance.uniform(1, 5000)
        # The first acknowledgements are as quick as any.
        for number in range(500):
            sent_at = start + number * 0.01
            queue = chance.uniform(0, 0.03) if number else 0.0
            late = chance.uniform(0, 0.01) if number else 0.0
            arrival = sent_at + 0.025 + queue
            read(clock, arrival + offset, sent_at, arrival + 0.025 + late)
            assert clock.one_way == pytest.approx(queue, abs=2 * TICK), f"seed {seed}"
            assert clock.arrived_at == pytest.approx(arrival + 0.025, abs=2 * TICK), f"seed {seed}"


def test_clocks_that_drift_and_ways_that_become_longer_are_followed() -> None:
    clock = PeerClock()
    way_back = 0.025
    now = 0.0
    for number in range(4000):
        now = 100 + number * 0.02
        if number == 2000:
            way_back = 0.075
        # 200 millionths fast.
        read(clock, (now + 0.025) * 1.0002, now, now + 0.025 + way_back)
    assert clock.arrived_at == pytest.approx(now + 0.1, abs=0.0002 * MEMORY + 2 * TICK)
