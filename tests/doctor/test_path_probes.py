"""What is read of a page's head; the probes themselves are tested with the command."""

from __future__ import annotations

import datetime
import socket
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from polevpn_trio.doctor.path_probes import ask_by_tcp, ask_by_udp, date_untrusted
from polevpn_trio.transport.tls import TlsStream, server_context
from polevpn_trio.transport.tls_session import TlsHandshake

NEW_YEAR = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
DATE = b"Fri, 01 Jan 2027 00:00:00 GMT"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 404 Not Found\r\nServer: x\r\nDATE : " + DATE + b"\r\n\r\nbody", NEW_YEAR),
        (b"HTTP/1.1 200 OK\r\n\r\nDate: " + DATE, None),
        (b"Date: " + DATE + b"\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nDate: yesterday\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nDate: Fri, 01 Jan 2027 00:00:00 -0000\r\n\r\n", None),
        (b"", None),
    ],
)
def test_the_date_of_a_page_is_read(answer: bytes, expected: datetime.datetime | None) -> None:
    assert date_untrusted(answer) == expected


@given(st.binary(max_size=80) | st.text(max_size=60).map(str.encode))
def test_any_date_is_read_or_passed_over(value: bytes) -> None:
    found = date_untrusted(b"HTTP/1.1 200 OK\r\nDate: " + value + b"\r\n\r\n")
    assert found is None or found.tzinfo is not None


def nothing(what: str, share: float | None) -> None:
    pass


def test_a_server_that_is_no_router_is_told_from_none() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, greet, 0, host="127.0.0.1"))
            port = listeners[0].socket.getsockname()[1]
            facts = await ask_by_tcp((2, "127.0.0.1"), port, "127.0.0.1")
            assert facts.error == ""
            assert not facts.shaken_hands
            assert facts.handshake_error
            nursery.cancel_scope.cancel()

    async def greet(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 mail.example ESMTP\r\n")
        await stream.receive_some()

    trio.run(main)


def test_a_server_that_ends_the_session_when_asked_has_no_clock(certificates: Any) -> None:
    """As one does that wants a certificate: of TLS 1.3, the client hears so after the handshake."""
    pair = certificates.ecdsa

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(refuse, listener)
                address = listener.getsockname()
                facts = await ask_by_tcp((2, address[0]), address[1], "localhost")
        assert facts.shaken_hands
        assert facts.chain
        assert facts.clock is None

    async def refuse(listener: socket.socket) -> None:
        await trio.lowlevel.wait_readable(listener)
        with listener.accept()[0] as plain:
            context = server_context(pair.cert_file, pair.key_file)
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
            handshake = TlsHandshake(context)
            try:
                while True:
                    plain.sendall(handshake.advance())
                    await trio.lowlevel.wait_readable(plain)
                    handshake.feed_untrusted(plain.recv(handshake.wanted))
            except SSL.Error:
                plain.sendall(handshake.outgoing())
            while await read(plain):
                pass

    async def read(plain: socket.socket) -> bytes:
        await trio.lowlevel.wait_readable(plain)
        return plain.recv(1000)

    trio.run(main)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", b"localhost"), ("bücher.example", b"xn--bcher-kva.example"), ("::1", b"[::1]")],
)
def test_the_page_is_asked_for_by_the_name_that_http_takes(
    host: str, expected: bytes, certificates: Any
) -> None:
    pair = certificates.ecdsa
    asked: list[bytes] = []

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer, listener)
                address = listener.getsockname()
                facts = await ask_by_tcp((2, address[0]), address[1], host)
        assert facts.clock == NEW_YEAR

    async def answer(listener: socket.socket) -> None:
        await trio.lowlevel.wait_readable(listener)
        plain, _ = listener.accept()
        context = server_context(pair.cert_file, pair.key_file)
        stream = await TlsStream.handshake(plain, context)
        asked.append(await stream.receive_some())
        await stream.send_all(b"HTTP/1.1 200 OK\r\nDate: " + DATE + b"\r\n\r\n")
        stream.close()

    trio.run(main)
    assert b"\r\nHost: " + expected + b"\r\n" in asked[0]


def test_what_the_kernel_says_is_told_in_its_words() -> None:
    # Nowhere for TCP, whatever routes there are.
    facts = trio.run(ask_by_tcp, (2, "255.255.255.255"), 443, "router.example")
    assert facts.error == "network is unreachable"
    assert facts.no_way


def test_udp_that_answers_something_else_is_no_answer() -> None:
    async def main() -> None:
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as server:
            await server.bind(("127.0.0.1", 0))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(echo, server)
                port = server.getsockname()[1]
                facts = await ask_by_udp((2, "127.0.0.1"), port, nothing)
                assert facts.error == "no answer"
                assert facts.path_mtu == 0
                nursery.cancel_scope.cancel()

    async def echo(server: trio.socket.SocketType) -> None:
        while True:
            data, peer = await server.recvfrom(2048)
            await server.sendto(data, peer)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.1))
