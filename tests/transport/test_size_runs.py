"""Datagrams of one size that follow each other."""

from __future__ import annotations

from array import array
from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.transport.size_runs import run_of_equal


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.data())
def test_counts_the_equal_ones_up_to_the_limit(sizes: list[int], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(sizes) - 1))
    limit = data.draw(st.integers(1, len(sizes) - first))
    rest = sizes[first : first + limit]
    expected = len(list(takewhile(lambda size: size == rest[0], rest)))
    assert run_of_equal(array("H", sizes), first, limit) == expected
