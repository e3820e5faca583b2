"""The TCP port as browsers and scanners see it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

import polevpn_trio
from polevpn_trio.control.web import DEFAULT_SITE, WebSite
from polevpn_trio.errors import LinkLost
from polevpn_trio.transport import web_server
from polevpn_trio.transport.http_request import HttpRequest
from polevpn_trio.transport.tls import TlsStream
from polevpn_trio.transport.web_server import (
    MAX_REQUESTS,
    Reply,
    Upgrade,
    answer,
    serve_until_websocket,
)
from tests.transport.test_tls import over_stream

PAGE = b"<!DOCTYPE html>\n<title>Flowers</title>\n"
SITE = WebSite(PAGE, websocket_path="/secret/way")
UPGRADE = {
    "host": "r",
    "upgrade": "WebSocket",
    "connection": "keep-alive, Upgrade",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}
GET = b"GET %s HTTP/1.1\r\nHost: r\r\n\r\n"
GET_AND_CLOSE = b"GET %s HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n"
REQUEST = b"GET /secret/way HTTP/1.1\r\n" + b"".join(
    f"{name}: {value}\r\n".encode() for name, value in UPGRADE.items()
)


def test_the_accept_header_is_that_of_the_rfc() -> None:
    request = HttpRequest("GET", "/chat", 1, UPGRADE)
    # The example of RFC 6455 section 1.3.
    assert answer(DEFAULT_SITE, request) == Upgrade("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/?x=/secret/way", 200),
        ("GET", "/index.html", 404),
        ("GET", "/secret/way", 404),
        ("POST", "/", 405),
        ("TRACE", "/nothing", 405),
    ],
)
def test_there_is_one_page_and_nothing_else(method: str, path: str, status: int) -> None:
    reply = answer(SITE, HttpRequest(method, path, 1, {"host": "r"}))
    assert isinstance(reply, Reply)
    assert reply.status == status
    assert (reply.body == PAGE) == (status == 200)
    assert ("Allow: GET, HEAD" in reply.fields) == (status == 405)


def test_without_a_page_there_is_none() -> None:
    reply = answer(DEFAULT_SITE, HttpRequest("GET", "/", 1, {"host": "r"}))
    assert isinstance(reply, Reply)
    assert reply.status == 404


@pytest.mark.parametrize("path", ["/", "/secret", "/secret/way/", "/secret/waz", "/SECRET/way"])
def test_the_websocket_is_at_its_path_and_nowhere_else(path: str) -> None:
    plain = answer(SITE, HttpRequest("GET", path, 1, {"host": "r"}))
    assert answer(SITE, HttpRequest("GET", path, 1, UPGRADE)) == plain
    assert isinstance(answer(SITE, HttpRequest("GET", "/secret/way", 1, UPGRADE)), Upgrade)
    closed = WebSite(PAGE, schemes=("tls",))
    assert answer(closed, HttpRequest("GET", path, 1, UPGRADE)) == answer(
        closed, HttpRequest("GET", path, 1, {"host": "r"})
    )


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"sec-websocket-version": "8"}, 426),
        ({"upgrade": "h2c"}, 404),
        ({"connection": "close"}, 404),
    ],
)
def test_a_handshake_of_another_kind_is_answered_as_the_rfcs_say(
    changed: dict[str, str], status: int
) -> None:
    reply = answer(SITE, HttpRequest("GET", "/secret/way", 1, UPGRADE | changed))
    assert isinstance(reply, Reply)
    assert reply.status == status


def over_web(
    certificate: Any, site: WebSite, body: Callable[[TlsStream, TlsStream], Awaitable[None]]
) -> str:
    """Run ``body`` with the client's end and the server's; return why the server was done."""
    reasons = []

    async def run(client: TlsStream, server: TlsStream) -> None:
        async def serve() -> None:
            try:
                await serve_until_websocket(server, site)
            except LinkLost as error:
                reasons.append(str(error))
                server.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await body(client, server)

    over_stream(certificate, run)
    return "".join(reasons)


async def receive_head(stream: TlsStream) -> tuple[str, bytes]:
    """Receive one answer's head, and what has come of the body."""
    data = b""
    while b"\r\n\r\n" not in data:
        received = await stream.receive_some()
        assert received
        data += received
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.decode(), rest


async def receive_all(stream: TlsStream) -> bytes:
    data = b""
    while received := await stream.receive_some():
        data += received
    return data


def test_a_connection_serves_several_requests_and_closes_when_asked(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        for _ in range(3):
            await client.send_all(GET % b"/")
            head, page = await receive_head(client)
            assert head.startswith("HTTP/1.1 200 OK\r\n")
            assert "Connection: keep-alive" in head
            assert f"Content-Length: {len(PAGE)}" in head
            while len(page) < len(PAGE):
                page += await client.receive_some()
            assert page == PAGE
        await client.send_all(GET_AND_CLOSE % b"/")
        answered = await receive_all(client)
        assert b"Connection: close" in answered
        assert answered.endswith(PAGE)
        client.close()

    assert "asked for no WebSocket" in over_web(certificates.ecdsa, SITE, body)


def test_head_is_answered_without_a_body_and_with_its_length(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        # Two at once: a body would be found between the answers.
        await client.send_all(b"HEAD / HTTP/1.1\r\nHost: r\r\n\r\n" + GET_AND_CLOSE % b"/none")
        first, second = (await receive_all(client)).split(b"HTTP/1.1 ")[1:]
        assert first.startswith(b"200 OK")
        assert b"Content-Length: %d\r\n" % len(PAGE) in first
        assert first.endswith(b"\r\n\r\n")
        assert second.startswith(b"404 Not Found")
        client.close()

    over_web(certificates.ecdsa, SITE, body)


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"\x16\x03\x01\x02\0", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/3.0\r\n\r\n", b"505"),
        (b"GET /" + b"x" * 20_000, b"414"),
        (REQUEST.replace(b"==", b"") + b"\r\n", b"400"),
        (REQUEST.replace(b"dGhl", b"\xe9GhI") + b"\r\n", b"400"),
        (REQUEST + b"Content-Length: 4\r\n\r\nbody", b"400"),
        (b"POST / HTTP/1.1\r\nHost: r\r\nContent-Length: 4\r\n\r\nbody", b"405"),
    ],
)
def test_what_is_wrong_is_answered_and_closed(
    certificates: Any, request_text: bytes, status: bytes
) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        await client.send_all(request_text)
        answered = await receive_all(client)
        assert answered.startswith(b"HTTP/1.1 " + status)
        assert b"Connection: close" in answered
        client.close()

    over_web(certificates.ecdsa, SITE, body)


@pytest.mark.parametrize("end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
@pytest.mark.parametrize("size", [1, 1 << 16], ids=["byte by byte", "at once"])
def test_frames_that_come_with_a_request_are_left_to_the_next_receive(
    certificates: Any, end: bytes, size: int
) -> None:
    behind = b"\r\n\r\nfirst bytes\n\nof frames\n"
    stream_text = (GET % b"/" + REQUEST + b"\r\n").replace(b"\r\n", end) + behind

    async def run(client: TlsStream, server: TlsStream) -> None:
        async def request() -> None:
            for start in range(0, len(stream_text), size):
                await client.send_all(stream_text[start : start + size])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(request)
            await serve_until_websocket(server, SITE)
            received = b""
            while len(received) < len(behind):
                received += await server.receive_some()
        assert received == behind
        answered = b""
        while b"101" not in answered:
            answered += await client.receive_some()
        assert answered.startswith(b"HTTP/1.1 200")

    over_stream(certificates.ecdsa, run)


def test_an_idle_connection_is_closed(certificates: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "KEEP_ALIVE_SECONDS", 0.05)

    async def body(client: TlsStream, server: TlsStream) -> None:
        await client.send_all(GET % b"/")
        assert (await receive_all(client)).endswith(PAGE)
        client.close()

    over_web(certificates.ecdsa, SITE, body)


def test_a_connection_serves_no_more_than_its_number_of_requests(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        await client.send_all(GET % b"/none" * (MAX_REQUESTS + 10))
        answered = await receive_all(client)
        assert answered.count(b"HTTP/1.1 404") == MAX_REQUESTS
        assert answered.count(b"Connection: close") == 1
        client.close()

    over_web(certificates.ecdsa, SITE, body)


@pytest.mark.parametrize("last", [b"", b"GET / HT"])
def test_a_client_that_leaves_is_no_fault(certificates: Any, last: bytes) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        await client.send_all(last)
        client.close()

    assert "closed the connection" in over_web(certificates.ecdsa, SITE, body)


def test_no_answer_names_the_program(certificates: Any) -> None:
    names = re.compile(rb"pole|vpn|trio|python|tunnel|" + polevpn_trio.__version__.encode(), re.I)
    for request_text in (
        GET_AND_CLOSE % b"/",
        GET_AND_CLOSE % b"/vpn",
        b"POST / HTTP/1.0\r\n\r\n",
        b"bad\r\n\r\n",
        REQUEST + b"\r\n",
    ):

        async def body(client: TlsStream, server: TlsStream, text: bytes = request_text) -> None:
            await client.send_all(text)
            head, rest = await receive_head(client)
            assert not names.search(head.encode() + rest)
            assert "Server:" not in head
            client.close()

        over_web(certificates.ecdsa, SITE, body)
