"""Links in memory: a pair of ends, with no time between them but what a test asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import trio

from polevpn_trio.control.session_identity import SessionIdentity
from polevpn_trio.errors import LinkLost
from polevpn_trio.frames import codec
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport.base import (
    SEND_BATCH_BYTES,
    Buffer,
    Link,
    LinkStatistics,
    Source,
)

IDENTITY = SessionIdentity(exporter=bytes(range(32)), router_certificate=bytes(32))


class MemoryLink(Link):
    """One end of a pair. Made by `link_pair`."""

    def __init__(self, scheme: str, peer: str, delay: float) -> None:
        super().__init__(IDENTITY)
        self.scheme = scheme
        self.peer = peer
        self.smoothed_rtt: float | None = None
        self.silent = False
        """What is sent from now on gets lost."""
        self.asked = 0
        self.taking = trio.Event()
        """Until it is set, senders wait: the peer, or the path, takes nothing."""
        self.taking.set()
        self.delay = delay
        self.other: MemoryLink
        self.source: Source | None = None
        self._flushed = trio.Event()
        self._stream = StreamBuffer()
        self._deliver, self._incoming = trio.open_memory_channel[tuple[float, bytes]](math.inf)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while not self._closed.is_set():
            await self._flushed.wait()
            self._flushed = trio.Event()
            await self.taking.wait()
            while self.source is not None and self.source.waiting and not self._closed.is_set():
                await self.send_batch(self.source.take(SEND_BATCH_BYTES, trio.current_time()))

    room = 0

    def send_nowait(self, buffers: Sequence[Buffer]) -> None:
        raise AssertionError("a link without room was given frames")

    def pull_from(self, source: Source | None) -> None:
        self.source = source
        self.flush()

    def flush(self) -> None:
        self._flushed.set()

    async def send_batch(self, buffers: Sequence[Buffer]) -> None:
        await trio.lowlevel.checkpoint()
        await self.taking.wait()
        if self._closed.is_set():
            raise LinkLost("closed here")
        if not self.silent:
            data = b"".join(buffers)
            try:
                self.other._deliver.send_nowait((trio.current_time() + self.delay, data))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise LinkLost("the peer closed the link") from None

    async def receive(self) -> StreamBuffer:
        try:
            due, data = await self._incoming.receive()
        except trio.EndOfChannel:
            raise LinkLost("the peer closed the link") from None
        except trio.ClosedResourceError:
            raise LinkLost("closed here") from None
        await trio.sleep_until(due)
        if self._closed.is_set():
            raise LinkLost("closed here")
        self.heard = trio.current_time()
        self._stream.append(data)
        return self._stream

    def ask(self) -> None:
        self.asked += 1
        if not (self.silent or self.other.silent):
            self.heard = trio.current_time()

    async def drain(self) -> None:
        await trio.lowlevel.checkpoint()

    def statistics(self) -> LinkStatistics:
        return LinkStatistics(self.scheme, self.peer, 0, 0, self.smoothed_rtt)

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        if not self._closed.is_set():
            super().close()
            self.taking.set()
            self._flushed.set()
            self._incoming.close()
            if not self.silent:
                self.other._deliver.close()


def link_pair(
    scheme: str = "kcp", peer: str = "192.0.2.1:443", delay: float = 0.01
) -> tuple[MemoryLink, MemoryLink]:
    """Both ends; what one sends arrives at the other after ``delay`` seconds."""
    ours, theirs = MemoryLink(scheme, peer, delay), MemoryLink(scheme, "198.51.100.7:50412", delay)
    ours.other, theirs.other = theirs, ours
    return ours, theirs


@attrs.define
class Stock:
    """A source of bytes in a row, which are told from each other by their position."""

    size: int
    taken: int = 0
    asked: list[int] = attrs.field(factory=list)

    @property
    def waiting(self) -> bool:
        return self.taken < self.size

    def take(self, most_bytes: int, now: float) -> list[Buffer]:
        self.asked.append(most_bytes)
        start, self.taken = self.taken, min(self.taken + most_bytes, self.size)
        return [stream(start, self.taken)]

    def follow_path(self, rtt: float) -> None:
        """There is no queue."""


def stream(start: int, end: int) -> bytes:
    """Bytes from ``start`` to ``end`` of what a `Stock` gives."""
    words = range(start // 4, (end + 3) // 4)
    return b"".join(word.to_bytes(4, "big") for word in words)[start % 4 :][: end - start]


@attrs.frozen
class Frame:
    command: int
    sequence: int
    payload: bytes


def split(stream: bytes) -> list[Frame]:
    """Cut a stream of whole frames."""
    frames = []
    while stream:
        size = int.from_bytes(stream[:2], "big")
        frames.append(
            Frame(
                int.from_bytes(stream[2:4], "big"),
                int.from_bytes(stream[4:8], "big"),
                stream[8:size],
            )
        )
        stream = stream[size:]
    return frames


def ipv4(source: str, destination: str, size: int = 40) -> bytes:
    """A well-formed IPv4 packet (no checksum, which nobody on the way looks at)."""
    address = b"".join(
        bytes(int(part) for part in each.split(".")) for each in (source, destination)
    )
    return (
        b"\x45\0"
        + size.to_bytes(2, "big")
        + bytes(4)
        + b"\x40\x11\0\0"
        + address
        + bytes(size - 20)
    )


def ipv6(source: int, destination: int, size: int = 60) -> bytes:
    """A well-formed IPv6 packet between two numbered addresses."""
    return (
        b"\x60\0\0\0"
        + (size - 40).to_bytes(2, "big")
        + b"\x11\x40"
        + source.to_bytes(16, "big")
        + destination.to_bytes(16, "big")
        + bytes(size - 40)
    )


def frames(command: int, *packets: bytes) -> bytes:
    return b"".join(codec.build_frame(command, packet) for packet in packets)
