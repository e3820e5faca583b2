# cython: annotation_typing=False
"""The bytes of a peer's stream between whoever takes them off the wire and who reads frames."""

from __future__ import annotations

from polevpn_trio import raw_copy

LARGEST_SPARE = 300_000
"""Bytes of memory up to which a buffer is made twice as large as its predecessor was filled, so
that the rest of a frame seldom has to move. It is no multiple of the largest frame's size: else
nearly all of one would be what has to move."""

# Copies that the compiled build holds as C integers, which other modules cannot import.
_LARGEST_SPARE = LARGEST_SPARE

_NO_DATA = bytearray()
_NO_VIEW = memoryview(_NO_DATA)


class StreamBuffer:
    """What has arrived of a stream and is not read yet: ``data[start:end]``.

    Whoever writes calls `append`, or `reserve` and then writes behind ``end`` and moves that on.
    Whoever reads looks at ``data`` and calls `advance`. What was read stays where it is: slices
    of ``data`` before ``start`` may be kept, and changed, for as long as they are needed. A buffer
    with nothing to read holds no memory.
    """

    def __init__(self) -> None:
        self.start = 0
        self.end = 0
        self.data = _NO_DATA
        self.capacity = 0
        """Bytes that ``data`` has, used or not."""
        self._view = _NO_VIEW
        # What the last buffers were filled to, at most; a smaller one makes it half as much.
        self._expected = 0

    def __len__(self) -> int:
        return self.end - self.start

    def reserve(self, size: int) -> None:
        """See to it that there is room for ``size`` bytes behind ``end``.

        May replace ``data`` by one that begins with what is not read.
        """
        if size <= self.capacity - self.end:
            return
        held = self.end - self.start
        spare = 2 * max(self._expected, self.end)
        if spare > _LARGEST_SPARE:
            spare = _LARGEST_SPARE
        capacity = max(held + size, spare, 2 * held)
        data = raw_copy.new_buffer(capacity)
        view = memoryview(data)
        raw_copy.copy_bytes(view, 0, self._view, self.start, held)
        self._expected = max(self.end, self._expected)
        self.data = data
        self._view = view
        self.capacity = capacity
        self.start = 0
        self.end = held

    def write(self, source: bytes | bytearray | memoryview, at: int, size: int) -> None:
        """Append ``size`` bytes of ``source`` from ``at`` on; it must have them."""
        self.reserve(size)
        raw_copy.copy_bytes(self._view, self.end, source, at, size)
        self.end += size

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data`` (contiguous). A bytearray may become the buffer: leave it alone."""
        if self.start == self.end and isinstance(data, bytearray):
            self.data = data
            self._view = memoryview(data)
            self.capacity = len(data)
            self.start = 0
            self.end = self.capacity
            return
        view = memoryview(data).cast("B")
        self.write(view, 0, len(view))

    def advance(self, position: int) -> None:
        """Note that everything before ``position`` was read; without a rest, give up the memory."""
        self.start = position
        if position == self.end and self.capacity:
            self._expected = max(self.end, self._expected // 2)
            self.start = self.end = self.capacity = 0
            self.data = _NO_DATA
            self._view = _NO_VIEW

    def take(self) -> bytes:
        """Return a copy of all that was not read, and forget it."""
        taken = bytes(memoryview(self.data)[self.start : self.end])
        self.advance(self.end)
        return taken
