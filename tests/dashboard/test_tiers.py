"""What is remembered of sites: nothing is lost or counted twice on the way into any tier."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.dashboard.tiers import TIERS, TOTAL, Batch, Cell, add, beginning, cells, point
from polevpn_trio.management.answers import DOWN, UP, Loss, Measured, Rates, SiteStatus, Status

AMOUNTS = st.integers(0, 1 << 40).map(float)
CELLS = st.builds(Cell, **{field.name: AMOUNTS for field in attrs.fields(Cell)})


def site(name: str, state: str = UP, rate: float = 1000.0, **link: object) -> SiteStatus:
    known: dict[str, object] = {
        "rtt": 0.02,
        "loss_sent": Loss(0.1, 0.01),
        "loss_received": Loss(None, None),
        "rates": Rates(2.0, rate, rate / 2, 3.0),
    }
    measured = Measured(
        jitter=None,
        queue_delay=None,
        queued_bytes=None,
        bytes_sent=0,
        bytes_received=0,
        drops={},
        **{**known, **link},  # type: ignore[arg-type]
    )
    return SiteStatus(name, state, 1.0, (), (), (), 1, None, measured)


def status(*sites: SiteStatus) -> Status:
    return Status(
        role="router",
        instance="",
        version="",
        pid=1,
        time=0.0,
        uptime=1.0,
        config="",
        kernels="",
        state=UP,
        troubles=(),
        sites=sites,
        servers=(),
        forwarded=0,
        drops={},
        strangers=0,
    )


@given(CELLS, CELLS, CELLS)
def test_cells_add_up_in_any_order(a: Cell, b: Cell, c: Cell) -> None:
    assert a.plus(b).plus(c) == c.plus(b.plus(a))
    assert a.plus(Cell()) == a


def test_a_site_that_is_up_has_traffic_round_trip_and_loss() -> None:
    found = dict(cells(status(site("a"))))
    seen = point(60, found["a"])
    assert (seen.time, seen.up, seen.sent, seen.received, seen.drops) == (60, 1, 1000, 500, 3)
    assert (seen.rtt, seen.rtt_worst) == (0.02, 0.02)
    assert (seen.loss, seen.unrepaired) == (0.1, 0.01)


def test_a_site_that_is_down_has_neither_round_trip_nor_loss() -> None:
    seen = point(0, dict(cells(status(site("a", DOWN))))["a"])
    assert (seen.up, seen.rtt, seen.rtt_worst, seen.loss, seen.unrepaired) == (
        0,
        None,
        None,
        None,
        None,
    )


def test_the_worse_direction_counts() -> None:
    worse = site("a", loss_received=Loss(0.3, 0.0))
    seen = point(0, dict(cells(status(worse)))["a"])
    assert (seen.loss, seen.unrepaired) == (0.3, 0.01)


def test_a_site_without_rates_leaves_nothing() -> None:
    assert dict(cells(status(site("a", rates=None)))) == {}


def test_a_counter_that_went_back_is_no_negative_traffic() -> None:
    assert dict(cells(status(site("a", rate=-5.0))))["a"].bytes_sent == 0


def test_all_sites_together_have_the_sum_of_their_traffic() -> None:
    total = point(0, dict(cells(status(site("a"), site("b", rate=3000.0))))[TOTAL])
    assert (total.sent, total.received, total.drops, total.up) == (4000, 2000, 6, 1)
    assert total.rtt is None


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 1 << 30)), max_size=30))
def test_each_sample_is_in_one_cell_of_every_tier(samples: list[tuple[float, int]]) -> None:
    batch: Batch = {}
    for time, rate in samples:
        [cell, _] = [each for _, each in cells(status(site("a", rate=float(rate))))]
        add(batch, time, "a", cell)
    for number, tier in enumerate(TIERS):
        its = {time: cell for (n, name, time), cell in batch.items() if (n, name) == (number, "a")}
        assert set(its) == {beginning(tier, time) for time, _ in samples}
        assert sum(cell.bytes_sent for cell in its.values()) == sum(2 * r for _, r in samples)
        assert sum(cell.seconds for cell in its.values()) == 2 * len(samples)


def test_a_span_that_nobody_watched_is_not_known() -> None:
    seen = point(0, Cell())
    assert seen.up is seen.sent is seen.received is seen.drops is None


@pytest.mark.parametrize("number", range(1, len(TIERS)))
def test_tiers_grow_coarser_and_longer(number: int) -> None:
    finer, coarser = TIERS[number - 1], TIERS[number]
    assert coarser.seconds > finer.seconds
    assert coarser.seconds * coarser.kept > finer.seconds * finer.kept
