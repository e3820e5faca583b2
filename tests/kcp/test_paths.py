"""A conversation with congestion control over emulated paths, in virtual time."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from array import array
from collections.abc import Callable

import attrs
import pytest

from polevpn_trio.kcp.congestion.bbr import Bbr
from polevpn_trio.kcp.conversation import Conversation
from polevpn_trio.lab.wan.conditions import ETHERNET_HEADER, Conditions
from polevpn_trio.lab.wan.path import Path

pytestmark = pytest.mark.long_simulation

MTU = 1350
OVERHEAD = 65
PACKET = 1400
COALESCE = 0.0001
"""Seconds; what arrives within one of these is taken in together, as sockets give it."""


class End:
    """A conversation, and a source that hands in packets as there is room for them."""

    def __init__(self, world: World, path: Path) -> None:
        chance = random.Random(world.chance.getrandbits(32))
        self.world = world
        self.path = path
        self.conversation = Conversation(
            mtu=MTU, ack_delay=0.005, congestion=Bbr(MTU + OVERHEAD, chance), overhead=OVERHEAD
        )
        self.endless = False
        self.peer: End
        self.received = 0
        self.delays: list[float] = []
        # Where in the stream each probe ends, and when it was handed in.
        self.probes: list[tuple[int, float]] = []
        self._handed_in = 0
        self._timer = math.inf
        self._inbox_at = math.inf

    def send(self, size: int) -> None:
        self.conversation.send(bytes(size))
        self._handed_in += size

    def probe(self) -> None:
        """Hand in a small packet ahead of all that waits, as the flow queue would."""
        self.send(92)
        self.probes.append((self._handed_in, self.world.now))
        self.flush()

    def flush(self) -> None:
        now = self.world.now
        conversation = self.conversation
        self._take(conversation.receive())
        while True:
            while self.endless and conversation.room(now) > 0:
                self.send(PACKET)
            conversation.more = self.endless
            count = conversation.poll_datagrams(now)
            if count == 0:
                break
            at = 0
            wire = []
            for size in conversation.sizes[:count]:
                wire.append(bytes(conversation.datagrams[at : at + size]))
                at += size
            self.path.receive_packets(wire, now)
        self.peer.expect()
        due = conversation.next_timeout()
        if self.endless:
            due = min(due, conversation.next_room())
        assert due > now, "wants to be called again at once"
        if due < self._timer:
            self._timer = due
            self.world.at(due, self._on_timer)

    def _take(self, data: bytes) -> None:
        self.received += len(data)
        probes = self.peer.probes
        while probes and probes[0][0] <= self.received:
            self.delays.append(self.world.now - probes.pop(0)[1])

    def _on_timer(self) -> None:
        if self.world.now >= self._timer:
            self._timer = math.inf
            self.flush()

    def expect(self) -> None:
        due = self.peer.path.poll_timeout() + COALESCE
        if due < self._inbox_at:
            self._inbox_at = due
            self.world.at(due, self._take_arrived)

    def _take_arrived(self) -> None:
        now = self.world.now
        if now < self._inbox_at:
            return
        self._inbox_at = math.inf
        batch = self.peer.path.poll_packets(now)
        if batch:
            sizes = array("H", [len(wire) for wire in batch])
            self.conversation.receive_datagrams_untrusted(b"".join(batch), sizes, len(batch), now)
            self.flush()
        self.expect()


class World:
    """Virtual time, and two ends with a path each way."""

    def __init__(self, seed: int, forth: Conditions, back: Conditions | None = None) -> None:
        self.chance = random.Random(seed)
        self.now = 1.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        back = back or Conditions(rate=100e6, delay=forth.delay)
        self.near, self.far = (
            End(
                self,
                Path(
                    attrs.evolve(each, framing=OVERHEAD + ETHERNET_HEADER),
                    random.Random(self.chance.getrandbits(32)),
                    self.now,
                ),
            )
            for each in (forth, back)
        )
        self.near.peer, self.far.peer = self.far, self.near

    def at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), action))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = end

    def probe_every(self, interval: float) -> None:
        def tick() -> None:
            self.near.probe()
            self.at(self.now + interval, tick)

        self.at(self.now, tick)


def fill(world: World, seconds: float) -> None:
    """Fill the path for a while."""
    world.near.endless = True
    world.near.flush()
    world.run(seconds)


def bulk(world: World, warm_up: float, seconds: float) -> tuple[float, list[float]]:
    """Fill the path; give bits per second that arrived after warming up, and probes' delays."""
    fill(world, warm_up)
    before = world.far.received
    world.probe_every(0.02)
    world.run(seconds)
    return (world.far.received - before) * 8 / seconds, sorted(world.far.delays)


def percentile(values: list[float], percent: float) -> float:
    return values[int(len(values) * percent / 100)]


@pytest.mark.parametrize(("rate", "delay"), [(5e6, 0.02), (50e6, 0.025), (20e6, 0.1)])
def test_a_deep_queue_stays_nearly_empty_and_the_path_full(
    rate: float, delay: float, seeds: Callable[[int], range], kernel_build: str
) -> None:
    for seed in seeds(10 if kernel_build == "compiled" else 2):
        world = World(seed, Conditions(rate=rate, delay=delay, queue=0.3))
        arrived, delays = bulk(world, 3, 4)
        assert arrived > 0.85 * rate, seed
        assert percentile(delays, 50) < 1.1 * delay + 0.012, seed
        assert percentile(delays, 95) < 1.1 * delay + 0.050, seed
        assert world.near.path.statistics().lost_queue == 0, seed


@pytest.mark.parametrize("loss", [0.02, 0.1])
def test_random_loss_costs_what_is_lost_and_little_more(
    loss: float, seeds: Callable[[int], range], kernel_build: str
) -> None:
    for seed in seeds(10 if kernel_build == "compiled" else 2):
        world = World(seed, Conditions(rate=50e6, delay=0.025, loss=loss, queue=0.2))
        arrived, delays = bulk(world, 3, 4)
        assert arrived > 0.8 * (1 - loss) * 50e6, seed
        # A round trip for the repair of what is in front, which may take more than one.
        assert percentile(delays, 50) < 0.025 + 2 * 0.06, seed
        state = world.near.conversation.statistics()
        assert state.resent_timeout < 0.1 * state.resent_fast + 10, seed
        assert world.far.conversation.statistics().duplicates < 0.01 * state.segments_sent, seed


def test_a_slower_path_is_followed_without_a_standing_queue(
    seeds: Callable[[int], range], kernel_build: str
) -> None:
    for seed in seeds(10 if kernel_build == "compiled" else 2):
        path = Conditions(rate=50e6, rate_steps=((4.0, 10e6),), delay=0.025, queue=0.3)
        world = World(seed, path)
        bulk(world, 6, 0.1)
        world.far.delays.clear()
        before = world.far.received
        world.run(4)
        assert (world.far.received - before) * 8 / 4 > 0.8 * 10e6, seed
        assert percentile(sorted(world.far.delays), 50) < 0.025 + 0.020, seed


def test_full_segments_are_made_while_more_is_to_come() -> None:
    world = World(1, Conditions(rate=20e6, delay=0.025, queue=0.2))
    fill(world, 2)
    state = world.near.conversation.statistics()
    assert state.bytes_sent > 0.98 * (MTU - 24) * (state.segments_sent - state.resent_fast)


def test_what_waits_to_become_a_full_segment_leaves_when_nothing_follows() -> None:
    world = World(1, Conditions(rate=20e6, delay=0.025, queue=0.2))
    fill(world, 1)
    world.near.endless = False
    world.near.flush()
    world.run(2)
    state = world.near.conversation.statistics()
    assert (state.unsent_bytes, state.in_flight) == (0, 0)
    assert world.far.received == state.bytes_sent
