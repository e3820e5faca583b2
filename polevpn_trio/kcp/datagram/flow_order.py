# cython: annotation_typing=False
"""Hands packets on: those of a bucket in order, all others as they come, each once.

A packet of a bucket that comes before one that precedes it is held, found again by a hash of
bucket and sequence number, and released when the gap closes. A gap closes when the packet
arrives, when the sender says that it will not (``skip``), when the bucket runs too far ahead of
it, or when the sender must have given up and its word was lost (``release_overdue``).
"""

from __future__ import annotations

import math
from array import array

from polevpn_trio.kcp.datagram.wire import BUCKETS, write16

HELD_LIMIT = 4096
"""Packets held at most, in all buckets together; who comes then lets his bucket go on."""

REACH = 8192
"""Sequence numbers that a bucket may run ahead of a gap."""

PATIENCE = 10.0
"""Seconds until a gap is given up without word from the sender, who gives up sooner."""

REMEMBERED = 16384
"""Unordered packets, back from the newest, of which it is known whether they came."""

FRAME_HEADER = 8

_BUCKETS = BUCKETS
_HELD_LIMIT = HELD_LIMIT
_REACH = REACH
_PATIENCE = PATIENCE
_REMEMBERED = REMEMBERED
_FRAME_HEADER = FRAME_HEADER
_SMALLEST_HELD = 4
_SMALLEST_OUTPUT = 2048
_NONE = -1
_NEVER = math.inf
_HASH = 0x9E3779B1
_MASK32 = 0xFFFFFFFF


class FlowOrder:
    """Takes packets in any order and makes frames of them, ready to be fetched.

    ``command`` is the command of the frames, ``stride`` the size of the longest packet.
    ``held`` counts packets and skips that wait; ``duplicates`` were here before, ``late`` came
    after their place was given up, ``abandoned`` counts gaps given up without word.
    """

    def __init__(self, command: int, stride: int) -> None:
        self.command = command
        self.held = 0
        self.packets = 0
        self.bytes = 0
        self.duplicates = 0
        self.late = 0
        self.abandoned = 0
        self._stride = stride
        self._next = array("H", bytes(2 * _BUCKETS))
        self._waiting = array("H", bytes(2 * _BUCKETS))
        self._waiting_since = array("d", bytes(8 * _BUCKETS))
        self._blocked = 0
        self._newest = 0xFFFF
        self._seen = array("B", bytes(_REMEMBERED >> 3))
        self._output = memoryview(bytearray(_SMALLEST_OUTPUT))
        self._output_capacity = _SMALLEST_OUTPUT
        self._filled = 0
        self._allocate(_SMALLEST_HELD)

    # --- Held packets --------------------------------------------------------------------

    def _allocate(self, capacity: int) -> None:
        self._capacity = capacity
        self._data = memoryview(bytearray(capacity * self._stride))
        self._length = array("H", bytes(2 * capacity))
        self._key = array("i", bytes(4 * capacity))
        self._chain = array("i", bytes(4 * capacity))
        self._heads = array("i", [_NONE] * (2 * capacity))
        self._free = array("i", range(capacity - 1, -1, -1))
        self._free_count = capacity

    def _grow(self) -> None:
        old = self._capacity
        data = self._data
        length = self._length
        key = self._key
        self._allocate(2 * old)
        self._data[: old * self._stride] = data
        self._length[:old] = length
        self._free_count = old
        slot = 0
        while slot < old:
            self._link(slot, key[slot])
            slot += 1

    def _link(self, slot: int, key: int) -> None:
        place = self._place(key)
        self._key[slot] = key
        self._chain[slot] = self._heads[place]
        self._heads[place] = slot

    def _place(self, key: int) -> int:
        return ((key * _HASH) & _MASK32) >> 8 & (2 * self._capacity - 1)

    def _find(self, key: int) -> int:
        slot = self._heads[self._place(key)]
        while slot != _NONE and self._key[slot] != key:
            slot = self._chain[slot]
        return slot

    def _take(self, key: int) -> int:
        """Unlink and return the slot of a key, or -1; the caller frees it."""
        place = self._place(key)
        slot = self._heads[place]
        before = _NONE
        while slot != _NONE and self._key[slot] != key:
            before = slot
            slot = self._chain[slot]
        if slot != _NONE:
            if before == _NONE:
                self._heads[place] = self._chain[slot]
            else:
                self._chain[before] = self._chain[slot]
        return slot

    def _hold(
        self, bucket: int, sequence: int, view: bytes | bytearray | memoryview, at: int, length: int
    ) -> None:
        if self._free_count == 0:
            self._grow()
        self._free_count -= 1
        slot = self._free[self._free_count]
        begin = slot * self._stride
        if length:
            self._data[begin : begin + length] = view[at : at + length]
        self._length[slot] = length
        self._link(slot, bucket << 16 | sequence)
        self.held += 1
        self._waiting[bucket] += 1

    # --- Packets -------------------------------------------------------------------------

    def add(
        self,
        bucket: int,
        sequence: int,
        view: bytes | bytearray | memoryview,
        at: int,
        length: int,
        now: float,
    ) -> None:
        """Take a packet (``length`` bytes at ``at``) of a bucket, or word that it never comes.

        ``length`` 0 is that word; ``length`` is at most ``stride``. Nothing of ``view`` is kept.
        """
        ahead = (sequence - self._next[bucket]) & 0xFFFF
        if ahead == 0:
            if length:
                self._emit(view, at, length)
            self._next[bucket] = (sequence + 1) & 0xFFFF
            if self._waiting[bucket]:
                self._release(bucket, now)
            return
        if ahead >= 0x8000:
            if length:
                self.late += 1
            return
        if self._waiting[bucket] and self._find(bucket << 16 | sequence) != _NONE:
            if length:
                self.duplicates += 1
            return
        if length == 0 and ahead >= _REACH:
            return
        if ahead >= _REACH:
            self._advance(bucket, (sequence - _REACH + 1) & 0xFFFF, now)
        if self.held >= _HELD_LIMIT:
            self._advance(bucket, sequence, now)
        ahead = (sequence - self._next[bucket]) & 0xFFFF
        if ahead == 0:
            self.add(bucket, sequence, view, at, length, now)
            return
        if self._waiting[bucket] == 0:
            self._waiting_since[bucket] = now
            self._blocked += 1
        self._hold(bucket, sequence, view, at, length)

    def _release(self, bucket: int, now: float) -> None:
        """Hand on what waited for the packet before it."""
        while self._waiting[bucket]:
            sequence = self._next[bucket]
            slot = self._take(bucket << 16 | sequence)
            if slot == _NONE:
                self._waiting_since[bucket] = now
                return
            self._hand_on(bucket, sequence, slot)
        self._blocked -= 1

    def _hand_on(self, bucket: int, sequence: int, slot: int) -> None:
        length = self._length[slot]
        if length:
            self._emit(self._data, slot * self._stride, length)
        self._free[self._free_count] = slot
        self._free_count += 1
        self.held -= 1
        self._waiting[bucket] -= 1
        self._next[bucket] = (sequence + 1) & 0xFFFF

    def _advance(self, bucket: int, sequence: int, now: float) -> None:
        """Give up the gaps of a bucket before ``sequence`` and hand on what waited for them."""
        self.abandoned += 1
        blocked = self._waiting[bucket] > 0
        while self._waiting[bucket] and self._next[bucket] != sequence:
            at = self._next[bucket]
            slot = self._take(bucket << 16 | at)
            if slot == _NONE:
                self._next[bucket] = (at + 1) & 0xFFFF
            else:
                self._hand_on(bucket, at, slot)
        if self._waiting[bucket]:
            self._waiting_since[bucket] = now
            self._release(bucket, now)
        else:
            self._next[bucket] = sequence
            if blocked:
                self._blocked -= 1

    def add_unordered(
        self, sequence: int, view: bytes | bytearray | memoryview, at: int, length: int
    ) -> None:
        """Take a packet that waits for none, unless it was here before."""
        ahead = (sequence - self._newest) & 0xFFFF
        if 0 < ahead < 0x8000:
            if ahead >= _REMEMBERED:
                ahead = _REMEMBERED
            while ahead > 0:
                ahead -= 1
                index = (sequence - ahead) & (_REMEMBERED - 1)
                self._seen[index >> 3] &= ~(1 << (index & 7)) & 0xFF
            self._newest = sequence
        elif (self._newest - sequence) & 0xFFFF >= _REMEMBERED:
            self.late += 1
            return
        index = sequence & (_REMEMBERED - 1)
        if self._seen[index >> 3] >> (index & 7) & 1:
            self.duplicates += 1
            return
        self._seen[index >> 3] |= 1 << (index & 7)
        self._emit(view, at, length)

    def next_timeout(self) -> float:
        """Tell when to look for overdue gaps, inf if nothing waits for one."""
        if self._blocked == 0:
            return _NEVER
        earliest = _NEVER
        bucket = 0
        while bucket < _BUCKETS:
            if self._waiting[bucket] and self._waiting_since[bucket] < earliest:
                earliest = self._waiting_since[bucket]
            bucket += 1
        return earliest + _PATIENCE

    def release_overdue(self, now: float) -> None:
        """Give up the gaps that have held up their bucket for too long."""
        bucket = 0
        while bucket < _BUCKETS:
            if self._waiting[bucket] and now >= self._waiting_since[bucket] + _PATIENCE:
                sequence = self._next[bucket]
                while self._find(bucket << 16 | sequence) == _NONE:
                    sequence = (sequence + 1) & 0xFFFF
                self._advance(bucket, sequence, now)
            bucket += 1

    # --- Output --------------------------------------------------------------------------

    def _emit(self, view: bytes | bytearray | memoryview, at: int, length: int) -> None:
        size = _FRAME_HEADER + length
        if self._filled + size > self._output_capacity:
            self._widen(self._filled + size)
        output = self._output
        begin = self._filled
        write16(output, begin, size)
        write16(output, begin + 2, self.command)
        write16(output, begin + 4, 0)
        write16(output, begin + 6, 0)
        output[begin + _FRAME_HEADER : begin + size] = view[at : at + length]
        self._filled += size
        self.packets += 1
        self.bytes += length

    def _widen(self, needed: int) -> None:
        capacity = self._output_capacity
        while capacity < needed:
            capacity *= 2
        output = memoryview(bytearray(capacity))
        output[: self._filled] = self._output[: self._filled]
        self._output = output
        self._output_capacity = capacity

    def receive(self) -> bytearray:
        """Fetch the frames that are ready, back to back; nothing if there are none."""
        if self._filled == 0:
            return bytearray()
        frames = bytearray(self._output[: self._filled])
        self._filled = 0
        return frames

    def shrink(self) -> None:
        """Give back the memory of a past burst, if nothing waits in it."""
        if self.held == 0 and self._capacity > _SMALLEST_HELD:
            self._allocate(_SMALLEST_HELD)
        if self._filled == 0 and self._output_capacity > _SMALLEST_OUTPUT:
            self._output = memoryview(bytearray(_SMALLEST_OUTPUT))
            self._output_capacity = _SMALLEST_OUTPUT
