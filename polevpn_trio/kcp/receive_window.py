# cython: annotation_typing=False
"""What arrived from the peer: puts segments in order and remembers what to acknowledge."""

from __future__ import annotations

from array import array

from polevpn_trio.stream_buffer import StreamBuffer

IN_ORDER = 0
"""The segment was the next one; its payload can be fetched."""
EARLY = 1
"""The segment waits for one before it (or for the reader)."""
DUPLICATE = 2
"""The segment was here before; it is acknowledged again, since the ACK may be lost."""
OUTSIDE = 3
"""The segment lies beyond the window and was dropped; it must not be acknowledged."""


# Copies that the compiled build holds as C integers, which other modules cannot import.
_FEWEST_ACKS = 16
_IN_ORDER = IN_ORDER
_EARLY = EARLY
_DUPLICATE = DUPLICATE
_OUTSIDE = OUTSIDE
_MASK32 = 0xFFFFFFFF
_HALF = 0x80000000


class ReceiveWindow:
    """Receives a stream whose segments may be lost, repeated or out of order, into ``stream``.

    ``next`` is the first missing sequence number, counted without wrap-around (the wire has
    its low 32 bits). ``unread`` counts segments that were put in order but not yet fetched;
    at ``window`` of them ``next`` stops, until ``fetch`` makes room.
    """

    def __init__(self, window: int, initial_sequence: int) -> None:
        self.stream = StreamBuffer()
        self.next = initial_sequence
        self.unread = 0
        self.window = window
        self.acks = 0
        self.acks_dropped = 0
        self.ack_sequences = array("I", bytes(4 * _FEWEST_ACKS))
        self.ack_timestamps = array("I", bytes(4 * _FEWEST_ACKS))
        self._ack_room = _FEWEST_ACKS
        # A segment stays unacknowledged until the next flush, and a window full of them, each
        # sent twice, is more than an honest peer has under way.
        self._most_acks = max(2 * window, 1024)
        self._early: dict[int, bytes | bytearray] = {}
        self._early_bytes = 0
        # Bytes that were put in order since the last fetch.
        self._new = 0

    def widen(self, window: int) -> None:
        """Let ``window`` segments wait from now on, if that is more than before."""
        if window > self.window:
            self.window = window
            self._most_acks = max(2 * window, self._most_acks)

    def accept(
        self,
        sequence: int,
        source: bytes | bytearray,
        view: bytes | bytearray | memoryview,
        at: int,
        size: int,
    ) -> int:
        """Take one segment and return what became of it.

        Its payload is ``size`` bytes from ``at`` on, in ``view``, which looks at ``source``.
        Nothing of either is kept.
        """
        ahead = (sequence - self.next) & _MASK32
        if ahead >= _HALF:
            return _DUPLICATE
        if ahead >= self.window:
            return _OUTSIDE
        if ahead == 0 and self.unread < self.window:
            self._deliver(view, at, size)
            if self._early:
                self._deliver_early()
            return _IN_ORDER
        key = self.next + ahead
        if key in self._early:
            return _DUPLICATE
        self._early[key] = source[at : at + size]
        self._early_bytes += size
        return _EARLY

    def _deliver(self, view: bytes | bytearray | memoryview, at: int, size: int) -> None:
        self.next += 1
        # An empty segment gives the reader nothing to fetch, so it must not fill the window.
        if size == 0:
            return
        self.stream.write(view, at, size)
        self._new += size
        self.unread += 1

    def _deliver_early(self) -> None:
        while self.unread < self.window:
            payload = self._early.pop(self.next, None)
            if payload is None:
                return
            self._early_bytes -= len(payload)
            self._deliver(payload, 0, len(payload))

    def add_ack(self, sequence: int, timestamp: int) -> None:
        """Remember to acknowledge a segment; the caller takes ``acks`` of them and sets it to 0."""
        if self.acks == self._ack_room:
            if self._ack_room >= self._most_acks:
                self.acks_dropped += 1
                return
            self._resize_acks(2 * self._ack_room)
        self.ack_sequences[self.acks] = sequence
        self.ack_timestamps[self.acks] = timestamp
        self.acks += 1

    def fetch(self) -> int:
        """Make room for as much again; return how many bytes the stream has got since last time."""
        # What waited only for the reader comes along; the size of the window bounds it.
        while self._early and self.unread:
            self.unread = 0
            self._deliver_early()
        self.unread = 0
        new, self._new = self._new, 0
        return new

    def buffer_bytes(self) -> int:
        """Tell how much memory the buffers hold."""
        return self.stream.capacity + self._early_bytes + 8 * self._ack_room

    def is_large(self) -> bool:
        """Tell whether ``shrink`` has something to give back."""
        return self._ack_room > _FEWEST_ACKS

    def shrink(self) -> None:
        """Give back the memory of a past burst, if nothing waits in it."""
        if self.acks == 0 and self._ack_room > _FEWEST_ACKS:
            self._resize_acks(_FEWEST_ACKS)

    def _resize_acks(self, room: int) -> None:
        sequences = array("I", bytes(4 * room))
        timestamps = array("I", bytes(4 * room))
        sequences[: self.acks] = self.ack_sequences[: self.acks]
        timestamps[: self.acks] = self.ack_timestamps[: self.acks]
        self.ack_sequences = sequences
        self.ack_timestamps = timestamps
        self._ack_room = room
