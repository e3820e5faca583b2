"""A TUN device in memory, whose host is the test."""

from __future__ import annotations

from typing import Any

import trio

from polevpn_trio.batch import FrameBatch
from polevpn_trio.frames import codec
from polevpn_trio.transport.eager import Handler
from tests.memory_links import split


class MemoryDevice:
    """What the host sends goes into ``from_host``, what it gets is in ``to_host``.

    While ``full``, nothing can be written without waiting.
    """

    name = "tun7"

    def __init__(self) -> None:
        self.from_host, self._read = trio.open_memory_channel[bytes](1000)
        self.to_host: list[bytes] = []
        self._next: bytes | None = None
        self.full = False
        self.written_at_once = 0

    async def read_batch(self, command: int) -> FrameBatch:
        packet, self._next = self._next or await self._read.receive(), None
        return FrameBatch(codec.build_frame(command, packet), 1)

    async def while_readable(self, handler: Handler) -> None:
        while True:
            packet = await self._read.receive()
            self._next = packet
            if not handler():
                return

    def read_batch_nowait(self, command: int) -> FrameBatch | None:
        packet, self._next = self._next, None
        return FrameBatch(codec.build_frame(command, packet), 1) if packet is not None else None

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
