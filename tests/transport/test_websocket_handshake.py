"""The opening handshake of a WebSocket: where it ends, and what lies behind it."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
import trio

from polevpn_trio.errors import LinkLost
from polevpn_trio.transport.tls import TlsStream
from polevpn_trio.transport.websocket_handshake import accept_handshake, request_handshake
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


@pytest.mark.parametrize("end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
def test_frames_that_come_with_the_request_are_left_to_the_next_receive(
    certificates: Any, end: bytes
) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        await client.send_all(REQUEST.replace(b"\r\n", end) + BEHIND)
        await accept_handshake(server)
        assert await receive_exactly(server, len(BEHIND)) == BEHIND
        assert (await client.receive_some()).startswith(b"HTTP/1.1 101")

    over_stream(certificates.ecdsa, body)


def test_frames_that_come_with_the_answer_are_left_to_the_next_receive(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, server, BEHIND)
            await request_handshake(client, "localhost", "/way")
        assert await receive_exactly(client, len(BEHIND)) == BEHIND

    over_stream(certificates.ecdsa, body)


def test_a_request_may_come_byte_by_byte(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        async def request() -> None:
            for byte in REQUEST + BEHIND:
                await client.send_all(bytes([byte]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(request)
            await accept_handshake(server)
            assert await receive_exactly(server, len(BEHIND)) == BEHIND

    over_stream(certificates.ecdsa, body)


def test_afterwards_nothing_of_the_library_is_left_on_the_stream(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(request_handshake, client, "localhost", "/")
            nursery.start_soon(accept_handshake, server)
        # All of them have the streams to themselves: two readers would be an error in Trio.
        for sender, receiver in ((client, server), (server, client)):
            await sender.send_all(b"\x88\x02\x03\xe8")
            assert await receive_exactly(receiver, 4) == b"\x88\x02\x03\xe8"
        assert len(trio.lowlevel.current_task().child_nurseries) == 0

    over_stream(certificates.rsa, body)


@pytest.mark.parametrize(
    "request_text",
    [
        REQUEST.replace(b"websocket", b"h2c"),
        REQUEST.replace(b"Version: 13", b"Version: 8"),
        REQUEST.replace(b"Host: r", b"Host: \xff"),
        b"\r\n\r\n" + REQUEST,
        b"\n" * 100_000,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
    ],
    ids=["no upgrade", "old version", "odd host", "empty lines", "only lines", "endless"],
)
def test_an_improper_request_ends_the_handshake(certificates: Any, request_text: bytes) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        async def request() -> None:
            try:
                await client.send_all(request_text)
            except trio.BrokenResourceError:
                # It was refused before all of it was said.
                return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(request)
            with pytest.raises(LinkLost, match="does not speak WebSocket"):
                await accept_handshake(server)
            server.close()

    over_stream(certificates.ecdsa, body)


def test_the_page_behind_a_refusal_is_not_read(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        # It never ends: whoever reads it to the end waits for ever.
        await server.send_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 99999999\r\n\r\n<html>")
        with pytest.raises(LinkLost, match="HTTP status 503"):
            await request_handshake(client, "localhost", "/")

    over_stream(certificates.ecdsa, body)


def test_it_can_be_cancelled(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        await client.send_all(REQUEST[:-3])
        with trio.move_on_after(0.05) as scope:
            await accept_handshake(server)
        assert scope.cancelled_caught
        await client.send_all(b"more")
        assert await receive_exactly(server, 4) == b"more"

    over_stream(certificates.ecdsa, body)
