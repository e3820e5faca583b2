"""When keys are due to be renewed."""

from __future__ import annotations

import random

import pytest

from polevpn_trio.control.renewal import EARLIEST, LATEST, LOOK_SECONDS, WORN, RenewalPlan


def due(seed: int) -> float:
    """How old keys made at 1000.0 get, when they are looked at whenever the plan says so."""
    plan = RenewalPlan(1000.0, 3600.0, random.Random(seed))
    now = 1000.0
    while not plan.is_due(now, 0.0):
        later = plan.look_again_at(now)
        assert now < later <= now + LOOK_SECONDS
        now = later
    return now - 1000.0


def test_keys_are_renewed_in_time_and_not_all_at_once() -> None:
    ages = [due(seed) for seed in range(200)]
    assert min(ages) >= 3600 * EARLIEST
    assert max(ages) <= 3600 * LATEST
    assert max(ages) - min(ages) > 3600 * (LATEST - EARLIEST) * 0.9


@pytest.mark.parametrize(("key_use", "expected"), [(WORN * 0.99, False), (WORN, True)])
def test_worn_keys_are_renewed_before_their_time(key_use: float, expected: bool) -> None:
    plan = RenewalPlan(0.0, 3600.0, random.Random(1))
    assert plan.is_due(1.0, key_use) is expected
