"""The router's listeners over loopback: what strangers may do to them."""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from polevpn_trio import router as router_module
from polevpn_trio.control import open_files
from polevpn_trio.control.config import ListenerConfig, RouterConfig
from polevpn_trio.control.limits import DEFAULT_LIMITS, Limits
from polevpn_trio.control.web import DEFAULT_SITE, SCHEMES, WebSite
from polevpn_trio.errors import HostError
from polevpn_trio.frames import codec
from tests.memory_links import split

KEY = "secret"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running(
    certificate: Any,
    *,
    auth_timeout: float = 5.0,
    web: WebSite = DEFAULT_SITE,
    limits: Limits = DEFAULT_LIMITS,
) -> AsyncIterator[int]:
    """Run the whole router with its TCP listener; it must have survived at the end."""
    port = free_port()
    listener = ListenerConfig("127.0.0.1", port, certificate.cert_file, certificate.key_file, web)
    config = RouterConfig(
        Path("router.json"), KEY, tls=listener, auth_timeout=auth_timeout, limits=limits
    )
    ended: list[str] = []

    async def run() -> None:
        await router_module.run(config)
        ended.append("the router ended")

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await wait_for_port(port)
            yield port
            assert not ended
            if "tls" in web.schemes:
                await logs_in(port)
            nursery.cancel_scope.cancel()


async def wait_for_port(port: int) -> None:
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.sleep(0.01)
        else:
            await stream.aclose()
            return


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def secured(port: int) -> trio.SSLStream[trio.SocketStream]:
    stream = await trio.open_ssl_over_tcp_stream(
        "127.0.0.1", port, ssl_context=client_context(), https_compatible=True
    )
    await stream.do_handshake()
    return stream


async def logs_in(port: int) -> None:
    stream = await secured(port)
    await stream.send_all(codec.build_frame(codec.AUTH, json.dumps({"key": KEY}).encode()))
    assert split(bytes(await stream.receive_some()))[0].payload == b"{}"
    await trio.aclose_forcefully(stream)


async def until_closed(stream: trio.abc.ReceiveStream) -> None:
    """Wait until the router has ended a connection, in whatever way."""
    try:
        with contextlib.suppress(trio.BrokenResourceError):
            while await stream.receive_some(65536):
                pass
    finally:
        await trio.aclose_forcefully(stream)


def test_connections_reset_at_any_moment_harm_nobody(certificates: Any) -> None:
    hello = b"\x16\x03\x01\x00\x05hello"

    async def main() -> None:
        async with running(certificates.ecdsa) as port:
            for number in range(40):
                with socket.create_connection(("127.0.0.1", port)) as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    if number % 2:
                        client.sendall(hello)
                    if number % 4 > 1:
                        await trio.sleep(0.005)

    trio.run(main)


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: r\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize(
    ("request_text", "behind"),
    [
        (b"GET / HTTP/1.1\r\nHost: router\r\nConnection: close\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\n\x00\xff\xfe: broken\r\n\r\n", b""),
        (b"GET " + b"x" * 100_000, b""),
        (UPGRADE, b"\xff" * 500),
        (UPGRADE, b"\x82\xff" + (2 << 20).to_bytes(8, "big") + bytes(4) + bytes(2 << 20)),
        (UPGRADE, b"\x81\x82\0\0\0\0hi"),
    ],
    ids=["no upgrade", "broken header", "endless", "broken frames", "huge message", "text"],
)
def test_what_is_no_websocket_ends_soon_and_alone(
    certificates: Any, request_text: bytes, behind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        # The deadline of the login is not what ends it.
        async with running(certificates.ecdsa, auth_timeout=1000) as port:
            stream = await secured(port)
            await stream.send_all(request_text)
            if behind:
                assert b"101" in await stream.receive_some()
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(behind)
            await until_closed(stream)

    with caplog.at_level(logging.INFO):
        trio.run(main)
    assert "internal error" not in caplog.text


@pytest.mark.parametrize(
    ("schemes", "says", "answered"),
    [
        (SCHEMES, b"HEAD / HTTP/1.0\r\n\r\n", b"HTTP/1.1 404"),
        (SCHEMES, b"\r\nGET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 404"),
        (SCHEMES, b"\x16\x03\x01\x02\0\x01", b"HTTP/1.1 400"),
        (SCHEMES, bytes(4), b"HTTP/1.1 400"),
        (SCHEMES, codec.build_frame(codec.HEART_BEAT), b""),
        (("wss",), codec.build_frame(codec.HEART_BEAT), b"HTTP/1.1 400"),
        (("tls",), UPGRADE, b"HTTP/1.1 404"),
    ],
)
def test_whoever_begins_with_no_frame_finds_a_web_server(
    certificates: Any, schemes: tuple[str, ...], says: bytes, answered: bytes
) -> None:
    async def main() -> None:
        site = WebSite(schemes=schemes)
        async with running(certificates.ecdsa, auth_timeout=1000, web=site) as port:
            stream = await secured(port)
            await stream.send_all(says)
            got = b""
            while received := await stream.receive_some():
                got += received
                if b"keep-alive" in got:
                    break
            assert got[: len(answered) or 1] == answered
            await trio.aclose_forcefully(stream)

    trio.run(main)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["http/1.1"], "http/1.1"),
        (["h2", "http/1.1"], "http/1.1"),
        (["h2"], None),
        ([], None),
    ],
)
def test_who_asks_what_to_speak_is_told_http(
    certificates: Any, offered: list[str], chosen: str | None
) -> None:
    async def main() -> None:
        async with running(certificates.ecdsa) as port:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if offered:
                context.set_alpn_protocols(offered)
            stream = trio.SSLStream(await trio.open_tcp_stream("127.0.0.1", port), context)
            await stream.do_handshake()
            assert stream.selected_alpn_protocol() == chosen
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: r\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 404 Not Found\r\n")
            await trio.aclose_forcefully(stream)

    trio.run(main)


def test_a_flood_of_silent_clients_locks_nobody_out(certificates: Any) -> None:
    async def main() -> None:
        limits = Limits(unauthenticated=8)
        async with running(certificates.ecdsa, auth_timeout=1000, limits=limits) as port:
            silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(20)]
            mute = [await secured(port) for _ in range(12)]
            await logs_in(port)
            async with trio.open_nursery() as nursery:
                for stream in silent[:12]:
                    nursery.start_soon(until_closed, stream)
            for left in [*silent, *mute]:
                await trio.aclose_forcefully(left)

    trio.run(main)


@pytest.mark.parametrize("says", ["nothing", "TLS only", "half a request"])
def test_login_has_one_deadline_whatever_was_said(certificates: Any, says: str) -> None:
    async def main() -> None:
        async with running(certificates.ecdsa, auth_timeout=0.3) as port:
            if says == "nothing":
                stream: Any = await trio.open_tcp_stream("127.0.0.1", port)
            else:
                stream = await secured(port)
            if says == "half a request":
                await stream.send_all(b"GET / HTTP/1.1\r\nHost:")
            await until_closed(stream)

    trio.run(main)


def test_a_port_in_use_is_one_line(certificates: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        certificate = certificates.ecdsa
        listener = ListenerConfig("127.0.0.1", port, certificate.cert_file, certificate.key_file)
        config = RouterConfig(Path("router.json"), KEY, tls=listener)
        with pytest.raises(HostError) as caught:
            trio.run(router_module.run, config)
    assert str(caught.value) == f"cannot listen on tcp 127.0.0.1:{port}: address already in use"


@contextmanager
def open_file_limit(soft: int) -> Iterator[int]:
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def test_the_limit_of_open_files_is_raised() -> None:
    with open_file_limit(256) as hard:
        open_files.allow_many_files()
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = open_files.MAX_FILES
        assert soft == (wanted if hard == resource.RLIM_INFINITY else min(hard, wanted))
