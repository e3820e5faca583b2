"""What packets of strangers do to checks of them, and to the queue before a link."""

from __future__ import annotations

import struct
from ipaddress import IPv4Network
from typing import Any

import attrs

from tests.fuzz.builds import Build
from tests.fuzz.draw import Draw
from tests.fuzz.packets import draw_frames, frame, sound_packet, walk

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


def _policy_rules(build: Build, draw: Draw) -> Any:
    module = build["forwarding.policy.rules"]
    parties = ((), ("a",), ("b",), (IPv4Network("10.0.0.0/8"),), ("a", IPv4Network("10.1.0.0/16")))
    protocols: tuple[frozenset[int], ...] = (
        frozenset(),
        frozenset({6}),
        frozenset({17}),
        frozenset({1, 58}),
    )
    rules = []
    for number in range(draw.byte() % 4):
        protocol = draw.of(protocols)
        ports = ((443, 443),) if protocol in protocols[1:3] and draw.flag() else ()
        allows, origins, targets = draw.flag(), draw.of(parties), draw.of(parties)
        rules.append(module.Rule(f"rule {number}", allows, origins, targets, protocol, ports))
    return module.Policy(tuple(rules), draw.flag(), 64)


def _bent(draw: Draw, packet: bytes) -> bytes:
    """Make an answer of a packet, an error about it, or a fragment."""
    six = packet[0] >> 4 == 6
    start, size = (8, 16) if six else (12, 4)
    ports = 40 if six else 20
    source, destination = packet[start : start + size], packet[start + size : start + 2 * size]
    match draw.byte() % 6:
        case 0:
            turned = packet[:start] + destination + source + packet[start + 2 * size : ports]
            first, second = packet[ports : ports + 2], packet[ports + 2 : ports + 4]
            return turned + second + first + packet[ports + 4 :]
        case 1:
            body = bytes((1 if six else 3, 0, 0, 0, 0, 0, 0, 0)) + packet[: draw.byte()]
            if six:
                head = struct.pack("!IHBB", 6 << 28, len(body), 58, 64)
            else:
                head = struct.pack("!BBHIBBH", 0x45, 0, 20 + len(body), 0, 64, 1, 0)
            return head + destination + source + body
        case 2 if six:
            extension = struct.pack("!BBHI", packet[6], 0, draw.of((0, 1, 8, 9, 16)), 7)
            length = struct.pack("!H", len(packet) - 40 + 8)
            return packet[:4] + length + b"\x2c" + packet[7:40] + extension + packet[40:]
        case 2:
            fields = struct.pack("!HH", 7, draw.of((0x2000, 0, 1, 2, 0x2002)))
            return packet[:4] + fields + packet[8:]
        case _:
            return packet


def _whole_frames(data: bytes) -> list[bytes]:
    """Cut data into frames, up to the first that is none."""
    found, at = [], 0
    while len(data) - at >= 8:
        size = data[at] << 8 | data[at + 1]
        if not 8 <= size <= len(data) - at:
            break
        found.append(data[at : at + size])
        at += size
    return found


def policy(build: Build, draw: Draw) -> object:
    """What passes are, in order, some of the packets that came; the others are counted."""
    guard = build["forwarding.policy.guard"].PolicyGuard(
        _policy_rules(build, draw), seed=5, resume_until=float(draw.byte())
    )
    now = 0.0
    trace: list[object] = []
    while not draw.exhausted:
        now += draw.of((0.0, 1.0, 61.0, 1000.0))
        if draw.byte() % 16 == 0:
            guard.change(_policy_rules(build, draw))
        packets = [_bent(draw, sound_packet(draw)) for _ in range(draw.byte() % 8)]
        data = b"".join(frame(2, packet) for packet in packets) + draw.piece()
        came = _whole_frames(data)
        run = build["frames.codec"].FrameRun(
            2, 0, 4, b"", memoryview(bytearray(data)), len(came), 0
        )
        before = sum(each.denials for each in guard.counts())
        origin, target = draw.of((("a", "b"), ("b", "a"), ("", "a"), ("a", "")))
        denied = guard.keep_allowed(run, None, origin, target, now)
        assert sum(each.denials for each in guard.counts()) - before == denied
        if denied:
            passed = _whole_frames(bytes(run.data))
            assert sum(map(len, passed)) == len(run.data)
            assert len(came) - len(passed) == denied
            rest = iter(came)
            assert all(each in rest for each in passed)
            trace.append(str(guard.last_denial()))
        else:
            assert bytes(run.data) == data
        flows = guard.flows_in_use(now)
        assert flows <= 64
        trace.append((bytes(run.data), [attrs.astuple(each) for each in guard.counts()], flows))
    return trace
