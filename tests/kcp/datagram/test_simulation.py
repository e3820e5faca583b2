"""Two conversations over a seeded bad network, in virtual time.

The network loses, delays, reorders and duplicates datagrams, and cuts or damages some as the
layer below might let through. Each packet says who it is, so that order, loss and repetition
show.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import struct
from array import array
from collections import defaultdict
from collections.abc import Callable

import attrs
import pytest

from polevpn_trio.batch import FrameBatch
from polevpn_trio.kcp.congestion.base import CongestionControl
from polevpn_trio.kcp.congestion.bbr import Bbr
from polevpn_trio.kcp.datagram.conversation import DatagramConversation

FRAME = struct.Struct("!HHI")
TCP, UDP = 6, 17


@attrs.frozen
class Weather:
    """What the network does to datagrams; times in seconds, the rest as shares."""

    loss: float
    duplication: float
    damage: float
    delay: float
    jitter: float

    @classmethod
    def of(cls, chance: random.Random) -> Weather:
        delay = chance.choice([0.0002, 0.005, 0.03, 0.15])
        return cls(
            loss=chance.choice([0.0, 0.01, 0.05, 0.15, 0.3]),
            duplication=chance.choice([0.0, 0.02, 0.1]),
            damage=chance.choice([0.0, 0.0, 0.03]),
            delay=delay,
            jitter=chance.choice([0.0, 0.1, 1.0, 3.0]) * delay,
        )


def packet(protocol: int, flow: int, number: int, size: int) -> bytes:
    body = struct.pack("!HHIIBB", 1000 + flow, 80, number, 0, 0x50, 0x10).ljust(size - 20, b"\0")
    addresses = b"\x0a\0\0\1\x0a\0\0\2"
    return (
        struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0) + addresses + body
    )


def read(frame: bytes) -> tuple[int, int, int]:
    """Give protocol, flow and number of the packet in a frame."""
    flow, _, number = struct.unpack_from("!HHI", frame, 28)
    return frame[17], flow - 1000, number


class End:
    """One conversation, what it is to send, and what it got."""

    def __init__(self, chance: random.Random, window: int) -> None:
        self.todo: list[bytes] = []
        counters: defaultdict[tuple[int, int], int] = defaultdict(int)
        for _ in range(chance.choice([0, 1, 20, 200])):
            kind = (chance.choice([TCP, TCP, UDP]), chance.randrange(3))
            # A TCP segment without payload would be free to overtake.
            size = chance.choice([41, 60, 200, 200])
            self.todo.append(packet(*kind, counters[kind], size))
            counters[kind] += 1
        self.sent = list(self.todo)
        self.got: list[tuple[int, int, int]] = []
        self.timer = math.inf
        control = (
            CongestionControl()
            if chance.random() < 0.3
            else Bbr(400, random.Random(chance.random()))
        )
        self.conversation = DatagramConversation(
            self, control, 3, mtu=chance.choice([300, 700]), send_window=window
        )
        self.ready = 0

    def dequeue_batch(self, most_bytes: int, now: float) -> FrameBatch:
        frames = b""
        while self.ready and len(frames) < most_bytes:
            body = self.todo.pop(0)
            frames += FRAME.pack(8 + len(body), 3, 0) + body
            self.ready -= 1
        return FrameBatch(frames, 1)


class World:
    """Runs two ends until nothing happens any more."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.weather = Weather.of(chance)
        self.now = chance.choice([0.0, 1.0, 1e6, 1023.9])
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.windows = [chance.choice([1, 2, 8, 64, 512]) for _ in range(2)]
        self.ends = [End(chance, window) for window in self.windows]
        self.outage = (0.0, 0.0)

    def at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.events, (time, next(self.order), action))

    def run(self, most_events: int) -> None:
        for end in self.ends:
            self.at(self.now, lambda end=end: self.write(end))  # type: ignore[misc] # bound now
        happened = 0
        while self.events:
            self.now, _, action = heapq.heappop(self.events)
            action()
            happened += 1
            assert happened < most_events, "goes on for ever"

    def write(self, end: End) -> None:
        if end.ready < len(end.todo):
            end.ready = min(len(end.todo), end.ready + self.chance.choice([1, 5, 50]))
            self.at(self.now + self.chance.choice([0.0, 0.002, 0.05]), lambda: self.write(end))
        self.after_input(end)

    def after_input(self, end: End) -> None:
        conversation = end.conversation
        frames = bytes(conversation.receive())
        at = 0
        while at < len(frames):
            (size,) = struct.unpack_from("!H", frames, at)
            end.got.append(read(frames[at : at + size]))
            at += size
        while count := conversation.poll_datagrams(self.now):
            at = 0
            for size in conversation.sizes[:count]:
                assert size <= conversation.mtu
                self.carry(end, bytes(conversation.datagrams[at : at + size]))
                at += size
        due = conversation.next_timeout()
        assert due > self.now, "wants to be called again at once"
        if due < end.timer:
            end.timer = due
            self.at(due, lambda: self.on_timer(end, due))
        # A probe may go beyond the window.
        assert conversation.in_flight <= self.windows[self.ends.index(end)] + 40

    def on_timer(self, end: End, due: float) -> None:
        if due == end.timer:
            end.timer = math.inf
            self.after_input(end)

    def carry(self, sender: End, wire: bytes) -> None:
        receiver = self.ends[1 - self.ends.index(sender)]
        if self.outage[0] <= self.now < self.outage[1]:
            return
        for _ in range(1 + (self.chance.random() < self.weather.duplication)):
            if self.chance.random() < self.weather.loss:
                continue
            delivered = wire
            if self.chance.random() < self.weather.damage:
                delivered = wire[: self.chance.randrange(4)]
            delay = self.weather.delay + self.chance.random() * self.weather.jitter
            self.at(self.now + delay, lambda wire=delivered: self.deliver(receiver, wire))  # type: ignore[misc] # bound now

    def deliver(self, receiver: End, wire: bytes) -> None:
        receiver.conversation.receive_datagrams_untrusted(
            wire, array("H", [len(wire)]), 1, self.now
        )
        self.after_input(receiver)

    def check(self, complete: bool) -> None:
        for sender, receiver in zip(self.ends, reversed(self.ends), strict=True):
            sent = [read(bytes(8) + body) for body in sender.sent]
            assert len(set(receiver.got)) == len(receiver.got), "a packet came twice"
            assert set(receiver.got) <= set(sent)
            for flow in {item[:2] for item in sent if item[0] == TCP}:
                got = [number for *kind, number in receiver.got if (*kind,) == flow]
                assert got == sorted(got), "a flow changed its order"
                if complete:
                    assert got == [number for *kind, number in sent if (*kind,) == flow]
            state = sender.conversation.statistics()
            if complete and not state.expired:
                assert sorted(receiver.got) == sorted(sent)
            assert sender.conversation.next_timeout() == math.inf
            assert (state.in_flight, state.held_packets) == (0, 0)
            assert sender.conversation.all_arrived
            assert state.in_flight_bytes == 0
            # In an outage the word that a packet was given up may come too late.
            assert state.abandoned_gaps == 0 or not complete


GROUPS = 10


@pytest.mark.parametrize("group", range(GROUPS))
def test_all_packets_arrive_in_order_once_and_then_there_is_silence(
    group: int, seeds: Callable[[int], range], kernel_build: str
) -> None:
    for seed in seeds(2000 if kernel_build == "compiled" else 100):
        if seed % GROUPS != group:
            continue
        world = World(seed)
        try:
            world.run(most_events=200_000)
            expired = any(end.conversation.statistics().expired for end in world.ends)
            world.check(complete=not expired)
        except AssertionError as error:
            error.add_note(f"seed {seed}: {world.weather}, windows {world.windows}")
            raise


def test_an_outage_longer_than_deadlines_loses_packets_but_holds_up_none(
    seeds: Callable[[int], range], kernel_build: str
) -> None:
    gave_up = 0
    for seed in seeds(300 if kernel_build == "compiled" else 20):
        world = World(seed)
        begin = world.now + world.chance.choice([0.0, 0.01, 0.1])
        world.outage = (begin, begin + world.chance.choice([0.5, 5.0]))
        try:
            world.run(most_events=200_000)
            world.check(complete=False)
        except AssertionError as error:
            error.add_note(f"seed {seed}: {world.weather}, windows {world.windows}")
            raise
        gave_up += sum(end.conversation.statistics().expired for end in world.ends)
    assert gave_up > 0


def test_a_clean_network_needs_no_resends() -> None:
    world = World(0)
    world.weather = Weather(loss=0.0, duplication=0.0, damage=0.0, delay=0.04, jitter=0.0)
    chance = random.Random(1)
    world.windows = [512] * 2
    world.ends = [End(chance, 512) for _ in range(2)]
    for end in world.ends:
        end.todo = [packet(TCP, 0, number, 200) for number in range(3000)]
        end.sent = list(end.todo)
    world.run(most_events=200_000)
    world.check(complete=True)
    for end in world.ends:
        state = end.conversation.statistics()
        assert state.resent == state.probes == state.lost == 0
        assert state.duplicate_packets == state.late_packets == 0


def test_jitter_that_reorders_costs_patience_instead_of_resends() -> None:
    world = World(3)
    world.weather = Weather(loss=0.0, duplication=0.0, damage=0.0, delay=0.03, jitter=0.02)
    chance = random.Random(1)
    world.windows = [512] * 2
    world.ends = [End(chance, 512) for _ in range(2)]
    first = world.ends[0]
    first.todo = [packet(TCP, 0, number, 200) for number in range(6000)]
    first.sent = list(first.todo)
    world.run(most_events=300_000)
    world.check(complete=True)
    state = first.conversation.statistics()
    assert state.peer_reordering > 0.01
    assert state.resent < state.packets_sent / 100
