"""The buffer of a stream against a plain string, and what it leaves alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.stream_buffer import LARGEST_SPARE, StreamBuffer


def unread(buffer: StreamBuffer) -> bytes:
    assert len(buffer) == buffer.end - buffer.start
    assert 0 <= buffer.start <= buffer.end <= buffer.capacity == len(buffer.data)
    return bytes(buffer.data[buffer.start : buffer.end])


# In which way so many bytes come, and how many percent of what is there are read then.
STEPS = st.tuples(
    st.sampled_from(["append", "hand over", "write", "reserve"]),
    st.integers(0, 5000),
    st.integers(0, 100),
)


@given(st.lists(STEPS, max_size=40), st.randoms())
def test_agrees_with_a_plain_string(
    steps: list[tuple[str, int, int]], chance: random.Random
) -> None:
    buffer = StreamBuffer()
    expected = b""
    kept: list[tuple[memoryview, bytes]] = []
    for way, size, percent in steps:
        data = chance.randbytes(size)
        if way == "append":
            buffer.append(memoryview(data))
        elif way == "hand over":
            buffer.append(bytearray(data))
        elif way == "write":
            buffer.write(b"<" + data + b">", 1, size)
        else:
            buffer.reserve(size)
            buffer.data[buffer.end : buffer.end + size] = data
            buffer.end += size
        expected += data
        assert unread(buffer) == expected
        count = len(expected) * percent // 100
        piece = memoryview(buffer.data)[buffer.start : buffer.start + count]
        kept.append((piece, expected[:count]))
        buffer.advance(buffer.start + count)
        expected = expected[count:]
        assert unread(buffer) == expected
        if not expected:
            assert buffer.capacity == 0
    # What was read stays as it was, whatever came later.
    for piece, was in kept:
        assert piece == was


def test_take_leaves_nothing() -> None:
    buffer = StreamBuffer()
    buffer.append(b"abcdef")
    buffer.advance(2)
    assert buffer.take() == b"cdef"
    assert (len(buffer), buffer.capacity) == (0, 0)
    assert buffer.take() == b""


def test_a_buffer_that_is_handed_over_is_not_copied_where_nothing_waits() -> None:
    buffer = StreamBuffer()
    first, second = bytearray(b"first"), bytearray(b"second")
    buffer.append(first)
    assert buffer.data is first
    buffer.append(second)
    assert unread(buffer) == b"firstsecond"
    assert second == b"second"


@pytest.mark.parametrize("frame", [65_544, 1400])
def test_a_steady_stream_moves_little(frame: int) -> None:
    """Segments of 1,376 bytes, read frame by frame: what is moved is a small part of that."""
    buffer = StreamBuffer()
    moved = 0
    total = 0
    for _ in range(10_000):
        data, held = buffer.data, len(buffer)
        buffer.write(bytes(1376), 0, 1376)
        if buffer.data is not data:
            moved += held
        total += 1376
        while len(buffer) >= frame:
            buffer.advance(buffer.start + frame)
    assert moved < total * 0.2
    assert buffer.capacity <= LARGEST_SPARE


def test_a_large_burst_is_not_moved_for_each_segment() -> None:
    buffer = StreamBuffer()
    made = 0
    for _ in range(5000):
        data = buffer.data
        buffer.write(bytes(1376), 0, 1376)
        made += buffer.data is not data
    assert len(buffer) == 5000 * 1376
    assert made < 20
