"""``wss://``: frames in binary WebSocket messages (RFC 6455) over TLS over TCP.

A message holds any number of whole or cut frames: the receiver reads the messages as one
stream, so message borders mean nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from random import SystemRandom
from typing import NoReturn

import trio

from polevpn_trio.control.web import DEFAULT_SITE, WebSite
from polevpn_trio.errors import BadPacket, LinkLost
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport.base import (
    Buffer,
    Consume,
    ConsumePackets,
)
from polevpn_trio.transport.tls import TlsStream
from polevpn_trio.transport.tls_stream_link import Joiner, TlsStreamLink
from polevpn_trio.transport.web_server import serve_until_websocket
from polevpn_trio.transport.websocket_frames import (
    GOING_AWAY,
    NO_CODE,
    NORMAL,
    PONG,
    WebSocketFrameBuilder,
    WebSocketFrameReader,
)

log = logging.getLogger(__name__)

CLOSE_SECONDS = 1.0
"""How long the closing handshake may hold up the end of a connection."""

GOODBYE_SECONDS = 0.1
"""The same when everything is ending: only our word has to leave."""


async def accept_websocket(
    stream: TlsStream, peer: str, site: WebSite = DEFAULT_SITE
) -> WebSocketLink:
    """Be a web server to the client on ``stream`` until it asks for a WebSocket.

    Raises LinkLost when it never does. The caller sets the deadline.
    """
    await serve_until_websocket(stream, site)
    return WebSocketLink(stream, peer, is_client=False)


async def open_websocket(stream: TlsStream, peer: str, host: str, path: str) -> WebSocketLink:
    """Ask the router on ``stream`` for a WebSocket at ``path``.

    Raises LinkLost when the router will not. The caller sets the deadline.
    """
    # Its library is for clients of wss alone, and slow to import.
    from polevpn_trio.transport.websocket_handshake import request_handshake

    await request_handshake(stream, host, path)
    return WebSocketLink(stream, peer, is_client=True)


class _Joiner(Joiner):
    """Frames in binary messages."""

    def __init__(self, builder: WebSocketFrameBuilder) -> None:
        super().__init__()
        self._builder = builder

    def join(self, buffers: Sequence[Buffer]) -> Buffer:
        """Return them in a message; valid until the next one is built."""
        self.bytes_joined += sum(map(len, buffers))
        return self._builder.build_message(buffers)


class WebSocketLink(TlsStreamLink):
    """Frames in binary messages."""

    def __init__(self, stream: TlsStream, peer: str, *, is_client: bool) -> None:
        """Take over a stream whose opening handshake is done."""
        self._builder = WebSocketFrameBuilder(is_client, SystemRandom())
        super().__init__(stream, peer, _Joiner(self._builder))
        self.scheme = "wss"
        self._reader = WebSocketFrameReader(not is_client)
        # What was received and is not read yet: nothing, but for a moment.
        self._messages = StreamBuffer()
        self._receiving: trio.CancelScope | None = None
        self._receiver_left = trio.Event()
        self._failure: str | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send what has to wait until the end, and then give the closing handshake a moment."""
        task_status.started()
        deadline: float | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_what_is_due)
                await self.wait_closed()
                deadline = trio.current_time() + CLOSE_SECONDS
                nursery.cancel_scope.deadline = deadline
        finally:
            self.close()
            with trio.CancelScope(shield=True) as scope:
                scope.deadline = deadline or trio.current_time() + GOODBYE_SECONDS
                await self._say_goodbye()
            self._stream.close()

    async def _send_what_is_due(self) -> None:
        """Send what `flush` could not, and answer pings: who receives must not wait for that."""
        while not self._closed.is_set():
            await self._sender.wait_due()
            ping, self._reader.ping = self._reader.ping, None
            try:
                if ping is not None:
                    await self._stream.send_all(self._builder.build_control(PONG, ping))
                await self._sender.finish()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self._fail(f"cannot send: {error}")

    async def _say_goodbye(self) -> None:
        """Do the closing handshake; what goes wrong with it does not matter any more."""
        try:
            await self._stream.send_all(self._builder.build_close(self._reader.close_code))
            if self._receiving is not None:
                self._receiver_left = trio.Event()
                await self._receiver_left.wait()
            while not self._reader.ended:
                data = await self._stream.receive_some()
                if not data:
                    break
                self._reader.receive_data_untrusted(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, BadPacket) as error:
            log.debug("wss %s: closing failed: %r", self.peer, error)

    async def send_batch(self, buffers: Sequence[Buffer]) -> None:
        """Send whole frames as one message."""
        self._check_open()
        await super().send_batch(buffers)

    async def receive(self) -> StreamBuffer:
        """Wait for the next piece of the peer's stream."""
        with self._reading():
            while True:
                self._check_ended()
                await self._stream.receive_into(self._messages)
                count = self._take_untrusted()
                self._check_open()
                if count:
                    return self._incoming
        raise self._lost()

    async def receive_each(
        self, consume: Consume, consume_packets: ConsumePackets | None = None
    ) -> NoReturn:
        """Call ``consume`` after each piece of the stream, straight from the socket."""
        rest: Awaitable[None] | None = None

        def take() -> bool:
            nonlocal rest
            if (
                self._stream.receive_into_nowait(self._messages) is not None
                and self._take_untrusted()
            ):
                rest = consume(self._incoming)
            return rest is None and not self._reader.ended

        while True:
            with self._reading():
                self._check_ended()
                if take():
                    await self._stream.while_readable(take)
            if rest is not None:
                await rest
                rest = None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Receive until the link is closed, and end it for what ends the stream."""
        self._check_open()
        try:
            with trio.CancelScope() as self._receiving:
                yield
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._fail(f"cannot receive: {error}")
            raise self._lost() from error
        except (BadPacket, LinkLost) as error:
            self._fail(str(error))
            raise
        finally:
            self._receiving = None
            self._receiver_left.set()

    def _take_untrusted(self) -> int:
        """Add the payload in what was received to the stream, even if we have closed meanwhile.

        Returns how many bytes that are. The closing handshake reads on where this ends.
        """
        messages = self._messages
        if not messages:
            raise LinkLost("the peer closed the link")
        self.heard = trio.current_time()
        data = memoryview(messages.data)[messages.start : messages.end]
        messages.advance(messages.end)
        count = self._reader.read_into_untrusted(data, self._incoming)
        self._bytes_received += count
        if self._reader.ping is not None:
            self._sender.wake()
        return count

    def _check_ended(self) -> None:
        """Raise BadPacket or LinkLost if the peer's stream has ended; `run` answers that."""
        if self._reader.ended:
            # Raises if it was not a Close frame that ended it.
            self._reader.receive_data_untrusted(b"")
            code = self._reader.peer_code
            usual = code in (NORMAL, GOING_AWAY, NO_CODE)
            detail = "" if usual else f" (WebSocket code {code})"
            raise LinkLost(f"the peer closed the link{detail}")

    def _fail(self, reason: str) -> None:
        if not self._closed.is_set():
            self._failure = reason
        self.close()

    def _check_open(self) -> None:
        """After a `close` the WebSocket lives on a little, but not for our users."""
        if self._closed.is_set():
            raise self._lost()

    def _lost(self) -> LinkLost:
        return LinkLost(self._failure or "the link was closed")

    def close(self) -> None:
        """End the link for its users, and have `run` do the closing handshake."""
        super().close()
        self._sender.wake()
        if self._receiving is not None:
            self._receiving.cancel()
