"""A TCP with CUBIC (RFC 9438) and HyStart, through the simulated tunnel or without, as far as rates
go.

Numbers count segments. An acknowledgement tells all that is missing, so losses are found as with
perfect SACK; what is lost counts, but is not sent again.
"""

from __future__ import annotations

import itertools
import math
import struct

from tests.kcp.datagram.tunnel import FULL_PACKET, TCP, Sender, World, tcp_segment

BETA = 0.7
SCALE = 0.4
REORDERING = 3
TIMEOUT = 1.0
ACK_BYTES = 40
TRAIN_GAP = 0.002
FIRST_WINDOW = 10.0
DELAYED_ACK = 0.04
MEMORY = 5000
"""Segments back from the newest that acknowledgements tell of."""


class Cubic:
    """A transfer without end from ``near`` to its peer. ``acked`` counts segments."""

    def __init__(self, world: World, near: Sender, flow: int = 1) -> None:
        self.acked = 0
        self.window = FIRST_WINDOW
        self.reductions = 0
        self.threshold = math.inf
        self._world = world
        self._near = near
        self._flow = flow
        self._next = 0
        self._sent_at: dict[int, float] = {}
        self._first = 0
        self._recover_until = -1
        self._peak = 0.0
        self._low = 0.0
        self._epoch = -1.0
        self._min_rtt = math.inf
        self._round_end = 0
        self._round_begin = 0.0
        self._round_rtt = math.inf
        self._round_samples = 0
        self._last_ack = 0.0
        self._highest = -1
        self._missing: set[int] = set()
        self._unacknowledged = 0
        self._acks: list[tuple[int, frozenset[int]]] = []
        self._heard = world.now
        self._chain(near.peer, self._take_segment)
        self._chain(near, self._take_ack)
        self._send()
        world.every(0.05, self._look_at_clock)

    def _chain(self, end: Sender, take: object) -> None:
        others = end.on_packet

        def on_packet(packet: bytes) -> None:
            if packet[9] == TCP and packet[19] == self._flow:
                take(packet)  # type: ignore[operator] # one of two methods
            else:
                others(packet)

        end.on_packet = on_packet

    # --- The receiver

    def _take_segment(self, packet: bytes) -> None:
        (number,) = struct.unpack_from("!I", packet, 24)
        gap = number != self._highest + 1
        self._missing.update(range(self._highest + 1, number))
        self._missing.discard(number)
        self._highest = max(self._highest, number)
        self._unacknowledged += 1
        if self._unacknowledged == 2 or gap:
            self._acknowledge()
        else:
            self._world.at(self._world.now + DELAYED_ACK, self._acknowledge)

    def _acknowledge(self) -> None:
        if self._unacknowledged:
            self._unacknowledged = 0
            self._missing = {each for each in self._missing if each > self._highest - MEMORY}
            self._acks.append((self._highest, frozenset(self._missing)))
            self._near.peer.send(tcp_segment(self._flow, len(self._acks) - 1, ACK_BYTES))

    # --- The sender

    def _take_ack(self, packet: bytes) -> None:
        (ack,) = struct.unpack_from("!I", packet, 24)
        highest, missing = self._acks[ack]
        now = self._world.now
        self._heard = now
        for number in range(self._first, highest + 1):
            if number in missing:
                continue
            sent_at = self._sent_at.pop(number, None)
            if sent_at is not None:
                self.acked += 1
                self._grow(now, now - sent_at, number)
        # They are in the order in which they were sent.
        passed = highest - REORDERING
        lost = list(itertools.takewhile(lambda number: number < passed, self._sent_at))
        for number in lost:
            del self._sent_at[number]
        if lost and max(lost) > self._recover_until:
            self._reduce(now)
        self._first = next(iter(self._sent_at), self._next)
        self._send()

    def _grow(self, now: float, rtt: float, number: int) -> None:
        self._min_rtt = min(self._min_rtt, rtt)
        if self.window < self.threshold:
            self.window += 1
            self._hystart(now, rtt, number)
            return
        if self._epoch < 0:
            self._epoch = now
            self._peak = max(self._peak, self.window)
            self._low = self.window
        low = self._low
        delay = ((self._peak - low) / SCALE) ** (1 / 3)
        target = SCALE * (now - self._epoch + rtt - delay) ** 3 + self._peak
        friendly = low + 0.53 * (now - self._epoch) / rtt
        target = min(max(target, friendly), 1.5 * self.window)
        if target > self.window:
            self.window += (target - self.window) / self.window

    def _hystart(self, now: float, rtt: float, number: int) -> None:
        if number >= self._round_end:
            self._round_end = self._next
            self._round_begin = self._last_ack = now
            self._round_rtt = math.inf
            self._round_samples = 0
        if self.window < 16:
            return
        self._round_samples += 1
        if self._round_samples <= 8:
            self._round_rtt = min(self._round_rtt, rtt)
        elif self._round_rtt > self._min_rtt + min(max(self._min_rtt / 8, 0.004), 0.016):
            self.threshold = self.window
        if now - self._last_ack <= TRAIN_GAP:
            self._last_ack = now
            if now - self._round_begin > self._min_rtt / 2:
                self.threshold = self.window

    def _reduce(self, now: float) -> None:
        self._recover_until = self._next
        self._peak = self.window
        self.window = max(2.0, self.window * BETA)
        self.threshold = self.window
        self._epoch = -1.0
        self.reductions += 1

    def _send(self) -> None:
        room = int(self.window) - len(self._sent_at)
        if room > 0:
            numbers = range(self._next, self._next + room)
            self._next += room
            self._sent_at.update((number, self._world.now) for number in numbers)
            self._near.send(*(tcp_segment(self._flow, each, FULL_PACKET) for each in numbers))

    def _look_at_clock(self) -> None:
        if self._sent_at and self._world.now - self._heard > TIMEOUT:
            self._heard = self._world.now
            self._sent_at.clear()
            self._reduce(self._world.now)
            self.window = 2.0
            self._send()
