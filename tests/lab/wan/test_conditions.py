"""Conditions are checked once, when they are made, and survive the way to the emulator."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.lab.wan.conditions import (
    Conditions,
    GilbertElliott,
    Knee,
    Outages,
    Policer,
)

FULL = Conditions(
    rate=10e6,
    rate_steps=((1.0, 0.0), (2.0, 5e6)),
    queue=0.1,
    delay=0.02,
    jitter=0.01,
    reorder=True,
    loss=0.01,
    bursts=GilbertElliott(0.1, 0.5, 0.001, 0.7),
    duplicate=0.002,
    outages=Outages(15.0, 0.3, 1.0),
    policer=Policer(40e6, 20_000),
    knee=Knee(((1e6, 0.0), (2e6, 0.5)), average=0.1),
    framing=38,
)


@pytest.mark.parametrize("conditions", [Conditions(), FULL])
def test_conditions_survive_json(conditions: Conditions) -> None:
    assert Conditions.from_json(json.loads(json.dumps(conditions.as_json()))) == conditions


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Conditions(loss=1.5), "loss"),
        (lambda: Conditions(loss=-0.1), "loss"),
        (lambda: Conditions(loss=math.nan), "loss"),
        (lambda: Conditions(rate=0.0), "rate"),
        (lambda: Conditions(delay=-0.001), "delay"),
        (lambda: Conditions(delay=0.01, jitter=0.02), "jitter"),
        (lambda: Conditions(rate_steps=((1.0, 1e6),)), "rate_steps"),
        (lambda: Conditions(rate=1e6, rate_steps=((2.0, 1e6), (1.0, 2e6))), "rate_steps"),
        (lambda: Conditions(rate=1e6, rate_steps=((0.0, 2e6),)), "rate_steps"),
        (lambda: Conditions(rate=1e6, rate_steps=((1.0, 0.0),)), "rate_steps"),
        (lambda: Knee(()), "points"),
        (lambda: Knee(((2e6, 0.0), (1e6, 0.1))), "points"),
        (lambda: Knee(((1e6, 2.0),)), "points"),
        (lambda: Policer(0.0, 1500), "rate"),
        (lambda: Outages(0.0, 0.3), "period"),
        (lambda: GilbertElliott.bursts(0.5, 0.5), "bursts"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(make: Callable[[], object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make()


def test_the_queue_is_as_long_as_the_first_rate_makes_it() -> None:
    assert Conditions(rate=100e6, queue=0.05).queue_limit == 625_000
    assert Conditions(rate=100e6, queue=0.05, rate_steps=((1.0, 1e6),)).queue_limit == 625_000
    assert Conditions(rate=100e6, queue_bytes=3000).queue_limit == 3000
    assert Conditions().queue_limit == math.inf


@given(loss=st.floats(0.001, 0.5), length=st.floats(1.0, 50.0))
def test_bursts_have_the_loss_and_the_length_asked_for(loss: float, length: float) -> None:
    if loss / (1 - loss) > length:
        # So much loss needs longer bursts.
        return
    bursts = GilbertElliott.bursts(loss, length)
    assert bursts.mean_loss == pytest.approx(loss)
    assert 1 / bursts.to_good == pytest.approx(length)


def test_a_chain_that_never_moves_stays_good() -> None:
    assert GilbertElliott(0.0, 0.0, loss_good=0.1).mean_loss == 0.1
