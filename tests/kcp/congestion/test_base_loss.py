"""Loss that is there anyway, and loss beyond it."""

from __future__ import annotations

import random
from collections.abc import Callable

from polevpn_trio.kcp.congestion.base_loss import SAMPLE, BaseLoss


def collect(model: BaseLoss, chance: random.Random, share: float, run: float, count: int) -> None:
    """Add datagrams lost in runs of that mean length (Gilbert)."""
    leave = 1 / run
    enter = leave * share / (1 - share)
    bad = False
    for _ in range(count):
        before, bad = bad, chance.random() < ((1 - leave) if bad else enter)
        model.add(1, int(bad), int(bad and not before))


def test_chance_is_rarely_taken_for_congestion(seeds: Callable[[int], range]) -> None:
    alarms = looks = 0
    for seed in seeds(60):
        chance = random.Random(seed)
        share, run = chance.choice([0.0, 0.01, 0.1, 0.3]), chance.choice([1.0, 4.0])
        model = BaseLoss()
        collect(model, chance, share, run, 600)
        model.learn()
        for _ in range(20):
            model.begin()
            collect(model, chance, share, run, SAMPLE)
            looks += 1
            alarms += model.is_exceeded()
            model.learn()
        assert abs(model.share - share) < 0.15
    assert alarms < looks / 50


def test_loss_well_beyond_the_base_is_seen_in_a_few_samples(seeds: Callable[[int], range]) -> None:
    for seed in seeds(60):
        chance = random.Random(seed)
        share = chance.choice([0.0, 0.02, 0.1])
        model = BaseLoss()
        collect(model, chance, share, 1.0, 600)
        model.learn()
        collect(model, chance, share + 0.25, 1.0, 4 * SAMPLE)
        assert model.is_exceeded(), f"seed {seed}"


def test_a_loss_taken_back_later_leaves_sane_figures() -> None:
    model = BaseLoss()
    model.add(100, -50, 0)
    assert not model.is_exceeded()
    model.learn()
    assert model.share == 0.0
    model.add(100, 40, 10)
    assert model.is_enough()
    assert model.sample_share() == 0.4
    assert model.is_exceeded()
    model.replace()
    assert model.share == 0.4
    model.doubt()
    assert model.share == 0.2
