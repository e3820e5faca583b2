"""The bounded queue in front of a link."""

from __future__ import annotations

import trio
import trio.testing

from polevpn_trio.batch import FrameBatch
from polevpn_trio.transport.outgoing import MAX_BATCHES, MAX_CONTROL_FRAMES, OutgoingQueue


def batch(size: int, packets: int = 1) -> FrameBatch:
    return FrameBatch(bytes(size), packets)


def test_who_is_full_drops_the_newest_and_counts_packets() -> None:
    async def main() -> None:
        queue = OutgoingQueue(1000)
        assert queue.put_nowait(batch(600, 3))
        assert not queue.put_nowait(batch(401, 7))
        assert queue.put_nowait(batch(400, 2))
        statistics = queue.statistics()
        assert (statistics.packets, statistics.dropped_packets) == (5, 7)
        assert statistics.queued_bytes == 1000
        taken = await queue.get_batches(10_000)
        assert [each.packets for each in taken] == [3, 2]
        assert queue.statistics().queued_bytes == 0

    trio.run(main)


def test_a_batch_larger_than_the_bound_passes_alone() -> None:
    async def main() -> None:
        queue = OutgoingQueue(100)
        assert queue.put_nowait(batch(5000))
        assert not queue.put_nowait(batch(1))

    trio.run(main)


def test_takes_about_as_much_as_asked() -> None:
    async def main() -> None:
        queue = OutgoingQueue(100_000)
        for _ in range(5):
            queue.put_nowait(batch(1000))
        assert len(await queue.get_batches(2500)) == 3
        assert len(await queue.get_batches(2500)) == 2

    trio.run(main)


def test_tiny_packets_are_bounded_in_number_too() -> None:
    async def main() -> None:
        queue = OutgoingQueue(1 << 40)
        assert all(queue.put_nowait(batch(1)) for _ in range(MAX_BATCHES))
        assert not queue.put_nowait(batch(1))

    trio.run(main)


def test_control_frames_go_ahead_and_have_a_bound_of_their_own() -> None:
    async def main() -> None:
        queue = OutgoingQueue(1000)
        assert queue.put_nowait(batch(1000, 3))
        assert all(queue.put_control_nowait(b"beat") for _ in range(MAX_CONTROL_FRAMES))
        assert not queue.put_control_nowait(b"beat")
        taken = await queue.get_batches(10_000)
        assert [each.packets for each in taken] == [0] * MAX_CONTROL_FRAMES + [3]
        statistics = queue.statistics()
        assert (statistics.dropped_control, statistics.dropped_packets) == (1, 0)
        assert (statistics.packets, statistics.queued_bytes) == (3, 0)

    trio.run(main)


def test_a_small_run_does_not_keep_the_chunk_it_came_in() -> None:
    async def main() -> None:
        queue = OutgoingQueue(1 << 20)
        chunk = memoryview(bytearray(131_072))
        for _ in range(3):
            queue.put_nowait(FrameBatch(chunk[:60], 1))
        first, *waiting = await queue.get_batches(1 << 20)
        assert isinstance(first.data, memoryview)
        assert all(isinstance(each.data, bytes) for each in waiting)
        assert all(bytes(each.data) == bytes(60) for each in waiting)

    trio.run(main)


def test_who_waits_is_woken_by_either() -> None:
    async def main() -> None:
        queue = OutgoingQueue(1000)
        taken = []

        async def take() -> None:
            for _ in range(2):
                taken.extend(await queue.get_batches(1000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked()
            queue.put_nowait(batch(10, 2))
            await trio.testing.wait_all_tasks_blocked()
            queue.put_control_nowait(b"beat")
        assert [each.packets for each in taken] == [2, 0]

    trio.run(main)
