"""The opening handshake of a WebSocket: where it ends, and what lies behind it."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
import trio

from polevpn_trio.control.web import DEFAULT_SITE
from polevpn_trio.errors import LinkLost
from polevpn_trio.transport.tls import TlsStream
from polevpn_trio.transport.web_server import serve_until_websocket
from polevpn_trio.transport.websocket_handshake import request_handshake
from tests.transport.test_tls import over_stream

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: r\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
BEHIND = b"\r\n\r\nfirst bytes\n\nof frames\n"


async def receive_exactly(stream: TlsStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        received = await stream.receive_some()
        assert received
        data += received
    return data


async def answer(stream: TlsStream, behind: bytes = b"") -> None:
    """Accept a request as a server would that is in a hurry: frames follow in the same record."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += await stream.receive_some()
    key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n" + behind
    )


def test_frames_that_come_with_the_answer_are_left_to_the_next_receive(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, server, BEHIND)
            await request_handshake(client, "localhost", "/way")
        assert await receive_exactly(client, len(BEHIND)) == BEHIND

    over_stream(certificates.ecdsa, body)


def test_afterwards_nothing_of_the_library_is_left_on_the_stream(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(request_handshake, client, "localhost", "/")
            nursery.start_soon(serve_until_websocket, server, DEFAULT_SITE)
        # All of them have the streams to themselves: two readers would be an error in Trio.
        for sender, receiver in ((client, server), (server, client)):
            await sender.send_all(b"\x88\x02\x03\xe8")
            assert await receive_exactly(receiver, 4) == b"\x88\x02\x03\xe8"
        assert len(trio.lowlevel.current_task().child_nurseries) == 0

    over_stream(certificates.rsa, body)


def test_the_page_behind_a_refusal_is_not_read(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        # It never ends: whoever reads it to the end waits for ever.
        await server.send_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 99999999\r\n\r\n<html>")
        with pytest.raises(LinkLost, match="HTTP status 503"):
            await request_handshake(client, "localhost", "/")

    over_stream(certificates.ecdsa, body)


def test_it_can_be_cancelled(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        await server.send_all(b"HTTP/1.1 101 Switching")
        with trio.move_on_after(0.05) as scope:
            await request_handshake(client, "localhost", "/")
        assert scope.cancelled_caught
        await server.send_all(b"more")
        assert await receive_exactly(client, 4) == b"more"

    over_stream(certificates.ecdsa, body)
