# cython: annotation_typing=False
"""The wire format of the ``datagram`` conversation: datagrams, their items, acknowledgements.

All numbers are big-endian. A datagram that carries packets::

     0      1          4
     | kind | number 24| acknowledgement, if kind has WITH_ACK | items ...

``number`` numbers datagrams, each sent one anew, and has the low 24 bits of it. The items::

     | 0x80 + bucket | sequence u16 | IP packet |     kept in order within its bucket
     |     UNORDERED | sequence u16 | IP packet |     handed on at once
     |          SKIP | bucket u8 | sequence u16 | count u8 |    these will never come
     |     ACK_DELAY | milliseconds u8 |    how long to hold acknowledgements back at most
     |          PART | item u8 | sequence u16 | total u16 | offset u16 | length u16 | bytes |

An IP packet says itself how long it is. One that is too large for a datagram travels in parts,
each of which says the item and sequence that the packet would have, its size, and which bytes
these are. A datagram that only acknowledges is ``ACK`` and the
acknowledgement::

     0          3        5             8            9         11           13    15
     | largest24|delay 16|received at24|reordering 8|arrived16|recovered 16|gaps16|runs 8| ...

and then ``length - 1`` of the run that ends in ``largest``, and for each older run
``gap - 1`` and ``length - 1``: numbers below 128 in one byte, others in two, the first of which
has its top bit set. Times count ticks of 1/16384 s; ``reordering`` counts 1/1024 s.

Conversation 0 begins with a zero byte on the same session, so the first byte tells the two
apart. Kinds from 0x30 to 0x3F belong to repair (``fec``).
"""

from __future__ import annotations

from array import array

DATA = 0x10
WITH_ACK = 0x01
"""Flag of DATA: an acknowledgement precedes the items."""
AT_ONCE = 0x02
"""Flag of DATA: asks to be acknowledged without delay."""
ACK = 0x20
REPAIR = 0x30
"""Of a layer below (FEC), which has seen it before."""

ORDERED = 0x80
UNORDERED = 0x00
SKIP = 0x01
ACK_DELAY = 0x02
PART = 0x03

BUCKETS = 128
HEADER_SIZE = 4
ITEM_SIZE = 3
"""Bytes before the IP packet in an item."""
SKIP_SIZE = 5
ACK_DELAY_SIZE = 2
PART_SIZE = 10
"""Bytes before those of the packet."""

TICKS = 16384
"""Ticks of the times in an acknowledgement, per second."""
REORDERING_TICKS = 1024
"""Of the reordering, per second: up to a quarter of a second fits its byte."""

LARGEST_PACKET = 1500
"""Bytes of an IP packet; larger ones travel in the stream."""

MOST_RUNS = 64
"""Runs that one acknowledgement names at most; what it leaves out, the sender sends again."""
ACK_HEADER_SIZE = 16
LARGEST_ACK = ACK_HEADER_SIZE + 2 + 4 * (MOST_RUNS - 1)
LONGEST = 0x7FFF
"""The largest number in two bytes."""

_ACK_HEADER = ACK_HEADER_SIZE
_MOST_RUNS = MOST_RUNS
_LONGEST = LONGEST
_WRAP = 1 << 24


def expand(low: int, wrap: int, near: int) -> int:
    """Give the number nearest to ``near`` whose remainder by ``wrap``, a power of two, is ``low``.

    The result is negative if that number would be.
    """
    ahead = (low - near) & (wrap - 1)
    if ahead >= wrap >> 1:
        ahead -= wrap
    return near + ahead


class Acknowledgement:
    """The fields of an acknowledgement; one object is filled again for each.

    Run ``i``, newest first, is the numbers from ``largest - newest[i]`` down to
    ``largest - oldest[i]``. Times are in ticks. ``arrived``, ``recovered`` and ``gaps`` have 16
    bits and wrap.
    """

    def __init__(self) -> None:
        self.largest = 0
        self.delay = 0
        self.received_at = 0
        self.reordering = 0
        self.arrived = 0
        self.recovered = 0
        self.gaps = 0
        self.runs = 0
        self.newest = array("q", bytes(8 * MOST_RUNS))
        self.oldest = array("q", bytes(8 * MOST_RUNS))

    def add_run(self, newest: int, oldest: int) -> bool:
        """Append a run of older numbers, as distances from ``largest``; False if it cannot fit."""
        if self.runs == _MOST_RUNS:
            return False
        if self.runs and newest - self.oldest[self.runs - 1] - 2 > _LONGEST:
            return False
        if oldest - newest > _LONGEST:
            oldest = newest + _LONGEST
        self.newest[self.runs] = newest
        self.oldest[self.runs] = oldest
        self.runs += 1
        return True

    def listed(self) -> list[tuple[int, int]]:
        """Give the runs as pairs of distances from ``largest``, for people and tests."""
        return [(self.newest[index], self.oldest[index]) for index in range(self.runs)]

    def write(self, buffer: bytearray | memoryview, at: int) -> int:
        """Put the acknowledgement into ``buffer``, which has the room; returns where it ends."""
        write24(buffer, at, self.largest)
        write16(buffer, at + 3, self.delay)
        write24(buffer, at + 5, self.received_at)
        buffer[at + 8] = self.reordering
        write16(buffer, at + 9, self.arrived)
        write16(buffer, at + 11, self.recovered)
        write16(buffer, at + 13, self.gaps)
        buffer[at + 15] = self.runs
        at += _ACK_HEADER
        index = 0
        while index < self.runs:
            if index:
                at = _write_short(buffer, at, self.newest[index] - self.oldest[index - 1] - 2)
            at = _write_short(buffer, at, self.oldest[index] - self.newest[index])
            index += 1
        return at

    def read_untrusted(self, view: bytes | bytearray | memoryview, at: int, end: int) -> int:
        """Take the fields from ``view`` between ``at`` and ``end``.

        Returns where the acknowledgement ends, or -1 if it is not a whole one.
        """
        if end - at < _ACK_HEADER:
            return -1
        self.largest = read24(view, at)
        self.delay = read16(view, at + 3)
        self.received_at = read24(view, at + 5)
        self.reordering = view[at + 8]
        self.arrived = read16(view, at + 9)
        self.recovered = read16(view, at + 11)
        self.gaps = read16(view, at + 13)
        self.runs = view[at + 15]
        if not 0 < self.runs <= _MOST_RUNS:
            return -1
        at += _ACK_HEADER
        back = 0
        index = 0
        while index < self.runs:
            step = 0
            while step < 2:
                # The newest run begins at the largest number, so it has no gap.
                if index or step:
                    if at >= end:
                        return -1
                    value = view[at]
                    at += 1
                    if value >= 128:
                        if at >= end:
                            return -1
                        value = (value & 0x7F) << 8 | view[at]
                        at += 1
                    back += value
                if step == 0:
                    if index:
                        back += 2
                    self.newest[index] = back
                else:
                    self.oldest[index] = back
                step += 1
            index += 1
        return at


def read16(view: bytes | bytearray | memoryview, at: int) -> int:
    """Give the 16-bit number at ``at``, which must lie within ``view``."""
    return view[at] << 8 | view[at + 1]


def read24(view: bytes | bytearray | memoryview, at: int) -> int:
    """Give the 24-bit number at ``at``, which must lie within ``view``."""
    return view[at] << 16 | view[at + 1] << 8 | view[at + 2]


def write16(buffer: bytearray | memoryview, at: int, value: int) -> None:
    """Put the low 16 bits of ``value`` at ``at``, where there must be room."""
    buffer[at] = value >> 8 & 0xFF
    buffer[at + 1] = value & 0xFF


def write24(buffer: bytearray | memoryview, at: int, value: int) -> None:
    """Put the low 24 bits of ``value`` at ``at``, where there must be room."""
    buffer[at] = value >> 16 & 0xFF
    buffer[at + 1] = value >> 8 & 0xFF
    buffer[at + 2] = value & 0xFF


def _write_short(buffer: bytearray | memoryview, at: int, value: int) -> int:
    if value < 128:
        buffer[at] = value
        return at + 1
    buffer[at] = 0x80 | value >> 8
    buffer[at + 1] = value & 0xFF
    return at + 2
