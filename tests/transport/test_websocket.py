"""How a WebSocket link ends, over loopback."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from polevpn_trio.errors import LinkLost
from polevpn_trio.transport.tls import TlsStream, client_context, server_context
from polevpn_trio.transport.websocket import WebSocketLink, accept_websocket, open_websocket
from tests.transport.test_tls import socket_pair


def over_link(
    certificate: Any,
    body: Callable[[WebSocketLink, WebSocketLink, trio.Nursery], Awaitable[None]],
) -> None:
    """Run ``body`` with both ends, and the nursery that holds all tasks of the first."""

    async def main() -> None:
        client, server = socket_pair()
        ends: dict[str, WebSocketLink] = {}

        async def accept(context: ssl.SSLContext, nursery: trio.Nursery) -> None:
            stream = await TlsStream.handshake(server, context)
            ends["theirs"] = await accept_websocket(stream, "client", nursery)
            await nursery.start(ends["theirs"].run)

        async def connect(nursery: trio.Nursery) -> None:
            stream = await TlsStream.handshake(client, client_context(), server_name="localhost")
            ends["ours"] = await open_websocket(stream, "server", "localhost", "/", nursery)
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
        reason = theirs._connection.closed
        assert reason is not None
        assert reason.code == 1000

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


def test_pings_are_answered_and_are_no_messages(certificates: Any) -> None:
    async def body(ours: WebSocketLink, theirs: WebSocketLink, _: trio.Nursery) -> None:
        for _number in range(50):
            await ours._connection.ping()
        await ours.send_batch([b"data"])
        assert await theirs.receive() == b"data"

    over_link(certificates.ecdsa, body)
