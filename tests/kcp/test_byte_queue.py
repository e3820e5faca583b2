"""The ring of stream bytes against a plain string."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.kcp.byte_queue import SMALLEST, ByteQueue


def copy(queue: ByteQueue, position: int, size: int) -> bytes:
    target = bytearray(size + 6)
    queue.copy_out(position, size, target, 3)
    assert target[:3] == target[size + 3 :] == bytes(3)
    return bytes(target[3 : size + 3])


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_takes_any_bytes_like(kind: type[bytes] | type[bytearray] | type[memoryview]) -> None:
    queue = ByteQueue()
    queue.append(kind(b"abc"))
    queue.append(kind(b""))
    queue.append(kind(b"de"))
    assert copy(queue, 0, 5) == b"abcde"


# What is done to the queue: appended (first number) and then released (second, in percent).
@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 100)), max_size=30), st.randoms())
def test_agrees_with_a_plain_string(steps: list[tuple[int, int]], chance: random.Random) -> None:
    queue = ByteQueue()
    whole = b""
    for size, percent in steps:
        data = chance.randbytes(size)
        queue.append(data)
        whole += data
        assert (queue.end, queue.end - queue.start <= queue.capacity) == (len(whole), True)
        begin = chance.randint(queue.start, queue.end)
        end = chance.randint(begin, queue.end)
        assert copy(queue, begin, end - begin) == whole[begin:end]
        queue.release(queue.start + (queue.end - queue.start) * percent // 100)
        assert copy(queue, queue.start, queue.end - queue.start) == whole[queue.start :]


def test_memory_comes_back_with_what_is_queued_intact() -> None:
    queue = ByteQueue()
    data = random.Random(1).randbytes(100_000)
    queue.append(data)
    assert queue.capacity == 131_072
    queue.release(99_000)
    queue.resize(SMALLEST)
    assert queue.capacity == SMALLEST
    assert copy(queue, 99_000, 1000) == data[99_000:]


def test_a_long_stream_through_a_small_window_needs_no_more_memory() -> None:
    queue = ByteQueue()
    for _ in range(1000):
        queue.append(bytes(1000))
        queue.release(queue.end)
    assert queue.end == 1_000_000
    assert queue.capacity == SMALLEST
