"""When packets travel in a link's stream, and when beside it."""

from __future__ import annotations

import math
import random

import attrs
import pytest

from polevpn_trio.transport import carriage
from polevpn_trio.transport.carriage import Carriage

FAST = 2e7
"""Bytes per second."""
DATAGRAM = 1000
SHORT = 0.0005
"""Seconds of round trip."""


@attrs.define
class Path:
    """Counts as a link does, and looks whenever `Carriage` wants it."""

    judge: Carriage = attrs.field(factory=lambda: Carriage(0.0))
    now: float = 0.0
    bytes: float = 0.0
    sent: float = 0.0
    lost: float = 0.0

    def carry(
        self, seconds: float, rate: float = FAST, loss: float = 0.0, rtt: float = SHORT
    ) -> bool:
        """Carry so many bytes per second, a share of them lost; return where they travel."""
        step = 0.05
        for _ in range(round(seconds / step)):
            self.now += step
            self.bytes += rate * step
            self.sent += rate * step / DATAGRAM
            self.lost += rate * step / DATAGRAM * loss
            if self.now >= self.judge.look_at:
                before = self.judge.in_stream
                sent, lost = int(self.sent), int(self.lost)
                if self.judge.judge(int(self.bytes), sent, lost, rtt, self.now) != before:
                    self.judge.restart(sent, lost, self.now)
        return self.judge.in_stream

    def until_changed(self, most: float, **how: float) -> float:
        """Carry until the judgement changes; return the seconds, inf if it does not."""
        before, began = self.judge.in_stream, self.now
        while self.now - began < most:
            if self.carry(0.05, **how) != before:
                return self.now - began
        return math.inf


def test_much_traffic_on_a_short_clean_path_travels_in_the_stream() -> None:
    assert Path().until_changed(10.0) == pytest.approx(carriage.ENTER_SECONDS, abs=0.6)


@pytest.mark.parametrize(
    "how",
    [
        {"rate": carriage.ENTER_RATE * 0.9},
        {"loss": 0.005},
        {"rtt": 0.005},
        # No acknowledgement has told yet how long the path is.
        {"rtt": 0.0},
    ],
)
def test_what_is_slow_lossy_or_long_stays_beside_it(how: dict[str, float]) -> None:
    assert Path().until_changed(60.0, **how) == math.inf


def test_losses_that_go_on_end_it_within_two_looks_and_longer_each_time() -> None:
    path = Path()
    away = []
    for _ in range(9):
        assert path.until_changed(1e4) < math.inf
        assert path.until_changed(10.0, loss=0.005) <= 3 * carriage.LOOK_SECONDS
        away.append(path.until_changed(1e4))
        assert path.carry(2.0, loss=0.005) is False
    assert away[0] == pytest.approx(carriage.RETREAT_SECONDS, abs=1.0)
    assert away[1] == pytest.approx(4 * carriage.RETREAT_SECONDS, abs=2.0)
    assert max(away) <= carriage.LONGEST_RETREAT + 1.0


def test_a_long_time_without_losses_is_forgiving() -> None:
    path = Path()
    for _ in range(4):
        path.until_changed(1e4)
        path.until_changed(10.0, loss=0.01)
    path.until_changed(1e4)
    path.carry(carriage.FORGIVEN_SECONDS + 1)
    path.until_changed(10.0, loss=0.01)
    assert path.until_changed(1e4) == pytest.approx(carriage.RETREAT_SECONDS, abs=1.0)


def test_one_burst_of_losses_changes_nothing() -> None:
    path = Path()
    path.carry(3.0)
    assert path.carry(0.05, loss=0.5) is True
    assert path.carry(5.0) is True


def test_a_path_that_has_become_long_ends_it() -> None:
    path = Path()
    path.carry(3.0)
    assert path.until_changed(10.0, rtt=0.05) <= 2 * carriage.LOOK_SECONDS


def test_little_traffic_is_better_off_beside_the_stream_and_may_come_back_at_once() -> None:
    path = Path()
    path.carry(3.0)
    assert path.until_changed(10.0, rate=1e5) <= carriage.LEAVE_SECONDS + 2 * 0.5
    assert path.until_changed(10.0) <= 2.0


def test_a_look_after_long_idleness_ends_it() -> None:
    path = Path()
    path.carry(3.0)
    path.now += 30.0
    path.bytes += 3000
    assert path.judge.judge(int(path.bytes), int(path.sent) + 3, 0, SHORT, path.now) is False


def test_a_change_that_did_not_come_about_is_not_tried_again_soon() -> None:
    path = Path()
    path.carry(3.0)
    path.judge.give_up(path.now)
    assert path.judge.in_stream is False
    assert path.until_changed(1e4) == pytest.approx(carriage.RETREAT_SECONDS, abs=1.0)


def test_it_does_not_flap_on_a_path_that_is_lossy_now_and_then() -> None:
    chance = random.Random(1)
    path = Path()
    changes, before = 0, False
    for _ in range(600):
        after = path.carry(1.0, loss=0.01 if chance.random() < 0.3 else 0.0)
        changes += after != before
        before = after
    # Ten minutes: retreats of 10, 20, 40, ... seconds are in between.
    assert changes <= 14
