"""fec/controller: how much to repair, from what the peer says; alone and on simulated paths."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.fec.controller import (
    CLEAN_LOSS,
    FIRST_RATIO,
    INTERVAL,
    BaseLoss,
    PathCounters,
    RepairController,
)
from polevpn_trio.fec.encoder import LONGEST_FLUSH, SHARE
from polevpn_trio.fec.plan import CLEAN, RepairPlan

UNKNOWN = BaseLoss()


def feed(
    controller: RepairController,
    loss: float,
    *,
    rate: float = 5000.0,
    seconds: float = 10.0,
    burst: float = 1.0,
    recovered: float = 1.0,
    base_loss: BaseLoss = UNKNOWN,
    start: float = 1.0,
    before: PathCounters | None = None,
    headroom: float = 0.0,
) -> PathCounters:
    """Let a path of ``rate`` datagrams per second lose this share, evenly."""
    before = before or PathCounters()
    seen = before
    for step in range(1, round(seconds / INTERVAL) + 1):
        sent = round(rate * step * INTERVAL)
        lost = round(sent * loss)
        seen = PathCounters(
            expected=before.expected + sent,
            arrived=before.arrived + sent - lost,
            recovered=before.recovered + round(lost * recovered),
            gaps=before.gaps + round(lost / burst),
        )
        controller.take_counters(seen, base_loss, start + step * INTERVAL, headroom)
    return seen


def test_as_long_as_nothing_is_known_all_is_protected() -> None:
    controller = RepairController()
    assert controller.plan == RepairPlan(ratio=FIRST_RATIO)
    feed(controller, 0.0, rate=10, seconds=10)
    assert controller.plan == RepairPlan(ratio=FIRST_RATIO)
    assert RepairController(share=0.1).plan.ratio == 0.1
    assert RepairController(share=0.0).plan.ratio == 0.0


@pytest.mark.parametrize("loss", [0.005, 0.02, 0.04])
def test_where_there_is_room_more_is_repaired_and_no_more_than_there_is_room(loss: float) -> None:
    full, nearly, idle = RepairController(), RepairController(), RepairController()
    for controller, headroom in ((full, 0.0), (nearly, 0.01), (idle, 1.0)):
        feed(controller, loss, base_loss=BaseLoss(loss, 1000), headroom=headroom)
    assert nearly.plan.ratio == pytest.approx(full.plan.ratio + 0.01)
    assert 5 * loss < idle.plan.ratio <= SHARE
    assert idle.wait == full.wait


def test_where_there_is_room_but_no_loss_nothing_is_repaired() -> None:
    controller = RepairController()
    feed(controller, 0.0, headroom=1.0)
    assert controller.plan == CLEAN


def test_loss_of_our_own_making_is_no_more_repaired_where_there_seems_to_be_room() -> None:
    controller = RepairController()
    feed(controller, 0.08, base_loss=BaseLoss(0.0, 1000), headroom=1.0)
    assert controller.plan.ratio < 0.04


def test_a_clean_link_is_left_alone() -> None:
    controller = RepairController()
    feed(controller, 0.0)
    assert controller.plan == CLEAN
    assert controller.wait == 0


@pytest.mark.parametrize(
    ("loss", "least", "most"), [(0.01, 0.015, 0.035), (0.02, 0.03, 0.055), (0.05, 0.07, 0.12)]
)
def test_a_few_per_cent_cost_little_more_than_they_are(
    loss: float, least: float, most: float
) -> None:
    controller = RepairController()
    feed(controller, loss, base_loss=BaseLoss(loss, 1000))
    assert least <= controller.plan.ratio <= most
    assert controller.loss == pytest.approx(loss, rel=0.1)


def test_the_budget_bounds_the_ratio() -> None:
    controller = RepairController(share=0.12)
    feed(controller, 0.08)
    assert controller.plan.ratio == 0.12


def test_where_the_budget_is_too_small_by_far_only_the_important_are_repaired() -> None:
    controller = RepairController()
    feed(controller, 0.4, recovered=0.0)
    assert controller.plan.ratio == 0
    assert controller.plan.important == 3
    assert controller.plan.reach == 1


def test_bursts_cost_more_than_single_losses() -> None:
    single, bursty = RepairController(), RepairController()
    feed(single, 0.02)
    feed(bursty, 0.02, burst=4.0)
    assert bursty.burst == pytest.approx(4, rel=0.1)
    assert bursty.plan.ratio > 1.2 * single.plan.ratio


def test_what_is_missed_widens_the_margin_and_what_is_not_narrows_it() -> None:
    controller = RepairController()
    seen = feed(controller, 0.02)
    narrow = controller.plan.ratio
    seen = feed(controller, 0.02, recovered=0.5, start=11, seconds=30, before=seen)
    wide = controller.plan.ratio
    assert wide > 1.15 * narrow
    feed(controller, 0.02, start=41, seconds=60, before=seen)
    assert controller.plan.ratio == pytest.approx(narrow, rel=0.1)


def test_loss_of_our_own_making_is_not_repaired() -> None:
    controller = RepairController()
    feed(controller, 0.08, base_loss=BaseLoss(0.0, 1000))
    assert controller.plan.ratio < 0.01
    assert controller.statistics().random_loss < 0.005


def test_what_is_hardly_known_of_the_random_part_limits_little() -> None:
    controller = RepairController()
    feed(controller, 0.04, base_loss=BaseLoss(0.0, 60))
    assert controller.plan.ratio > 0.04


def test_only_the_random_part_is_repaired() -> None:
    both, alone = RepairController(), RepairController()
    feed(both, 0.1, base_loss=BaseLoss(0.03, 1000))
    feed(alone, 0.03, base_loss=BaseLoss(0.03, 1000))
    assert alone.plan.ratio <= both.plan.ratio < 1.5 * alone.plan.ratio


def test_a_path_that_gets_better_is_left_alone_after_a_while() -> None:
    controller = RepairController()
    seen = feed(controller, 0.05)
    feed(controller, 0.0, start=11, seconds=10, before=seen)
    assert controller.plan.ratio < 0.01
    assert controller.loss < 0.005


def test_what_was_only_late_is_no_loss() -> None:
    controller = RepairController()
    seen = PathCounters()
    for step in range(1, 200):
        # Ten are always on their way still.
        seen = PathCounters(expected=100 * step, arrived=100 * step - 10, gaps=40 * step)
        controller.take_counters(seen, UNKNOWN, step * INTERVAL)
    assert controller.loss < CLEAN_LOSS
    assert controller.burst == 1
    assert controller.plan == CLEAN


def test_repair_is_waited_for_as_long_as_it_takes() -> None:
    slow, fast = RepairController(), RepairController()
    feed(slow, 0.05, rate=100, seconds=20)
    feed(fast, 0.05, rate=8000)
    assert slow.wait == LONGEST_FLUSH
    assert 0.001 < fast.wait < 0.02


def test_without_news_nothing_changes() -> None:
    controller = RepairController()
    seen = feed(controller, 0.05)
    before = controller.statistics()
    controller.take_counters(seen, UNKNOWN, 100.0)
    controller.take_counters(attrs.evolve(seen, expected=seen.expected + 50), UNKNOWN, 11.0)
    assert controller.statistics() == before


@given(
    st.lists(
        st.tuples(
            st.integers(-100, 70_000),
            st.integers(0, 70_000),
            st.integers(0, 70_000),
            st.integers(0, 70_000),
            st.sampled_from([0.0, 0.01, 0.1, 30.0, 1e6]),
            st.builds(BaseLoss, st.floats(0, 0.6), st.floats(0, 1000)),
        ),
        max_size=30,
    )
)
def test_whatever_the_peer_says_the_plan_is_sane(
    news: list[tuple[int, int, int, int, float, BaseLoss]],
) -> None:
    controller = RepairController()
    seen = PathCounters()
    now = 0.0
    for sent, arrived, recovered, gaps, seconds, base_loss in news:
        now += seconds
        seen = PathCounters(
            expected=seen.expected + sent,
            arrived=seen.arrived + arrived,
            recovered=seen.recovered + recovered,
            gaps=seen.gaps + gaps,
        )
        controller.take_counters(seen, base_loss, now)
        plan = controller.plan
        assert 0 <= plan.ratio <= SHARE
        assert 0 <= plan.tail <= 4
        assert 0 <= plan.important <= 3
        assert 1 <= plan.reach <= 64
        assert 0 <= controller.wait <= LONGEST_FLUSH
        believed = controller.statistics()
        assert 0 <= believed.residue <= believed.loss <= 1
