"""What waits for a link: control frames first, packets fairly, all of it bounded."""

from __future__ import annotations

import math

from polevpn_trio.batch import SEQUENCES_FOREIGN, SEQUENCES_OFFLOAD, FrameBatch
from polevpn_trio.frames import codec
from polevpn_trio.transport.outgoing import MAX_CONTROL_FRAMES, OutgoingQueue
from tests.memory_links import frames, ipv4

LIMIT = 1 << 20


def batch(size: int, packets: int = 1, source: str = "10.0.0.1") -> FrameBatch:
    data = frames(codec.S2C_IPDATA, *[ipv4(source, "10.0.0.2", size)] * packets)
    return FrameBatch(bytearray(data), packets)


def sizes(queue: OutgoingQueue, most_bytes: int = LIMIT) -> list[int]:
    return [len(each) for each in queue.take(most_bytes, 0.0)]


def test_control_frames_go_ahead_and_have_a_bound_of_their_own() -> None:
    queue = OutgoingQueue(LIMIT)
    queue.put_nowait(batch(992, 3), 0.0)
    assert all(queue.put_control_nowait(b"beat", 0.0) for _ in range(MAX_CONTROL_FRAMES))
    assert not queue.put_control_nowait(b"beat", 0.0)
    assert sizes(queue) == [4] * MAX_CONTROL_FRAMES + [3000]
    statistics = queue.statistics()
    assert statistics.dropped_control == 1
    assert (statistics.packets, statistics.bytes) == (3, 3000)
    assert statistics.waiting.queued == statistics.waiting.dropped_full == 0


def test_gives_no_more_than_asked_for_and_a_quiet_flow_before_a_busy_one() -> None:
    queue = OutgoingQueue(LIMIT)
    queue.put_nowait(batch(992, 100), 0.0)
    assert sizes(queue, 2500) == [2000]
    queue.put_nowait(batch(92, 1, "10.0.0.3"), 0.0)
    assert sizes(queue, 100) == [100]
    assert sizes(queue) == [98_000]
    assert not queue.waiting
    assert sizes(queue) == []


def test_tells_since_when_the_link_takes_nothing() -> None:
    queue = OutgoingQueue(LIMIT)
    assert queue.stalled_since == math.inf
    queue.put_nowait(batch(100, 2), 3.0)
    queue.put_nowait(batch(100), 4.0)
    assert queue.stalled_since == 3.0
    queue.take(1, 5.0)
    assert queue.stalled_since == 5.0
    queue.take(LIMIT, 6.0)
    assert queue.stalled_since == math.inf
    queue.put_control_nowait(b"beat", 7.0)
    assert queue.stalled_since == 7.0


def test_what_went_past_the_queue_is_counted_too() -> None:
    queue = OutgoingQueue(LIMIT)
    queue.note_bypass(batch(92, 5))
    assert (queue.statistics().packets, queue.statistics().bytes) == (5, 500)
    assert not queue.waiting


def test_sequences_that_mean_nothing_do_not_look_like_super_packets() -> None:
    frame = codec.build_frame(codec.S2C_IPDATA, ipv4("10.0.0.1", "10.0.0.2", 92), 77)
    for sequences, expected in ((SEQUENCES_FOREIGN, 0), (SEQUENCES_OFFLOAD, 77)):
        queue = OutgoingQueue(LIMIT)
        queue.put_nowait(FrameBatch(memoryview(bytearray(frame)), 1, sequences), 0.0)
        (taken,) = queue.take(LIMIT, 0.0)
        assert bytes(taken[4:8]) == expected.to_bytes(4, "big")


def test_what_waits_can_be_converted_and_is_not_counted_anew() -> None:
    queue = OutgoingQueue(LIMIT)
    queue.put_nowait(batch(92, 3), 0.0)
    queue.put_nowait(batch(192, 2, "10.0.0.3"), 0.0)

    def without_large(waiting: FrameBatch) -> list[FrameBatch]:
        reader = codec.FrameReader(codec.S2C_IPDATA, codec.S2C_IPDATA, codec.GROUP_BY_SOURCE)
        runs = reader.receive_data_untrusted(waiting.data)
        return [FrameBatch(run.data, run.packets) for run in runs if len(run.data) % 200]

    queue.convert(without_large, 1.0)
    assert queue.statistics().packets == 5
    assert sizes(queue) == [300]


def test_what_waits_can_be_discarded() -> None:
    queue = OutgoingQueue(LIMIT)
    queue.put_nowait(batch(92, 1500), 0.0)
    queue.put_control_nowait(b"beat", 0.0)
    assert queue.discard(0.0) == 1500
    assert not queue.waiting
    assert queue.stalled_since == math.inf


def test_memory_is_given_back_when_nothing_comes_any_more() -> None:
    queue = OutgoingQueue(LIMIT)
    queue.put_nowait(batch(992, 100), 0.0)
    sizes(queue)
    assert queue.statistics().waiting.memory > 100_000
    queue.release_idle(60.0)
    assert queue.statistics().waiting.memory == 0


def test_packets_that_are_held_let_control_frames_pass_and_nothing_else() -> None:
    queue = OutgoingQueue(LIMIT)
    assert queue.passable
    queue.held = True
    assert not queue.passable
    queue.put_nowait(batch(992, 3), 0.0)
    assert not queue.waiting
    queue.put_control_nowait(b"beat", 0.0)
    assert queue.waiting
    assert sizes(queue) == [4]
    queue.held = False
    assert queue.waiting
    assert not queue.passable
    assert sizes(queue) == [3000]
    assert queue.passable


def test_what_waits_moves_to_another_queue_behind_what_is_there() -> None:
    old, new = OutgoingQueue(LIMIT), OutgoingQueue(LIMIT)
    old.put_nowait(batch(92, 3), 0.0)
    new.put_nowait(batch(92, 2), 0.0)
    old.move_packets_to(new, 0.0)
    assert not old.waiting
    assert sizes(new) == [500]
