"""From the emulator's counters to what a transfer cost on the wire."""

from __future__ import annotations

import random

import attrs
import pytest

from bench.long_haul import sharing
from bench.long_haul.measurements import FIGURES, MEASURES, PARTS, wire_figures
from bench.long_haul.presentation import VIEWS
from bench.long_haul.subjects import Kcptun, Plain
from bench.side_by_side.ours import Ours
from bench.side_by_side.traffic import Transfer
from polevpn_trio.lab.wan.cable import DirectionStatistics, WanStatistics
from polevpn_trio.lab.wan.conditions import Conditions
from polevpn_trio.lab.wan.path import Path, PathStatistics

NOTHING = Path(Conditions(), random.Random(1), 0.0).statistics()


def counted(forward: PathStatistics, backward: PathStatistics) -> WanStatistics:
    return WanStatistics(
        DirectionStatistics(forward, 0, 0), DirectionStatistics(backward, 0, 0), True, 0.0
    )


def test_the_wire_is_compared_with_what_was_carried() -> None:
    before = attrs.evolve(NOTHING, packets_in=100, bytes_in=10_000, lost_queue=5)
    after = attrs.evolve(
        NOTHING,
        packets_in=100 + 1320,
        bytes_in=10_000 + 1_650_000,
        lost_queue=5 + 66,
        lost_policer=44,
        lost_knee=22,
        lost_random=300,
    )
    back = attrs.evolve(NOTHING, bytes_in=100_000, late=(0, 98, 1, 1))
    carried = Transfer(megabits_per_second=1.0, transferred=1_000_000, segment=1000)
    figures = wire_figures(counted(before, NOTHING), counted(after, back), carried, pings=100)
    assert figures == {
        "packets": pytest.approx(1320 / 1100),
        "bytes": pytest.approx(1_650_000 / 1_008_400),
        "back": pytest.approx(100_000 / 1_008_400),
        # Random loss is not the sender's doing.
        "overrun": pytest.approx(10.0),
        "late": pytest.approx(0.004),
    }


def test_a_port_forward_needs_packets_as_large_as_the_path_allows() -> None:
    # On loopback, where it takes its connection from, segments are larger than any packet.
    after = attrs.evolve(NOTHING, packets_in=2000, bytes_in=3_000_000)
    carried = Transfer(megabits_per_second=1.0, transferred=1_448_000, segment=65_483)
    figures = wire_figures(counted(NOTHING, NOTHING), counted(after, NOTHING), carried, pings=0)
    assert figures["packets"] == pytest.approx(2.0)


def test_nothing_carried_gives_no_figures() -> None:
    nothing = counted(NOTHING, NOTHING)
    assert wire_figures(nothing, nothing, Transfer(0.0, 0, 1000), pings=10) == {}


def test_every_figure_is_in_a_table() -> None:
    shown = {f"{row}.{figure}" for view in VIEWS for row, _ in view.rows for figure in view.figures}
    assert shown == {measure.name for measure in (*MEASURES, *sharing.MEASURES)}
    assert len(MEASURES) == len({measure.name for measure in MEASURES})
    assert len(FIGURES) * len({part.profile for part in PARTS}) == len(MEASURES)


def test_a_port_forward_is_asked_for_no_pings() -> None:
    names = {part.name for part in (*PARTS, *sharing.PARTS) if part.suits(Kcptun())}
    assert names == {"bulk"}
    for subject in (Plain(), Ours("kcp")):
        assert all(part.suits(subject) for part in (*PARTS, *sharing.PARTS))
