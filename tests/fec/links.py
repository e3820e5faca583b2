"""Batches, channels and a slow solver for the tests of the repair code."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Iterator, Sequence

from polevpn_trio.fec.decoder import RepairDecoder
from polevpn_trio.fec.encoder import RepairEncoder
from polevpn_trio.fec.gf256 import inverse, multiply
from polevpn_trio.fec.symbols import REPAIR, REPAIR_HEADER, SOURCE, coefficient


def join(datagrams: Sequence[bytes]) -> tuple[bytes, array[int], int]:
    return b"".join(datagrams), array("H", map(len, datagrams)), len(datagrams)


def split(data: bytes | bytearray, sizes: array[int], count: int) -> list[bytes]:
    got = []
    at = 0
    for size in sizes[:count]:
        got.append(bytes(data[at : at + size]))
        at += size
    return got


def source(number: int, payload: bytes) -> bytes:
    """Make a datagram with packets, as far as repair looks into it."""
    return bytes([SOURCE]) + (number & 0xFFFFFF).to_bytes(3, "big") + payload


class Sender:
    """Numbers datagrams as a conversation does, and gives them to an encoder."""

    def __init__(self, encoder: RepairEncoder, first_id: int = 0) -> None:
        self.encoder = encoder
        self.next = first_id

    def protect(
        self, payloads: Sequence[bytes], now: float, important: bytes | None = None
    ) -> list[bytes]:
        """Give the datagrams with these payloads, and after them repairs."""
        sources = [source(self.next + index, payload) for index, payload in enumerate(payloads)]
        self.next += len(payloads)
        marks = bytes(len(payloads)) if important is None else important
        count = self.encoder.protect_batch(*join(sources), now, marks)
        return sources + split(self.encoder.datagrams, self.encoder.sizes, count)

    def poll(self, now: float) -> list[bytes]:
        count = self.encoder.poll_repairs(now)
        return split(self.encoder.datagrams, self.encoder.sizes, count)


def receive(decoder: RepairDecoder, datagrams: Sequence[bytes], now: float) -> list[bytes]:
    """Give the payloads of the datagrams that could be computed."""
    count = decoder.receive_batch_untrusted(*join(datagrams), now)
    return [got[4:] for got in split(decoder.datagrams, decoder.sizes, count)]


def is_repair(datagram: bytes) -> bool:
    return datagram[0] == REPAIR


def id_of(datagram: bytes) -> int:
    return int.from_bytes(datagram[1:4], "big")


def window_of(repair: bytes) -> range:
    first = id_of(repair)
    return range(first, first + repair[4] + 1)


def random_losses(chance: random.Random, loss: float) -> Iterator[bool]:
    while True:
        yield chance.random() < loss


def bursty_losses(chance: random.Random, loss: float, length: float) -> Iterator[bool]:
    """Gilbert's channel: nothing arrives in bursts of this mean length, all between them."""
    bad = False
    while True:
        bad = chance.random() >= 1 / length if bad else chance.random() < loss / (1 - loss) / length
        yield bad


class SlowSolver:
    """Tells which ids are determined by the equations seen so far: Gauss, from scratch."""

    def __init__(self) -> None:
        self.known: set[int] = set()
        self.windows: list[dict[int, int]] = []

    def add(self, datagram: bytes) -> None:
        if is_repair(datagram):
            key = int.from_bytes(datagram[6:REPAIR_HEADER], "big")
            factors = {
                number: coefficient(key, number, datagram[5]) for number in window_of(datagram)
            }
            self.windows.append({number: factor for number, factor in factors.items() if factor})
        else:
            self.known.add(id_of(datagram))

    def solve(self) -> set[int]:
        rows = [
            {number: factor for number, factor in window.items() if number not in self.known}
            for window in self.windows
        ]
        columns: Iterable[int] = sorted({number for row in rows for number in row})
        done: list[dict[int, int]] = []
        for column in columns:
            pivot = next((row for row in rows if column in row), None)
            if pivot is None:
                continue
            rows.remove(pivot)
            scale = inverse(pivot[column])
            pivot = {number: multiply(factor, scale) for number, factor in pivot.items()}
            rows = [self._without(row, column, pivot) for row in rows]
            done = [self._without(row, column, pivot) for row in done]
            done.append(pivot)
        self.known |= {next(iter(row)) for row in done if len(row) == 1}
        return self.known

    @staticmethod
    def _without(row: dict[int, int], column: int, pivot: dict[int, int]) -> dict[int, int]:
        times = row.get(column, 0)
        if not times:
            return row
        sums = {
            number: row.get(number, 0) ^ multiply(pivot.get(number, 0), times)
            for number in row.keys() | pivot.keys()
        }
        return {number: factor for number, factor in sums.items() if factor}
