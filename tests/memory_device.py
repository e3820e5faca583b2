"""A TUN device in memory, whose host is the test."""

from __future__ import annotations

from typing import Any

import trio

from polevpn_trio.batch import FrameBatch
from polevpn_trio.frames import codec
from tests.memory_links import split


class MemoryDevice:
    """What the host sends goes into ``from_host``, what it gets is in ``to_host``.

    While ``full``, nothing can be written without waiting.
    """

    name = "tun7"

    def __init__(self) -> None:
        self.from_host, self._read = trio.open_memory_channel[bytes](1000)
        self.to_host: list[bytes] = []
        self.full = False
        self.written_at_once = 0

    async def read_batch(self, command: int) -> FrameBatch:
        return FrameBatch(codec.build_frame(command, await self._read.receive()), 1)

    def read_batch_nowait(self, command: int) -> FrameBatch | None:
        try:
            return FrameBatch(codec.build_frame(command, self._read.receive_nowait()), 1)
        except trio.WouldBlock:
            return None

    async def write_batch(self, data: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.to_host += [frame.payload for frame in split(bytes(data))]

    def write_batch_nowait(self, data: Any) -> bool:
        # Like the real one, it has taken everything, and only the rest takes waiting.
        self.to_host += [frame.payload for frame in split(bytes(data))]
        self.written_at_once += 1
        return not self.full

    def statistics(self) -> None:
        return None
