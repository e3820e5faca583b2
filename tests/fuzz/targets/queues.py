"""What packets of strangers do to the check of their sources, and to the queue before a link."""

from __future__ import annotations

import attrs

from tests.fuzz.builds import Build
from tests.fuzz.draw import Draw
from tests.fuzz.packets import draw_frames, frame, walk

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


def source_filter(build: Build, draw: Draw) -> object:
    """What passes is, in order, every packet with a source that may, and nothing else."""
    verdicts = [draw.byte() % 3 for _ in range(4)]
    asked: list[bytes] = []

    def judge(source: bytes) -> int:
        asked.append(source)
        return verdicts[sum(source) % len(verdicts)]

    module = build["forwarding.source_filter"]
    found = module.SourceFilter(judge)
    trace: list[object] = []
    generation = 0
    while not draw.exhausted:
        sequences = draw.byte() % 3
        generation += draw.flag()
        sound = draw_frames(draw, 2)
        data = bytearray(sound + draw.piece())
        kept = found.sift_untrusted(data, sequences, generation)
        passed = bytes(data[:kept])
        trace.append((passed, found.spoofed, found.martian, found.refused))
        expected = b""
        for command, sequence, payload in walk(sound):
            if build["frames.ip"].is_well_formed(payload, 0, len(payload)):
                source = payload[12:16] if payload[0] >> 4 == 4 else payload[8:24]
                if verdicts[sum(source) % len(verdicts)] == module.OWN:
                    expected += frame(command, payload, sequence)
        assert passed.startswith(expected)
        for _, _, payload in walk(passed):
            assert build["frames.ip"].is_well_formed(payload, 0, len(payload))
    return trace, asked
