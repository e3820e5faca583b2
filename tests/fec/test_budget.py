"""fec/budget: what repair may cost, over any stretch of time."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from polevpn_trio.fec.budget import PACKET_BYTES, SHARE_BURST, RepairBudget


def test_traffic_earns_a_share_of_itself() -> None:
    budget = RepairBudget(0.25, 0)
    assert not budget.spend(1, 0.0, True)
    budget.earn(4000 - PACKET_BYTES, 0.0)
    assert budget.spend(600 - PACKET_BYTES, 0.0, False)
    assert budget.spend(400 - PACKET_BYTES, 0.0, True)
    assert not budget.spend(1, 0.0, True)
    assert (budget.spent, budget.refused) == (1000, 2)


def test_the_allowance_is_only_for_those_who_may_use_it() -> None:
    budget = RepairBudget(0.25, 1000)
    assert not budget.spend(100, 0.0, False)
    assert budget.spend(1000 - PACKET_BYTES, 0.0, True)
    assert not budget.spend(100 - PACKET_BYTES, 0.05, True)
    assert budget.spend(100 - PACKET_BYTES, 0.125, True)


def test_the_allowance_goes_before_the_share() -> None:
    budget = RepairBudget(0.5, 100)
    budget.earn(200 - PACKET_BYTES, 0.0)
    budget.spend(80 - PACKET_BYTES, 0.0, True)
    assert (budget.spare, budget.shared) == (20, 100)
    budget.spend(80 - PACKET_BYTES, 0.0, True)
    assert (budget.spare, budget.shared) == (20, 20)


def test_little_is_saved_up() -> None:
    budget = RepairBudget(1, 500)
    budget.earn(10 * SHARE_BURST, 1e6)
    assert (budget.shared, budget.spare) == (SHARE_BURST, 500)


def test_a_clock_that_stands_still_or_jumps_back_earns_nothing() -> None:
    budget = RepairBudget(0, 1000)
    assert budget.spend(1000 - PACKET_BYTES, 5.0, True)
    assert not budget.spend(1, 5.0, True)
    assert not budget.spend(1, 4.0, True)


def test_no_stretch_of_time_costs_more_than_its_share(seeds: Callable[[int], range]) -> None:
    for seed in seeds(300):
        chance = random.Random(seed)
        share, allowance = chance.choice([0.0, 0.05, 0.25, 1.0]), chance.choice([0.0, 1000.0, 16e3])
        budget = RepairBudget(share, allowance)
        now, traffic = 0.0, 0
        marks: list[tuple[float, int, int]] = [(0.0, 0, 0)]
        for _ in range(300):
            now += chance.choice([0.0, 0.001, 0.02, 1.0])
            if chance.random() < 0.5:
                size = chance.choice([50, 1400, 60_000])
                budget.earn(size, now)
                traffic += PACKET_BYTES + size
            budget.spend(chance.choice([50, 1400]), now, chance.random() < 0.5)
            marks.append((now, traffic, budget.spent))
        for _ in range(100):
            (t0, b0, s0), (t1, b1, s1) = sorted(chance.sample(marks, 2))
            bound = share * (b1 - b0) + allowance * (t1 - t0) + SHARE_BURST + allowance
            assert s1 - s0 <= bound + 1e-6, f"seed {seed}"


@pytest.mark.parametrize(("share", "allowance"), [(-0.1, 0), (5, 0), (0.1, -1), (0.1, 1e12)])
def test_parameters_out_of_range_are_refused(share: float, allowance: float) -> None:
    with pytest.raises(ValueError, match="not in 0 to 4"):
        RepairBudget(share, allowance)
