"""The search for a path's MTU, on paths of every width, with losses."""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.doctor.mtu_search import ATTEMPTS, MtuSearch

LEAST, MOST = 200, 1500


def search(passes: Callable[[int], bool], *, told: bool = False) -> tuple[int, int]:
    """Return what is found, and how many packets that took."""
    state = MtuSearch(LEAST, MOST)
    packets = 0
    while (size := state.next_size()) is not None:
        packets += 1
        assert LEAST < size <= MOST
        left = state.steps_left
        if passes(size):
            state.answered(size)
        elif told:
            state.refused(size)
        else:
            state.lost(size)
        assert state.steps_left <= left
    assert state.steps_left == 0
    return state.passed, packets


@given(st.integers(LEAST, MOST))
def test_the_width_of_a_path_is_found_to_the_byte(width: int) -> None:
    assert search(lambda size: size <= width, told=True) == (width, search_bound(width))
    found, packets = search(lambda size: size <= width)
    assert found == width
    assert packets <= ATTEMPTS * 12


def search_bound(width: int) -> int:
    """How many sizes a bisection tries that begins with the largest."""
    packets, low, high = 1, LEAST, MOST
    if width == MOST:
        return packets
    while high - low > 1:
        packets += 1
        middle = (low + high) // 2
        low, high = (middle, high) if middle <= width else (low, middle)
    return packets


def test_a_path_without_limits_takes_one_packet() -> None:
    assert search(lambda size: True) == (MOST, 1)


def test_losses_never_make_it_find_too_much(seeds: Callable[[int], range]) -> None:
    right = 0
    for seed in seeds(200):
        chance = random.Random(seed)
        width = chance.randint(LEAST, MOST)
        found, _ = search(lambda size, w=width, c=chance: size <= w and c.random() > 0.1)  # type: ignore[misc]
        assert found <= width
        right += found == width
    assert right > len(seeds(200)) * 0.9
