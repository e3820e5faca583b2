"""Copies between buffers, and room for them, for the queues of a stream.

Compiled kernels take the C functions in ``raw_copy.pxd``: one memcpy, where an assignment of slices
makes and checks two views of memory first, and memory that nobody has filled with zeros. This file
does the same to the plain Python build.
"""

from __future__ import annotations

Buffer = bytes | bytearray | memoryview


def new_buffer(size: int) -> bytearray:
    """Make a buffer of ``size`` bytes, whose contents mean nothing."""
    return bytearray(size)


def copy_bytes(
    target: bytearray | memoryview, at: int, source: Buffer, start: int, size: int
) -> None:
    """Write ``size`` bytes of ``source`` from ``start`` on to ``target`` at ``at``.

    Both must have them, which is not checked, and they must not overlap.
    """
    target[at : at + size] = source[start : start + size]
