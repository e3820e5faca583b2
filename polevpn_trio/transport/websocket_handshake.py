"""The client's opening handshake of a WebSocket (RFC 6455 section 4), which is trio-websocket's.

It is given a stream of its own, which ends where the handshake does: the library never reads a
byte of a frame, so nothing has to be taken back from it, and what follows belongs to us. The
server's side is one of the answers of web_server.py.
"""

from __future__ import annotations

import logging

import trio
import trio_websocket

from polevpn_trio.errors import LinkLost
from polevpn_trio.transport.containment import first_error
from polevpn_trio.transport.tls import TlsStream

log = logging.getLogger(__name__)

NO_WEBSOCKET = "the peer does not speak WebSocket, or closed the connection"


class _HandshakeStream(trio.abc.Stream):
    """The stream as the library sees it: over after the peer's HTTP head.

    A head ends with a line, so the library is given a line at a time and decides itself what is
    one; the empty line behind it is only where we stop. Raises LinkLost out of the library's
    reader where that would merely end, and leave whoever waits for it waiting.
    """

    def __init__(self, stream: TlsStream) -> None:
        self._stream = stream
        self._received = b""
        self._position = 0
        self._start = b""
        self._end = b""

    @property
    def rest(self) -> bytes:
        """What was received behind the part that the library has read."""
        return self._received[self._position :]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Give the next line of the head, or a part of it. After the head, never return."""
        if self._end.endswith((b"\n\n", b"\n\r\n")):
            status = self._start[9:12].decode("latin-1")
            if status != "101":
                # The library would wait for the whole page that says why.
                raise LinkLost(f"the server answered with HTTP status {status}")
            await trio.sleep_forever()
        if self._position == len(self._received):
            self._received = await self._receive()
            self._position = 0
        else:
            await trio.lowlevel.checkpoint()
        after = self._received.find(b"\n", self._position) + 1 or len(self._received)
        line = self._received[self._position : after]
        self._position = after
        self._start = (self._start + line)[:12]
        self._end = (self._end + line)[-3:]
        return line

    async def _receive(self) -> bytes:
        try:
            data = await self._stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkLost(NO_WEBSOCKET) from error
        if not data:
            raise LinkLost(NO_WEBSOCKET)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send our head."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket takes data again."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream, which the library does only when it cannot read the head."""
        await self._stream.aclose()
        raise LinkLost(NO_WEBSOCKET)


async def request_handshake(stream: TlsStream, host: str, path: str) -> None:
    """Ask the server on ``stream`` for a WebSocket at ``path``.

    The next receive starts behind the answer. Raises LinkLost when the server will not.
    The caller sets the deadline.
    """

    handshake = _HandshakeStream(stream)
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            await trio_websocket.wrap_client_stream(
                nursery,
                handshake,  # type: ignore[arg-type]  # annotated too narrowly: any Stream does
                host,
                path,
                receive_buffer_size=None,
            )
            # Ends the library's reader, which by now waits in the handshake's stream.
            nursery.cancel_scope.cancel()
    except* Exception as group:
        # Whatever a peer makes the library raise must end this connection and nothing else.
        failure = first_error(group)
    if failure is not None:
        log.debug("WebSocket handshake failed: %r", failure)
        raise LinkLost(f"WebSocket handshake failed: {_reason(failure)}") from failure
    stream.push_back(handshake.rest)


def _reason(failure: Exception) -> str:
    if isinstance(failure, trio_websocket.ConnectionRejected):
        return f"the server answered with HTTP status {failure.status_code}"
    return str(failure) if isinstance(failure, LinkLost) else NO_WEBSOCKET
