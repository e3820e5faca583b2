"""``tls://``: frames straight in a TLS stream over TCP."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import NoReturn

import trio

from polevpn_trio.errors import LinkLost
from polevpn_trio.transport.base import (
    Buffer,
    Consume,
    ConsumePackets,
    Link,
    LinkStatistics,
    Source,
)
from polevpn_trio.transport.stream_sender import StreamSender
from polevpn_trio.transport.tls import LINGER_SECONDS, TlsStream


class TlsLink(Link):
    """Frames in a TLS stream."""

    scheme = "tls"

    def __init__(self, stream: TlsStream, peer: str) -> None:
        super().__init__(stream.identity())
        self.peer = peer
        self._stream = stream
        self._sender = StreamSender(stream, self._join)
        self._failure: LinkLost | None = None
        self._bytes_sent = 0
        self._bytes_received = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Finish what the socket would not take at once, and at the end let the peer hear it."""
        task_status.started()
        try:
            while True:
                await self._sender.wait_due()
                if self._closed.is_set():
                    break
                try:
                    await self._sender.finish()
                except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    if self._closed.is_set():
                        break
                    raise LinkLost(f"cannot send: {error}") from error
        finally:
            self.close()
            with trio.move_on_after(LINGER_SECONDS, shield=True):
                await self._stream.linger()
            self._stream.close()

    @property
    def room(self) -> int:
        """What the stream takes at once."""
        return 0 if self._closed.is_set() else self._sender.room

    def send_nowait(self, buffers: Sequence[Buffer]) -> None:
        """Keep frames for the next flush, where they share a record."""
        self._sender.give(buffers)

    def pull_from(self, source: Source | None) -> None:
        """Take frames from ``source`` whenever the kernel has few left."""
        self._sender.pull_from(source)
        self.flush()

    def flush(self) -> None:
        """Send what is there; what goes wrong with that ends this link alone."""
        if self._closed.is_set():
            return
        try:
            self._sender.flush()
        except trio.BrokenResourceError as error:
            self._failure = LinkLost(f"cannot send: {error}")
            self.close()

    def _join(self, buffers: Sequence[Buffer]) -> Buffer:
        data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
        self._bytes_sent += len(data)
        return data

    async def send_batch(self, buffers: Sequence[Buffer]) -> None:
        """Send whole frames, small ones together in one record."""
        try:
            await self._stream.send_all(self._join(buffers))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkLost(f"cannot send: {error}") from error

    async def receive(self) -> Buffer:
        """Wait for the next piece of the peer's stream."""
        try:
            data = await self._stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise self._failure or LinkLost(f"cannot receive: {error}") from error
        self._note(data)
        return data

    def _note(self, data: Buffer) -> None:
        if not data:
            raise LinkLost("the peer closed the link")
        self._bytes_received += len(data)
        self.heard = trio.current_time()

    async def receive_each(
        self, consume: Consume, consume_packets: ConsumePackets | None = None
    ) -> NoReturn:
        """Call ``consume`` with each piece of the stream, straight from the socket."""
        rest: Awaitable[None] | None = None

        def take() -> bool:
            nonlocal rest
            data = self._stream.receive_nowait()
            if data is not None:
                self._note(data)
                rest = consume(data)
            return rest is None

        while True:
            try:
                if take():
                    await self._stream.while_readable(take)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise self._failure or LinkLost(f"cannot receive: {error}") from error
            if rest is not None:
                await rest
                rest = None

    async def drain(self) -> None:
        """Return at once: what was sent is the kernel's to deliver, even after a close."""
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Send close_notify and end the link; `run` closes the connection a little later."""
        self._stream.shut_down()
        super().close()
        self._sender.wake()

    def statistics(self) -> LinkStatistics:
        """Return the counters."""
        return LinkStatistics(
            transport=self.scheme,
            peer=self.peer,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
            detail=self._stream.statistics(),
        )
