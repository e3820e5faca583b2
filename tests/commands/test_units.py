"""Quantities in few characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.commands import units


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0s"),
        (59.9, "59s"),
        (75, "1m15s"),
        (601, "10m"),
        (3600, "1h0m"),
        (86_399, "23h59m"),
        (90_000, "1d1h"),
        (8_640_000, "100d0h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.000_24, "0.24"), (0.012_34, "12.3"), (0.3401, "340"), (0.009_999, "10.0")],
)
def test_round_trips_have_three_digits(seconds: float | None, text: str) -> None:
    assert units.milliseconds(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(None, "-"), (0, "0"), (105, "840"), (150, "1.2 k"), (125e6, "1.0 G"), (124.9e3, "999 k")],
)
def test_rates_are_in_bits(rate: float | None, text: str) -> None:
    assert units.bit_rate(rate) == text


@pytest.mark.parametrize(("amount", "text"), [(None, "-"), (0, "0 B"), (1234, "1.2 kB")])
def test_sizes_are_in_bytes(amount: float | None, text: str) -> None:
    assert units.size(amount) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0%"), (1e-6, "<0.01%"), (0.0003, "0.03%"), (0.014, "1.4%"), (1, "100%")],
)
def test_shares(value: float | None, text: str) -> None:
    assert units.share(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0, "0%"), (1e-3, "<1%"), (0.02, "2%"), (1, "100%")])
def test_brief_shares(value: float, text: str) -> None:
    assert units.brief_share(value) == text


@given(st.floats(0, 1e15))
def test_counts_and_rates_fit_their_column(number: float) -> None:
    assert len(units.count(number)) <= 6
    assert len(units.share(min(number, 1.0))) <= 6


def test_a_sparkline_shows_the_last_values_against_the_highest() -> None:
    assert units.sparkline([9, 0, 4, 8], 3) == "▁▅█"
    assert units.sparkline([0, 7], 4) == "  ▁█"
    assert units.sparkline([0, 0], 3) == " ▁▁"
    assert units.sparkline([], 2) == "  "
    assert units.sparkline([0, 7], 2, ascii_only=True) == "_#"


@given(st.lists(st.floats(-1e9, 1e12), max_size=50), st.integers(1, 40))
def test_a_sparkline_is_as_wide_as_it_should_be(values: list[float], width: int) -> None:
    assert len(units.sparkline(values, width)) == width
