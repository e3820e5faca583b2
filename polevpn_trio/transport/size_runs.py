# cython: annotation_typing=False
"""How many datagrams of a batch may leave in one segmented send: those of one size."""

from __future__ import annotations

from array import array


def run_of_equal(sizes: array[int], first: int, limit: int) -> int:
    """Count the sizes from ``first`` on that equal that one, up to ``limit`` of them.

    ``sizes`` (type code "H") must have ``first`` + ``limit`` of them.
    """
    lengths = sizes
    size = lengths[first]
    count = 1
    while count < limit and lengths[first + count] == size:
        count += 1
    return count
