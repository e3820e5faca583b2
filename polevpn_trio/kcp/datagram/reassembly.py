# cython: annotation_typing=False
"""Puts packets together again that were too large for one body and came in parts.

Each packet in parts has a slot, found by its bucket and sequence number. There is a fixed number
of slots; who needs one that is taken gets it, and what was there is given up.
"""

from __future__ import annotations

from array import array

SLOTS = 512
"""Packets in parts at a time: at 5 % loss and 50 ms, those of 100 Mbit/s and more."""
MOST_PARTS = 8

_SLOTS = SLOTS
_MOST_PARTS = MOST_PARTS
_EMPTY = -1
_SPREAD = 37


class Reassembly:
    """Collects parts; ``stride`` is the size of the longest packet, in bytes.

    After ``add`` returned a slot, the packet is in ``data`` at ``slot * stride``. ``evicted`` is
    the key of the packet that was given up for it, -1 if there was none; ``evictions`` counts
    them.
    """

    def __init__(self, stride: int) -> None:
        self.stride = stride
        self.evicted = _EMPTY
        self.evictions = 0
        self.used = 0
        self._allocate(0)

    def _allocate(self, slots: int) -> None:
        self._slots = slots
        self.data = memoryview(bytearray(slots * self.stride))
        self._key = array("i", [_EMPTY]) * slots
        self._total = array("H", bytes(2 * slots))
        self._arrived = array("H", bytes(2 * slots))
        self._parts = array("B", bytes(slots))
        self._offsets = array("H", bytes(2 * slots * MOST_PARTS))

    def add(
        self,
        key: int,
        total: int,
        offset: int,
        view: bytes | bytearray | memoryview,
        at: int,
        length: int,
    ) -> int:
        """Take a part, ``length`` bytes at ``at``, of the packet ``key`` of ``total`` bytes.

        Returns the slot of the packet once it is whole, else -1. The part must lie within the
        packet, and that be no longer than ``stride``; ``key`` is item and sequence number.
        """
        self.evicted = _EMPTY
        if self._slots == 0:
            self._allocate(_SLOTS)
        slot = ((key >> 16) * _SPREAD + key) & (_SLOTS - 1)
        if self._key[slot] != key or self._total[slot] != total:
            if self._key[slot] != _EMPTY:
                self.evictions += 1
                self.used -= 1
                if self._key[slot] != key:
                    self.evicted = self._key[slot]
            self._key[slot] = key
            self._total[slot] = total
            self._arrived[slot] = 0
            self._parts[slot] = 0
            self.used += 1
        first = slot * _MOST_PARTS
        index = 0
        while index < self._parts[slot]:
            if self._offsets[first + index] == offset:
                return -1
            index += 1
        if index == _MOST_PARTS:
            return -1
        self._offsets[first + index] = offset
        self._parts[slot] += 1
        begin = slot * self.stride + offset
        self.data[begin : begin + length] = view[at : at + length]
        self._arrived[slot] += length
        if self._arrived[slot] < total:
            return -1
        self._key[slot] = _EMPTY
        self.used -= 1
        return slot

    def shrink(self) -> None:
        """Give the memory back if nothing waits for its other parts, or all of it is old."""
        if self._slots:
            self._allocate(0)
            self.used = 0
