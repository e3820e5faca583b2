"""Two ends of a datagram conversation over an emulated path in virtual time, with traffic inside.

The path is the lab's (`polevpn_trio.lab.wan.path`), the queue in front of each conversation the
real one. Everything random comes from one seed.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import struct
from array import array
from collections.abc import Callable
from typing import Protocol

import attrs

from polevpn_trio.forwarding.flow_queue import FlowQueue
from polevpn_trio.kcp.congestion.base import CongestionControl
from polevpn_trio.kcp.congestion.bbr import Bbr
from polevpn_trio.kcp.datagram.conversation import OVERHEAD, DatagramConversation
from polevpn_trio.lab.wan.conditions import ETHERNET_HEADER, Conditions
from polevpn_trio.lab.wan.path import Path

COMMAND = 3
MTU = 1350
COALESCE = 0.0001
"""Seconds; what arrives within one of these is taken in together, as sockets give it."""
FULL_PACKET = MTU - 7
FRAMING = OVERHEAD + ETHERNET_HEADER

FRAME = struct.Struct("!HHI")
IPV4 = struct.Struct("!BBHHHBBHII")
TCP, UDP = 6, 17


def frame(packet: bytes) -> bytes:
    """Put an IP packet into a frame as TUN readers make them."""
    return FRAME.pack(FRAME.size + len(packet), COMMAND, 0) + packet


def ipv4(protocol: int, size: int, flow: int, body: bytes) -> bytes:
    """Make an IPv4 packet of ``size`` bytes that belongs to a flow."""
    header = IPV4.pack(0x45, 0, size, 0, 0, 64, protocol, 0, 0x0A000001, 0x0A000100 + flow)
    return (header + body).ljust(size, b"\0")


def tcp_segment(flow: int, number: int, size: int) -> bytes:
    """Make a TCP segment with ``number`` as its sequence number; no payload up to 40 bytes."""
    ports = struct.pack("!HHIIBB", 40000 + flow, 443, number & 0xFFFFFFFF, 0, 0x50, 0x10)
    return ipv4(TCP, size, flow, ports.ljust(20, b"\0"))


def datagram(flow: int, number: int, sent_at: float, size: int) -> bytes:
    """Make a UDP packet that says when it was sent."""
    return ipv4(UDP, size, flow, struct.pack("!HHHHId", 5000 + flow, 7, 0, 0, number, sent_at))


def read_datagram(packet: bytes) -> tuple[int, float]:
    """Give the number and the time in a packet of ``datagram``."""
    number, sent_at = struct.unpack_from("!Id", packet, 28)
    return number, sent_at


class Sender(Protocol):
    """Takes IP packets to its peer, and gives those from there to ``on_packet``."""

    on_packet: Callable[[bytes], None]

    @property
    def peer(self) -> Sender: ...

    def send(self, *packets: bytes) -> None: ...


class End:
    """One conversation, the queue in front of it, and what drives the two."""

    def __init__(self, world: World, congestion: CongestionControl) -> None:
        self.world = world
        self.queue = FlowQueue(world.chance.getrandbits(32))
        self.conversation = DatagramConversation(self.queue, congestion, COMMAND, MTU)
        self.enqueue: Callable[[bytes, float], object] = self.queue.enqueue_batch
        self.on_packet: Callable[[bytes], None] = lambda packet: None
        self.on_timer: Callable[[], None] = self._on_timer
        self.take_arrived: Callable[[], None] = self._take_arrived
        self.datagrams_sent = 0
        self._timer = math.inf
        self._inbox_at = math.inf
        self.path: Path
        self.peer: End

    def send(self, *packets: bytes) -> None:
        """Queue packets, and let what may leave at once do so."""
        self.enqueue(b"".join(map(frame, packets)), self.world.now)
        self.flush()

    def flush(self) -> None:
        """Hand on what came, send what is due, and arm the timer, as a transport does."""
        now = self.world.now
        conversation = self.conversation
        frames = bytes(conversation.receive())
        at = 0
        while at < len(frames):
            (size,) = struct.unpack_from("!H", frames, at)
            self.on_packet(frames[at + FRAME.size : at + size])
            at += size
        while count := conversation.poll_datagrams(now):
            at = 0
            wire = []
            for size in conversation.sizes[:count]:
                wire.append(bytes(conversation.datagrams[at : at + size]))
                at += size
            self.datagrams_sent += count
            self.path.receive_packets(wire, now)
        self.peer.expect()
        due = conversation.next_timeout()
        if due < self._timer:
            self._timer = max(due, now)
            self.world.at(self._timer, lambda: self.on_timer())

    def _on_timer(self) -> None:
        if self.world.now >= self._timer:
            self._timer = math.inf
            self.flush()

    def expect(self) -> None:
        """Look for what the path brings at the time it says."""
        due = self.peer.path.poll_timeout() + COALESCE
        if due < self._inbox_at:
            self._inbox_at = due
            self.world.at(due, lambda: self.take_arrived())

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
    """Virtual time, what happens in it, and a tunnel with two ends."""

    def __init__(
        self,
        seed: int,
        forth: Conditions,
        back: Conditions,
        make: Callable[[random.Random], CongestionControl] | None = None,
    ) -> None:
        self.chance = random.Random(seed)
        self.now = 1.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        make = make or (lambda chance: Bbr(MTU + OVERHEAD, chance))
        self.near, self.far = (
            End(self, make(random.Random(self.chance.getrandbits(32)))) for _ in range(2)
        )
        self.near.peer, self.far.peer = self.far, self.near
        for end, conditions in ((self.near, forth), (self.far, back)):
            conditions = attrs.evolve(conditions, framing=FRAMING)
            end.path = Path(conditions, random.Random(self.chance.getrandbits(32)), self.now)

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._events, (time, next(self._order), action))

    def every(self, interval: float, action: Callable[[], None]) -> None:
        """Do something again and again from now on."""

        def tick() -> None:
            action()
            self.at(self.now + interval, tick)

        self.at(self.now, tick)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = end


def keep_from_processor(world: World, end: End, running: float, waiting: float) -> None:
    """Let an end run for some time and then wait for some, in turns; mean seconds of either."""
    chance = random.Random(world.chance.getrandbits(32))
    stops_at = world.now

    def runs_at() -> float:
        nonlocal stops_at
        while stops_at <= world.now:
            goes_on_at = stops_at + chance.expovariate(1 / waiting)
            if world.now < goes_on_at:
                return goes_on_at
            stops_at = goes_on_at + chance.expovariate(1 / running)
        return world.now

    def later(action: Callable[[], None]) -> Callable[[], None]:
        def act() -> None:
            if (time := runs_at()) > world.now:
                world.at(time, act)
            else:
                action()

        return act

    end.on_timer, end.take_arrived = later(end.on_timer), later(end.take_arrived)


class Always:
    """A source that never ends: some hundred packets of each flow wait at any time."""

    def __init__(self, world: World, end: End, flows: int = 1) -> None:
        self.received = 0
        self.bytes = 0
        self.out_of_order = 0
        self._numbers = [0] * flows
        self._newest = [-1] * flows
        self._end = end
        self._stopped = False
        end.peer.on_packet = self._take
        world.every(0.001, self._fill)

    def stop(self) -> None:
        """Send no more than what waits already."""
        self._stopped = True

    def resume(self) -> None:
        """Send again."""
        self._stopped = False

    def _fill(self) -> None:
        if self._end.queue.queued < 300 and not self._stopped:
            batch = []
            for flow in range(len(self._numbers)):
                for _ in range(300 // len(self._numbers)):
                    batch.append(tcp_segment(flow, self._numbers[flow], FULL_PACKET))
                    self._numbers[flow] += 1
            self._end.send(*batch)

    def _take(self, packet: bytes) -> None:
        flow = packet[19]
        (number,) = struct.unpack_from("!I", packet, 24)
        if number <= self._newest[flow]:
            self.out_of_order += 1
        self._newest[flow] = number
        self.received += 1
        self.bytes += len(packet)


class Pings:
    """Small UDP packets at a steady pace, and how long each took."""

    def __init__(self, world: World, end: End, interval: float) -> None:
        self._world = world
        self._end = end
        self._sent = 0
        self._times: list[float] = []
        self._others = end.peer.on_packet
        end.peer.on_packet = self._take
        world.every(interval, self._send)

    def _send(self) -> None:
        self._sent += 1
        self._end.send(datagram(7, self._sent, self._world.now, 84))

    def _take(self, packet: bytes) -> None:
        if packet[9] == UDP:
            self._times.append(self._world.now - read_datagram(packet)[1])
        else:
            self._others(packet)

    @property
    def lost(self) -> int:
        """Pings that have not arrived, but for those of the last quarter of a second."""
        return max(0, self._sent - len(self._times) - 25)

    def percentile(self, percent: float) -> float:
        """Seconds within which so many of those that arrived did."""
        times = sorted(self._times)
        return times[min(len(times) - 1, int(len(times) * percent / 100))]
