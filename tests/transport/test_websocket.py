"""WebSocket links over loopback: how they end, and what trio-websocket makes of them."""

from __future__ import annotations

import contextlib
import random
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
import trio_websocket
from OpenSSL import SSL
from trio_websocket import WebSocketConnection
from wsproto.frame_protocol import FrameProtocol

from polevpn_trio.errors import BadPacket, LinkLost
from polevpn_trio.transport.tls import TlsStream, client_context, server_context
from polevpn_trio.transport.websocket import WebSocketLink, accept_websocket, open_websocket
from polevpn_trio.transport.websocket_frames import (
    MAX_MESSAGE_SIZE,
    NORMAL,
    TOO_BIG,
    UNSUPPORTED_DATA,
)
from tests.transport.test_tls import socket_pair


def over_link(
    certificate: Any,
    body: Callable[[WebSocketLink, WebSocketLink, trio.Nursery], Awaitable[None]],
) -> None:
    """Run ``body`` with both ends, and the nursery that holds all tasks of the first."""

    async def main() -> None:
        client, server = socket_pair()
        ends: dict[str, WebSocketLink] = {}

        async def accept(context: SSL.Context, nursery: trio.Nursery) -> None:
            stream = await TlsStream.handshake(server, context)
            ends["theirs"] = await accept_websocket(stream, "client")
            await nursery.start(ends["theirs"].run)

        async def connect(nursery: trio.Nursery) -> None:
            stream = await TlsStream.handshake(client, client_context(), server_name="localhost")
            ends["ours"] = await open_websocket(stream, "server", "localhost", "/")
            await nursery.start(ends["ours"].run)

        with trio.fail_after(20):
            async with trio.open_nursery() as theirs, trio.open_nursery() as ours:
                async with trio.open_nursery() as handshakes:
                    context = server_context(certificate.cert_file, certificate.key_file)
                    handshakes.start_soon(accept, context, theirs)
                    handshakes.start_soon(connect, ours)
                await body(ends["ours"], ends["theirs"], ours)
                ours.cancel_scope.cancel()
                theirs.cancel_scope.cancel()

    trio.run(main)


def test_after_close_it_carries_nothing_although_the_closing_handshake_goes_on(
    certificates: Any,
) -> None:
    async def body(ours: WebSocketLink, theirs: WebSocketLink, _: trio.Nursery) -> None:
        await theirs.send_batch([b"late"])
        ours.close()
        with pytest.raises(LinkLost):
            await ours.receive()
        with pytest.raises(LinkLost):
            await ours.send_batch([b"more"])

    over_link(certificates.ecdsa, body)


def test_cancelled_with_all_its_tasks_it_still_says_goodbye(certificates: Any) -> None:
    async def body(ours: WebSocketLink, theirs: WebSocketLink, tasks: trio.Nursery) -> None:
        tasks.cancel_scope.cancel()
        with trio.CancelScope(shield=True), pytest.raises(LinkLost):
            await theirs.receive()
        assert theirs._reader.peer_code == NORMAL

    over_link(certificates.ecdsa, body)


def test_a_peer_that_reads_nothing_holds_up_the_end_only_briefly(certificates: Any) -> None:
    async def body(ours: WebSocketLink, theirs: WebSocketLink, tasks: trio.Nursery) -> None:
        with trio.move_on_after(0.2):
            while True:
                await ours.send_batch([bytes(1 << 20)])
        with trio.fail_after(5):
            ours.close()
            while ours._stream._socket.fileno() != -1:  # noqa: ASYNC110 - nothing tells when
                await trio.sleep(0.01)

    over_link(certificates.ecdsa, body)


# trio-websocket as the other end.


def over_library(
    our_role: str,
    certificate: Any,
    body: Callable[[WebSocketLink, WebSocketConnection, TlsStream], Awaitable[None]],
) -> None:
    """Run ``body`` with our end, the library's, and the stream below the library's."""

    async def main() -> None:
        client, server = socket_pair()

        async def secure(streams: dict[str, TlsStream], role: str) -> None:
            if role == "server":
                context = server_context(certificate.cert_file, certificate.key_file)
                streams[role] = await TlsStream.handshake(server, context)
            else:
                context = client_context()
                streams[role] = await TlsStream.handshake(client, context, server_name="localhost")

        async def ours(stream: TlsStream) -> None:
            if our_role == "client":
                links.append(await open_websocket(stream, "server", "localhost", "/"))
            else:
                links.append(await accept_websocket(stream, "client"))

        async def library(stream: TlsStream, nursery: trio.Nursery) -> None:
            if our_role == "client":
                request = await trio_websocket.wrap_server_stream(
                    nursery,
                    stream,  # type: ignore[arg-type]  # it has all that is needed of one
                )
                connections.append(await request.accept())
            else:
                connections.append(
                    await trio_websocket.wrap_client_stream(
                        nursery,
                        stream,  # type: ignore[arg-type]  # it has all that is needed of one
                        "localhost",
                        "/",
                    )
                )

        links: list[WebSocketLink] = []
        connections: list[WebSocketConnection] = []
        streams: dict[str, TlsStream] = {}
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                async with trio.open_nursery() as securing:
                    securing.start_soon(secure, streams, "client")
                    securing.start_soon(secure, streams, "server")
                our_stream = streams.pop(our_role)
                (their_stream,) = streams.values()
                async with trio.open_nursery() as handshakes:
                    handshakes.start_soon(ours, our_stream)
                    handshakes.start_soon(library, their_stream, nursery)
                await nursery.start(links[0].run)
                await body(links[0], connections[0], their_stream)
                nursery.cancel_scope.cancel()
            their_stream.close()

    trio.run(main)


async def collect(link: WebSocketLink, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += (await link.receive()).take()
    return data


async def listen(link: WebSocketLink) -> None:
    """Receive until the link is gone, which is also what hears pings."""
    with contextlib.suppress(LinkLost):
        while True:
            await link.receive()


@pytest.mark.parametrize("our_role", ["client", "server"])
def test_messages_of_all_sizes_pass_to_and_from_trio_websocket(
    our_role: str, certificates: Any
) -> None:
    chooser = random.Random(our_role)
    sizes = [0, 1, 125, 126, 65_535, 65_536, 300_000, MAX_MESSAGE_SIZE]
    messages = [chooser.randbytes(size) for size in sizes]

    async def body(link: WebSocketLink, peer: WebSocketConnection, _: TlsStream) -> None:
        async def send() -> None:
            for message in messages:
                await link.send_batch([message[:100], message[100:]])

        async def send_back() -> None:
            for message in messages:
                await peer.send_message(message)

        async def receive() -> None:
            for message in messages:
                assert await peer.get_message() == message

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(send_back)
            nursery.start_soon(receive)
            assert await collect(link, sum(sizes)) == b"".join(messages)
        assert link.statistics().bytes_sent == sum(sizes)
        assert link.statistics().bytes_received == sum(sizes)

    over_library(our_role, certificates.ecdsa, body)


@pytest.mark.parametrize("our_role", ["client", "server"])
def test_fragments_with_pings_between_them_are_one_stream(our_role: str, certificates: Any) -> None:
    async def body(link: WebSocketLink, peer: WebSocketConnection, stream: TlsStream) -> None:
        frames = FrameProtocol(our_role == "server", [])
        for number in range(20):
            fragment = frames.send_data(bytes([number]) * 1000, fin=number % 7 == 6)
            await stream.send_all(fragment + frames.ping(b"between"))
        assert await collect(link, 20_000) == b"".join(bytes([each]) * 1000 for each in range(20))
        await link.send_batch([b"answer"])
        assert await peer.get_message() == b"answer"

    over_library(our_role, certificates.ecdsa, body)


@pytest.mark.parametrize("our_role", ["client", "server"])
def test_pings_are_answered_while_data_flows_and_while_none_does(
    our_role: str, certificates: Any
) -> None:
    async def body(link: WebSocketLink, peer: WebSocketConnection, _: TlsStream) -> None:
        async with trio.open_nursery() as listening:
            listening.start_soon(listen, link)
            await peer.ping(b"alone")
            async with trio.open_nursery() as nursery:
                for number in range(50):
                    nursery.start_soon(peer.ping, b"%d" % number)
                    nursery.start_soon(link.send_batch, [bytes(1000)])
                for _number in range(50):
                    assert await peer.get_message() == bytes(1000)
            listening.cancel_scope.cancel()

    over_library(our_role, certificates.ecdsa, body)


@pytest.mark.parametrize("our_role", ["client", "server"])
def test_our_close_is_the_closing_handshake(our_role: str, certificates: Any) -> None:
    async def body(link: WebSocketLink, peer: WebSocketConnection, _: TlsStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, link)
            await trio.testing.wait_all_tasks_blocked()
            await link.send_batch([b"last words"])
            link.close()
        assert await peer.get_message() == b"last words"
        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await peer.get_message()
        assert closed.value.reason is not None
        assert closed.value.reason.code == NORMAL
        while not link._reader.ended:  # noqa: ASYNC110 - nothing tells when
            await trio.sleep(0.001)
        assert link._reader.peer_code == NORMAL

    over_library(our_role, certificates.ecdsa, body)


@pytest.mark.parametrize("our_role", ["client", "server"])
def test_our_close_finds_its_answer_behind_data_that_is_under_way(
    our_role: str, certificates: Any
) -> None:
    async def body(link: WebSocketLink, peer: WebSocketConnection, _: TlsStream) -> None:
        async def flood() -> None:
            with contextlib.suppress(trio_websocket.ConnectionClosed):
                while True:
                    await peer.send_message(bytes(50_000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(listen, link)
            while not link._receiving:
                await trio.lowlevel.checkpoint()
            # With so much there, the receiver now holds a piece that it has not looked at.
            link.close()
        while not link._reader.ended:  # noqa: ASYNC110 - nothing tells when
            await trio.sleep(0.001)
        assert link._reader.peer_code == NORMAL

    over_library(our_role, certificates.ecdsa, body)


@pytest.mark.parametrize("our_role", ["client", "server"])
@pytest.mark.parametrize(
    ("code", "reason"), [(1000, "closed the link$"), (4001, r"closed the link \(.* code 4001\)")]
)
def test_a_close_of_the_peer_is_answered_at_once(
    our_role: str, code: int, reason: str, certificates: Any
) -> None:
    async def body(link: WebSocketLink, peer: WebSocketConnection, _: TlsStream) -> None:
        await peer.send_message(b"last words")
        async with trio.open_nursery() as nursery:
            # Returns when the answer has come: the test ends in time or not at all.
            nursery.start_soon(peer.aclose, code)
            assert (await link.receive()).take() == b"last words"
            for _again in range(2):
                with pytest.raises(LinkLost, match=reason):
                    await link.receive()
            with pytest.raises(LinkLost, match=reason):
                await link.send_batch([b"more"])

    over_library(our_role, certificates.ecdsa, body)


@pytest.mark.parametrize("our_role", ["client", "server"])
@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ("text", UNSUPPORTED_DATA, "text message"),
        (bytes(MAX_MESSAGE_SIZE + 1), TOO_BIG, "more than 1048576 bytes"),
    ],
    ids=["text", "too big"],
)
def test_a_breach_of_the_protocol_is_answered_with_its_code(
    our_role: str, message: str | bytes, code: int, reason: str, certificates: Any
) -> None:
    async def body(link: WebSocketLink, peer: WebSocketConnection, _: TlsStream) -> None:
        async def send() -> None:
            with contextlib.suppress(trio_websocket.ConnectionClosed):
                await peer.send_message(message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            with pytest.raises(BadPacket, match=reason):
                await link.receive()
            with pytest.raises(LinkLost, match=reason):
                await link.receive()
        if isinstance(message, str):
            with pytest.raises(trio_websocket.ConnectionClosed):
                await peer.get_message()
            assert peer.closed is not None
            assert peer.closed.code == code
        assert link._reader.close_code == code

    over_library(our_role, certificates.ecdsa, body)


def test_a_connection_that_breaks_is_a_lost_link(certificates: Any) -> None:
    async def body(link: WebSocketLink, _: WebSocketConnection, stream: TlsStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, link)
            await trio.testing.wait_all_tasks_blocked()
            stream._socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, sys.byteorder) + bytes(4)
            )
            trio.lowlevel.notify_closing(stream._socket)
            stream._socket.close()
        with pytest.raises(LinkLost):
            await link.send_batch([b"more"])
        with pytest.raises(LinkLost):
            await link.receive()

    over_library("client", certificates.ecdsa, body)
