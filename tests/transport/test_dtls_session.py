"""The life of a session: replaced, closed, too slow, too fast."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from polevpn_trio.errors import LinkLost
from polevpn_trio.transport.dtls import DtlsEndpoint, client_context, server_context
from polevpn_trio.transport.dtls_session import MAX_BACKLOG_BYTES, MAX_INCOMING_BATCHES, DtlsSession
from tests.transport.memory_network import (
    CLIENT,
    SERVER,
    MemorySocket,
    Network,
    connect,
    connected,
    gateway,
    open_all,
    plain_peer,
    receive,
    router,
    run,
    sealed_records,
    send,
    settle,
)


def test_a_peer_that_restarts_on_its_port_gets_a_new_session(certificates: Any) -> None:
    async def main() -> None:
        network = Network()
        async with router(network, certificates.ecdsa) as (ours, _):
            async with plain_peer(network, CLIENT) as crashed:
                await crashed.connect(SERVER, client_context()).do_handshake()
                old = await ours.accepted.receive()
            # The handshake anew, as far as the last flight of the client.
            network.deliver = lambda source, _, datagram: (
                source != CLIENT or not sealed_records([datagram])
            )
            async with gateway(network) as restarted:
                with pytest.raises(LinkLost):
                    await connect(restarted, within=2)
            # So far the old session is what there is.
            assert ours.endpoint.statistics().sessions == 1
            assert old.incoming.statistics().open_send_channels == 1
            network.deliver = lambda *_: True
            async with gateway(network) as restarted:
                session = await connect(restarted)
                new = await ours.accepted.receive()
                assert ours.endpoint.statistics().sessions == 1
                assert ours.endpoint.statistics().replaced == 1
                send(session, b"again")
                assert await receive(new) == [b"again"]
                # The old one is over, without a word that could confuse the new one.
                async for data, segment in old.incoming:
                    assert not open_all(old, data, segment)
                assert not old.peer_closed
                old.close()
                send(session, b"unharmed")
                assert await receive(new) == [b"unharmed"]

    run(main)


def test_close_tells_the_peer_once_and_is_answered(certificates: Any) -> None:
    async def main() -> None:
        async with connected(certificates) as (network, ours, theirs, session):
            before = len(network.wire)
            session.close()
            session.close()
            assert len(network.wire) == before + 1
            assert not open_all(theirs, *await theirs.incoming.receive())
            assert theirs.peer_closed
            assert not session.peer_closed
            with pytest.raises(trio.EndOfChannel):
                await theirs.incoming.receive()
            theirs.close()
            await settle()
            assert [len(datagram) for _, _, datagram in network.wire[before:]] == [39, 39]
            assert ours.endpoint.statistics().sessions == 0
            assert not ours.endpoint._socket.guards
            # Whoever sends on is not disturbed by it, but it is counted.
            assert send(session, b"too late", b"much too late")
            await session.drain()
            assert session.statistics().sent_after_end == 2

    run(main)


@pytest.mark.parametrize("alert", [(1, 0), (1, 90), (2, 40)])
def test_any_authenticated_alert_ends_a_session(certificates: Any, alert: tuple[int, int]) -> None:
    async def main() -> None:
        async with connected(certificates) as (network, _, theirs, session):
            send(session, b"last words")
            network.send(CLIENT, SERVER, session._sealer.seal_alert(*alert))
            assert await receive(theirs) == [b"last words"]
            if not theirs.peer_closed:
                open_all(theirs, *await theirs.incoming.receive())
            assert theirs.peer_closed
            assert theirs.opener.peer_alert == alert
            open_all(session, *await session.incoming.receive())
            assert session.opener.peer_alert == (1, 0)

    run(main)


def test_closing_the_endpoint_ends_all_its_sessions(certificates: Any) -> None:
    async def main() -> None:
        network = Network()
        async with router(network, certificates.ecdsa) as (ours, _):
            sessions = []
            for number in range(3):
                endpoint = DtlsEndpoint(MemorySocket(network, ("10.1.0.1", number), peer=SERVER))
                async with trio.open_nursery() as nursery:
                    await nursery.start(endpoint.run)
                    sessions.append((endpoint, await connect(endpoint)))
                    endpoint.close()
                    endpoint.close()
                with pytest.raises(trio.EndOfChannel):
                    await sessions[-1][1].incoming.receive()
                with pytest.raises(trio.ClosedResourceError):
                    await connect(endpoint)
            assert ours.endpoint.statistics().completed == 3
            for _ in range(3):
                theirs = await ours.accepted.receive()
                open_all(theirs, *await theirs.incoming.receive())
                assert theirs.peer_closed

    run(main)


def test_only_one_receive_loop(certificates: Any) -> None:
    async def main() -> None:
        async with connected(certificates) as (_, ours, __, ___):
            with pytest.raises(trio.BusyResourceError):
                await ours.endpoint.run()

    run(main)


def test_an_error_of_a_handler_goes_up_and_closes_its_session(certificates: Any) -> None:
    async def fail(theirs: DtlsSession) -> None:
        await theirs.incoming.receive()
        raise RuntimeError("a fault of ours")

    async def main() -> None:
        network = Network()
        certificate = certificates.ecdsa
        context = server_context(certificate.cert_file, certificate.key_file)
        endpoint = DtlsEndpoint(MemorySocket(network, SERVER))
        async with gateway(network) as client:
            with pytest.RaisesGroup(
                pytest.RaisesExc(RuntimeError),
                flatten_subgroups=True,
            ):
                async with trio.open_nursery() as nursery:
                    await nursery.start(endpoint.run)
                    await nursery.start(
                        partial(endpoint.serve, context, fail, handshake_timeout=5, max_half_open=5)
                    )
                    session = await connect(client)
                    send(session, b"anything")
                    await trio.sleep_forever()
            assert endpoint.statistics().sessions == 0
            open_all(session, *await session.incoming.receive())
            assert session.peer_closed
        endpoint.close()

    run(main)


def test_what_a_full_socket_does_not_take_is_sent_by_drain(certificates: Any) -> None:
    async def main() -> None:
        async with connected(certificates) as (_, ours, theirs, session):
            udp = ours.udp
            udp.room = 5
            batch = [b"datagram %d" % number for number in range(20)]
            assert not send(theirs, *batch[:10])
            assert not send(theirs, *batch[10:])
            drained = trio.Event()

            async def drain() -> None:
                await theirs.drain()
                drained.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(drain)
                await settle()
                udp.make_room(10)
                await settle()
                assert not drained.is_set()
                udp.make_room(1000)
            assert await receive(session, 20) == batch
            assert send(theirs, b"after")
            assert await receive(session) == [b"after"]
            assert theirs.statistics().send_overflow == 0

    run(main)


def test_the_backlog_of_a_full_socket_is_bounded(certificates: Any) -> None:
    async def main() -> None:
        async with connected(certificates) as (_, ours, theirs, session):
            ours.udp.room = 0
            rounds = 2 * MAX_BACKLOG_BYTES // (46 * 1387)
            for _ in range(rounds):
                assert not send(theirs, *[bytes(1350)] * 46)
            dropped = theirs.statistics().send_overflow
            assert dropped >= 46 * rounds // 3
            ours.udp.make_room(1 << 20)
            assert send(theirs, b"end")
            count = 46 * rounds - dropped + 1
            got: list[bytes] = []
            while session.incoming.statistics().current_buffer_used or len(got) < count:
                with trio.move_on_after(1) as waiting:
                    got += await receive(session)
                if waiting.cancelled_caught:
                    break
            overflow = session.statistics().incoming_overflow
            assert len(got) == count or overflow

    run(main)


def test_an_owner_that_is_too_slow_loses_batches_and_blocks_nobody(certificates: Any) -> None:
    async def main() -> None:
        async with connected(certificates) as (_, __, theirs, session):
            for number in range(MAX_INCOMING_BATCHES + 10):
                send(session, b"%d" % number)
                await settle()
            assert theirs.statistics().incoming_overflow == 10
            assert await receive(theirs, MAX_INCOMING_BATCHES) == [
                b"%d" % number for number in range(MAX_INCOMING_BATCHES)
            ]

    run(main)


def test_path_mtu_is_the_sockets(certificates: Any) -> None:
    async def main() -> None:
        async with connected(certificates) as (_, __, theirs, session):
            assert theirs.path_mtu() == session.path_mtu() == 1500

    run(main)
