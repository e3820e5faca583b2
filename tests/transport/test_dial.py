"""Dialling: what fails ends as LinkLost, leaks nothing, and spares the links in use."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import pytest
import trio
import trio.testing

from polevpn_trio.control.config import KcpOptions, ServerUrl
from polevpn_trio.control.router_trust import Insecure
from polevpn_trio.errors import BadPacket, LinkLost
from polevpn_trio.transport import dtls
from polevpn_trio.transport.base import Link
from polevpn_trio.transport.dial import NAME_SECONDS, Dialer, NameBook
from polevpn_trio.transport.dtls import DtlsEndpoint
from tests.memory_links import link_pair


async def _nothing_to_do(_: object) -> None:
    await trio.lowlevel.checkpoint()


def url(scheme: str, port: int, host: str = "127.0.0.1") -> ServerUrl:
    return ServerUrl(scheme, host, port, "/way", f"{scheme}://{host}:{port}")


def open_files() -> set[str]:
    """What each file descriptor is, but for those of the event loop itself."""
    found = set()
    for entry in os.scandir("/proc/self/fd"):
        try:
            found.add(os.readlink(entry.path))
        except FileNotFoundError:
            continue
    return {each for each in found if each.startswith("socket:")}


async def refused(server: ServerUrl, seconds: float = 5.0) -> str:
    """Dial a server that does not give us a link; return the reason."""
    before = open_files()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            with pytest.raises(LinkLost, match=re.escape(f"cannot reach {server.text}")) as caught:
                await nursery.start(
                    Dialer(KcpOptions(), seconds, _nothing_to_do, Insecure()).serve_link, server
                )
        # The test's own server has sockets too, and closes them a little later.
        while not open_files() <= before:  # noqa: ASYNC110 - nothing tells when
            await trio.sleep(0.01)
    return str(caught.value)


async def with_tls_server(
    certificate: Any,
    handle: Callable[[trio.SSLStream[trio.SocketStream]], Awaitable[None]],
    body: Callable[[int], Awaitable[None]],
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def serve(stream: trio.SocketStream) -> None:
        secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        with contextlib.suppress(trio.BrokenResourceError):
            await handle(secured)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        await body(listener.socket.getsockname()[1])
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP status 404"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops", "HTTP status 502"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak WebSocket"),
        (b"", "does not speak WebSocket"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "does not speak WebSocket"),
    ],
    ids=["404", "502", "other protocol", "closed", "bad upgrade"],
)
def test_a_server_without_websocket_is_a_lost_link(
    certificates: Any, answer: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(stream: trio.SSLStream[trio.SocketStream]) -> None:
        assert (await stream.receive_some()).startswith(b"GET /way")
        if answer:
            await stream.send_all(answer)
        await stream.aclose()

    async def body(port: int) -> None:
        assert reason in await refused(url("wss", port))

    with caplog.at_level(logging.INFO):
        trio.run(with_tls_server, certificates.ecdsa, handle, body)
    assert "internal error" not in caplog.text


def test_an_https_server_that_never_answers_is_given_up(certificates: Any) -> None:
    async def handle(stream: trio.SSLStream[trio.SocketStream]) -> None:
        while await stream.receive_some():
            pass
        await trio.aclose_forcefully(stream)

    async def body(port: int) -> None:
        assert "no answer in 0.3 s" in await refused(url("wss", port), 0.3)

    trio.run(with_tls_server, certificates.ecdsa, handle, body)


def test_what_the_kernel_says_is_told_in_its_words() -> None:
    # Nowhere for TCP, whatever routes there are.
    server = url("tls", 443, "255.255.255.255")
    reason = trio.run(refused, server)
    assert reason.endswith(": 255.255.255.255:443: network is unreachable")


@pytest.mark.parametrize("scheme", ["tls", "wss"])
def test_a_server_without_tls_is_a_lost_link(scheme: str) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 mail.example.com ESMTP\r\n")

    async def main() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, handle, [listener])
            reason = await refused(url(scheme, listener.socket.getsockname()[1]))
            assert "TLS handshake failed" in reason
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_dtls_handshake_that_breaks_the_protocol_is_a_lost_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Breaking(DtlsEndpoint):
        async def connect(self, *_: object, **__: object) -> NoReturn:
            await trio.lowlevel.checkpoint()
            raise BadPacket("the DTLS handshake failed: no shared cipher")

    monkeypatch.setattr(dtls, "DtlsEndpoint", Breaking)

    async def main() -> None:
        assert "no shared cipher" in await refused(url("kcp", 9))

    trio.run(main)


def test_a_fault_of_ours_while_dialling_ends_only_the_attempt(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    monkeypatch.setattr(Dialer, "_connect_tls", breaks)

    async def main() -> None:
        assert "internal error" in await refused(url("tls", 9))

    trio.run(main)
    assert "ZeroDivisionError()" in caplog.text


@pytest.mark.parametrize("host", ["a" * 64 + ".example.com", "x..y"])
def test_a_name_that_can_be_none_is_a_lost_link(host: str) -> None:
    async def main() -> None:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                with pytest.raises(LinkLost, match="cannot look"):
                    await nursery.start(
                        Dialer(KcpOptions(), 1.0, _nothing_to_do, Insecure()).serve_link,
                        url("tls", 9, host),
                    )

    trio.run(main)


@pytest.mark.parametrize("scheme", ["kcp", "tls", "wss"])
def test_a_cancelled_dial_leaves_nothing_open(scheme: str) -> None:
    async def main() -> None:
        kind = socket.SOCK_DGRAM if scheme == "kcp" else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind) as silent:
            silent.bind(("127.0.0.1", 0))
            if kind == socket.SOCK_STREAM:
                silent.listen()
            server = url(scheme, silent.getsockname()[1])
            before = open_files()
            for seconds in (0.0, 0.005, 0.05):
                with trio.move_on_after(seconds):
                    async with trio.open_nursery() as nursery:
                        await nursery.start(
                            Dialer(KcpOptions(), 5.0, _nothing_to_do, Insecure()).serve_link, server
                        )
                await trio.testing.wait_all_tasks_blocked()
                assert open_files() <= before

    trio.run(main)


def test_the_addresses_of_links_in_use_stay_reachable_while_another_is_dialled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A default route through the tunnel would swallow the packets of the link in use."""
    told: list[set[str]] = []

    async def before_connect(addresses: tuple[Any, ...]) -> None:
        await trio.lowlevel.checkpoint()
        told.append({str(address) for address in addresses})

    async def connect(_: Dialer, server: ServerUrl, *__: object) -> Link:
        await trio.lowlevel.checkpoint()
        if server.scheme == "wss":
            raise LinkLost("not there")
        return link_pair(server.scheme)[0]

    monkeypatch.setattr(Dialer, "_connect_in_time", connect)

    async def main() -> None:
        dialer = Dialer(KcpOptions(), 5.0, before_connect, Insecure())
        async with trio.open_nursery() as nursery:
            first = await nursery.start(dialer.serve_link, url("tls", 1, "192.0.2.1"))
            with pytest.raises(LinkLost):
                await nursery.start(dialer.serve_link, url("wss", 1, "192.0.2.2"))
            second = await nursery.start(dialer.serve_link, url("kcp", 1, "192.0.2.3"))
            first.close()
            await trio.testing.wait_all_tasks_blocked()
            third = await nursery.start(dialer.serve_link, url("tls", 1, "192.0.2.1"))
            second.close()
            third.close()

    trio.run(main)
    one, two, three = "192.0.2.1", "192.0.2.2", "192.0.2.3"
    assert told == [{one}, {one, two}, {one, three}, {three, one}]


class NameServer(trio.abc.HostnameResolver):
    """Knows every name, until it falls silent or refuses."""

    trouble: str | None = None

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        if self.trouble == "silent":
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        if self.trouble == "refuses":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", port))]

    async def getnameinfo(self, *_: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("trouble", ["silent", "refuses"])
def test_a_name_server_in_trouble_holds_up_nobody_who_knows_the_address(trouble: str) -> None:
    server = url("tls", 443, host="router.example")

    async def main() -> None:
        names, resolver = NameBook(), NameServer()
        trio.socket.set_custom_hostname_resolver(resolver)
        before = await names.look_up(server, 20)
        resolver.trouble = trouble
        started = trio.current_time()
        assert await names.look_up(server, 20) == before
        # In virtual time.
        assert trio.current_time() - started <= NAME_SECONDS
        with pytest.raises(LinkLost, match=r"cannot look other\.example up"):
            await names.look_up(url("tls", 443, host="other.example"), 20)
        assert trio.current_time() - started >= (20 if trouble == "silent" else 0)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
