# cython: annotation_typing=False
"""The segments under way to the peer: what was acknowledged, what is lost, what is overdue.

Nothing here walks over the window. Segments that wait for an acknowledgement hang in doubly
linked lists ordered by their latest transmission, and every question ("is anything lost? when
does the next timer fire?") is answered by the heads of these lists. A segment that is sent
again moves to the tail.

Loss by overtaking: each transmission has a number. A datagram of acknowledgements is one
event, and says that some transmission T arrived, the highest number among those it
acknowledges. Whatever waits with a number below the T of *n* events has been overtaken *n*
times, so it is enough to keep the *n* highest T and to look at the list heads. The timestamp
that an ACK echoes tells which transmission of a segment it answers; one for an earlier
transmission than the latest proves nothing about the order of the others.

Rates are sampled as in draft-cheng-iccrg-delivery-rate-estimation-02: each transmission
remembers how much had been delivered when it left.

Loss by silence: a timeout grows with the timeouts that the segment already had, so there is
one list for each number of them; inside a list the oldest is due first.
"""

from __future__ import annotations

import math
from array import array

from polevpn_trio.kcp.congestion.base import AckEvent

SMALLEST = 16
"""Segments that an idle window has room for."""

SLOT_BYTES = 77
"""Bytes of memory for each segment that the window has room for; see ``_allocate``."""

MAX_BACKOFF = 60.0
"""Seconds; no timer waits longer, however often it fired before."""

# Segments with this many timeouts or more share the last list. There a segment may wait for
# one in front of it with a longer timeout, which no longer matters on a link that bad.
_LAST_LIST = 15

_NONE = -1
_NEVER = math.inf
_MASK32 = 0xFFFFFFFF
_MAX_BACKOFF = MAX_BACKOFF


class SendWindow:
    """In-flight segments ``first`` to ``next`` - 1, counted without wrap-around.

    The wire has the low 32 bits of these numbers. ``una`` is the first that the peer has not
    put in order: less than ``first`` when it acknowledged segments for which its reader has no
    room yet. ``fast_resend`` is the number of events
    after which an overtaken segment counts as lost; ``gentle`` lets a timeout grow by half its
    length each time instead of doubling it. ``in_flight`` and ``delivered`` are bytes on the
    wire, ``overhead`` of them for each segment beside its payload.
    """

    def __init__(
        self, initial_sequence: int, fast_resend: int, gentle: bool, overhead: int = 0
    ) -> None:
        self.first = initial_sequence
        self.next = initial_sequence
        self.una = initial_sequence
        self.capacity = SMALLEST
        self._gentle = gentle
        self._transmissions = 0
        self._event = 0
        # The highest events, the first being the highest; 0 is before all transmissions.
        self._highest = array("q", [0] * fast_resend)
        self._fast_resend = fast_resend
        self._oldest = array("q", [_NONE] * (_LAST_LIST + 1))
        self._newest = array("q", [_NONE] * (_LAST_LIST + 1))
        # The send count of ``first`` when something was last acknowledged.
        self._sends_before = 0
        self.in_flight = 0
        self.delivered = 0
        self._overhead = overhead
        self._delivered_at = 0.0
        self._first_sent_at = 0.0
        # Samples are limited by the application until this much is delivered.
        self._limited_until = -1
        # What the acknowledgements of this datagram have told; the sample is of the newest.
        self._new_packets = 0
        self._new_bytes = 0
        self._spurious = 0
        self._lost_packets = 0
        self._lost_bytes = 0
        self._lost_runs = 0
        self._last_lost = _NONE
        self._sample = 0
        self._sample_sent_at = 0.0
        self._sample_first_sent_at = 0.0
        self._sample_delivered = 0
        self._sample_delivered_at = 0.0
        self._sample_limited = False
        self._allocate(SMALLEST)

    def _allocate(self, capacity: int) -> None:
        self._position = array("q", bytes(8 * capacity))
        self._length = array("H", bytes(2 * capacity))
        # The number of the latest transmission; 0 once the segment is acknowledged.
        self._transmission = array("q", bytes(8 * capacity))
        self._sent_at = array("d", bytes(8 * capacity))
        self._timestamp = array("I", bytes(4 * capacity))
        self._sends = array("I", bytes(4 * capacity))
        self._timeouts = array("H", bytes(2 * capacity))
        self._older = array("q", bytes(8 * capacity))
        self._newer = array("q", bytes(8 * capacity))
        self._sent_delivered = array("q", bytes(8 * capacity))
        self._sent_delivered_at = array("d", bytes(8 * capacity))
        self._sent_first_at = array("d", bytes(8 * capacity))
        self._limited = array("B", bytes(capacity))
        self.capacity = capacity

    def resize(self, capacity: int) -> None:
        """Make room for ``capacity`` segments, a power of two that holds those in flight."""
        position = self._position
        length = self._length
        transmission = self._transmission
        sent_at = self._sent_at
        timestamp = self._timestamp
        sends = self._sends
        timeouts = self._timeouts
        older = self._older
        newer = self._newer
        sent_delivered = self._sent_delivered
        sent_delivered_at = self._sent_delivered_at
        sent_first_at = self._sent_first_at
        limited = self._limited
        mask = self.capacity - 1
        self._allocate(capacity)
        sequence = self.first
        while sequence < self.next:
            old = sequence & mask
            slot = sequence & (capacity - 1)
            self._position[slot] = position[old]
            self._length[slot] = length[old]
            self._transmission[slot] = transmission[old]
            self._sent_at[slot] = sent_at[old]
            self._timestamp[slot] = timestamp[old]
            self._sends[slot] = sends[old]
            self._timeouts[slot] = timeouts[old]
            self._older[slot] = older[old]
            self._newer[slot] = newer[old]
            self._sent_delivered[slot] = sent_delivered[old]
            self._sent_delivered_at[slot] = sent_delivered_at[old]
            self._sent_first_at[slot] = sent_first_at[old]
            self._limited[slot] = limited[old]
            sequence += 1

    # --- Sending -------------------------------------------------------------------------

    def add(self, position: int, length: int, now: float, timestamp: int) -> int:
        """Append a segment that is being sent for the first time and return its number.

        Its payload is ``length`` bytes from ``position`` of the stream on.
        """
        if self.next - self.first == self.capacity:
            self.resize(2 * self.capacity)
        sequence = self.next
        slot = sequence & (self.capacity - 1)
        self._position[slot] = position
        self._length[slot] = length
        self._sends[slot] = 0
        self._timeouts[slot] = 0
        if sequence == self.first:
            self._sends_before = 0
        self.next += 1
        self._stamp(sequence, slot, now, timestamp)
        self.in_flight += length + self._overhead
        return sequence

    def resend(self, sequence: int, timeouts: int, now: float, timestamp: int) -> None:
        """Note that a waiting segment is being sent again, after ``timeouts`` timeouts in a row."""
        slot = sequence & (self.capacity - 1)
        self._lost_packets += 1
        self._lost_bytes += self._length[slot] + self._overhead
        if sequence != self._last_lost + 1:
            self._lost_runs += 1
        self._last_lost = sequence
        self._unlink(sequence, slot)
        self._timeouts[slot] = timeouts
        self._stamp(sequence, slot, now, timestamp)

    def position(self, sequence: int) -> int:
        """Tell where in the stream the payload of a segment begins."""
        return self._position[sequence & (self.capacity - 1)]

    def length(self, sequence: int) -> int:
        """Tell how many bytes of payload a segment has."""
        return self._length[sequence & (self.capacity - 1)]

    def timeouts(self, sequence: int) -> int:
        """Tell how many timeouts in a row a segment has had."""
        return self._timeouts[sequence & (self.capacity - 1)]

    def _stamp(self, sequence: int, slot: int, now: float, timestamp: int) -> None:
        self._transmissions += 1
        self._transmission[slot] = self._transmissions
        self._sent_at[slot] = now
        self._timestamp[slot] = timestamp
        self._sends[slot] += 1
        if self.in_flight == 0:
            self._first_sent_at = now
            self._delivered_at = now
        self._sent_delivered[slot] = self.delivered
        self._sent_delivered_at[slot] = self._delivered_at
        self._sent_first_at[slot] = self._first_sent_at
        self._limited[slot] = self._limited_until >= self.delivered
        which = self._timeouts[slot]
        if which > _LAST_LIST:
            which = _LAST_LIST
        newest = self._newest[which]
        self._older[slot] = newest
        self._newer[slot] = _NONE
        self._newest[which] = sequence
        if newest == _NONE:
            self._oldest[which] = sequence
        else:
            self._newer[newest & (self.capacity - 1)] = sequence

    def _unlink(self, sequence: int, slot: int) -> None:
        which = self._timeouts[slot]
        if which > _LAST_LIST:
            which = _LAST_LIST
        mask = self.capacity - 1
        older = self._older[slot]
        newer = self._newer[slot]
        if older == _NONE:
            self._oldest[which] = newer
        else:
            self._newer[older & mask] = newer
        if newer == _NONE:
            self._newest[which] = older
        else:
            self._older[newer & mask] = older

    # --- Acknowledgements ----------------------------------------------------------------

    def acknowledge(self, sequence: int, timestamp: int) -> bool:
        """Take one ACK; tells whether it acknowledged a segment for the first time.

        Numbers that are not in flight are ignored.
        """
        ahead = (sequence - self.first) & _MASK32
        if ahead >= self.next - self.first:
            return False
        slot = (self.first + ahead) & (self.capacity - 1)
        transmission = self._transmission[slot]
        if transmission == 0:
            return False
        known = timestamp == self._timestamp[slot]
        if known and transmission > self._event:
            self._event = transmission
        if not known and self._sends[slot] > 1:
            self._spurious += 1
        self._unlink(self.first + ahead, slot)
        self._deliver(slot, known)
        self._transmission[slot] = 0
        return True

    def _deliver(self, slot: int, known: bool) -> None:
        """Note that a segment arrived; ``known`` if it is sure which transmission of it did."""
        size = self._length[slot] + self._overhead
        self.in_flight -= size
        self.delivered += size
        self._new_bytes += size
        self._new_packets += 1
        if (known or self._sends[slot] == 1) and self._transmission[slot] > self._sample:
            self._sample = self._transmission[slot]
            self._sample_sent_at = self._sent_at[slot]
            self._sample_first_sent_at = self._sent_first_at[slot]
            self._sample_delivered = self._sent_delivered[slot]
            self._sample_delivered_at = self._sent_delivered_at[slot]
            self._sample_limited = bool(self._limited[slot])

    def acknowledge_before(self, sequence: int) -> int:
        """Take off all segments before ``sequence`` (32 bits); returns how many were waiting.

        Those behind it that were acknowledged one by one go too. The caller has checked that
        ``sequence`` is one from ``una`` to ``next``.
        """
        waiting = 0
        self.una += (sequence - self.una) & _MASK32
        mask = self.capacity - 1
        while self.first < self.next:
            slot = self.first & mask
            if self._transmission[slot] != 0:
                if self.first >= self.una:
                    break
                self._unlink(self.first, slot)
                self._deliver(slot, False)
                waiting += 1
            self.first += 1
        return waiting

    def stream_position(self, end: int) -> int:
        """Tell up to where in the stream the peer has all: ``end`` if nothing is in flight."""
        if self.first == self.next:
            return end
        return self._position[self.first & (self.capacity - 1)]

    def end_event(self) -> None:
        """Close a datagram of acknowledgements and count the highest transmission in it."""
        event = self._event
        if event == 0:
            return
        self._event = 0
        i = 0
        while i < self._fast_resend:
            if event > self._highest[i]:
                lower = self._highest[i]
                self._highest[i] = event
                event = lower
            i += 1

    def note_app_limited(self) -> None:
        """Mark that less was sent than allowed, because there was nothing to send."""
        self._limited_until = self.delivered + self.in_flight

    def finish(self, event: AckEvent) -> None:
        """Put into ``event`` what was acknowledged and lost since the last time, and a sample."""
        event.delivered = self.delivered
        event.in_flight = self.in_flight
        event.new_packets = self._new_packets
        event.new_bytes = self._new_bytes
        event.spurious_packets = self._spurious
        self._new_packets = 0
        self._new_bytes = 0
        self._spurious = 0
        event.lost_packets = self._lost_packets
        event.lost_bytes = self._lost_bytes
        event.lost_runs = self._lost_runs
        self._lost_packets = 0
        self._lost_bytes = 0
        self._lost_runs = 0
        if self._sample == 0:
            return
        event.newest = self._sample
        self._sample = 0
        event.rtt = event.now - self._sample_sent_at
        # The peer's clock is not known, so a queue on the way back counts as one on the way there.
        event.one_way = event.rtt
        event.sent_delivered = self._sample_delivered
        sent_elapsed = self._sample_sent_at - self._sample_first_sent_at
        elapsed = event.now - self._sample_delivered_at
        if sent_elapsed > elapsed:
            elapsed = sent_elapsed
        if elapsed > 0:
            event.rate = (self.delivered - self._sample_delivered) / elapsed
            event.app_limited = self._sample_limited
        self._delivered_at = event.now
        self._first_sent_at = self._sample_sent_at

    def note_progress(self) -> None:
        """Begin to count afresh how often the first segment is sent in vain."""
        if self.first == self.next:
            self._sends_before = 0
        else:
            self._sends_before = self._sends[self.first & (self.capacity - 1)]

    def sends_in_vain(self) -> int:
        """Tell how often the first segment was sent since anything was acknowledged."""
        if self.first == self.next:
            return 0
        return self._sends[self.first & (self.capacity - 1)] - self._sends_before

    # --- Losses --------------------------------------------------------------------------

    def overtaken(self, events: int) -> int:
        """Give a segment that ``events`` (1 to fast_resend) events have overtaken, or -1."""
        bound = self._highest[events - 1]
        which = 0
        while which <= _LAST_LIST:
            head = self._oldest[which]
            if head != _NONE and self._transmission[head & (self.capacity - 1)] < bound:
                return head
            which += 1
        return _NONE

    def overdue(self, now: float, rto: float) -> int:
        """Give a segment whose timeout is over at ``now``, or -1; ``rto`` is in seconds."""
        which = 0
        while which <= _LAST_LIST:
            head = self._oldest[which]
            if head != _NONE and self._deadline(head, rto) <= now:
                return head
            which += 1
        return _NONE

    def next_timeout(self, rto: float) -> float:
        """Tell when the first timeout will be over; inf if nothing waits."""
        earliest = _NEVER
        which = 0
        while which <= _LAST_LIST:
            head = self._oldest[which]
            if head != _NONE:
                deadline = self._deadline(head, rto)
                if deadline < earliest:
                    earliest = deadline
            which += 1
        return earliest

    def _deadline(self, sequence: int, rto: float) -> float:
        slot = sequence & (self.capacity - 1)
        timeouts = self._timeouts[slot]
        if self._gentle:
            wait = rto + rto / 2 * timeouts
        else:
            wait = rto * (1 << (timeouts if timeouts < 10 else 10))
        if wait > _MAX_BACKOFF:
            wait = _MAX_BACKOFF
        return self._sent_at[slot] + wait
