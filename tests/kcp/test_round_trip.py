"""The timeout estimator at its edges, by hand-made samples."""

from __future__ import annotations

import pytest

from polevpn_trio.kcp.round_trip import INITIAL_RTO, MAX_RTO, RoundTrip


def test_first_timeout_is_the_recorded_one() -> None:
    assert RoundTrip(10, 30).timeout == INITIAL_RTO == 200


def test_first_sample_sets_half_of_it_as_variation() -> None:
    round_trip = RoundTrip(10, 30)
    round_trip.add_sample(100)
    assert (round_trip.smoothed, round_trip.variation) == (100, 50)
    assert round_trip.timeout == 100 + 4 * 50


def test_steady_samples_leave_the_interval_as_slack() -> None:
    round_trip = RoundTrip(10, 30)
    for _ in range(200):
        round_trip.add_sample(100)
    assert round_trip.smoothed == pytest.approx(100)
    assert round_trip.timeout == pytest.approx(110)


def test_second_sample_moves_by_an_eighth_and_a_quarter() -> None:
    round_trip = RoundTrip(10, 30)
    round_trip.add_sample(80)
    round_trip.add_sample(160)
    assert round_trip.smoothed == pytest.approx(90)
    assert round_trip.variation == pytest.approx(40 + (80 - 40) / 4)


def test_timeout_is_bounded_on_both_sides() -> None:
    short = RoundTrip(10, 30)
    short.add_sample(0)
    assert short.timeout == 30
    long = RoundTrip(10, 30)
    long.add_sample(MAX_RTO)
    assert long.timeout == MAX_RTO


def test_a_sample_of_more_than_a_minute_is_no_round_trip() -> None:
    round_trip = RoundTrip(10, 30)
    round_trip.add_sample(2_000_000)
    assert round_trip.samples == 0
    assert round_trip.timeout == INITIAL_RTO
