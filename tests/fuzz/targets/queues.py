"""What packets of strangers do to the queue in front of a link."""

from __future__ import annotations

import attrs

from tests.fuzz.builds import Build
from tests.fuzz.draw import Draw
from tests.fuzz.packets import draw_frames, walk

LIMITS = (512, 4096, 16384, 1 << 18)


def flow_queue(build: Build, draw: Draw) -> object:
    """Whatever comes in leaves, waits, or is counted as dropped; memory has its limit."""
    limit = draw.of(LIMITS)
    queue = build["forwarding.flow_queue"].FlowQueue(
        seed=7,
        limit_bytes=limit,
        flows=draw.of((1, 2, 16, 1024)),
        quantum=draw.of((64, 300, 1514)),
        ecn=draw.flag(),
    )
    now = 0.0
    trace: list[object] = []
    while not draw.exhausted:
        match draw.byte() % 6:
            case 0:
                trace.append(queue.enqueue_batch(draw.piece(), now))
            case 1 | 2:
                trace.append(queue.enqueue_batch(draw_frames(draw, 2), now))
            case 3:
                batch = queue.dequeue_batch(draw.of((0, 100, 2000, 65535)), now)
                assert len(list(walk(bytes(batch.data)))) == batch.packets
                trace.append(bytes(batch.data))
            case 4:
                queue.release_idle(now)
            case _:
                now += draw.of((0.001, 0.006, 0.1, 5.0))
        assert queue.queued_bytes <= limit
    statistics = queue.statistics()
    gone = statistics.dequeued + statistics.dropped_full + statistics.dropped_codel
    assert statistics.enqueued == gone + queue.queued
    assert statistics.enqueued_bytes >= statistics.dequeued_bytes + queue.queued_bytes
    rest = b""
    while queue.queued:
        rest += bytes(queue.dequeue_batch(1 << 16, now).data)
    statistics = queue.statistics()
    assert statistics.queued_bytes == statistics.flows == 0
    return trace, rest, attrs.asdict(statistics)
