"""Peers with sockets of their own on a shared port."""

from __future__ import annotations

import errno
import socket
from array import array
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from polevpn_trio.errors import HostError
from polevpn_trio.transport import dtls, own_socket
from polevpn_trio.transport.dtls import DtlsEndpoint, server_context
from polevpn_trio.transport.dtls_session import DtlsSession
from polevpn_trio.transport.eager import reading_eagerly
from polevpn_trio.transport.own_socket import OwnSockets
from polevpn_trio.transport.udp import Address, BatchSocket, UdpSocket

Mode = Callable[[], AbstractContextManager[None]]


@pytest.fixture(params=["127.0.0.1", "::"])
def shared(request: pytest.FixtureRequest) -> Iterator[UdpSocket]:
    if request.param == "::" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    udp = UdpSocket.bind(request.param, 0)
    yield udp
    udp.close()


def run_in(mode: Mode, main: Callable[[], Awaitable[None]]) -> None:
    """Run it in Trio's plain mode or with eager reads."""

    async def in_mode() -> None:
        with mode():
            await main()

    trio.run(in_mode)


def connected_to(shared: UdpSocket) -> UdpSocket:
    return UdpSocket.connect(("127.0.0.1", shared.getsockname()[1]))


def say(peer: UdpSocket, text: bytes) -> None:
    peer.send_batch_nowait(text, array("H", [len(text)]), 1, ())


def heard(udp: BatchSocket) -> list[tuple[bytes, Address]]:
    received: list[tuple[bytes, Address]] = []
    while True:
        try:
            data, _, address = udp.receive_batch_nowait()
        except BlockingIOError:
            return received
        received.append((data, address))


def test_a_peer_is_heard_on_its_own_socket_and_nobody_else(shared: UdpSocket) -> None:
    peers = [connected_to(shared), connected_to(shared)]
    for peer in peers:
        say(peer, b"before")
    addresses = [address for _, address in heard(shared)]
    peers.append(connected_to(shared))
    owned = [shared.split_off(address) for address in addresses]
    for peer in peers:
        say(peer, b"after")
    for own, address in zip(owned, addresses, strict=True):
        assert own is not None
        assert heard(own) == [(b"after", address)]
        own.close()
    assert [data for data, _ in heard(shared)] == [b"after"]
    say(peers[0], b"again")
    assert heard(shared) == [(b"again", addresses[0])]
    for peer in peers:
        peer.close()


def test_nobody_else_can_take_the_port_meanwhile(shared: UdpSocket) -> None:
    peer = connected_to(shared)
    say(peer, b"hello")
    own = shared.split_off(heard(shared)[0][1])
    assert own is not None
    host, port = shared.getsockname()[:2]
    with pytest.raises(HostError, match="in use"):
        UdpSocket.bind(host, port)
    with socket.socket(shared.family, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use") as refused:
            other.bind(shared.getsockname())
        assert refused.value.errno == errno.EADDRINUSE
    own.close()
    peer.close()


@pytest.mark.parametrize("mode", [nullcontext, reading_eagerly])
def test_what_a_peer_says_may_close_its_socket(shared: UdpSocket, mode: Mode) -> None:
    peer = connected_to(shared)

    async def main() -> None:
        closed = trio.Event()

        def receive(udp: BatchSocket) -> None:
            [(data, address)] = heard(udp)
            assert data == b"goodbye"
            own.take_away(address)
            closed.set()

        own = OwnSockets(shared, receive)
        say(peer, b"hello")
        [(_, address)] = heard(shared)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(own.serve)
            await trio.testing.wait_all_tasks_blocked()
            own.give([address])
            await trio.testing.wait_all_tasks_blocked()
            say(peer, b"goodbye")
            with trio.fail_after(10):
                await closed.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert len(own) == 0
            nursery.cancel_scope.cancel()

    run_in(mode, main)
    peer.close()


def test_where_the_kernel_gives_no_socket_it_is_not_asked_all_the_time(
    shared: UdpSocket,
) -> None:
    assert shared.split_off(("not an address", 1)) is None
    asked: list[Address] = []

    class Refused(UdpSocket):
        def split_off(self, address: Address) -> None:
            asked.append(address)

    async def main() -> None:
        refused = Refused.bind(shared.getsockname()[0], 0)
        own = OwnSockets(refused, heard)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(own.serve)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(3):
                own.give([("127.0.0.1", 1), ("127.0.0.1", 2)])
            assert len(asked) == 1
            await trio.sleep(own_socket.IDLE_SECONDS + 1)
            own.give([("127.0.0.1", 1)])
            assert len(asked) == 2
            assert len(own) == 0
            nursery.cancel_scope.cancel()
        refused.close()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_there_are_only_so_many_and_the_idle_ones_move_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_socket, "MOST_SOCKETS", 1)

    async def main() -> None:
        shared = UdpSocket.bind("127.0.0.1", 0)
        got: list[bytes] = []
        arrived = trio.Event()

        def receive(udp: BatchSocket) -> None:
            got.extend(data for data, _ in heard(udp))
            arrived.set()

        own = OwnSockets(shared, receive)
        peers = [connected_to(shared), connected_to(shared)]
        addresses = [peer.getsockname() for peer in peers]
        own.give(addresses)
        assert len(own) == 0, "nobody serves them yet"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(own.serve)
            await trio.testing.wait_all_tasks_blocked()
            own.give(addresses)
            own.give(addresses[:1])
            assert len(own) == 1
            say(peers[0], b"mine")
            await arrived.wait()
            assert got == [b"mine"]
            await trio.sleep(own_socket.IDLE_SECONDS + 1)
            own.give(addresses[1:])
            assert len(own) == 1
            say(peers[0], b"shared again")
            assert heard(shared) == [(b"shared again", addresses[0])]
            own.take_away(addresses[0])
            own.take_away(addresses[1])
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        for udp in (shared, *peers):
            udp.close()

    trio.run(main, clock=trio.testing.MockClock(rate=1000))


@pytest.mark.parametrize("mode", [nullcontext, reading_eagerly])
def test_who_sends_more_than_a_turn_takes_gets_a_socket_until_its_session_ends(
    certificates: Any,
    monkeypatch: pytest.MonkeyPatch,
    mode: Mode,
) -> None:
    monkeypatch.setattr(dtls, "TURN_BUDGET", 1)

    def say_all(session: DtlsSession, *words: bytes) -> None:
        for word in words:
            session.send_batch_nowait(word, array("H", [len(word)]), 1)

    async def hear(session: DtlsSession) -> bytes:
        assert session.open_batch_untrusted(*await session.incoming.receive()) == 1
        return bytes(session.opener.datagrams[: session.opener.sizes[0]])

    async def main() -> None:
        certificate = certificates.ecdsa
        context = server_context(certificate.cert_file, certificate.key_file)
        udp = UdpSocket.bind("127.0.0.1", 0)
        server = DtlsEndpoint(udp)
        clients = [DtlsEndpoint(UdpSocket.connect(udp.getsockname())) for _ in range(2)]
        put, accepted = trio.open_memory_channel[DtlsSession](2)

        async def handle(session: DtlsSession) -> None:
            await put.send(session)
            await trio.sleep_forever()

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for endpoint in (server, *clients):
                    await nursery.start(endpoint.run)
                await nursery.start(
                    partial(server.serve, context, handle, handshake_timeout=10, max_half_open=10)
                )
                pairs = []
                for client in clients:
                    near = await client.connect(udp.getsockname(), dtls.client_context(), timeout=9)
                    pairs.append((near, await accepted.receive()))
                own = server._own_sockets
                own.take_away(pairs[0][1].peer_address)
                own.take_away(pairs[1][1].peer_address)
                (near, far), (quiet, far_quiet) = pairs
                say_all(near, b"one")
                assert await hear(far) == b"one"
                assert server.statistics().own_sockets == 0, "nothing more was waiting"
                give = own.give

                def give_and_say_more(addresses: Iterable[Address]) -> None:
                    before = len(own)
                    give(addresses)
                    if len(own) > before:
                        say_all(near, b"by its own", b"the last")

                monkeypatch.setattr(own, "give", give_and_say_more)
                words = [bytes(size) for size in range(100, 130)]
                say_all(near, *words)
                came = [await hear(far) for _ in range(32)]
                assert came == [*words, b"by its own", b"the last"]
                assert server.statistics().own_sockets == 1
                quiet.close()
                await far_quiet.incoming.receive()
                near.close()
                await far.incoming.receive()
                far.close()
                assert server.statistics().own_sockets == 0
                nursery.cancel_scope.cancel()
        for endpoint in (server, *clients):
            endpoint.close()

    run_in(mode, main)


@pytest.mark.parametrize("mode", [nullcontext, reading_eagerly])
def test_a_flood_keeps_nobody_from_its_own_socket(shared: UdpSocket, mode: Mode) -> None:
    peer = connected_to(shared)

    async def main() -> None:
        heard_from: list[bytes] = []
        came = trio.Event()

        def receive(udp: BatchSocket) -> None:
            heard_from.extend(data for data, _ in heard(udp))
            came.set()

        own = OwnSockets(shared, receive)
        say(peer, b"hello")
        [(_, address)] = heard(shared)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(own.serve)
            await trio.testing.wait_all_tasks_blocked()
            own.give([address])
            say(peer, b"mine")
            await trio.testing.wait_all_tasks_blocked()
            assert not heard_from, "the shared socket may hold what was said before"
            with trio.fail_after(10):
                await came.wait()
            assert heard_from == [b"mine"]
            nursery.cancel_scope.cancel()
        own.close()

    run_in(mode, main)
    peer.close()
