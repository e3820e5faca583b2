"""The least value of the last seconds."""

from __future__ import annotations

import random
from collections.abc import Callable

from polevpn_trio.kcp.congestion.windowed_filter import WindowedMinimum


def test_the_least_is_known_at_once_and_forgotten_in_time() -> None:
    least = WindowedMinimum(10.0)
    least.add(0.050, 1.0)
    least.add(0.060, 2.0)
    assert (least.value, least.since) == (0.050, 1.0)
    least.add(0.040, 3.0)
    assert (least.value, least.since) == (0.040, 3.0)
    for step in range(1, 12):
        least.add(0.070, 3.0 + step)
    assert least.value == 0.070


def test_it_lies_between_the_least_of_the_window_and_that_of_a_part(
    seeds: Callable[[int], range],
) -> None:
    for seed in seeds(200):
        chance = random.Random(seed)
        least = WindowedMinimum(5.0)
        now = 0.0
        samples: list[tuple[float, float]] = []
        for _ in range(200):
            now += chance.random() * 0.5
            sample = chance.random()
            samples.append((now, sample))
            least.add(sample, now)
            inside = [value for at, value in samples if at >= now - 5.0]
            recent = [value for at, value in samples if at >= now - 5.0 / 4]
            assert min(inside) <= least.value <= min(recent), f"seed {seed}"
