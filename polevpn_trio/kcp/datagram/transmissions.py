# cython: annotation_typing=False
"""The datagrams under way: which arrived, which are lost, and how fast they are delivered.

Each transmission has a number of its own, so numbers grow with time and nothing is ever
ambiguous; a lost body goes out again under a new number. Loss is found as RACK and QUIC do
(RFC 8985, RFC 9002 section 6): what was sent before something that has arrived is lost once it
is overdue by the *reordering window*. That window follows what the receiver has seen of
reordering, so that jitter costs patience instead of needless resends. Since numbers follow
time, only the oldest unresolved transmission ever needs to be looked at.

A run of acknowledged numbers is told several times. Each record remembers how far the run
reached when it was marked, so that walking a run again takes a few jumps, not its length.

Rates are sampled as in draft-cheng-iccrg-delivery-rate-estimation-02.
"""

from __future__ import annotations

from array import array

from polevpn_trio.kcp.congestion.base import AckEvent
from polevpn_trio.kcp.datagram.body_pool import BodyPool

SMALLEST = 64
"""Records that an idle ring has."""

IN_FLIGHT = 1
ACKNOWLEDGED = 2
LOST = 3

_SMALLEST = SMALLEST
_IN_FLIGHT = IN_FLIGHT
_ACKNOWLEDGED = ACKNOWLEDGED
_LOST = LOST
_NONE = -1


class Transmissions:
    """Records of the transmissions ``first`` (the oldest unresolved) to ``next`` - 1.

    Some before ``first`` are kept, to notice when a loss was none. ``in_flight`` and
    ``delivered`` are bytes. ``largest`` is the largest number acknowledged, -1 at first.
    """

    def __init__(self, bodies: BodyPool) -> None:
        self._bodies = bodies
        self.first = 0
        self.next = 0
        self.largest = _NONE
        self.in_flight = 0
        self.delivered = 0
        self.lost = 0
        self.spurious = 0
        self.newest_sent_at = 0.0
        self._delivered_at = 0.0
        self._first_sent_at = 0.0
        # Samples are limited by the application until this much is delivered.
        self._limited_until = -1
        self._allocate(SMALLEST)

    def _allocate(self, capacity: int) -> None:
        self.capacity = capacity
        self._state = array("B", bytes(capacity))
        self._body = array("i", bytes(4 * capacity))
        self._serial = array("q", bytes(8 * capacity))
        self._size = array("i", bytes(4 * capacity))
        self._sent_at = array("d", bytes(8 * capacity))
        self._run_end = array("q", bytes(8 * capacity))
        self._sent_delivered = array("q", bytes(8 * capacity))
        self._sent_delivered_at = array("d", bytes(8 * capacity))
        self._sent_first_at = array("d", bytes(8 * capacity))
        self._limited = array("B", bytes(capacity))

    def _resize(self, capacity: int) -> None:
        mask = self.capacity - 1
        state = self._state
        body = self._body
        serial = self._serial
        size = self._size
        sent_at = self._sent_at
        run_end = self._run_end
        sent_delivered = self._sent_delivered
        sent_delivered_at = self._sent_delivered_at
        sent_first_at = self._sent_first_at
        limited = self._limited
        keep = self.capacity if capacity > self.capacity else capacity
        self._allocate(capacity)
        number = self.next - keep
        if number < 0:
            number = 0
        while number < self.next:
            old = number & mask
            new = number & (capacity - 1)
            self._state[new] = state[old]
            self._body[new] = body[old]
            self._serial[new] = serial[old]
            self._size[new] = size[old]
            self._sent_at[new] = sent_at[old]
            self._run_end[new] = run_end[old]
            self._sent_delivered[new] = sent_delivered[old]
            self._sent_delivered_at[new] = sent_delivered_at[old]
            self._sent_first_at[new] = sent_first_at[old]
            self._limited[new] = limited[old]
            number += 1

    def shrink(self) -> None:
        """Give memory back if nothing is under way."""
        if self.first == self.next and self.capacity > _SMALLEST:
            self._resize(_SMALLEST)

    # --- Sending -------------------------------------------------------------------------

    def add(self, body: int, size: int, now: float) -> int:
        """Note that a body is being sent as ``size`` bytes on the wire; returns the number."""
        # Half of the ring is for those resolved already.
        if 2 * (self.next - self.first) >= self.capacity:
            self._resize(2 * self.capacity)
        number = self.next
        index = number & (self.capacity - 1)
        if self.in_flight == 0:
            self._first_sent_at = now
            self._delivered_at = now
        self._state[index] = _IN_FLIGHT
        self._body[index] = body
        self._serial[index] = self._bodies.serial[body]
        self._size[index] = size
        self._sent_at[index] = now
        self._sent_delivered[index] = self.delivered
        self._sent_delivered_at[index] = self._delivered_at
        self._sent_first_at[index] = self._first_sent_at
        self._limited[index] = self._limited_until >= self.delivered
        self._bodies.latest[body] = number
        self.in_flight += size
        self.newest_sent_at = now
        self.next += 1
        return number

    def attach(self, size: int) -> None:
        """Count ``size`` bytes of repair towards the transmission before it.

        They share its fate in the books: what is delivered or lost of it is so of them.
        """
        if self.next > self.first:
            index = (self.next - 1) & (self.capacity - 1)
            if self._state[index] == _IN_FLIGHT:
                self._size[index] += size
                self.in_flight += size

    def note_app_limited(self) -> None:
        """Mark that less was sent than allowed, because there was nothing to send."""
        self._limited_until = self.delivered + self.in_flight

    # --- Acknowledgements ----------------------------------------------------------------

    def acknowledge(self, low: int, high: int, event: AckEvent) -> None:
        """Take a run of numbers that arrived, newest runs first.

        ``high`` must have been sent. What is new is added to ``event``.
        """
        oldest = self.next - self.capacity
        if low < oldest:
            low = oldest
        if low < 0:
            low = 0
        mask = self.capacity - 1
        number = low
        while number <= high:
            index = number & mask
            state = self._state[index]
            if state == _ACKNOWLEDGED:
                number = self._run_end[index] + 1
                continue
            self._run_end[index] = high
            self._state[index] = _ACKNOWLEDGED
            if state == _LOST:
                self.spurious += 1
                event.spurious_packets += 1
                self.delivered += self._size[index]
                event.new_bytes += self._size[index]
            elif state == _IN_FLIGHT:
                self.in_flight -= self._size[index]
                self.delivered += self._size[index]
                event.new_bytes += self._size[index]
                event.new_packets += 1
                if number > event.newest:
                    event.newest = number
            if self._bodies.is_current(self._body[index], self._serial[index]):
                self._bodies.release(self._body[index])
            number += 1
        if high > self.largest:
            self.largest = high

    def finish(self, event: AckEvent) -> None:
        """Complete ``event`` once all its runs were taken: the rate sample, and totals.

        What repair made up for got lost on the path, so it does not count as delivered.
        """
        if event.recovered_packets:
            packets = event.new_packets + event.spurious_packets
            if event.recovered_packets < packets:
                self.delivered -= event.new_bytes * event.recovered_packets // packets
            else:
                self.delivered -= event.new_bytes
        event.delivered = self.delivered
        event.in_flight = self.in_flight
        self._skip_resolved()
        if event.newest < 0:
            return
        index = event.newest & (self.capacity - 1)
        event.sent_delivered = self._sent_delivered[index]
        sent_elapsed = self._sent_at[index] - self._sent_first_at[index]
        ack_elapsed = event.arrived_at - self._sent_delivered_at[index]
        elapsed = sent_elapsed if sent_elapsed > ack_elapsed else ack_elapsed
        if elapsed > 0:
            event.rate = (self.delivered - self._sent_delivered[index]) / elapsed
            event.app_limited = bool(self._limited[index])
        self._delivered_at = event.arrived_at
        self._first_sent_at = self._sent_at[index]

    def sent_at(self, number: int) -> float:
        """Tell when a transmission left, or 0 if its record is gone or it never did."""
        if number < 0 or number >= self.next or number < self.next - self.capacity:
            return 0.0
        return self._sent_at[number & (self.capacity - 1)]

    def is_unresolved(self, number: int) -> bool:
        """Tell whether a transmission, one not before ``first``, is neither arrived nor lost."""
        return self._state[number & (self.capacity - 1)] == _IN_FLIGHT

    def body(self, number: int) -> int:
        """Give the slot of the body that an unresolved transmission carries, or -1."""
        index = number & (self.capacity - 1)
        if self._bodies.is_current(self._body[index], self._serial[index]):
            return self._body[index]
        return _NONE

    # --- Losses --------------------------------------------------------------------------

    def detect_losses(self, overdue: float, event: AckEvent) -> None:
        """Give up what something overtook and that was sent at ``overdue`` or before.

        Their bodies are queued to be sent again, unless a copy is under way.
        """
        mask = self.capacity - 1
        while self.first < self.largest:
            index = self.first & mask
            if self._state[index] == _IN_FLIGHT:
                if self._sent_at[index] > overdue:
                    break
                self._state[index] = _LOST
                self.in_flight -= self._size[index]
                self.lost += 1
                event.lost_packets += 1
                event.lost_bytes += self._size[index]
                if self.first == 0 or self._state[(self.first - 1) & mask] != _LOST:
                    event.lost_runs += 1
                body = self._body[index]
                if (
                    self._bodies.is_current(body, self._serial[index])
                    and self._bodies.is_held(body)
                    and self._bodies.latest[body] == self.first
                ):
                    self._bodies.mark_lost(body)
            self.first += 1
        self._skip_resolved()
        event.in_flight = self.in_flight

    def _skip_resolved(self) -> None:
        while self.first < self.next and (
            self._state[self.first & (self.capacity - 1)] != _IN_FLIGHT
        ):
            self.first += 1

    def give_up_first(self, event: AckEvent) -> None:
        """Count the oldest unresolved transmission as lost though nothing overtook it."""
        index = self.first & (self.capacity - 1)
        self._state[index] = _LOST
        self.in_flight -= self._size[index]
        self.lost += 1
        event.lost_packets += 1
        event.lost_bytes += self._size[index]
        self._skip_resolved()
        event.in_flight = self.in_flight

    def oldest_overtaken(self) -> float:
        """Tell when the oldest unresolved transmission left if something overtook it, else -1."""
        if self.first < self.largest:
            return self._sent_at[self.first & (self.capacity - 1)]
        return -1.0
