"""fec/symbols: coefficients that both ends agree on, and ids that wrap around."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.fec.symbols import coefficient, unwrap

KEY = st.integers(0, 0xFFFF)
ID = st.integers(0, 0xFFFFFF)


def test_the_coefficients_are_fixed_by_the_protocol() -> None:
    got = [coefficient(key, number, 15) for key, number in ((0, 0), (1, 0), (0, 1), (65535, 9999))]
    assert got == [1, 247, 75, 231]


@given(KEY, ID)
def test_at_full_density_no_coefficient_is_zero(key: int, number: int) -> None:
    assert 1 <= coefficient(key, number, 15) <= 255


@given(KEY, ID, st.integers(0, 15))
def test_lower_density_takes_out_and_changes_nothing_else(
    key: int, number: int, density: int
) -> None:
    assert coefficient(key, number, density) in (0, coefficient(key, number, 15))


def test_density_is_the_share_of_symbols_that_take_part() -> None:
    for density in range(16):
        part = sum(
            coefficient(key, number, density) > 0 for key in range(64) for number in range(64)
        )
        assert abs(part / 4096 - (density + 1) / 16) < 0.03


def test_coefficients_are_spread_over_the_field() -> None:
    seen = Counter(coefficient(key, number, 15) for key in range(256) for number in range(255))
    assert len(seen) == 255
    assert 180 < min(seen.values()) < max(seen.values()) < 340


@given(st.integers(0, 2**40), st.integers(-(2**23), 2**23 - 1))
def test_an_id_is_taken_for_the_nearest_number(near: int, offset: int) -> None:
    number = near + offset
    assert unwrap(number & 0xFFFFFF, near) == number
