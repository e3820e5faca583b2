# cython: annotation_typing=False
"""The bytes of a stream, from when they are handed in until the peer has them."""

from __future__ import annotations

from polevpn_trio import raw_copy

KEPT_FROM = 2048
"""Bytes from which on a piece stays in the memory that it came in; smaller ones share some."""

MOST_UNUSED = 8
"""A piece stays there only if it is at least one in so many parts of that memory: else a few small
pieces would hold a lot of it."""

SHARED = 4096
"""Bytes of memory that small pieces share."""

# Copies that the compiled build holds as C integers, which other modules cannot import.
_KEPT_FROM = KEPT_FROM
_MOST_UNUSED = MOST_UNUSED
_SHARED = SHARED

_NO_VIEW = memoryview(bytearray())


class _Piece:
    """Bytes of the stream from position ``start`` to ``end``, from ``view[0]`` on."""

    __slots__ = ("end", "size", "start", "view")

    def __init__(self, start: int, end: int, view: memoryview, size: int) -> None:
        self.start = start
        self.end = end
        self.view = view
        self.size = size
        """Bytes of memory that it holds, used or not."""


class ByteQueue:
    """Bytes addressed by their position in the stream.

    Positions count from the first byte ever appended and never wrap. Bytes from ``start`` to
    ``end`` can be copied out, as often as needed, until ``release`` moves ``start`` past them.
    ``held`` is how many bytes of memory they take, without what others use beside them.
    """

    def __init__(self) -> None:
        self.start = 0
        self.end = 0
        self.held = 0
        self._pieces: list[_Piece] = []
        # The piece where the next copy will probably begin.
        self._hint = 0
        # The last piece, while small ones may be added to it, and what it may hold then.
        self._open: _Piece | None = None
        self._open_view = _NO_VIEW

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Add ``data`` (contiguous) at the end. It must not change until the peer has it."""
        view = memoryview(data).cast("B")
        size = len(view)
        if size >= _KEPT_FROM and size * _MOST_UNUSED >= _memory_of(data, size):
            self._add(view, size, size)
            self._open = None
        elif size:
            self._append_copy(view, size)

    def _append_copy(self, view: memoryview, size: int) -> None:
        piece = self._open
        if piece is None or piece.end - piece.start + size > piece.size:
            room = size if size > _SHARED else _SHARED
            self._open_view = memoryview(raw_copy.new_buffer(room))
            piece = self._add(self._open_view, 0, room)
            self._open = piece
        raw_copy.copy_bytes(self._open_view, piece.end - piece.start, view, 0, size)
        piece.end += size
        self.end += size

    def _add(self, view: memoryview, size: int, memory: int) -> _Piece:
        piece = _Piece(self.end, self.end + size, view, memory)
        self._pieces.append(piece)
        self.end += size
        self.held += memory
        return piece

    def copy_out(self, position: int, size: int, target: bytearray | memoryview, at: int) -> None:
        """Copy ``size`` bytes from ``position`` on into ``target`` at ``at``.

        The range must lie between ``start`` and ``end``, and ``target`` must have the room.
        """
        if size == 0:
            return
        index = self._find(position)
        while True:
            piece = self._pieces[index]
            count = piece.end - position
            if count >= size:
                break
            raw_copy.copy_bytes(target, at, piece.view, position - piece.start, count)
            position += count
            at += count
            size -= count
            index += 1
        raw_copy.copy_bytes(target, at, piece.view, position - piece.start, size)
        self._hint = index

    def _find(self, position: int) -> int:
        """Tell which piece a position is in: mostly the one of the last copy, or the next."""
        last = len(self._pieces) - 1
        index = self._hint
        piece = self._pieces[index]
        if position >= piece.end and index < last:
            index += 1
            piece = self._pieces[index]
        if piece.start <= position < piece.end:
            return index
        low = 0
        while low < last:
            index = (low + last + 1) // 2
            piece = self._pieces[index]
            if piece.start <= position:
                low = index
            else:
                last = index - 1
        return low

    def release(self, position: int) -> None:
        """Forget the bytes before ``position``."""
        self.start = position
        count = len(self._pieces)
        gone = 0
        while gone < count:
            piece = self._pieces[gone]
            if piece.end > position:
                break
            self.held -= piece.size
            gone += 1
        if gone:
            del self._pieces[:gone]
            self._hint = self._hint - gone if self._hint > gone else 0
            if gone == count:
                self._open = None
                self._open_view = _NO_VIEW


def _memory_of(data: object, size: int) -> int:
    """Tell how many bytes of memory a piece keeps from being given back."""
    if isinstance(data, memoryview):
        whole = data.obj
        if isinstance(whole, (bytes, bytearray)):
            return len(whole)
    return size
