"""The queue of stream bytes against a plain string."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.kcp.byte_queue import KEPT_FROM, MOST_UNUSED, SHARED, ByteQueue


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


# What is done to the queue: appended (first number), behind so many other bytes of the same memory,
# and then released (in percent).
STEPS = st.tuples(st.integers(0, 9000), st.integers(0, 20_000), st.integers(0, 100))


@given(st.lists(STEPS, max_size=30), st.randoms())
def test_agrees_with_a_plain_string(
    steps: list[tuple[int, int, int]], chance: random.Random
) -> None:
    queue = ByteQueue()
    whole = b""
    for size, before, percent in steps:
        data = chance.randbytes(size)
        queue.append(memoryview(bytes(before) + data)[before:])
        whole += data
        assert (queue.end, queue.end - queue.start <= queue.held) == (len(whole), True)
        for _ in range(3):
            begin = chance.randint(queue.start, queue.end)
            end = chance.randint(begin, queue.end)
            assert copy(queue, begin, end - begin) == whole[begin:end]
        queue.release(queue.start + (queue.end - queue.start) * percent // 100)
        assert copy(queue, queue.start, queue.end - queue.start) == whole[queue.start :]


def test_what_is_released_holds_no_memory() -> None:
    queue = ByteQueue()
    chance = random.Random(1)
    data = chance.randbytes(100_000)
    queue.append(data)
    queue.append(data[:1000])
    assert queue.held == 100_000 + SHARED
    queue.release(99_000)
    assert queue.held == 100_000 + SHARED
    queue.release(100_500)
    assert copy(queue, 100_500, 500) == data[500:1000]
    assert queue.held == SHARED
    queue.release(101_000)
    assert queue.held == 0
    queue.append(b"again")
    assert copy(queue, 101_000, 5) == b"again"


def references_to(memory: bytearray) -> bool:
    """Tell whether anything looks at ``memory``: it cannot grow then."""
    try:
        memory.append(0)
    except BufferError:
        return True
    return False


@pytest.mark.parametrize(
    ("size", "of", "kept"),
    [
        (KEPT_FROM, KEPT_FROM, True),
        (KEPT_FROM - 1, KEPT_FROM, False),
        (KEPT_FROM, KEPT_FROM * MOST_UNUSED, True),
        (KEPT_FROM, KEPT_FROM * MOST_UNUSED + 1, False),
    ],
)
def test_large_pieces_stay_where_they_are_unless_they_hold_much_more(
    size: int, of: int, kept: bool
) -> None:
    queue = ByteQueue()
    memory = bytearray(of)
    queue.append(memoryview(memory)[:size])
    assert references_to(memory) is kept
    queue.release(size)
    assert not references_to(memory)


def test_an_idle_queue_holds_no_memory() -> None:
    queues = [ByteQueue() for _ in range(100)]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for queue in queues:
            queue.append(b"heartbeat")
            queue.release(queue.end)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 100 * SHARED / 4


def test_a_long_stream_through_a_small_window_needs_no_more_memory() -> None:
    queue = ByteQueue()
    for _ in range(1000):
        queue.append(bytes(1000))
        assert queue.held == SHARED
        queue.release(queue.end)
    assert queue.end == 1_000_000
    assert queue.held == 0


def test_small_pieces_share_memory() -> None:
    queue = ByteQueue()
    for number in range(SHARED):
        queue.append(bytes([number & 0xFF]))
    assert queue.held == SHARED
    assert copy(queue, 0, SHARED) == bytes(range(256)) * (SHARED // 256)
    queue.append(b"one more")
    assert queue.held == 2 * SHARED
