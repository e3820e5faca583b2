"""``tls://``: frames straight in a TLS stream over TCP."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import NoReturn

import trio

from polevpn_trio.coroutines import of_python
from polevpn_trio.errors import LinkLost
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport import eager
from polevpn_trio.transport.base import (
    Buffer,
    Consume,
    ConsumePackets,
)
from polevpn_trio.transport.moderation import MEMORY
from polevpn_trio.transport.tls import LINGER_SECONDS, TlsStream
from polevpn_trio.transport.tls_stream_link import Joiner, TlsStreamLink

PATH_SECONDS = MEMORY / 4
"""How often a link that is in use says what path it has."""


class _Joiner(Joiner):
    """Frames one behind the other."""

    def join(self, buffers: Sequence[Buffer]) -> Buffer:
        """Return them all in one piece."""
        data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
        self.bytes_joined += len(data)
        return data


class TlsLink(TlsStreamLink):
    """Frames in a TLS stream."""

    def __init__(self, stream: TlsStream, peer: str) -> None:
        super().__init__(stream, peer, _Joiner())
        self.scheme = "tls"
        self._failure: LinkLost | None = None
        self._path_due = 0.0
        # As in StreamSender.
        self._time = trio.lowlevel.current_clock().current_time

    @of_python
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

    def _fail(self, reason: str) -> None:
        self._failure = LinkLost(reason)
        self.close()

    @of_python
    async def receive(self) -> StreamBuffer:
        """Wait for the next piece of the peer's stream."""
        try:
            count = await self._stream.receive_into(self._incoming)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise self._failure or LinkLost(f"cannot receive: {error}") from error
        self._note(count)
        return self._incoming

    def _note(self, count: int) -> None:
        if count == 0:
            raise LinkLost("the peer closed the link")
        self._bytes_received += count
        now = self._time()
        self.heard = now
        if now >= self._path_due:
            # TCP joins what comes one by one already.
            self._path_due = now + PATH_SECONDS
            eager.note_path(0.0, now)

    @of_python
    async def receive_each(
        self, consume: Consume, consume_packets: ConsumePackets | None = None
    ) -> NoReturn:
        """Call ``consume`` after each piece of the stream, straight from the socket."""
        taking = _Taking(self, self._stream, consume)
        while True:
            try:
                if taking.take():
                    await self._stream.while_readable(taking.take)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise self._failure or LinkLost(f"cannot receive: {error}") from error
            if taking.rest is not None:
                await taking.rest
                taking.rest = None

    def close(self) -> None:
        """Send close_notify and end the link; `run` closes the connection a little later."""
        self._stream.shut_down()
        super().close()
        self._sender.wake()


class _Taking:
    """Gives what comes to ``consume``, until it leaves a ``rest`` to be awaited.

    No function within the coroutine, for the reason that `polevpn_trio.transport.tls` has.
    """

    def __init__(self, link: TlsLink, stream: TlsStream, consume: Consume) -> None:
        self._link = link
        self._stream = stream
        self._consume = consume
        self.rest: Awaitable[None] | None = None

    def take(self) -> bool:
        """Take what is there; False if something is to be awaited first."""
        link = self._link
        count = self._stream.receive_into_nowait(link._incoming)
        if count is not None:
            link._note(count)
            self.rest = self._consume(link._incoming)
        return self.rest is None
