"""``wss://``: frames in binary WebSocket messages (RFC 6455) over TLS over TCP.

A message holds any number of whole or cut frames: the receiver reads the messages as one
stream, so message borders mean nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import trio
import trio_websocket

from polevpn_trio.errors import BadPacket, LinkLost
from polevpn_trio.transport.base import Buffer, Link, LinkStatistics
from polevpn_trio.transport.tls import TlsStream

log = logging.getLogger(__name__)

MAX_MESSAGE_SIZE = 1024 * 1024
"""Largest message accepted: ours are about 64 KiB, others may join more frames into one."""

CLOSE_SECONDS = 1.0
"""How long the closing handshake may hold up the end of a connection."""


GOODBYE_SECONDS = 0.1
"""The same when nobody listens for the peer's answer any more: only our word has to leave."""


class _Reader:
    """The task that reads a WebSocket, in place of the nursery that trio-websocket asks for.

    Whatever a peer makes that task raise (a server that knows no WebSocket, for one) must end
    this connection and nothing else.
    """

    def __init__(self, nursery: trio.Nursery, stream: TlsStream, peer: str) -> None:
        self._nursery = nursery
        self._stream = stream
        self._peer = peer
        self.ended = False
        self.failure: Exception | None = None
        self.when_ended: Callable[[], object] = lambda: None

    def start_soon(self, task: Callable[[], Awaitable[object]]) -> None:
        """Run the task in the connection's nursery."""
        self._nursery.start_soon(self._run, task, name="WebSocket reader")

    async def _run(self, task: Callable[[], Awaitable[object]]) -> None:
        try:
            await task()
        except Exception as error:
            log.debug("wss %s: the reader failed: %r", self._peer, error)
            self.failure = error
            self._stream.close()
        finally:
            self.ended = True
            self.when_ended()

    async def shake_hands(
        self, step: Awaitable[trio_websocket.WebSocketConnection]
    ) -> trio_websocket.WebSocketConnection:
        """Wait for a step of the opening handshake, no longer than the reader lives."""
        with trio.CancelScope() as scope:
            self.when_ended = scope.cancel
            try:
                return await step
            except (trio_websocket.HandshakeError, trio_websocket.ConnectionClosed) as error:
                raise LinkLost(f"WebSocket handshake failed: {error}") from error
        raise LinkLost(f"WebSocket handshake failed: {self._reason()}")

    def _reason(self) -> str:
        if isinstance(self.failure, trio_websocket.ConnectionRejected):
            return f"the server answered with HTTP status {self.failure.status_code}"
        return "the peer does not speak WebSocket, or closed the connection"


async def accept_websocket(stream: TlsStream, peer: str, nursery: trio.Nursery) -> WebSocketLink:
    """Answer the opening handshake of a client whose request starts on ``stream``.

    The connection's reader runs in ``nursery``. Raises LinkLost when there is no proper
    WebSocket request. The caller sets the deadline.
    """
    reader = _Reader(nursery, stream, peer)

    async def accept() -> trio_websocket.WebSocketConnection:
        request = await trio_websocket.wrap_server_stream(
            reader,  # type: ignore[arg-type]  # of a nursery it only needs start_soon
            stream,
            max_message_size=MAX_MESSAGE_SIZE,
            receive_buffer_size=None,
        )
        return await request.accept()

    return WebSocketLink(await reader.shake_hands(accept()), reader, stream, peer)


async def open_websocket(
    stream: TlsStream, peer: str, host: str, path: str, nursery: trio.Nursery
) -> WebSocketLink:
    """Ask the router on ``stream`` for a WebSocket at ``path``.

    The connection's reader runs in ``nursery``. Raises LinkLost when the router will not.
    """
    reader = _Reader(nursery, stream, peer)
    connection = await reader.shake_hands(
        trio_websocket.wrap_client_stream(
            reader,  # type: ignore[arg-type]  # of a nursery it only needs start_soon
            stream,  # type: ignore[arg-type]  # annotated too narrowly: any trio.abc.Stream does
            host,
            path,
            max_message_size=MAX_MESSAGE_SIZE,
            receive_buffer_size=None,
        )
    )
    return WebSocketLink(connection, reader, stream, peer)


class WebSocketLink(Link):
    """Frames in binary messages."""

    scheme = "wss"

    def __init__(
        self,
        connection: trio_websocket.WebSocketConnection,
        reader: _Reader,
        stream: TlsStream,
        peer: str,
    ) -> None:
        super().__init__()
        self.peer = peer
        self._connection = connection
        self._reader = reader
        self._stream = stream
        self._send_lock = trio.StrictFIFOLock()
        self._bytes_sent = 0
        self._bytes_received = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Wait for the end, and then give the closing handshake a moment."""
        task_status.started()
        try:
            await self.wait_closed()
        finally:
            await self._say_goodbye()
            self._stream.close()

    async def _say_goodbye(self) -> None:
        """Do the closing handshake, bounded in time; what goes wrong with it does not matter."""
        with trio.CancelScope(shield=True) as scope:

            def nobody_listens() -> None:
                scope.deadline = min(scope.deadline, trio.current_time() + GOODBYE_SECONDS)

            scope.deadline = trio.current_time() + CLOSE_SECONDS
            self._reader.when_ended = nobody_listens
            if self._reader.ended:
                nobody_listens()
            try:
                await self._connection.aclose()
            except Exception as error:
                log.debug("wss %s: closing failed: %r", self.peer, error)

    @property
    def ready(self) -> bool:
        """Say no: a message takes waiting."""
        return False

    def send_nowait(self, buffers: Sequence[Buffer]) -> None:
        """Refuse: this link is never ready."""
        raise LinkLost("a WebSocket takes nothing without waiting")

    def flush(self) -> None:
        """Do nothing: nothing was taken."""

    async def send_batch(self, buffers: Sequence[Buffer]) -> None:
        """Send whole frames as one message."""
        message = b"".join(buffers)
        self._check_open()
        try:
            # A message torn by cancellation would spoil the stream for whoever sends next.
            async with self._send_lock:
                await self._connection.send_message(message)
        except (trio_websocket.ConnectionClosed, trio.BrokenResourceError) as error:
            raise LinkLost("cannot send: the WebSocket is closed") from error
        self._bytes_sent += len(message)

    async def receive(self) -> Buffer:
        """Wait for the next message."""
        while True:
            try:
                message = await self._connection.get_message()
            except trio_websocket.ConnectionClosed as error:
                raise LinkLost("the peer closed the link") from error
            self._check_open()
            if isinstance(message, str):
                raise BadPacket("text message on a WebSocket, expected a binary one")
            if message:
                self._bytes_received += len(message)
                self.heard = trio.current_time()
                return message

    def _check_open(self) -> None:
        """After a `close` the WebSocket lives on a little, but not for our users."""
        if self._closed.is_set():
            raise LinkLost("the link was closed")

    async def drain(self) -> None:
        """Return at once: what was sent is the kernel's to deliver, even after a close."""
        await trio.lowlevel.checkpoint()

    def statistics(self) -> LinkStatistics:
        """Return the counters."""
        return LinkStatistics(
            transport=self.scheme,
            peer=self.peer,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
        )
