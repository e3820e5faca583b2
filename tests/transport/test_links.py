"""What every transport promises, tested on all of them over loopback."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import random
import re
import socket
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from types import MethodType
from typing import Any

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from polevpn_trio.control.config import KcpOptions, ServerUrl
from polevpn_trio.control.fingerprint import fingerprint_of
from polevpn_trio.control.router_trust import Insecure, Pinned, RouterTrust
from polevpn_trio.control.session_identity import SessionIdentity
from polevpn_trio.errors import BadPacket, LinkLost, Untrusted
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport import dtls, tls
from polevpn_trio.transport.base import SEND_BATCH_BYTES, Link
from polevpn_trio.transport.dial import Backoff, Dialer
from polevpn_trio.transport.dtls_session import DtlsSession
from polevpn_trio.transport.eager import reading_eagerly
from polevpn_trio.transport.kcp import KcpLink
from polevpn_trio.transport.tcp import LARGEST_LIMIT
from polevpn_trio.transport.tls_link import TlsLink
from polevpn_trio.transport.udp import UdpSocket
from polevpn_trio.transport.websocket import accept_websocket
from tests.memory_links import Stock, stream

SCHEMES = ("kcp", "tls", "wss")
SIOCOUTQNSD = 0x894B
"""Asks for the bytes that TCP has not sent for the first time; linux/sockios.h."""
DEADLINE = 20.0
"""Seconds after which a test that hangs has failed."""


async def _nothing_to_do(_: object) -> None:
    await trio.lowlevel.checkpoint()


def dialer(timeout: float = 5.0, trust: RouterTrust | None = None) -> Dialer:
    return Dialer(KcpOptions(), timeout, _nothing_to_do, trust or Insecure())


def url(scheme: str, port: int) -> ServerUrl:
    return ServerUrl(scheme, "127.0.0.1", port, "/", f"{scheme}://127.0.0.1:{port}")


@asynccontextmanager
async def listening(scheme: str, certificate: Any) -> AsyncIterator[tuple[int, Any]]:
    """Accept links of one kind; yields the port and a channel of accepted links."""
    send, receive = trio.open_memory_channel[Link](10)

    async def serve(link: Link) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(link.run)
            await send.send(link)

    async with trio.open_nursery() as nursery:
        if scheme == "kcp":
            udp = UdpSocket.bind("127.0.0.1", 0)
            endpoint = dtls.DtlsEndpoint(udp)
            context = dtls.server_context(certificate.cert_file, certificate.key_file)
            await nursery.start(endpoint.run)

            async def handle_session(session: DtlsSession) -> None:
                await serve(KcpLink(session, KcpOptions()))

            await nursery.start(
                partial(
                    endpoint.serve, context, handle_session, handshake_timeout=5, max_half_open=10
                )
            )
            yield udp.getsockname()[1], receive
            nursery.cancel_scope.cancel()
            endpoint.close()
            return
        tls_context = tls.server_context(certificate.cert_file, certificate.key_file)

        async def handle_stream(accepted: trio.SocketStream) -> None:
            plain = socket.socket(fileno=accepted.socket.detach())
            stream = await tls.TlsStream.handshake(plain, tls_context)
            if scheme == "tls":
                await serve(TlsLink(stream, "client"))
            else:
                link = None
                try:
                    with contextlib.suppress(LinkLost):
                        link = await accept_websocket(stream, "client")
                finally:
                    if link is None:
                        stream.close()
                if link is not None:
                    await serve(link)

        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(
            partial(trio.serve_listeners, handle_stream, [listener], handler_nursery=nursery)
        )
        yield listener.socket.getsockname()[1], receive
        nursery.cancel_scope.cancel()


def over_link(scheme: str, certificate: Any, body: Callable[[Link, Link], Awaitable[None]]) -> None:
    """Run ``body`` with both ends of a link: ours, which dialled, and theirs."""

    async def main() -> None:
        with trio.fail_after(DEADLINE):
            async with (
                listening(scheme, certificate) as (port, accepted),
                trio.open_nursery() as nursery,
            ):
                ours = await nursery.start(dialer().serve_link, url(scheme, port))
                if scheme != "tls":
                    await ours.send_batch([b"first"])
                theirs = await accepted.receive()
                if scheme != "tls":
                    assert (await theirs.receive()).take() == b"first"
                try:
                    await body(ours, theirs)
                finally:
                    ours.close()
                    theirs.close()
                nursery.cancel_scope.cancel()

    trio.run(main)


async def collect(link: Link, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        data += (await link.receive()).take()
    return bytes(data)


async def listen(link: Link) -> None:
    """Receive until the link is gone; KCP hears of acknowledgements no other way."""
    with contextlib.suppress(LinkLost):
        while True:
            await link.receive()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_bulk_data_arrives_whole_and_in_order_both_ways_at_once(
    scheme: str, certificates: Any
) -> None:
    chooser = random.Random(scheme)
    pieces = [chooser.randbytes(chooser.randrange(1, 60_000)) for _ in range(120)]
    whole = b"".join(pieces)

    async def body(ours: Link, theirs: Link) -> None:
        async def send(link: Link) -> None:
            for start in range(0, len(pieces), 3):
                await link.send_batch(pieces[start : start + 3])

        got: dict[str, bytes] = {}

        async def receive(name: str, link: Link) -> None:
            got[name] = await collect(link, len(whole))
            if len(got) == 2:
                receiving.cancel_scope.cancel()
            await listen(link)

        async with trio.open_nursery() as receiving:
            for name, link in (("ours", ours), ("theirs", theirs)):
                receiving.start_soon(send, link)
                receiving.start_soon(receive, name, link)
        expected = hashlib.sha256(whole).digest()
        assert [hashlib.sha256(data).digest() for data in got.values()] == [expected, expected]
        for link in (ours, theirs):
            statistics = link.statistics()
            assert statistics.bytes_sent >= len(whole)
            assert statistics.bytes_received >= len(whole)
            assert statistics.transport == scheme

    over_link(scheme, certificates.ecdsa, body)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_close_ends_the_other_side(scheme: str, certificates: Any) -> None:
    async def body(ours: Link, theirs: Link) -> None:
        ours.close()
        with pytest.raises(LinkLost):
            await collect(theirs, 1 << 60)
        with pytest.raises(LinkLost):
            await ours.receive()
        ours.close()

    over_link(scheme, certificates.rsa, body)


def leads_back(link: Link) -> bool:
    """Whether a link holds something of ours that holds the link."""
    seen: set[int] = set()
    todo: list[object] = [link]
    while todo:
        for each in gc.get_referents(todo.pop()):
            if each is link:
                return True
            ours = type(each).__module__.startswith("polevpn_trio.")
            if id(each) not in seen and (ours or isinstance(each, MethodType | dict)):
                seen.add(id(each))
                todo.append(each)
    return False


@pytest.mark.parametrize("scheme", ["tls", "wss"])
def test_a_link_needs_no_collector_to_be_freed(scheme: str, certificates: Any) -> None:
    async def body(client: Link, server: Link) -> None:
        await client.send_batch([b"frames"])
        assert await collect(server, 6) == b"frames"
        assert not leads_back(client)
        assert not leads_back(server)

    over_link(scheme, certificates.ecdsa, body)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_was_drained_arrives_although_the_link_closes_at_once(
    scheme: str, certificates: Any
) -> None:
    async def body(ours: Link, theirs: Link) -> None:
        async def last_words() -> None:
            await ours.send_batch([b"last words"])
            await ours.drain()
            ours.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(last_words)
            assert await collect(theirs, 10) == b"last words"

    over_link(scheme, certificates.rsa, body)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_given_without_waiting_arrives_even_if_the_link_takes_no_more_at_once(
    scheme: str, certificates: Any
) -> None:
    async def body(ours: Link, theirs: Link) -> None:
        ours.send_nowait([b"one ", b"two "])
        ours.send_nowait([b"three"])
        ours.flush()
        assert await collect(theirs, 13) == b"one two three"
        chooser = random.Random(scheme)
        sent = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, ours)
            for _ in range(3):
                while ours.room:
                    piece = chooser.randbytes(50_000)
                    ours.send_nowait([piece])
                    ours.flush()
                    sent += piece
                nursery.start_soon(ours.send_batch, [b"and then"])
                sent += b"and then"
                assert await collect(theirs, len(sent)) == sent
                sent.clear()
            nursery.cancel_scope.cancel()

    over_link(scheme, certificates.ecdsa, body)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_link_empties_its_source_in_order_and_asks_again_when_flushed(
    scheme: str, certificates: Any
) -> None:
    async def body(ours: Link, theirs: Link) -> None:
        stock = Stock(3_000_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, ours)
            ours.pull_from(stock)
            got = await collect(theirs, stock.size)
            assert not stock.waiting
            assert max(stock.asked) <= SEND_BATCH_BYTES
            stock.size += 10
            await ours.send_batch([b"ahead of it "])
            ours.flush()
            assert await collect(theirs, 12 + 10) == b"ahead of it " + stream(3_000_000, stock.size)
            nursery.cancel_scope.cancel()
        assert got == stream(0, 3_000_000)

    over_link(scheme, certificates.ecdsa, body)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_source_keeps_what_a_peer_that_reads_nothing_leaves_no_room_for(
    scheme: str, certificates: Any
) -> None:
    async def body(ours: Link, theirs: Link) -> None:
        stock = Stock(1 << 30)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, ours)
            ours.pull_from(stock)
            await trio.testing.wait_all_tasks_blocked(0.3)
            taken = stock.taken
            # Windows and the kernel's buffers; of what is in those, little is not on its way.
            assert taken < 20_000_000
            if isinstance(ours, KcpLink):
                assert ours._conversation.unsent_bytes < ours._conversation.mtu
            else:
                stream: Any = ours
                connection = stream._stream._socket
                (not_sent,) = array("i", fcntl.ioctl(connection, SIOCOUTQNSD, bytes(4)))
                assert not_sent <= 2 * LARGEST_LIMIT
            assert await collect(theirs, taken + 1_000_000)
            assert stock.taken > taken
            nursery.cancel_scope.cancel()

    over_link(scheme, certificates.ecdsa, body)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("mode", [reading_eagerly, contextlib.nullcontext])
def test_each_piece_is_handed_on_and_awaited_until_the_link_is_lost(
    scheme: str, mode: Callable[[], AbstractContextManager[None]], certificates: Any
) -> None:
    async def body(ours: Link, theirs: Link) -> None:
        got = bytearray()
        waiting = False

        async def wait() -> None:
            nonlocal waiting
            waiting = True
            await trio.lowlevel.checkpoint()
            waiting = False

        def consume(stream: StreamBuffer) -> Awaitable[None] | None:
            assert not waiting
            got.extend(stream.take())
            if len(got) >= 300_000:
                finished.set()
            return wait() if len(got) % 2 else None

        async def receive() -> None:
            with pytest.raises(LinkLost):
                await theirs.receive_each(consume)

        finished = trio.Event()
        sent = random.Random(scheme).randbytes(300_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, ours)
            nursery.start_soon(receive)
            for start in range(0, len(sent), 999):
                await ours.send_batch([sent[start : start + 999]])
            await finished.wait()
            assert got == sent
            ours.close()

    async def in_mode(ours: Link, theirs: Link) -> None:
        with mode():
            await body(ours, theirs)

    over_link(scheme, certificates.ecdsa, in_mode)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("mode", [reading_eagerly, contextlib.nullcontext])
def test_close_ends_our_own_receiver(
    scheme: str, mode: Callable[[], AbstractContextManager[None]], certificates: Any
) -> None:
    async def body(ours: Link, theirs: Link) -> None:
        async def receive_each() -> None:
            with pytest.raises(LinkLost):
                await ours.receive_each(lambda _: None)

        async def receive() -> None:
            with pytest.raises(LinkLost):
                await theirs.receive()

        with mode():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive_each)
                nursery.start_soon(receive)
                await trio.testing.wait_all_tasks_blocked()
                ours.close()
                theirs.close()

    over_link(scheme, certificates.ecdsa, body)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_receiver_that_stalls_makes_the_sender_wait(scheme: str, certificates: Any) -> None:
    async def body(ours: Link, theirs: Link) -> None:
        sent = 0
        with trio.move_on_after(1.0):
            while True:
                await ours.send_batch([bytes(65_536)])
                sent += 65_536
        # Neither end may hold more than its windows and buffers.
        assert sent < 40_000_000
        if scheme == "kcp":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen, ours)
                assert len(await collect(theirs, sent)) >= sent
                nursery.cancel_scope.cancel()

    over_link(scheme, certificates.ecdsa, body)


def test_text_message_is_refused(certificates: Any) -> None:
    async def body(ours: Link, theirs: Link) -> None:
        text = b"\x81\x84\0\0\0\0text"
        await ours._stream.send_all(text)  # type: ignore[attr-defined]  # wss only
        with pytest.raises(BadPacket, match="text message"):
            await theirs.receive()

    over_link("wss", certificates.ecdsa, body)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nobody_there_is_link_lost(scheme: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            with pytest.raises(
                LinkLost, match=re.escape(f"cannot reach {scheme}://127.0.0.1:{port}")
            ):
                await nursery.start(dialer(timeout=0.3).serve_link, url(scheme, port))

    trio.run(main)


def test_unknown_name_is_link_lost() -> None:
    server = ServerUrl("tls", "no-such-host.invalid", 443, "/", "tls://no-such-host.invalid")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            with pytest.raises(LinkLost, match=r"no-such-host\.invalid"):
                await nursery.start(dialer().serve_link, server)

    trio.run(main)


def test_silent_server_is_given_up_within_the_timeout() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            async with trio.open_nursery() as nursery:
                with pytest.raises(LinkLost, match=r"no answer in 0.2 s"):
                    await nursery.start(
                        dialer(timeout=0.2).serve_link, url("tls", silent.getsockname()[1])
                    )

    trio.run(main)


def test_backoff_starts_under_a_second_and_grows_with_the_outage() -> None:
    backoff = Backoff(random=random.Random(1))
    delays = [backoff.next_delay() for _ in range(400)]
    assert 0.1 <= delays[0] <= 0.25
    outage = 0.0
    for delay in delays:
        outage += delay
        assert delay <= max(1.5, outage * 0.05)
        assert delay <= 30.0
    assert max(delays) > 20.0


def fingerprint(certificate: Any) -> bytes:
    pem = x509.load_pem_x509_certificate(certificate.cert_file.read_bytes())
    return fingerprint_of(pem.public_bytes(Encoding.DER))


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_ends_know_their_session_by_the_same_name_and_no_two_sessions_share_one(
    scheme: str, kind: str, certificates: Any
) -> None:
    certificate = getattr(certificates, kind)
    seen: list[SessionIdentity] = []

    async def body(ours: Link, theirs: Link) -> None:
        await trio.lowlevel.checkpoint()
        assert ours.identity == theirs.identity
        assert ours.identity.router_certificate == fingerprint(certificate)
        assert ours.identity.gateway_certificate == b""
        assert len(ours.identity.exporter) == 32
        seen.append(ours.identity)

    over_link(scheme, certificate, body)
    over_link(scheme, certificate, body)
    assert seen[0].exporter != seen[1].exporter


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_router_with_another_certificate_is_told_nothing(scheme: str, certificates: Any) -> None:
    async def main() -> None:
        pinned = Pinned((fingerprint(certificates.ecdsa),))
        with trio.fail_after(DEADLINE):
            async with (
                listening(scheme, certificates.rsa) as (port, accepted),
                trio.open_nursery() as nursery,
            ):
                with pytest.raises(Untrusted, match="verify_router expects"):
                    await nursery.start(dialer(trust=pinned).serve_link, url(scheme, port))
                if scheme == "wss":
                    # Not even asked for a WebSocket.
                    with pytest.raises(trio.WouldBlock):
                        accepted.receive_nowait()
                else:
                    theirs = await accepted.receive()
                    with pytest.raises(LinkLost):
                        await theirs.receive()

    trio.run(main)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_router_with_the_certificate_that_is_expected_is_taken(
    scheme: str, certificates: Any
) -> None:
    async def main() -> None:
        pinned = Pinned((fingerprint(certificates.rsa),))
        with trio.fail_after(DEADLINE):
            async with (
                listening(scheme, certificates.rsa) as (port, _),
                trio.open_nursery() as nursery,
            ):
                link = await nursery.start(dialer(trust=pinned).serve_link, url(scheme, port))
                assert link.scheme == scheme
                nursery.cancel_scope.cancel()

    trio.run(main)
