"""How much a site may send and get in a second."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.batch import FrameBatch
from polevpn_trio.control.rate_limit import SMALLEST_BURST, RateLimit
from polevpn_trio.frames.codec import (
    C2S_IPDATA,
    GROUP_BY_DESTINATION,
    S2C_IPDATA,
    FrameReader,
    FrameRun,
    build_frame,
)
from tests.memory_links import ipv4

FRAME = build_frame(C2S_IPDATA, ipv4("192.168.1.5", "192.168.2.6", 992))


def runs(packets: int) -> list[FrameRun]:
    reader = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
    return reader.receive_data_untrusted(FRAME * packets)


def batch(packets: int) -> FrameBatch:
    return FrameBatch(bytearray(FRAME * packets), packets, 0)


def test_without_a_limit_all_passes() -> None:
    limit = RateLimit()
    sent = runs(60)
    for _ in range(1000):
        assert limit.from_site(sent, 0.0) is sent
        assert limit.lets_to_site(batch(60), 0.0)
    assert limit.dropped == 0


def test_each_way_has_a_burst_and_a_rate_of_its_own() -> None:
    limit = RateLimit()
    limit.change(8, 0.0)
    # A megabyte a second; the burst is of 128 KiB, and 50 frames are 50,000 bytes.
    assert len(FRAME) == 1000
    assert [bool(limit.from_site(runs(50), 0.0)) for _ in range(5)] == [True] * 3 + [False] * 2
    assert limit.dropped == 100
    assert [limit.lets_to_site(batch(50), 0.0) for _ in range(4)] == [True] * 3 + [False]
    assert limit.dropped == 150
    # 18,928 bytes of debt are paid after 19 ms.
    assert not limit.from_site(runs(1), 0.018)
    assert limit.from_site(runs(1), 0.020)


def test_another_limit_holds_at_once_and_none_lets_all_pass_again() -> None:
    limit = RateLimit()
    limit.change(8, 0.0)
    limit.lets_to_site(batch(200), 0.0)
    limit.change(8, 0.0)
    assert not limit.lets_to_site(batch(1), 0.0)
    limit.change(None, 0.0)
    assert limit.lets_to_site(batch(1), 0.0)
    assert limit.dropped == 1


@given(
    megabits=st.integers(1, 10_000),
    steps=st.lists(st.tuples(st.floats(0, 0.1), st.integers(1, 65)), max_size=60),
)
def test_never_more_than_burst_rate_and_one_batch(
    megabits: int, steps: list[tuple[float, int]]
) -> None:
    limit = RateLimit()
    limit.change(megabits, 0.0)
    rate = megabits * 125_000
    now, passed, packets = 0.0, 0, 0
    for wait, count in steps:
        now += wait
        packets += count
        if limit.lets_to_site(batch(count), now):
            passed += count * len(FRAME)
    assert passed <= max(rate * 0.1, SMALLEST_BURST) + rate * now + 65 * len(FRAME) + 1
    assert limit.dropped == packets - passed // len(FRAME)


@pytest.mark.parametrize("megabits", [1, 10_000])
def test_even_the_largest_batch_passes_some_time(megabits: int) -> None:
    limit = RateLimit()
    limit.change(megabits, 0.0)
    assert limit.lets_to_site(batch(65), 0.0)
    assert limit.lets_to_site(batch(65), 10.0)
