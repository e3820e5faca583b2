"""Handshakes and data, with ourselves, with plain OpenSSL, and over bad networks."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from OpenSSL import SSL

from polevpn_trio.errors import BadPacket, HostError, LinkLost
from polevpn_trio.transport import dtls, records
from polevpn_trio.transport.dtls import DtlsEndpoint, client_context, server_context
from polevpn_trio.transport.dtls_session import DtlsSession
from polevpn_trio.transport.handshake import (
    plaintext_alert,
)
from polevpn_trio.transport.udp import Address, UdpSocket
from tests.transport.memory_network import (
    CLIENT,
    SERVER,
    SUITES,
    Network,
    Router,
    assert_nonces_differ,
    certificate_for,
    connect,
    gateway,
    open_all,
    plain_peer,
    receive,
    router,
    run,
    send,
    settle,
    with_suite,
)

# --- With OpenSSL at the other end --------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES)
def test_ours_with_ours(certificates: Any, suite: str) -> None:
    async def main() -> None:
        network = Network()
        async with (
            router(network, certificate_for(certificates, suite)) as (ours, _),
            gateway(network) as endpoint,
        ):
            session = await connect(endpoint, with_suite(client_context(), suite))
            theirs = await ours.accepted.receive()
            assert session.cipher == theirs.cipher == suite
            assert theirs.peer_address == CLIENT
            assert session.peer_address == SERVER
            batch = [bytes([n]) * 1350 for n in range(45)] + [b"", b"end"]
            for sender, receiver in ((session, theirs), (theirs, session)):
                for _ in range(3):
                    assert send(sender, *batch)
                    assert await receive(receiver, len(batch)) == batch
            assert theirs.statistics().opened == 3 * len(batch)
            assert ours.endpoint.statistics().completed == 1
            assert ours.endpoint.statistics().half_open == 0

    run(main)


@pytest.mark.parametrize("suite", SUITES)
def test_our_gateway_with_an_openssl_router(certificates: Any, suite: str) -> None:
    certificate = certificate_for(certificates, suite)
    closed = False

    async def echo(channel: trio.DTLSChannel) -> None:
        nonlocal closed
        try:
            while True:
                await channel.send((await channel.receive())[::-1])
        except SSL.ZeroReturnError:
            closed = True

    async def main() -> None:
        network = Network()
        context = with_suite(server_context(certificate.cert_file, certificate.key_file), suite)
        async with (
            plain_peer(network, SERVER) as plain,
            gateway(network) as endpoint,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(plain.serve, context, echo)
            session = await connect(endpoint)
            assert session.cipher == suite
            for size in (1, 2, 100, 1350, 1500):
                message = bytes(n % 251 for n in range(size))
                send(session, message)
                assert await receive(session) == [message[::-1]]
            session.close()
            await settle()
            assert closed
            nursery.cancel_scope.cancel()

    run(main)


@pytest.mark.parametrize("suite", SUITES)
def test_an_openssl_gateway_with_our_router(certificates: Any, suite: str) -> None:
    async def main() -> None:
        network = Network()
        async with (
            router(network, certificate_for(certificates, suite)) as (ours, _),
            plain_peer(network, CLIENT) as plain,
        ):
            channel = plain.connect(SERVER, with_suite(client_context(), suite))
            await channel.do_handshake()
            session = await ours.accepted.receive()
            for size in (1, 2, 100, 1350, 1500):
                message = bytes(n % 251 for n in range(size))
                await channel.send(message)
                assert await receive(session) == [message]
                send(session, message[::-1])
                assert await channel.receive() == message[::-1]
            # OpenSSL says goodbye, and is answered.
            channel._ssl.shutdown()
            goodbye = channel._ssl.bio_read(4096)
            assert len(goodbye) == 39
            network.send(CLIENT, SERVER, goodbye)
            assert not open_all(session, *await session.incoming.receive())
            assert session.peer_closed
            with pytest.raises(SSL.ZeroReturnError):
                await channel.receive()
            with pytest.raises(trio.EndOfChannel):
                await session.incoming.receive()
            assert ours.endpoint.statistics().sessions == 0

    run(main)


def test_the_clients_order_of_suites_decides(certificates: Any) -> None:
    async def main() -> None:
        network = Network()
        async with (
            router(network, certificates.rsa),
            gateway(network) as first,
            gateway(network, ("10.0.0.3", 1)) as second,
        ):
            assert (await connect(first)).cipher == "ECDHE-RSA-AES128-GCM-SHA256"
            context = client_context()
            context.set_cipher_list(b"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256")
            assert (await connect(second, context)).cipher == "ECDHE-RSA-AES256-GCM-SHA384"
            hello = network.sent(CLIENT)[0]
            suites = b"\xc0\x2b\xc0\x2f\xc0\x2c\xc0\x30"
            assert suites in hello

    run(main)


# --- Loss during the handshake ------------------------------------------------------------


@pytest.mark.parametrize("direction", [CLIENT, SERVER])
@pytest.mark.parametrize("lost", range(6))
def test_any_handshake_datagram_may_get_lost(
    certificates: Any, direction: Address, lost: int
) -> None:
    async def main() -> None:
        network = Network()
        seen = 0

        def deliver(source: Address, _: Address, __: bytes) -> bool:
            nonlocal seen
            seen += source == direction
            return source != direction or seen != lost + 1

        network.deliver = deliver
        async with router(network, certificates.rsa) as (ours, _), gateway(network) as endpoint:
            session = await connect(endpoint)
            theirs = await ours.accepted.receive()
            network.deliver = lambda *_: True
            send(session, b"hello")
            assert await receive(theirs) == [b"hello"]
            send(theirs, b"world")
            assert await receive(session) == [b"world"]

    run(main)


def test_handshakes_survive_a_bad_network(certificates: Any, seeds: Callable[[int], range]) -> None:
    """Half of all datagrams lost or late, some twice; a few attempts are enough."""

    async def main(seed: int) -> None:
        network = Network()
        chooser = random.Random(seed)
        late: list[tuple[Address, Address, bytes]] = []

        def deliver(source: Address, target: Address, datagram: bytes) -> bool:
            for held in late:
                network.inject(*held)
            late.clear()
            fate = chooser.random()
            if fate > 0.9:
                network.inject(source, target, datagram)
            elif fate > 0.7:
                late.append((source, target, datagram))
            return fate < 0.5 or fate > 0.9

        async def attempt(ours: Router, client: Address) -> bool:
            network.deliver = deliver
            async with gateway(network, client) as endpoint:
                # A cookie is good for 30 s, so longer attempts are of no use.
                try:
                    session = await connect(endpoint, within=30)
                except LinkLost:
                    return False
                network.deliver = lambda *_: True
                send(session, b"made it")
                with trio.fail_after(1):
                    while True:
                        theirs = await ours.accepted.receive()
                        if theirs.peer_address == client:
                            break
                    assert await receive(theirs) == [b"made it"]
                for side in (SERVER, client):
                    assert_nonces_differ(network, side)
                return True

        async with router(network, certificates.ecdsa) as (ours, _):
            for number in range(10):
                if await attempt(ours, (CLIENT[0], number)):
                    return
        pytest.fail(f"no handshake got through with seed {seed}")

    for seed in seeds(12):
        run(partial(main, seed))


def test_data_that_overtakes_the_end_of_the_handshake_is_kept(certificates: Any) -> None:
    async def speak_first(channel: trio.DTLSChannel) -> None:
        await channel.do_handshake()
        for number in range(70):
            await channel.send(b"early %d" % number)

    async def main() -> None:
        network = Network()
        held: list[tuple[Address, Address, bytes]] = []

        def deliver(source: Address, target: Address, datagram: bytes) -> bool:
            if source == SERVER and datagram[0] == records.CHANGE_CIPHER_SPEC:
                held.append((source, target, datagram))
                return False
            return True

        network.deliver = deliver
        certificate = certificates.ecdsa
        context = server_context(certificate.cert_file, certificate.key_file)
        async with (
            plain_peer(network, SERVER) as plain,
            gateway(network) as endpoint,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(plain.serve, context, speak_first)
            sessions: list[DtlsSession] = []

            async def connecting() -> None:
                sessions.append(await connect(endpoint))

            nursery.start_soon(connecting)
            with trio.move_on_after(0.5):
                await trio.sleep_forever()
            assert not sessions
            network.inject(*held[0])
            await settle()
            (session,) = sessions
            assert await receive(session, 64) == [b"early %d" % number for number in range(64)]
            assert endpoint.statistics().early_overflow == 6
            nursery.cancel_scope.cancel()

    run(main)


def test_a_silent_peer_is_given_up_in_time(certificates: Any) -> None:
    async def main() -> None:
        network = Network()
        async with gateway(network) as endpoint:
            started = trio.current_time()
            with pytest.raises(LinkLost, match="not finished within 5 s"):
                await connect(endpoint, within=5)
            assert trio.current_time() - started == pytest.approx(5)
            # A router that cannot be heard, but hears, can stop waiting.
            assert network.sent(CLIENT)[-1] == plaintext_alert(1, 0)
            assert endpoint.statistics().half_open == 0
            assert endpoint.statistics().failed == 1
            assert not endpoint._socket.guards

    run(main)


def test_what_the_network_says_is_passed_on() -> None:
    async def main() -> None:
        network = Network()
        async with gateway(network) as endpoint:
            network.sockets[CLIENT].last_error = ConnectionRefusedError(111, "Connection refused")
            with pytest.raises(LinkLost, match=r"the network says: Connection refused"):
                await connect(endpoint, within=1)

    run(main)


def test_a_handshake_waits_for_room_in_the_socket(certificates: Any) -> None:
    async def main() -> None:
        network = Network()
        async with router(network, certificates.ecdsa) as (ours, _), gateway(network) as endpoint:
            ours.udp.room = 0
            with trio.move_on_after(5) as waiting:
                await connect(endpoint)
            assert waiting.cancelled_caught
            assert ours.endpoint.statistics().handshake_unsent >= 2
            ours.udp.make_room(1000)
            assert (await connect(endpoint)).cipher

    run(main)


def test_a_cancelled_connect_says_goodbye_too(certificates: Any) -> None:
    async def main() -> None:
        network = Network()
        async with gateway(network) as endpoint:
            with trio.move_on_after(2):
                await connect(endpoint)
            assert network.sent(CLIENT)[-1] == plaintext_alert(1, 0)
            assert endpoint.statistics().half_open == 0

    run(main)


def test_no_common_suite_is_told_to_the_client(certificates: Any) -> None:
    async def main() -> None:
        network = Network()
        async with router(network, certificates.ecdsa) as (ours, _), gateway(network) as endpoint:
            context = with_suite(client_context(), "ECDHE-RSA-AES128-GCM-SHA256")
            with pytest.raises(LinkLost, match=r"refused the DTLS handshake: .+ \(fatal\)"):
                await connect(endpoint, context, within=3)
            assert ours.endpoint.statistics().failed >= 1
            assert ours.endpoint.statistics().half_open == 0
            # Others are not affected.
            assert (await connect(endpoint)).cipher

    run(main)


def test_a_certificate_the_caller_rejects_fails_the_handshake(certificates: Any) -> None:
    asked = []

    def reject(_: SSL.Connection, certificate: Any, *__: int) -> bool:
        asked.append(certificate.to_cryptography().subject.rfc4514_string())
        return False

    async def main() -> None:
        network = Network()
        async with router(network, certificates.ecdsa) as (ours, _), gateway(network) as endpoint:
            with pytest.raises((LinkLost, BadPacket)):
                await connect(endpoint, client_context(reject), within=3)
            assert ours.endpoint.statistics().sessions == 0
        assert asked

    run(main)


# --- Certificates -------------------------------------------------------------------------


def test_unusable_certificates_are_one_clear_line(certificates: Any, tmp_path: Path) -> None:
    rsa, ecdsa = certificates.rsa, certificates.ecdsa
    missing = tmp_path / "missing.pem"
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no PEM")
    for cert_file, key_file, named in (
        (missing, rsa.key_file, missing),
        (garbage, rsa.key_file, garbage),
        (rsa.cert_file, missing, missing),
        (rsa.cert_file, garbage, garbage),
        (rsa.cert_file, ecdsa.key_file, ecdsa.key_file),
    ):
        with pytest.raises(HostError) as caught:
            server_context(cert_file, key_file)
        assert str(named) in str(caught.value)
        assert "\n" not in str(caught.value)


# --- The real thing -----------------------------------------------------------------------


@pytest.mark.parametrize("hellos", ["sorted", "not sorted"])
@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_over_real_sockets(certificates: Any, host: str, offload: bool, hellos: str) -> None:
    async def main() -> None:
        certificate = certificates.rsa
        context = server_context(certificate.cert_file, certificate.key_file)
        udp = UdpSocket.bind(host, 0, gso=offload, gro=offload)
        if hellos == "sorted":
            udp.split_hellos()
        server = DtlsEndpoint(udp)
        client = DtlsEndpoint(UdpSocket.connect(udp.getsockname(), gso=offload, gro=offload))
        put, accepted = trio.open_memory_channel[DtlsSession](1)

        async def handle(session: DtlsSession) -> None:
            await put.send(session)
            await trio.sleep_forever()

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                await nursery.start(server.run)
                await nursery.start(client.run)
                await nursery.start(
                    partial(server.serve, context, handle, handshake_timeout=10, max_half_open=10)
                )
                session = await client.connect(udp.getsockname(), dtls.client_context(), timeout=10)
                theirs = await accepted.receive()
                for each in udp.hello_sockets:
                    assert each.statistics().datagrams_received == 1
                batch = [bytes([n]) * 1350 for n in range(46)]
                for sender, receiver in ((session, theirs), (theirs, session)):
                    for _ in range(20):
                        assert send(sender, *batch)
                        assert await receive(receiver, len(batch)) == batch
                client.close()
                open_all(theirs, *await theirs.incoming.receive())
                assert theirs.peer_closed
                nursery.cancel_scope.cancel()
        server.close()

    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    trio.run(main)


@pytest.mark.parametrize("delayed", ["server", "client"])
def test_a_step_of_over_a_second_does_not_end_the_handshake(
    certificates: Any, delayed: str
) -> None:
    """OpenSSL's own resend, a second after a flight, must not cost the flight behind it.

    Its timer runs by the real clock, so this test has to wait, too.
    """

    async def main() -> None:
        certificate = certificates.ecdsa
        context = server_context(certificate.cert_file, certificate.key_file)
        server = DtlsEndpoint(UdpSocket.bind("127.0.0.1", 0))
        address = server._udp.getsockname()
        client = DtlsEndpoint(UdpSocket.connect(address))
        late = server if delayed == "server" else client
        accepted = trio.Event()

        async def handle(session: DtlsSession) -> None:
            accepted.set()
            await trio.sleep_forever()

        async def run_late() -> None:
            await trio.sleep(1.1)
            await late.run()

        with trio.fail_after(15):
            async with trio.open_nursery() as nursery:
                for endpoint in (server, client):
                    nursery.start_soon(run_late if endpoint is late else endpoint.run)
                await nursery.start(
                    partial(server.serve, context, handle, handshake_timeout=10, max_half_open=10)
                )
                await client.connect(address, dtls.client_context(), timeout=10)
                await accepted.wait()
                nursery.cancel_scope.cancel()
        client.close()
        server.close()

    trio.run(main)
