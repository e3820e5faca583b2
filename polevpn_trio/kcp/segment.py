# cython: annotation_typing=False
"""One KCP segment header on the wire.

The layout is that of the KCP library (skywind3000/kcp) and of its Go descendants; all
fields are little-endian::

     0          4     5     6       8        12       16       20       24
     | conv u32 | cmd | frg | wnd16 | ts u32 | sn u32 | una u32| len u32| len bytes

A datagram is a run of segments. ``wnd`` and ``una`` are meant in every one of them, ``ts``
and ``sn`` only in PUSH and ACK, a payload only in PUSH.
"""

from __future__ import annotations

HEADER_SIZE = 24
"""Bytes of a segment before its payload."""

PUSH = 81
"""Command: a piece of the stream; ``sn`` numbers it, ``ts`` is the sender's clock."""

ACK = 82
"""Command: one PUSH arrived; ``sn`` and ``ts`` are copied from it."""

WASK = 83
"""Command: asks the peer for its receive window."""

WINS = 84
"""Command: carries nothing but the ``wnd`` and ``una`` that every segment has."""


class SegmentHeader:
    """The eight fields of a segment header, in the order in which they are sent.

    One object is filled again for every segment, so that a datagram costs no allocation.
    Sequence numbers and timestamps (milliseconds) wrap at 2**32; ``window`` counts segments.
    """

    def __init__(self) -> None:
        self.conversation_id = 0
        self.command = 0
        self.fragment = 0
        self.window = 0
        self.timestamp = 0
        self.sequence = 0
        self.acknowledged = 0
        self.length = 0

    def read(self, buffer: bytes | bytearray | memoryview, at: int) -> None:
        """Take the fields from ``buffer``, which must hold 24 bytes from ``at`` on."""
        self.conversation_id = (
            buffer[at] | buffer[at + 1] << 8 | buffer[at + 2] << 16 | buffer[at + 3] << 24
        )
        self.command = buffer[at + 4]
        self.fragment = buffer[at + 5]
        self.window = buffer[at + 6] | buffer[at + 7] << 8
        self.timestamp = (
            buffer[at + 8] | buffer[at + 9] << 8 | buffer[at + 10] << 16 | buffer[at + 11] << 24
        )
        self.sequence = (
            buffer[at + 12] | buffer[at + 13] << 8 | buffer[at + 14] << 16 | buffer[at + 15] << 24
        )
        self.acknowledged = (
            buffer[at + 16] | buffer[at + 17] << 8 | buffer[at + 18] << 16 | buffer[at + 19] << 24
        )
        self.length = (
            buffer[at + 20] | buffer[at + 21] << 8 | buffer[at + 22] << 16 | buffer[at + 23] << 24
        )

    def write(self, buffer: bytearray | memoryview, at: int) -> None:
        """Put the fields into ``buffer``, which must have 24 bytes of room from ``at`` on."""
        value = self.conversation_id
        buffer[at] = value & 0xFF
        buffer[at + 1] = value >> 8 & 0xFF
        buffer[at + 2] = value >> 16 & 0xFF
        buffer[at + 3] = value >> 24 & 0xFF
        buffer[at + 4] = self.command
        buffer[at + 5] = self.fragment
        value = self.window
        buffer[at + 6] = value & 0xFF
        buffer[at + 7] = value >> 8 & 0xFF
        value = self.timestamp
        buffer[at + 8] = value & 0xFF
        buffer[at + 9] = value >> 8 & 0xFF
        buffer[at + 10] = value >> 16 & 0xFF
        buffer[at + 11] = value >> 24 & 0xFF
        value = self.sequence
        buffer[at + 12] = value & 0xFF
        buffer[at + 13] = value >> 8 & 0xFF
        buffer[at + 14] = value >> 16 & 0xFF
        buffer[at + 15] = value >> 24 & 0xFF
        value = self.acknowledged
        buffer[at + 16] = value & 0xFF
        buffer[at + 17] = value >> 8 & 0xFF
        buffer[at + 18] = value >> 16 & 0xFF
        buffer[at + 19] = value >> 24 & 0xFF
        value = self.length
        buffer[at + 20] = value & 0xFF
        buffer[at + 21] = value >> 8 & 0xFF
        buffer[at + 22] = value >> 16 & 0xFF
        buffer[at + 23] = value >> 24 & 0xFF
