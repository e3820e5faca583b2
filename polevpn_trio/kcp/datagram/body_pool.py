# cython: annotation_typing=False
"""The bodies of datagrams (their items) from when they are built until the peer has them.

A body is sent in a datagram with a number, and if that is lost, once more in one with another
number. Bodies lie in slots of equal size, so that nothing is allocated per packet; the memory
doubles when more are under way than ever before.

::

    FREE --acquire--> HELD --mark_lost--> LOST --pop_lost--> HELD
    HELD or LOST --release--> FREE
"""

from __future__ import annotations

import math
from array import array

SMALLEST = 8
"""Slots that an idle pool has."""

FREE = 0
HELD = 1
"""Being built, or under way."""
LOST = 2
"""Waits in the queue to be sent again."""

_SMALLEST = SMALLEST
_FREE = FREE
_HELD = HELD
_LOST = LOST
_NONE = -1


class BodyPool:
    """Slots of ``stride`` bytes for bodies, each known by its slot and its serial number.

    A slot is used again, a serial number is not: whoever keeps a slot across events keeps the
    serial too and compares (``is_current``). ``used`` counts the slots that are not free.
    """

    def __init__(self, stride: int) -> None:
        self.stride = stride
        self.capacity = 0
        self.used = 0
        self.lost = 0
        self._serials = 0
        self._first_lost = _NONE
        self._last_lost = _NONE
        self._allocate(SMALLEST)

    def _allocate(self, capacity: int) -> None:
        self.data = memoryview(bytearray(capacity * self.stride))
        self.length = array("H", bytes(2 * capacity))
        self.deadline = array("d", bytes(8 * capacity))
        self.serial = array("q", bytes(8 * capacity))
        self.latest = array("q", bytes(8 * capacity))
        self.important = array("B", bytes(capacity))
        self._state = array("B", bytes(capacity))
        self._next_lost = array("i", bytes(4 * capacity))
        self._lost_before = array("i", bytes(4 * capacity))
        self._free = array("i", range(capacity - 1, -1, -1))
        self._free_count = capacity
        self.capacity = capacity

    def _grow(self) -> None:
        old = self.capacity
        data = self.data
        length = self.length
        deadline = self.deadline
        serial = self.serial
        latest = self.latest
        important = self.important
        state = self._state
        next_lost = self._next_lost
        lost_before = self._lost_before
        self._allocate(2 * old)
        self.data[: old * self.stride] = data
        self.length[:old] = length
        self.deadline[:old] = deadline
        self.serial[:old] = serial
        self.latest[:old] = latest
        self.important[:old] = important
        self._state[:old] = state
        self._next_lost[:old] = next_lost
        self._lost_before[:old] = lost_before
        # All old slots are in use, or there were no need to grow.
        self._free_count = old

    def shrink(self) -> None:
        """Give memory back if nothing is held."""
        if self.used == 0 and self.capacity > _SMALLEST:
            self._allocate(_SMALLEST)

    def acquire(self) -> int:
        """Give an empty slot; its deadline is the past and it was not sent yet."""
        if self._free_count == 0:
            self._grow()
        self._free_count -= 1
        slot = self._free[self._free_count]
        self._serials += 1
        self.serial[slot] = self._serials
        self.length[slot] = 0
        self.deadline[slot] = -math.inf
        self.latest[slot] = _NONE
        self.important[slot] = 0
        self._state[slot] = _HELD
        self.used += 1
        return slot

    def is_current(self, slot: int, serial: int) -> bool:
        """Tell whether a slot still holds that body and the peer may lack it."""
        return self.serial[slot] == serial and self._state[slot] != _FREE

    def is_held(self, slot: int) -> bool:
        """Tell whether the body is not queued to be sent again."""
        return self._state[slot] == _HELD

    def release(self, slot: int) -> None:
        """Let go of a body that the peer has, or shall do without."""
        if self._state[slot] == _LOST:
            self._unqueue(slot)
        self._state[slot] = _FREE
        self._free[self._free_count] = slot
        self._free_count += 1
        self.used -= 1

    def mark_lost(self, slot: int) -> None:
        """Queue a held body to be sent again."""
        self._state[slot] = _LOST
        self.lost += 1
        self._next_lost[slot] = _NONE
        self._lost_before[slot] = self._last_lost
        if self._last_lost == _NONE:
            self._first_lost = slot
        else:
            self._next_lost[self._last_lost] = slot
        self._last_lost = slot

    def pop_lost(self) -> int:
        """Take the body that has waited longest to be sent again; -1 if there is none."""
        slot = self._first_lost
        if slot != _NONE:
            self._unqueue(slot)
            self._state[slot] = _HELD
        return slot

    def _unqueue(self, slot: int) -> None:
        before = self._lost_before[slot]
        after = self._next_lost[slot]
        if before == _NONE:
            self._first_lost = after
        else:
            self._next_lost[before] = after
        if after == _NONE:
            self._last_lost = before
        else:
            self._lost_before[after] = before
        self.lost -= 1
