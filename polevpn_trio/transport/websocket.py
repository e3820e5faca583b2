"""``wss://``: frames in binary WebSocket messages (RFC 6455) over TLS over TCP.

A message holds any number of whole or cut frames: the receiver reads the messages as one
stream, so message borders mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio
import trio_websocket

from polevpn_trio.errors import BadPacket, LinkLost
from polevpn_trio.transport.base import Buffer, Link, LinkStatistics
from polevpn_trio.transport.tls import TlsStream

MAX_MESSAGE_SIZE = 1024 * 1024
"""Largest message accepted: ours are about 64 KiB, others may join more frames into one."""

CLOSE_SECONDS = 1.0
"""How long the closing handshake may hold up the end of a connection."""


async def accept_websocket(stream: TlsStream, peer: str, nursery: trio.Nursery) -> WebSocketLink:
    """Answer the opening handshake of a client whose request starts on ``stream``.

    The connection's reader runs in ``nursery``. Raises LinkLost when there is no proper
    WebSocket request. The caller sets the deadline.
    """
    try:
        request = await trio_websocket.wrap_server_stream(
            nursery, stream, max_message_size=MAX_MESSAGE_SIZE, receive_buffer_size=None
        )
        connection = await request.accept()
    except (trio_websocket.HandshakeError, trio.BrokenResourceError) as error:
        raise LinkLost(f"WebSocket handshake failed: {error}") from error
    return WebSocketLink(connection, stream, peer)


async def open_websocket(
    stream: TlsStream, peer: str, host: str, path: str, nursery: trio.Nursery
) -> WebSocketLink:
    """Ask the router on ``stream`` for a WebSocket at ``path``.

    The connection's reader runs in ``nursery``. Raises LinkLost when the router will not.
    """
    try:
        connection = await trio_websocket.wrap_client_stream(
            nursery,
            stream,  # type: ignore[arg-type]  # annotated too narrowly: any trio.abc.Stream does
            host,
            path,
            max_message_size=MAX_MESSAGE_SIZE,
            receive_buffer_size=None,
        )
    except (trio_websocket.HandshakeError, trio.BrokenResourceError) as error:
        raise LinkLost(f"WebSocket handshake failed: {error}") from error
    return WebSocketLink(connection, stream, peer)


class WebSocketLink(Link):
    """Frames in binary messages."""

    scheme = "wss"

    def __init__(
        self, connection: trio_websocket.WebSocketConnection, stream: TlsStream, peer: str
    ) -> None:
        super().__init__()
        self.peer = peer
        self._connection = connection
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
            with trio.move_on_after(CLOSE_SECONDS) as scope:
                scope.shield = True
                await self._connection.aclose()
            self._stream.close()

    async def send_batch(self, buffers: Sequence[Buffer]) -> None:
        """Send whole frames as one message."""
        message = b"".join(buffers)
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
            if isinstance(message, str):
                raise BadPacket("text message on a WebSocket, expected a binary one")
            if message:
                self._bytes_received += len(message)
                self.heard = trio.current_time()
                return message

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
