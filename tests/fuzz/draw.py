"""How a target takes choices and pieces of data out of the bytes that an engine made up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """The bytes of one input, used up from the front; when they are used up, all zero.

    Small changes of an input are small changes of what is drawn: choices take one byte each,
    and data comes last or says its own length first.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left, which is when a loop over operations ends."""
        return self._at >= len(self._data)

    def byte(self) -> int:
        """Give a number up to 255."""
        at = self._at
        self._at += 1
        return self._data[at] if at < len(self._data) else 0

    def word(self) -> int:
        """Give a number up to 65,535."""
        return self.byte() << 8 | self.byte()

    def word32(self) -> int:
        """Give a number of 32 bits."""
        return self.word() << 16 | self.word()

    def flag(self) -> bool:
        """Give a yes or no."""
        return self.byte() & 1 == 1

    def of(self, choices: Sequence[T]) -> T:
        """Give one of these."""
        return choices[self.byte() % len(choices)]

    def piece(self) -> bytes:
        """Give data that says in two bytes how long it is."""
        return self.take(self.word())

    def take(self, size: int) -> bytes:
        """Give the next bytes, up to ``size``."""
        at = self._at
        self._at += size
        return self._data[at : at + size]

    def rest(self) -> bytes:
        """Give all that is left."""
        return self.take(max(0, len(self._data) - self._at))

    def cuts(self, most: int = 4) -> list[int]:
        """Give a few places to cut what follows at, for `cut`."""
        return [self.word() for _ in range(self.byte() % (most + 1))]


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Cut data at these places (wrapped around its length) into pieces that make it up."""
    borders = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(borders)] or [b""]
