"""Two conversations over a seeded bad network, in virtual time.

The network loses, delays, reorders, duplicates and damages datagrams. Damage is what the
layer below lets through: a bit flip never gets past the records' tags, so a damaged datagram
is one that is cut short, or breaks the format in a way that KCP can see.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import struct
from array import array
from collections.abc import Callable

import attrs
import pytest

from polevpn_trio.kcp.conversation import Conversation

HEADER_SIZE = 24


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


class End:
    """One conversation and the application above it."""

    def __init__(self, conversation: Conversation, text: bytes) -> None:
        self.conversation = conversation
        self.text = text
        self.handed_in = 0
        self.received = bytearray()
        self.reads_again_at = 0.0
        self.timer = math.inf
        self.polls = 0


class World:
    """Runs two ends until nothing happens any more."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.weather = Weather.of(chance)
        # Among the clocks one whose milliseconds wrap during the run.
        self.now = chance.choice([0.0, 1.0, 1e6, 2**32 / 1000 - 0.3])
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        start = chance.choice([0, 0, 0xFFFFFFFF, 0xFFFFFFF0, 0x7FFFFFF8])
        self.windows = [chance.choice([1, 2, 5, 32, 128, 512]) for _ in range(4)]
        self.ends = [
            End(
                Conversation(
                    mtu=chance.choice([50, 100, 576, 1350]),
                    send_window=self.windows[index],
                    receive_window=self.windows[2 + index],
                    fast_resend=chance.choice([1, 2, 2, 3]),
                    nodelay=chance.random() < 0.8,
                    initial_sequence=start,
                ),
                chance.randbytes(chance.choice([0, 1, 500, 5_000, 40_000])),
            )
            for index in range(2)
        ]

    def at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.events, (time, next(self.order), action))

    def run(self, most_events: int) -> None:
        for end in self.ends:
            self.at(self.now, lambda end=end: self.write(end))  # type: ignore[misc] # bound now
            self.schedule_stalls(end)
        happened = 0
        while self.events:
            self.now, _, action = heapq.heappop(self.events)
            action()
            happened += 1
            assert happened < most_events, "goes on for ever"

    # --- The applications ----------------------------------------------------------------

    def write(self, end: End) -> None:
        size = min(self.chance.choice([1, 60, 1400, 9000]), len(end.text) - end.handed_in)
        end.conversation.send(end.text[end.handed_in : end.handed_in + size])
        end.handed_in += size
        if end.handed_in < len(end.text):
            self.at(self.now + self.chance.choice([0.0, 0.001, 0.05]), lambda: self.write(end))
        self.after_input(end)

    def schedule_stalls(self, end: End) -> None:
        for _ in range(self.chance.choice([0, 0, 0, 1, 3])):
            begin = self.now + self.chance.random() * 2
            length = self.chance.choice([0.1, 1.0, 12.0])
            self.at(begin, lambda length=length: self.stall(end, length))  # type: ignore[misc] # bound now

    def stall(self, end: End, length: float) -> None:
        end.reads_again_at = max(end.reads_again_at, self.now + length)
        self.at(end.reads_again_at, lambda: self.after_input(end))

    # --- The driver, as a transport would be ---------------------------------------------

    def after_input(self, end: End) -> None:
        conversation = end.conversation
        if self.now >= end.reads_again_at:
            end.received += conversation.receive()
        while count := conversation.poll_datagrams(self.now):
            at = 0
            for size in conversation.sizes[:count]:
                self.carry(end, bytes(conversation.datagrams[at : at + size]))
                at += size
        due = conversation.next_timeout()
        assert due > self.now, "wants to be called again at once"
        if due < end.timer:
            end.timer = due
            self.at(due, lambda: self.on_timer(end, due))
        index = self.ends.index(end)
        assert conversation.in_flight <= self.windows[index]
        assert conversation.statistics().unread <= self.windows[2 + index]

    def on_timer(self, end: End, due: float) -> None:
        if due == end.timer:
            end.timer = math.inf
            self.after_input(end)

    # --- The network ---------------------------------------------------------------------

    def carry(self, sender: End, datagram: bytes) -> None:
        receiver = self.ends[1 - self.ends.index(sender)]
        copies = 1 + (self.chance.random() < self.weather.duplication)
        for _ in range(copies):
            if self.chance.random() < self.weather.loss:
                continue
            delivered = datagram
            if self.chance.random() < self.weather.damage:
                delivered = self.damaged(datagram)
            delay = self.weather.delay + self.chance.random() * self.weather.jitter
            self.at(self.now + delay, lambda wire=delivered: self.deliver(receiver, wire))  # type: ignore[misc] # bound now

    def damaged(self, datagram: bytes) -> bytes:
        starts = []
        at = 0
        while at < len(datagram):
            starts.append(at)
            at += HEADER_SIZE + struct.unpack_from("<I", datagram, at + 20)[0]
        at = self.chance.choice(starts)
        broken = bytearray(datagram)
        match self.chance.randrange(4):
            case 0:
                return datagram[: self.chance.randrange(len(datagram))]
            case 1:
                broken[at + self.chance.randrange(4)] ^= self.chance.randint(1, 255)
            case 2:
                broken[at + 4] = self.chance.choice([0, 80, 85, 255])
            case _:
                struct.pack_into("<I", broken, at + 20, self.chance.randint(1501, 2**32 - 1))
        return bytes(broken)

    def deliver(self, receiver: End, datagram: bytes) -> None:
        sizes = array("H", [len(datagram)])
        receiver.conversation.receive_datagrams_untrusted(datagram, sizes, 1, self.now)
        self.after_input(receiver)


GROUPS = 10


@pytest.mark.parametrize("group", range(GROUPS))
def test_all_bytes_arrive_and_then_there_is_silence(
    group: int, seeds: Callable[[int], range], kernel_build: str
) -> None:
    for seed in seeds(600 if kernel_build == "compiled" else 100):
        if seed % GROUPS != group:
            continue
        world = World(seed)
        first, second = world.ends
        try:
            world.run(most_events=300_000)
            assert bytes(first.received) == second.text
            assert bytes(second.received) == first.text
            for end in world.ends:
                state = end.conversation.statistics()
                assert end.conversation.next_timeout() == math.inf
                assert (state.in_flight, state.unsent_bytes, state.unread) == (0, 0, 0)
                assert not end.conversation.dead_link
        except AssertionError as error:
            error.add_note(f"seed {seed}: {world.weather}, windows {world.windows}")
            raise


def test_a_clean_network_needs_no_resends() -> None:
    world = World(0)
    world.weather = Weather(loss=0.0, duplication=0.0, damage=0.0, delay=0.04, jitter=0.0)
    world.windows = [512] * 4
    world.ends = [
        End(
            Conversation(send_window=512, receive_window=512), random.Random(end).randbytes(400_000)
        )
        for end in range(2)
    ]
    world.schedule_stalls = lambda end: None  # type: ignore[method-assign] # readers that keep up
    world.run(most_events=100_000)
    for end in world.ends:
        state = end.conversation.statistics()
        assert state.resent_fast == state.resent_early == state.resent_timeout == 0
        assert state.duplicates == state.out_of_window == 0
    assert bytes(world.ends[0].received) == world.ends[1].text


def test_a_gap_in_a_large_window_is_repaired_within_two_round_trips() -> None:
    """One loss among 2,000 segments must not wait for a timer, nor resend any other."""
    sender, receiver = Conversation(), Conversation()
    sender.send(bytes(1326 * 4000))
    now = 1.0
    lost = False
    while sender.unsent_bytes or sender.in_flight:
        while count := sender.poll_datagrams(now):
            sizes = sender.sizes[:count]
            datagrams = bytes(sender.datagrams[: sum(sizes)])
            if not lost and sender.in_flight > 1500:
                lost = True
                datagrams = datagrams[sizes.pop(0) :]
            receiver.receive_datagrams_untrusted(datagrams, sizes, len(sizes), now + 0.01)
        receiver.receive()
        while count := receiver.poll_datagrams(now + 0.01):
            sender.receive_datagrams_untrusted(
                receiver.datagrams, receiver.sizes, count, now + 0.02
            )
        now += 0.02
        assert now < 2.0
    state = sender.statistics()
    assert lost
    assert (state.resent_fast, state.resent_early, state.resent_timeout) == (1, 0, 0)
