"""The pacer: what may leave, and when to come back."""

from __future__ import annotations

import math

import pytest

from polevpn_trio.kcp.datagram.pacer import LATENESS, Pacer


def test_without_a_rate_everything_may_leave() -> None:
    pacer = Pacer(1500)
    pacer.refill(math.inf, 1.0)
    pacer.charge(10**9)
    assert pacer.credit() == math.inf
    assert pacer.next_burst() <= 1.0


def drive(pacer: Pacer, rate: float, seconds: float, late: float = 0.0) -> float:
    """Send all that is allowed whenever the pacer asks for it; give bytes per second."""
    now, sent = 1.0, 0
    pacer.refill(rate, now)
    while now < 1.0 + seconds:
        while pacer.credit() > 0:
            pacer.charge(1500)
            sent += 1500
        due = pacer.next_burst()
        assert due > now
        now = due + late
        pacer.refill(rate, now)
    return sent / seconds


@pytest.mark.parametrize("rate", [20_000.0, 1e6, 12.5e6, 125e6])
@pytest.mark.parametrize("late", [0.0, 0.001, 0.003])
def test_the_rate_is_kept_even_if_wake_ups_are_late(rate: float, late: float) -> None:
    assert drive(Pacer(1500), rate, 10.0, late) == pytest.approx(rate, rel=0.03)


def test_bursts_are_worth_a_millisecond() -> None:
    pacer = Pacer(1500)
    pacer.refill(12.5e6, 1.0)
    pacer.charge(int(pacer.credit()))
    assert pacer.next_burst() == pytest.approx(1.001, abs=1e-5)


def test_a_pause_is_not_followed_by_a_flood() -> None:
    pacer = Pacer(1500)
    pacer.refill(12.5e6, 1.0)
    pacer.refill(12.5e6, 100.0)
    assert pacer.credit() <= 12.5e6 * (LATENESS + 0.001)
