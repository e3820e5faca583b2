"""A TUN device in memory, whose host is the test."""

from __future__ import annotations

from typing import Any

import trio

from polevpn_trio.batch import SEQUENCES_OFFLOAD, SEQUENCES_ZERO, FrameBatch
from polevpn_trio.frames import codec
from polevpn_trio.transport.eager import Handler
from polevpn_trio.tun.offload import Splitter
from tests.memory_links import Frame, split
from tests.tun.super_packets import NEEDS_CSUM


class MemoryDevice:
    """What the host sends goes into ``from_host``, what it gets is in ``to_host``.

    A super-packet has its vnet header before it, other packets have none. While ``full``,
    nothing can be written without waiting.
    """

    name = "tun7"

    def __init__(self) -> None:
        self.from_host, self._read = trio.open_memory_channel[bytes](1000)
        self.frames_to_host: list[Frame] = []
        self._next: bytes | None = None
        self._splitter = Splitter(1500)
        self.full = False
        self.written_at_once = 0

    async def read_batch(self, command: int) -> FrameBatch:
        packet, self._next = self._next or await self._read.receive(), None
        return self._batch(command, packet)

    def _batch(self, command: int, packet: bytes) -> FrameBatch:
        if packet[0] != NEEDS_CSUM:
            return FrameBatch(codec.build_frame(command, packet), 1)
        splitter = self._splitter
        splitter.packet[: len(packet)] = packet
        splitter.split(len(packet), command)
        packets = splitter.packets
        sequences = SEQUENCES_OFFLOAD if splitter.kept_whole else SEQUENCES_ZERO
        return FrameBatch(splitter.take(), packets, sequences)

    def keep_super_packets(self, keep: bool) -> None:
        self._splitter.keep_whole = keep

    def clamp_mss(self, largest_packet: int | None) -> None:
        self.largest_packet = largest_packet

    async def while_readable(self, handler: Handler) -> None:
        while True:
            packet = await self._read.receive()
            self._next = packet
            if not handler():
                return

    def read_batch_nowait(self, command: int) -> FrameBatch | None:
        packet, self._next = self._next, None
        return self._batch(command, packet) if packet is not None else None

    async def write_batch(self, data: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.frames_to_host += split(bytes(data))

    def write_batch_nowait(self, data: Any) -> bool:
        # Like the real one, it has taken everything, and only the rest takes waiting.
        self.frames_to_host += split(bytes(data))
        self.written_at_once += 1
        return not self.full

    @property
    def to_host(self) -> list[bytes]:
        return [frame.payload for frame in self.frames_to_host]

    def statistics(self) -> None:
        return None
