# cython: annotation_typing=False
"""The bytes of a stream, from when they are handed in until the peer has them."""

from __future__ import annotations

from polevpn_trio import raw_copy

SMALLEST = 1024
"""Bytes of memory that an empty queue holds."""


class ByteQueue:
    """A ring of bytes addressed by their position in the stream.

    Positions count from the first byte ever appended and never wrap. Bytes from ``start`` to
    ``end`` can be copied out, as often as needed, until ``release`` moves ``start`` past them.
    The ring doubles when it is full.
    """

    def __init__(self) -> None:
        self.start = 0
        self.end = 0
        self.capacity = SMALLEST
        self._ring = memoryview(bytearray(SMALLEST))

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Add ``data`` (contiguous) at the end."""
        view = memoryview(data).cast("B")
        size = len(view)
        capacity = self.capacity
        if self.end - self.start + size > capacity:
            while self.end - self.start + size > capacity:
                capacity *= 2
            self.resize(capacity)
        at = self.end & (capacity - 1)
        head = capacity - at
        if head >= size:
            raw_copy.copy_bytes(self._ring, at, view, 0, size)
        else:
            raw_copy.copy_bytes(self._ring, at, view, 0, head)
            raw_copy.copy_bytes(self._ring, 0, view, head, size - head)
        self.end += size

    def copy_out(self, position: int, size: int, target: bytearray | memoryview, at: int) -> None:
        """Copy ``size`` bytes from ``position`` on into ``target`` at ``at``.

        The range must lie between ``start`` and ``end``, and ``target`` must have the room.
        """
        begin = position & (self.capacity - 1)
        head = self.capacity - begin
        if head >= size:
            raw_copy.copy_bytes(target, at, self._ring, begin, size)
        else:
            raw_copy.copy_bytes(target, at, self._ring, begin, head)
            raw_copy.copy_bytes(target, at + head, self._ring, 0, size - head)

    def release(self, position: int) -> None:
        """Forget the bytes before ``position``."""
        self.start = position

    def resize(self, capacity: int) -> None:
        """Move to a ring of ``capacity`` bytes, a power of two that holds what is queued."""
        ring = memoryview(bytearray(capacity))
        position = self.start
        # The new ring may break where the old one does not, so go from break to break.
        while position < self.end:
            at = position & (capacity - 1)
            piece = capacity - at
            if piece > self.end - position:
                piece = self.end - position
            self.copy_out(position, piece, ring, at)
            position += piece
        self._ring = ring
        self.capacity = capacity
