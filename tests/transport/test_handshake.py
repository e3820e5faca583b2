"""The hand-over from OpenSSL to our record layer: no nonce twice, no word from OpenSSL after it."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.errors import BadPacket
from polevpn_trio.transport import records
from polevpn_trio.transport.dtls import client_context
from polevpn_trio.transport.handshake import (
    FIRST_SEQUENCE,
    FlightGuard,
    nonce_base,
)
from polevpn_trio.transport.udp import Address
from tests.transport.memory_network import (
    CLIENT,
    SERVER,
    SUITES,
    Network,
    assert_nonces_differ,
    certificate_for,
    connect,
    gateway,
    open_all,
    plain_peer,
    receive,
    router,
    run,
    sealed_records,
    send,
    settle,
    with_suite,
)


@pytest.mark.parametrize("suite", SUITES)
def test_no_nonce_is_used_twice_on_the_wire(certificates: Any, suite: str) -> None:
    """Repeated flights, data, and close."""
    lost = 0

    def lose_final_flights(source: Address, _: Address, datagram: bytes) -> bool:
        nonlocal lost
        if source == SERVER and datagram[0] == records.CHANGE_CIPHER_SPEC and lost < 3:
            lost += 1
            return False
        return True

    async def main() -> None:
        network = Network()
        network.deliver = lose_final_flights
        async with (
            router(network, certificate_for(certificates, suite)) as (ours, _),
            gateway(network) as endpoint,
        ):
            session = await connect(endpoint, with_suite(client_context(), suite))
            assert lost == 3
            theirs = await ours.accepted.receive()
            for _ in range(5):
                for sender, receiver in ((session, theirs), (theirs, session)):
                    send(sender, *[b"data"] * 40)
                    await receive(receiver, 40)
            finished = [network.sent(side) for side in (SERVER, CLIENT)]
            flights = [datagram for datagram in finished[0] if datagram[0] == 20]
            assert len(flights) == 4
            assert len(set(sealed_records(flights))) == 1
            # A late repetition of the client's last flight gets the server's again.
            last = next(datagram for datagram in finished[1] if len(sealed_records([datagram])))
            network.inject(CLIENT, SERVER, last)
            await settle()
            assert network.sent(SERVER)[-1][0] == records.CHANGE_CIPHER_SPEC
            # OpenSSL is gone, and no new record of its epoch would be let onto the wire.
            assert not hasattr(ours.endpoint._dtls._streams[CLIENT], "_ssl")
            before = len(network.wire)
            head = bytes((records.APPLICATION_DATA, 0xFE, 0xFD, 0, 1))
            record = head + (7).to_bytes(6, "big") + (24).to_bytes(2, "big") + bytes(24)
            await ours.endpoint._socket.sendto(record, CLIENT)
            assert len(network.wire) == before
            assert ours.endpoint.statistics().outgoing_blocked == 1
            session.close()
            open_all(theirs, *await theirs.incoming.receive())
            theirs.close()
            for side in (SERVER, CLIENT):
                # Finished, 200 of data, close_notify.
                assert assert_nonces_differ(network, side) == 202

    run(main)


@pytest.mark.parametrize("suite", SUITES)
def test_nonces_do_not_meet_those_of_an_openssl_peer_either(certificates: Any, suite: str) -> None:
    async def main() -> None:
        network = Network()
        async with (
            router(network, certificate_for(certificates, suite)) as (ours, _),
            plain_peer(network, CLIENT) as plain,
        ):
            channel = plain.connect(SERVER, with_suite(client_context(), suite))
            await channel.do_handshake()
            session = await ours.accepted.receive()
            for _ in range(50):
                await channel.send(b"x")
                send(session, b"y")
            session.close()
            assert assert_nonces_differ(network, SERVER) == 52
            assert assert_nonces_differ(network, CLIENT) == 51

    run(main)


@given(
    first=st.integers(0, 2**64 - 1) | st.integers(2**63 - 10, 2**63 + 10),
    by_openssl=st.integers(0, FIRST_SEQUENCE - 1),
    sequence=st.integers(FIRST_SEQUENCE, 2**48 - 1),
)
def test_the_two_nonce_ranges_are_disjoint(first: int, by_openssl: int, sequence: int) -> None:
    ours = (nonce_base([first]) + sequence) % 2**64
    assert ours != (first + by_openssl) % 2**64


def test_the_sealer_uses_the_nonces_of_that_construction() -> None:
    sealer = records.RecordSealer(bytes(16), bytes(4), FIRST_SEQUENCE, nonce_base([2**63 - 7]))
    sealer.seal_batch(b"x", array("H", [1]), 1)
    nonce = int.from_bytes(sealer.datagrams[13:21], "big")
    assert nonce == (2**63 - 7 + 2**63 + FIRST_SEQUENCE) % 2**64


def test_nonces_that_do_not_count_are_refused() -> None:
    assert nonce_base([5, 6, 9]) == 5 + 2**63
    assert nonce_base([2**64 - 1, 0]) == 2**63 - 1
    with pytest.raises(BadPacket):
        nonce_base([5, 4])
    with pytest.raises(BadPacket):
        nonce_base([5, 5 + 2**63])


def test_a_frozen_guard_admits_only_what_was_sent_before() -> None:
    guard = FlightGuard()
    first = bytes.fromhex("16fefd00010000000000000001aa")
    other = bytes.fromhex("16fefd00010000000000010001aa")
    plain = bytes.fromhex("14fefd0000000000000009000101")
    assert guard.admits(plain + first)
    guard.freeze()
    assert guard.admits(plain + first)
    assert guard.admits(first)
    assert not guard.admits(other)
    assert not guard.admits(plain + first + other)
    assert not guard.admits(first + other[:-1])
    assert guard.sealed == [first]


def test_a_guard_remembers_only_so_many_records() -> None:
    guard = FlightGuard()
    sealed = [b"\x16\xfe\xfd\0\1" + number.to_bytes(6, "big") + b"\0\1x" for number in range(50)]
    assert sum(guard.admits(record) for record in sealed) == len(guard.sealed) == 16
