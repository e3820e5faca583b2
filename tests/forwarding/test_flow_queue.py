"""forwarding/flow_queue: fair, short, bounded, and as RFC 8290 has it."""

from __future__ import annotations

import math
import random
import struct
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.forwarding.flow_queue import FLOWS, IDLE_SHRINK, INTERVAL, TARGET, FlowQueue
from polevpn_trio.frames.flow_hash import FlowHash

HEADER = 8
BLOCK = 512
QUANTUM = 1514
ECT, CE = 2, 3
SEED = 11


def checksum(header: bytes) -> int:
    total: int = sum(word for (word,) in struct.iter_unpack("!H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def make_frame(
    flow: int, size: int = 1400, number: int = 0, version: int = 4, ecn: int = 0
) -> bytes:
    """Build a frame around a UDP packet of ``size`` bytes; ``number`` is in its payload."""
    rest = size - (28 if version == 4 else 48)
    udp = struct.pack("!HHHH", 1024 + flow, 4000, 8 + rest, 0)
    udp += number.to_bytes(4, "big") + bytes(rest - 4)
    if version == 4:
        ip = struct.pack("!BBHIBBHII", 0x45, ecn, size, 0, 64, 17, 0, 0x0A000001, 0x0A000101)
        ip = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:]
    else:
        ip = struct.pack("!IHBB32x", 6 << 28 | ecn << 20, len(udp), 17, 64)
    return struct.pack("!HHI", HEADER + size, 3, 0) + ip + udp


def flow_of(frame: bytes) -> int:
    return int.from_bytes(frame[28:30], "big") - 1024


def number_of(frame: bytes) -> int:
    return int.from_bytes(frame[36:40], "big")


def bucket_of(frame: bytes, seed: int) -> int:
    return FlowHash(seed).of_packet(frame, HEADER, len(frame) - HEADER) % FLOWS


def split(data: bytes | bytearray | memoryview) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        yield bytes(data[at : at + size])
        at += size


def drain(queue: FlowQueue, now: float = 0.0, most_bytes: int = 1 << 24) -> list[bytes]:
    batch = queue.dequeue_batch(most_bytes, now)
    frames = list(split(batch.data))
    assert len(frames) == batch.packets
    return frames


def accounts_hold(queue: FlowQueue) -> bool:
    seen = queue.statistics()
    gone = seen.dequeued + seen.dropped_full + seen.dropped_codel
    return seen.enqueued == gone + seen.queued


# --- Packets go through ------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [60, 503, 504, 505, 1016, 1400, 9000, 65527])
def test_a_frame_comes_out_as_it_went_in(size: int, version: int) -> None:
    queue = FlowQueue(SEED)
    chance = random.Random(size)
    frame = make_frame(1, size, version=version)
    frame = frame[:64] + chance.randbytes(len(frame) - 64)
    assert queue.enqueue_batch(frame, 0.0) == 1
    assert drain(queue) == [frame]
    assert drain(queue) == []


def test_an_empty_queue_gives_an_empty_batch() -> None:
    batch = FlowQueue(SEED).dequeue_batch(1000, 0.0)
    assert (bytes(batch.data), batch.packets) == (b"", 0)


def test_a_flow_keeps_its_order() -> None:
    queue = FlowQueue(SEED)
    frames = [make_frame(1, 100 + number, number) for number in range(200)]
    queue.enqueue_batch(b"".join(frames[:50]), 0.0)
    queue.enqueue_batch(b"".join(frames[50:]), 0.0)
    assert drain(queue) == frames


def test_a_batch_holds_no_more_bytes_than_asked_for() -> None:
    queue = FlowQueue(SEED)
    queue.enqueue_batch(b"".join(make_frame(flow, 92) for flow in range(10)), 0.0)
    assert len(drain(queue, most_bytes=350)) == 3
    assert len(drain(queue, most_bytes=300)) == 3
    assert len(drain(queue, most_bytes=299)) == 2
    assert len(drain(queue, most_bytes=100)) == 1


def test_a_frame_larger_than_asked_for_comes_alone() -> None:
    queue = FlowQueue(SEED)
    queue.enqueue_batch(make_frame(1) + make_frame(1), 0.0)
    assert len(drain(queue, most_bytes=1)) == 1
    assert len(drain(queue, most_bytes=1)) == 1


def test_a_batch_stays_what_it_was() -> None:
    queue = FlowQueue(SEED)
    queue.enqueue_batch(make_frame(1, number=1), 0.0)
    first = queue.dequeue_batch(9999, 0.0).data
    kept = bytes(first)
    queue.enqueue_batch(make_frame(1, number=2), 0.0)
    queue.dequeue_batch(9999, 0.0)
    assert first == kept


def test_frames_without_a_packet_pass_too() -> None:
    queue = FlowQueue(SEED)
    frames = [struct.pack("!HHI", 8, 4, 77), struct.pack("!HHI", 13, 9, 1) + b"hello"]
    assert queue.enqueue_batch(b"".join(frames), 0.0) == 2
    assert drain(queue) == frames


def test_a_rest_that_is_no_frame_is_counted() -> None:
    queue = FlowQueue(SEED)
    frame = make_frame(1)
    for rest in (b"\0", frame[:-1], b"\0\7" + bytes(20)):
        assert queue.enqueue_batch(frame + rest, 0.0) == 1
    assert queue.statistics().malformed == 3
    assert drain(queue) == [frame] * 3


@given(st.lists(st.binary(max_size=80)), st.integers(0, 200))
def test_any_bytes_go_through_or_are_counted(payloads: list[bytes], cut: int) -> None:
    data = b"".join(struct.pack("!HHI", 8 + len(each), 2, 0) + each for each in payloads)
    data = data[: max(0, len(data) - cut)]
    queue = FlowQueue(SEED)
    taken = queue.enqueue_batch(data, 0.0)
    got = drain(queue)
    assert len(got) == taken
    assert sum(map(len, got)) + (0 if not queue.statistics().malformed else 1) <= len(data)
    assert accounts_hold(queue)


# --- Fairness ----------------------------------------------------------------------------


def test_a_sparse_flow_goes_ahead_of_bulk() -> None:
    queue = FlowQueue(SEED)
    queue.enqueue_batch(make_frame(1) * 500, 0.0)
    drain(queue, most_bytes=20_000)
    queue.enqueue_batch(make_frame(2, 84), 0.0)
    assert flow_of(drain(queue, most_bytes=1)[0]) == 2


def test_a_flow_that_sends_on_does_not_stay_ahead() -> None:
    queue = FlowQueue(SEED)
    queue.enqueue_batch(make_frame(1) * 100, 0.0)
    drain(queue, most_bytes=5_000)
    order = []
    for _ in range(100):
        # Refilled before each turn: its queue never is seen empty.
        queue.enqueue_batch(make_frame(2, 700), 0.0)
        order += [flow_of(frame) for frame in drain(queue, most_bytes=1)]
    assert 25 <= order.count(1) <= 40


def test_a_flow_that_empties_passes_through_the_old_ones_first() -> None:
    queue = FlowQueue(SEED)
    queue.enqueue_batch(make_frame(1) * 100, 0.0)
    drain(queue, most_bytes=5_000)
    order = []
    for _ in range(20):
        queue.enqueue_batch(make_frame(2, 84), 0.0)
        order += [flow_of(frame) for frame in drain(queue, most_bytes=3_000)]
    # One packet each time, and flow 1 is never passed over twice.
    assert order.count(2) == 20
    assert order.count(1) >= 20


@pytest.mark.parametrize("sizes", [(1400, 1400), (1400, 100), (100, 1400, 700)])
def test_flows_share_by_bytes(sizes: tuple[int, ...]) -> None:
    queue = FlowQueue(SEED, target=50, interval=100)
    for flow, size in enumerate(sizes):
        queue.enqueue_batch(make_frame(flow, size) * (300_000 // size), 0.0)
    got = dict.fromkeys(range(len(sizes)), 0)
    for frame in drain(queue, most_bytes=200_000):
        got[flow_of(frame)] += len(frame)
    assert max(got.values()) - min(got.values()) <= 2 * QUANTUM + 1400


def test_a_super_packet_waits_for_its_turns() -> None:
    queue = FlowQueue(SEED, target=50, interval=100)
    queue.enqueue_batch(make_frame(1, 60_000) * 4 + make_frame(2) * 150, 0.0)
    got = [flow_of(frame) for frame in drain(queue, most_bytes=250_000)]
    assert 1 <= got.count(1) <= 3
    assert got.count(2) >= 60


# --- Memory ------------------------------------------------------------------------------


def test_the_fattest_flow_pays_when_memory_is_full() -> None:
    queue = FlowQueue(SEED, limit_bytes=100 * BLOCK)
    queue.enqueue_batch(b"".join(make_frame(2, 100, number) for number in range(20)), 0.0)
    queue.enqueue_batch(b"".join(make_frame(1, 100, number) for number in range(200)), 0.0)
    seen = queue.statistics()
    assert seen.dropped_full == 120
    assert seen.memory == 100 * BLOCK
    got = drain(queue)
    assert [number_of(frame) for frame in got if flow_of(frame) == 2] == list(range(20))
    # The oldest went.
    assert [number_of(frame) for frame in got if flow_of(frame) == 1] == list(range(120, 200))


def test_a_small_flow_may_come_into_a_full_queue() -> None:
    queue = FlowQueue(SEED, limit_bytes=30 * BLOCK)
    queue.enqueue_batch(make_frame(1) * 50, 0.0)
    queue.enqueue_batch(make_frame(2, 84), 0.0)
    assert flow_of(drain(queue, most_bytes=1)[0]) == 1
    assert flow_of(drain(queue, most_bytes=2000)[0]) in (1, 2)
    assert sum(flow_of(frame) == 2 for frame in drain(queue)) <= 1
    assert accounts_hold(queue)


def test_a_frame_larger_than_the_queue_is_counted() -> None:
    queue = FlowQueue(SEED, limit_bytes=4 * BLOCK)
    queue.enqueue_batch(make_frame(1, 100) + make_frame(1, 3000) + make_frame(1, 100), 0.0)
    assert queue.statistics().oversize == 1
    assert len(drain(queue)) == 2


def test_memory_comes_with_packets_and_goes_when_idle() -> None:
    queue = FlowQueue(SEED)
    assert queue.statistics().memory == 0
    queue.enqueue_batch(make_frame(1) * 1000, 0.0)
    assert queue.statistics().memory >= 1000 * 1408
    queue.release_idle(100.0)
    assert queue.statistics().memory >= 1000 * 1408
    left = len(drain(queue, 100.0))
    queue.release_idle(100.0 + IDLE_SHRINK / 2)
    assert queue.statistics().memory > 0
    queue.release_idle(100.0 + IDLE_SHRINK)
    assert queue.statistics().memory == 0
    queue.enqueue_batch(make_frame(1) * 10, 200.0)
    assert len(drain(queue, 200.0)) == 10
    assert left == 1000


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit_bytes": 100},
        {"flows": 0},
        {"flows": 100},
        {"flows": 1 << 17},
        {"quantum": 1},
        {"target": 0.0},
        {"target": 1.0, "interval": 0.1},
        {"interval": math.inf},
    ],
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"not|must"):
        FlowQueue(SEED, **wrong)  # type: ignore[arg-type] # some are wrong on purpose


# --- CoDel -------------------------------------------------------------------------------


def run_overload(queue: FlowQueue, seconds: float, ecn: int = 0, version: int = 4) -> list[bytes]:
    """Send 200 packets a second into a link that takes 100."""
    got = []
    for step in range(int(seconds * 100)):
        now = step / 100
        queue.enqueue_batch(make_frame(1, version=version, ecn=ecn) * 2, now)
        got += drain(queue, now, most_bytes=1)
    return got


def test_a_standing_queue_loses_packets_ever_more_often() -> None:
    queue = FlowQueue(SEED)
    drops = []
    for step in range(400):
        now = step / 100
        queue.enqueue_batch(make_frame(1) * 2, now)
        drain(queue, now, most_bytes=1)
        drops.append(queue.statistics().dropped_codel)
    assert drops[int(INTERVAL * 100) - 1] == 0
    assert drops[15] == 1
    # RFC 8289: the n-th gap is interval / sqrt(n), so drops grow with the square of time.
    assert drops[100] == pytest.approx((0.9 / INTERVAL / 2) ** 2, rel=0.3)
    assert drops[200] == pytest.approx((1.9 / INTERVAL / 2) ** 2, rel=0.2)


def test_a_burst_shorter_than_the_interval_stays_whole() -> None:
    queue = FlowQueue(SEED)
    queue.enqueue_batch(make_frame(1) * 60, 0.0)
    got = [frame for step in range(60) for frame in drain(queue, step * 0.0016, most_bytes=1)]
    assert len(got) == 60


def test_a_queue_below_the_target_stays_whole_for_ever() -> None:
    queue = FlowQueue(SEED)
    for step in range(2000):
        now = step * 0.001
        queue.enqueue_batch(make_frame(1), now)
        if step >= 4:
            assert len(drain(queue, now, most_bytes=1)) == 1
    assert queue.statistics().dropped_codel == 0
    assert queue.statistics().delay == pytest.approx(0.004)


def test_a_flow_with_a_packet_at_a_time_loses_none_however_slow_the_link() -> None:
    queue = FlowQueue(SEED)
    for step in range(100):
        size = 84 if step % 2 else 60_000
        queue.enqueue_batch(make_frame(1, size, step), float(step))
        assert [number_of(frame) for frame in drain(queue, step + 0.9)] == [step]


def test_only_the_flow_that_stands_loses() -> None:
    queue = FlowQueue(SEED)
    lost = 0
    for step in range(1000):
        now = step / 100
        queue.enqueue_batch(make_frame(1) * 2, now)
        if step % 5 == 0:
            queue.enqueue_batch(make_frame(2, 84), now)
            lost += 1
        lost -= sum(flow_of(frame) == 2 for frame in drain(queue, now, most_bytes=1600))
    assert queue.statistics().dropped_codel > 100
    assert lost == 0


def test_the_target_can_be_tuned_to_a_slow_link() -> None:
    queue = FlowQueue(SEED)
    queue.tune(0.05, 0.2)
    # Three packets stand for 30 ms, which is little at ten milliseconds each.
    for step in range(500):
        queue.enqueue_batch(make_frame(1), step / 100)
        if step >= 3:
            drain(queue, step / 100, most_bytes=1)
    assert queue.statistics().dropped_codel == 0


@pytest.mark.parametrize(
    ("rtt", "delay", "stays_whole"),
    [
        (0.0, 0.02, False),
        (0.0003, 0.02, False),
        (0.05, 0.02, True),
        (0.05, 0.04, False),
        (0.3, 0.05, True),
        (0.3, 0.08, False),
    ],
)
def test_the_longer_the_path_the_longer_a_flow_may_stand(
    rtt: float, delay: float, stays_whole: bool
) -> None:
    queue = FlowQueue(SEED)
    queue.follow_path(rtt)
    for step in range(3000):
        now = step / 1000
        queue.enqueue_batch(make_frame(1), now)
        if now > delay:
            queue.dequeue_batch(1500, now)
    assert (queue.statistics().dropped_codel == 0) == stays_whole


def test_a_sender_has_time_to_answer_a_loss_before_the_next() -> None:
    queue = FlowQueue(SEED)
    rtt, stands = 0.05, 0.1
    queue.follow_path(rtt)
    drops = list[float]()
    for step in range(6000):
        now = step / 1000
        # As much as makes the packets wait for that long, whatever was dropped.
        while queue.queued < stands * 1000:
            queue.enqueue_batch(make_frame(1), now)
        before = queue.statistics().dropped_codel
        queue.dequeue_batch(1500, now)
        drops += [now] * (queue.statistics().dropped_codel - before)
    gaps = [later - earlier for earlier, later in pairwise(drops)]
    assert len(gaps) > 20
    assert min(gaps[:7]) > 2 * (rtt + 0.9 * stands)
    # One that has not answered by then does not: RFC 8289.
    assert max(gaps[8:20]) < 3 * rtt / 2


@pytest.mark.parametrize("version", [4, 6])
def test_packets_that_bear_a_mark_are_marked_not_dropped(version: int) -> None:
    queue = FlowQueue(SEED)
    got = run_overload(queue, 2.0, ECT, version)
    seen = queue.statistics()
    assert seen.dropped_codel == 0
    marked = [frame for frame in got if frame != make_frame(1, version=version, ecn=ECT)]
    assert len(marked) == seen.marked > 20
    # The whole difference is the codepoint, and a checksum that holds.
    assert set(marked) == {make_frame(1, version=version, ecn=CE)}


def test_without_ecn_or_without_consent_packets_are_dropped() -> None:
    plain = FlowQueue(SEED)
    run_overload(plain, 2.0, ecn=0)
    strict = FlowQueue(SEED, ecn=False)
    run_overload(strict, 2.0, ECT)
    assert plain.statistics().dropped_codel == strict.statistics().dropped_codel > 20
    assert plain.statistics().marked == strict.statistics().marked == 0


# --- Against the RFC's own words ---------------------------------------------------------


@attrs.define
class SlowFlow:
    """A flow as RFC 8289's pseudocode keeps it."""

    packets: deque[tuple[bytes, float]] = attrs.field(factory=deque)
    size: int = 0
    deficit: int = 0
    first_above: float = 0.0
    drop_next: float = 0.0
    count: int = 0
    last_count: int = 0
    dropping: bool = False


class SlowFlowQueue:
    """RFC 8290 and 8289 with deques and objects, no memory limit and no ECN."""

    def __init__(self, seed: int, flows: int) -> None:
        self.hash = FlowHash(seed)
        self.flows = [SlowFlow() for _ in range(flows)]
        self.new: deque[SlowFlow] = deque()
        self.old: deque[SlowFlow] = deque()
        self.drops = 0

    def enqueue(self, frame: bytes, now: float) -> None:
        flow = self.flows[self.hash.of_packet(frame, 8, len(frame) - 8) % len(self.flows)]
        flow.packets.append((frame, now))
        flow.size += len(frame)
        if not any(flow is other for other in (*self.new, *self.old)):
            flow.deficit = QUANTUM
            self.new.append(flow)

    def ok_to_drop(self, flow: SlowFlow, now: float) -> bool:
        few = flow.size <= QUANTUM or len(flow.packets) == 1
        if few or now - flow.packets[0][1] < TARGET:
            flow.first_above = 0.0
        elif flow.first_above == 0.0:
            flow.first_above = now + INTERVAL
        else:
            return now >= flow.first_above
        return False

    def drop(self, flow: SlowFlow) -> None:
        self.take(flow)
        self.drops += 1

    def take(self, flow: SlowFlow) -> bytes:
        frame, _ = flow.packets.popleft()
        flow.size -= len(frame)
        return frame

    def codel(self, flow: SlowFlow, now: float) -> None:
        ok = self.ok_to_drop(flow, now)
        if flow.dropping:
            if not ok:
                flow.dropping = False
            while flow.dropping and now >= flow.drop_next:
                self.drop(flow)
                flow.count += 1
                if self.ok_to_drop(flow, now):
                    flow.drop_next += INTERVAL / math.sqrt(flow.count)
                else:
                    flow.dropping = False
        elif ok:
            self.drop(flow)
            self.ok_to_drop(flow, now)
            flow.dropping = True
            delta = flow.count - flow.last_count
            recent = now - flow.drop_next < 16 * INTERVAL
            flow.count = delta if delta > 1 and recent else 1
            flow.last_count = flow.count
            flow.drop_next = now + INTERVAL / math.sqrt(flow.count)

    def dequeue(self, most_bytes: int, now: float) -> list[bytes]:
        got: list[bytes] = []
        while self.new or self.old:
            turns = self.new or self.old
            flow = turns[0]
            if flow.deficit <= 0:
                flow.deficit += QUANTUM
                self.old.append(turns.popleft())
                continue
            self.codel(flow, now)
            if not flow.packets:
                was_new = turns is self.new
                turns.popleft()
                if was_new and self.old:
                    self.old.append(flow)
                continue
            frame = flow.packets[0][0]
            if got and sum(map(len, got)) + len(frame) > most_bytes:
                break
            flow.deficit -= len(frame)
            got.append(self.take(flow))
        return got


def test_it_does_what_the_rfc_says(seeds: Callable[[int], range]) -> None:
    for seed in seeds(300):
        chance = random.Random(seed)
        flows = chance.choice([1, 4, 64])
        queue = FlowQueue(seed, flows=flows, limit_bytes=1 << 24)
        slow = SlowFlowQueue(seed, flows)
        load = chance.choice([0.5, 1.0, 1.3, 3.0])
        now = 1.0
        number = 0
        for _ in range(chance.choice([50, 300])):
            now += chance.choice([0.0, 0.001, 0.01, 0.01, 0.01, 0.15])
            frames = []
            for _ in range(int(chance.expovariate(1) * load * 8)):
                number += 1
                size = chance.choice([60, 300, 1400, 1400, 4000])
                frames.append(make_frame(chance.choice([0, 0, 0, 1, 2, number]), size, number))
            queue.enqueue_batch(b"".join(frames), now)
            for frame in frames:
                slow.enqueue(frame, now)
            most = chance.choice([1, 3000, 12_000])
            assert drain(queue, now, most) == slow.dequeue(most, now), f"seed {seed}"
            assert queue.statistics().dropped_codel == slow.drops, f"seed {seed}"
        assert accounts_hold(queue)


def test_under_any_load_nothing_is_lost_uncounted(seeds: Callable[[int], range]) -> None:
    for seed in seeds(300):
        chance = random.Random(seed)
        limit = chance.choice([4, 9, 40, 200])
        queue = FlowQueue(seed, limit_bytes=limit * BLOCK, flows=chance.choice([1, 16, 1024]))
        latest: dict[int, int] = {}
        waiting: dict[int, int] = {}
        now = 0.0
        number = 0
        for _ in range(200):
            now += chance.choice([0.0, 0.001, 0.03])
            for _ in range(chance.randrange(6)):
                number += 1
                flow = chance.randrange(5)
                size = chance.choice([60, 400, 1400, 2500])
                if HEADER + size <= limit * BLOCK:
                    waiting[flow] = waiting.get(flow, 0) + 1
                queue.enqueue_batch(
                    make_frame(flow, size, number, ecn=chance.choice([0, ECT])), now
                )
            for frame in drain(queue, now, chance.choice([1, 1500, 6000])):
                flow = flow_of(frame)
                assert number_of(frame) > latest.get(flow, 0), f"seed {seed}"
                latest[flow] = number_of(frame)
                waiting[flow] -= 1
            seen = queue.statistics()
            assert accounts_hold(queue), f"seed {seed}"
            assert seen.queued_bytes <= seen.memory <= limit * BLOCK
            assert seen.queued == queue.queued
            assert seen.queued_bytes == queue.queued_bytes
        dropped = queue.statistics().dropped_full + queue.statistics().dropped_codel
        assert sum(waiting.values()) == dropped + queue.queued, f"seed {seed}"
        drain(queue, now)
        assert (queue.queued, queue.queued_bytes, queue.statistics().flows) == (0, 0, 0)


def test_a_ping_beside_a_greedy_sender_waits_for_a_packet_or_two(
    seeds: Callable[[int], range],
) -> None:
    """A window-limited flow that halves on loss, and pings, through 1,000 packets a second."""
    for seed in seeds(20):
        if bucket_of(make_frame(1), seed) == bucket_of(make_frame(2), seed):
            continue
        chance = random.Random(seed)
        queue = FlowQueue(seed)
        window, in_flight, acked = 50.0, 0, 0
        returns: deque[tuple[int, int]] = deque()
        waits = []
        pings: dict[int, int] = {}
        for tick in range(8000):
            now = tick / 1000
            while returns and returns[0][0] <= tick:
                acked += 1
                in_flight -= 1
                window += 1 / window
                returns.popleft()
            while in_flight < int(window):
                queue.enqueue_batch(make_frame(1), now)
                in_flight += 1
            if chance.random() < 0.02:
                pings[tick] = tick
                queue.enqueue_batch(make_frame(2, 84, tick), now)
            before = queue.statistics().dropped_codel
            for frame in drain(queue, now, 1500):
                if flow_of(frame) == 1:
                    returns.append((tick + 50, 1))
                else:
                    waits.append(tick - pings.pop(number_of(frame)))
            lost = queue.statistics().dropped_codel - before
            if lost:
                in_flight -= lost
                window = max(2.0, window / 2)
        assert acked > 6400, f"seed {seed}"
        assert max(waits) <= 2, f"seed {seed}"
        assert len(pings) <= 1
