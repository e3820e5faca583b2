"""Packets come out in order within a bucket, once, and nothing waits for what will not come."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable

from polevpn_trio.kcp.datagram import flow_order
from polevpn_trio.kcp.datagram.flow_order import FlowOrder


def packet(bucket: int, number: int) -> bytes:
    return struct.pack("!BI", bucket, number) + bytes(number % 40)


def numbers(order: FlowOrder) -> list[tuple[int, int]]:
    frames = order.receive()
    found = []
    at = 0
    while at < len(frames):
        size, command, sequence = struct.unpack_from("!HHI", frames, at)
        assert (command, sequence) == (3, 0)
        bucket, number = struct.unpack_from("!BI", frames, at + 8)
        assert frames[at + 8 : at + size] == packet(bucket, number)
        found.append((bucket, number))
        at += size
    return found


def add(order: FlowOrder, bucket: int, number: int, now: float = 0.0) -> None:
    body = b"??" + packet(bucket, number)
    order.add(bucket, number & 0xFFFF, body, 2, len(body) - 2, now)


def skip(order: FlowOrder, bucket: int, number: int, now: float = 0.0) -> None:
    order.add(bucket, number & 0xFFFF, b"x", 0, 0, now)


def make() -> FlowOrder:
    return FlowOrder(3, 100)


def test_any_order_of_arrival_gives_the_order_of_sending(seeds: Callable[[int], range]) -> None:
    for seed in seeds(500):
        chance = random.Random(seed)
        order = make()
        most = chance.choice([3, 40, 300])
        start = 0
        for _ in range(chance.choice([1, 5])):
            sent = [(chance.randrange(4), None) for _ in range(most)]
            counters = [start] * 4
            todo = []
            for bucket, _ in sent:
                todo.append((bucket, counters[bucket]))
                counters[bucket] += 1
            # Every bucket ends at the same number, so that the next round can begin there.
            for bucket in range(4):
                while counters[bucket] < start + most:
                    todo.append((bucket, counters[bucket]))
                    counters[bucket] += 1
            lost = {item for item in todo if chance.random() < chance.choice([0, 0.1])}
            arrivals = todo + chance.choices(todo, k=len(todo) // 10)
            chance.shuffle(arrivals)
            got = []
            for bucket, number in arrivals:
                if (bucket, number) in lost:
                    skip(order, bucket, number)
                else:
                    add(order, bucket, number)
                if chance.random() < 0.3:
                    got += numbers(order)
            got += numbers(order)
            for bucket in range(4):
                mine = [number for owner, number in got if owner == bucket]
                expected = [n for b, n in sorted(todo) if b == bucket and (b, n) not in lost]
                assert mine == expected, f"seed {seed}"
            assert order.held == 0
            assert order.next_timeout() == math.inf
            start += most


def test_sequence_numbers_wrap() -> None:
    order = make()
    for number in range(3 * 65536):
        add(order, 5, number)
        if number % 1000 == 0:
            numbers(order)
    numbers(order)
    assert order.packets == 3 * 65536
    assert order.late == order.duplicates == 0


def test_a_gap_holds_up_its_own_bucket_alone() -> None:
    order = make()
    add(order, 1, 1)
    add(order, 2, 0)
    assert numbers(order) == [(2, 0)]
    add(order, 1, 0)
    assert numbers(order) == [(1, 0), (1, 1)]


def test_a_gap_without_word_is_given_up_in_the_end() -> None:
    order = make()
    add(order, 1, 2, now=10.0)
    add(order, 1, 4, now=11.0)
    due = order.next_timeout()
    assert due == 10.0 + flow_order.PATIENCE
    order.release_overdue(due - 0.1)
    assert numbers(order) == []
    order.release_overdue(due)
    assert numbers(order) == [(1, 2)]
    assert order.next_timeout() == due + flow_order.PATIENCE
    order.release_overdue(due + flow_order.PATIENCE)
    assert numbers(order) == [(1, 4)]
    assert order.next_timeout() == math.inf
    assert order.abandoned == 2
    add(order, 1, 1)
    assert order.late == 1


def test_a_bucket_may_run_ahead_only_so_far() -> None:
    order = make()
    for number in range(1, 100):
        add(order, 1, number)
    add(order, 1, flow_order.REACH + 50)
    assert numbers(order) == [(1, number) for number in range(1, 100)]
    assert order.held == 1


def test_too_many_held_packets_make_their_bucket_go_on() -> None:
    order = make()
    for number in range(1, flow_order.HELD_LIMIT + 1):
        add(order, 1, number)
    assert (order.held, order.packets) == (flow_order.HELD_LIMIT, 0)
    add(order, 2, 7)
    assert order.held == flow_order.HELD_LIMIT
    assert numbers(order) == [(2, 7)]
    add(order, 1, flow_order.HELD_LIMIT + 1)
    assert order.held == 0
    assert len(numbers(order)) == flow_order.HELD_LIMIT + 1


def test_unordered_packets_come_at_once_and_once() -> None:
    order = make()

    def send(number: int) -> None:
        body = packet(0, number)
        order.add_unordered(number & 0xFFFF, body, 0, len(body))

    for number in [0, 5, 3, 5, 0, 4, 3]:
        send(number)
    assert [number for _, number in numbers(order)] == [0, 5, 3, 4]
    assert order.duplicates == 3
    for number in range(6, 200_000, 3):
        send(number)
        send(number)
    assert len(numbers(order)) == len(range(6, 200_000, 3))
    send(200_000 - flow_order.REMEMBERED - 10)
    assert order.late == 1


def test_memory_is_given_back() -> None:
    order = make()
    for number in range(1, 1000):
        add(order, 1, number)
    add(order, 1, 0)
    numbers(order)
    order.shrink()
    add(order, 1, 1001)
    add(order, 1, 1000)
    assert numbers(order) == [(1, 1000), (1, 1001)]
