"""The limit on TCP's rate, on a simulated path."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable

import pytest

from polevpn_trio.transport.path_governor import PathGovernor, PathSample

SEGMENT = 1400
TICK = 0.001
STARTUP_GAIN = 2.89


class Path:
    """A bottleneck with a drop-tail queue, before it a TCP that has never left BBR's startup.

    That TCP sends ``gain`` times what was delivered at best, no more than ``window`` bytes being
    under way, and no faster than the governor says. ``rate`` is in bytes a second, times in
    seconds; ``others`` is how long a queue other flows keep full, ``loss`` the share lost at random
    on the way.
    """

    def __init__(
        self,
        chance: random.Random,
        rate: float,
        rtt: float,
        window: float = math.inf,
        queue: float = 0.2,
        loss: float = 0.0,
    ) -> None:
        self.governor = PathGovernor()
        self.rate = rate
        self.rtt = rtt
        self.window = window
        self.loss = loss
        self.jitter = 0.0
        self.others = 0.0
        self.gain = STARTUP_GAIN
        self.now = 100.0
        self.queue_bytes = 0.0
        self.queues: list[float] = []
        self._limit_bytes = queue * rate
        self._chance = chance
        self._credit = 0.0
        self._under_way = 0
        # When each segment is heard of again, its round trip, and whether it arrived.
        self._echoes: deque[tuple[float, float, bool]] = deque()
        self._sent = self._resent = 0
        self._owed = 0
        self.delivered = 0
        self._best = 20 * SEGMENT / rtt
        self._mark = (self.now, 0)
        self._smoothed = rtt
        self._least = rtt

    def run(self, seconds: float) -> float:
        """Go on for a while; returns the bytes per second that were delivered."""
        before = self.delivered
        self.queues.clear()
        for _ in range(round(seconds / TICK)):
            self._step()
        return (self.delivered - before) * SEGMENT / seconds

    def _step(self) -> None:
        self.now += TICK
        self._hear()
        pacing = min(self.gain * self._best, self.governor.limit)
        self._credit = min(self._credit + pacing * TICK, pacing * TICK + SEGMENT)
        while self._credit >= SEGMENT and (self._under_way + 1) * SEGMENT <= self.window:
            self._credit -= SEGMENT
            self._send()
        self.queue_bytes = max(self.queue_bytes - self.rate * TICK, self.others * self.rate)
        self.queues.append(self.queue_bytes / self.rate)
        if self.now >= self.governor.due:
            self.governor.look(self._sample(), self.now)

    def _send(self) -> None:
        self._sent += 1
        if self._owed:
            self._owed -= 1
            self._resent += 1
        self._under_way += 1
        arrives = self.queue_bytes + SEGMENT <= self._limit_bytes
        if arrives:
            self.queue_bytes += SEGMENT
            arrives = self._chance.random() >= self.loss
        rtt = self.rtt + self.queue_bytes / self.rate + self._chance.random() * self.jitter
        self._echoes.append((self.now + rtt, rtt, arrives))

    def _hear(self) -> None:
        while self._echoes and self._echoes[0][0] <= self.now:
            _, rtt, arrived = self._echoes.popleft()
            self._under_way -= 1
            if arrived:
                self.delivered += 1
                self._smoothed += (rtt - self._smoothed) / 8
                self._least = min(self._least, rtt)
            else:
                self._owed += 1
        since, count = self._mark
        if self.now - since >= self.rtt:
            self._best = max(self._best, (self.delivered - count) * SEGMENT / (self.now - since))
            self._mark = (self.now, self.delivered)

    def _sample(self) -> PathSample:
        return PathSample(
            rtt=self._smoothed,
            min_rtt=self._least,
            segment=SEGMENT,
            # The kernel's counters wrap around.
            delivered=(self.delivered - 300) & 0xFFFFFFFF,
            sent=(self._sent - 600) & 0xFFFFFFFF,
            resent=(self._resent - 5) & 0xFFFFFFFF,
        )

    def queue(self, share: float) -> float:
        """Give the queue, in seconds, that was not exceeded for a share of the last run."""
        return sorted(self.queues)[int(share * (len(self.queues) - 1))]


def random_path(seed: int) -> Path:
    chance = random.Random(seed)
    rate = 10 ** chance.uniform(5.8, 7.3)
    return Path(chance, rate, chance.uniform(0.02, 0.3), loss=chance.choice((0.0, 0.0, 0.02, 0.05)))


def test_without_a_governor_the_queue_is_full(seeds: Callable[[int], range]) -> None:
    for seed in seeds(10):
        path = random_path(seed)
        path.governor.due = math.inf
        path.run(10)
        assert path.queue(0.5) > 0.15, seed


def test_the_queue_is_short_and_the_path_is_full(seeds: Callable[[int], range]) -> None:
    for seed in seeds(10):
        path = random_path(seed)
        path.run(10)
        delivered = path.run(10)
        assert delivered > 0.9 * path.rate * (1 - path.loss), seed
        assert path.queue(0.5) < max(0.010, path.rtt / 8) + 3 * SEGMENT / path.rate, seed
        assert path.queue(0.98) < max(0.030, path.rtt / 2) + 8 * SEGMENT / path.rate, seed


def test_a_window_without_a_queue_is_left_alone(seeds: Callable[[int], range]) -> None:
    for seed in seeds(10):
        path = random_path(seed)
        path.window = 0.9 * path.rate * path.rtt
        path.run(1)
        for _ in range(20):
            path.run(0.25)
            assert path.governor.limit == math.inf, seed
        assert not path.governor.restart, seed


def test_a_congestion_control_that_behaves_is_free_again(seeds: Callable[[int], range]) -> None:
    for seed in seeds(10):
        path = random_path(seed)
        path.run(5)
        path.window = 0.9 * path.rate * path.rtt
        path.run(15)
        assert path.governor.limit == math.inf, seed
        # What it has learned under the limit is worth nothing without.
        assert path.governor.restart, seed


def test_a_path_that_gives_more_is_found_out(seeds: Callable[[int], range]) -> None:
    for seed in seeds(10):
        path = random_path(seed)
        path.run(5)
        path.rate *= 4
        path.run(4 + 40 * path.rtt)
        assert path.run(5) > 0.85 * path.rate * (1 - path.loss), seed


def test_a_path_that_gives_less_has_no_queue_for_long(seeds: Callable[[int], range]) -> None:
    for seed in seeds(10):
        path = random_path(seed)
        path.run(5)
        path.rate /= 4
        path.run(6 + 30 * path.rtt)
        assert path.run(5) > 0.85 * path.rate * (1 - path.loss), seed
        assert path.queue(0.5) < max(0.015, path.rtt / 6) + 3 * SEGMENT / path.rate, seed


def test_the_queue_of_others_is_no_reason_to_starve(seeds: Callable[[int], range]) -> None:
    for seed in seeds(10):
        path = random_path(seed)
        path.loss = 0.0
        # They keep the queue full whatever we do.
        path.run(1)
        path.others = 0.15
        path.gain = 1.0
        path.window = 0.5 * path.rate * path.rtt
        path.run(5)
        given_way = 0
        for _ in range(100):
            path.run(0.2)
            given_way += path.governor.limit == math.inf
        assert given_way > 50, seed


def test_after_a_pause_there_is_no_limit(seeds: Callable[[int], range]) -> None:
    for seed in seeds(10):
        path = random_path(seed)
        path.run(3)
        sample = PathSample(0.3, 0.05, SEGMENT, 1, 1, 0)
        path.governor.look(sample, path.now + 5)
        assert path.governor.limit == math.inf, seed


def test_a_few_packets_in_a_full_path_set_no_limit() -> None:
    governor = PathGovernor()
    for count in range(100):
        # Pings beside the transfer of somebody else.
        sample = PathSample(0.25, 0.05, SEGMENT, 5 * count, 5 * count, 0)
        assert not governor.look(sample, 50 + count / 4)
    assert governor.phase == "free"


@pytest.mark.parametrize("jitter", [0.005, 0.03])
def test_jitter_is_not_worked_off_for_ever(jitter: float, seeds: Callable[[int], range]) -> None:
    for seed in seeds(10):
        path = random_path(seed)
        path.loss = 0.0
        path.jitter = jitter
        path.window = 0.7 * path.rate * path.rtt
        path.run(5)
        allowed = path.window / (path.rtt + jitter)
        assert path.run(20) > 0.8 * allowed, seed
