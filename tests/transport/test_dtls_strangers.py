"""What strangers send, in their own name and in a peer's."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from polevpn_trio.errors import LinkLost
from polevpn_trio.transport.dtls import DtlsEndpoint
from polevpn_trio.transport.handshake import HELLO_INTERVALS, is_hello_verify_request
from tests.transport.memory_network import (
    CLIENT,
    SERVER,
    MemorySocket,
    Network,
    connect,
    connected,
    gateway,
    open_all,
    receive,
    router,
    run,
    send,
    settle,
)

# --- What strangers send ------------------------------------------------------------------


def test_strangers_leave_no_trace(certificates: Any) -> None:
    async def main() -> None:
        chooser = random.Random(1)
        async with connected(certificates) as (network, ours, theirs, session):
            hello = network.sent(CLIENT)[0]
            for number in range(2000):
                stranger = (f"192.0.2.{number % 250}", number)
                kind = chooser.choice([20, 21, 22, 23, 24, 0, 255])
                junk = bytes([kind]) + chooser.randbytes(chooser.randrange(90))
                network.inject(stranger, SERVER, junk)
                network.inject(stranger, SERVER, b"")
                if number % 4 == 0:
                    network.inject(stranger, SERVER, hello[: chooser.randrange(len(hello))])
                if number % 50 == 0:
                    network.inject(stranger, SERVER, hello)
                    await settle()
            await settle()
            statistics = ours.endpoint.statistics()
            assert statistics.sessions == 1
            assert statistics.half_open == 0
            assert len(ours.endpoint._socket.guards) == 1
            assert statistics.stranger_dropped > 100
            assert statistics.malformed_dropped > 100
            # Only whole hellos are answered, each with less than it brought.
            answers = [d for source, to, d in network.wire if source == SERVER and to != CLIENT]
            assert len(answers) == 40
            assert max(map(len, answers)) < len(hello)
            send(session, b"undisturbed")
            assert await receive(theirs) == [b"undisturbed"]

    run(main)


def test_the_smallest_hellos_get_no_answer_bigger_than_they_are(certificates: Any) -> None:
    async def main() -> None:
        network = Network()
        async with router(network, certificates.ecdsa) as (ours, _):
            for size in range(10, 100):
                body = b"\xfe\xfd" + bytes(size)
                length = len(body).to_bytes(3, "big")
                message = b"\x01" + length + bytes(5) + length + body
                hello = b"\x16\xfe\xfd" + bytes(8) + len(message).to_bytes(2, "big") + message
                before = len(network.sent(SERVER))
                network.inject(("192.0.2.1", size), SERVER, hello)
                await settle()
                for answer in network.sent(SERVER)[before:]:
                    assert len(answer) < len(hello)
            assert ours.endpoint.statistics().small_hello_dropped > 0
            assert network.sent(SERVER)

    run(main)


def test_before_the_cookie_comes_back_less_is_sent_than_was_received(certificates: Any) -> None:
    async def main() -> None:
        network = Network()
        forged = ("192.0.2.1", 4321)
        async with router(network, certificates.ecdsa) as (ours, _):
            async with gateway(network) as endpoint:
                await connect(endpoint, within=5)
            hello, verified, *_ = network.sent(CLIENT)
            challenge = network.sent(SERVER)[0]
            assert is_hello_verify_request(challenge)
            # IP and UDP headers come on both sides, and only lower the ratio of these bytes.
            assert len(challenge) < len(hello)
            before = len(network.sent(SERVER))
            # In somebody else's name: first hellos, the cookie of another address, junk around.
            received = 0
            for datagram in (hello, verified, hello + bytes(100), verified[:-1], hello * 4) * 100:
                network.inject(forged, SERVER, datagram)
                received += len(datagram)
                await settle()
            answers = network.sent(SERVER)[before:]
            assert all(map(is_hello_verify_request, answers))
            assert 0 < sum(map(len, answers)) < received
            # And never again later: what was not answered leaves no timer behind.
            await trio.sleep(120)
            assert len(network.sent(SERVER)) == before + len(answers)
            assert ours.endpoint.statistics().half_open == 0

    run(main)


def test_a_flood_of_hellos_hides_nobody(certificates: Any) -> None:
    async def main() -> None:
        network = Network()
        async with router(network, certificates.ecdsa) as (ours, _):
            async with gateway(network) as endpoint:
                await connect(endpoint, within=5)
            hello = network.sent(CLIENT)[0]
            async with gateway(network, ("10.0.0.3", 1)) as endpoint:
                # Far more at once than Trio has a queue for.
                for number in range(900):
                    network.inject((f"192.0.2.{number % 250}", number), SERVER, hello)
                # Less than it takes to say hello again.
                await connect(endpoint, within=HELLO_INTERVALS[0] / 2)
            statistics = ours.endpoint.statistics()
            assert statistics.challenged == 902
            assert statistics.handshake_overflow == statistics.unanswered == 0

    run(main)


def test_hellos_are_dropped_where_nobody_listens() -> None:
    async def main() -> None:
        network = Network()
        async with gateway(network) as first, gateway(network, ("10.0.0.3", 1)) as second:
            with pytest.raises(LinkLost):
                await connect(first, within=1)
            for datagram in network.sent(CLIENT):
                network.inject(SERVER, ("10.0.0.3", 1), datagram)
            await settle()
            # A hello, and its repetitions within the second.
            assert second.statistics().not_serving_dropped == 3
            assert not network.sent(("10.0.0.3", 1))

    run(main)


def test_half_open_handshakes_are_bounded_and_newcomers_get_through(certificates: Any) -> None:
    async def main() -> None:
        network = Network()
        # One host does the cookie exchange from many ports, and then nothing more.
        network.deliver = lambda source, target, datagram: (
            target[0] != "192.0.2.1" or len(datagram) == 60
        )
        async with (
            router(network, certificates.ecdsa, max_half_open=8) as (ours, _),
            trio.open_nursery() as nursery,
        ):
            for port in range(40):
                attacker = DtlsEndpoint(MemorySocket(network, ("192.0.2.1", port), peer=SERVER))
                await nursery.start(attacker.run)

                async def attack(attacker: DtlsEndpoint = attacker) -> None:
                    with pytest.raises(LinkLost):
                        await connect(attacker, within=5)
                    attacker.close()

                nursery.start_soon(attack)
                await settle()
                assert ours.endpoint.statistics().half_open <= 8
            assert ours.endpoint.statistics().half_open_evicted >= 32
            async with gateway(network) as endpoint:
                session = await connect(endpoint, within=1)
                send(session, b"through")
                assert await receive(await ours.accepted.receive()) == [b"through"]
            await trio.sleep(60)
            assert ours.endpoint.statistics().half_open == 0
            assert list(ours.endpoint._socket.guards) == [CLIENT]

    run(main)


def test_half_open_handshakes_have_a_deadline(certificates: Any) -> None:
    async def main() -> None:
        network = Network()
        network.deliver = lambda _, target, datagram: target != CLIENT or len(datagram) == 60
        async with (
            router(network, certificates.ecdsa, handshake_timeout=3.0) as (ours, _),
            gateway(network) as endpoint,
        ):
            with pytest.raises(LinkLost):
                await connect(endpoint, within=2)
            assert ours.endpoint.statistics().half_open == 1
            await trio.sleep(1.5)
            assert ours.endpoint.statistics().half_open == 0
            assert ours.endpoint.statistics().failed == 1

    run(main)


# --- What strangers send in a peer's name -------------------------------------------------

KILLERS = [
    bytes.fromhex("15fefd000000000000000a00020100"),
    bytes.fromhex("15fefd000000000000000a00020228"),
    bytes.fromhex("17fefd000000000000000a000568656c6c6f"),
    bytes.fromhex("63fefd000000000000000a000568656c6c6f"),
    bytes.fromhex("14fefd000000000000000a000101"),
    bytes.fromhex("16fefd000000000000000a000c000000000000000000000000"),
    bytes.fromhex("16fefd000100000000000a0018") + bytes(24),
    bytes.fromhex("15fefd000100000000000a001a") + bytes(26),
    bytes.fromhex("17fefd000100000000000a00ff00"),
    b"\x16",
    b"\x17",
    b"",
]


@pytest.mark.parametrize("killer", KILLERS, ids=range(len(KILLERS)))
def test_nothing_unauthenticated_ends_a_session(certificates: Any, killer: bytes) -> None:
    async def main() -> None:
        async with connected(certificates) as (network, ours, theirs, session):
            for _ in range(30):
                network.inject(CLIENT, SERVER, killer)
                network.inject(SERVER, CLIENT, killer)
                await settle()
            for sender, receiver in ((session, theirs), (theirs, session)):
                send(sender, b"alive")
                assert await receive(receiver) == [b"alive"]
                assert not receiver.peer_closed
            assert ours.endpoint.statistics().sessions == 1
            # What the peer's last flight looks like is answered, but not at any rate.
            assert len(network.sent(SERVER)) < 20

    run(main)


def test_replays_open_once(certificates: Any) -> None:
    async def main() -> None:
        async with connected(certificates) as (network, _, theirs, session):
            send(session, *[b"once %d" % number for number in range(20)])
            await receive(theirs, 20)
            for datagram in network.sent(CLIENT):
                network.inject(CLIENT, SERVER, datagram)
            await settle()
            send(session, b"twenty-first")
            assert await receive(theirs) == [b"twenty-first"]
            assert theirs.statistics().replayed == 20

    run(main)


def test_a_hello_in_a_peers_name_changes_nothing(certificates: Any) -> None:
    async def main() -> None:
        async with connected(certificates) as (network, ours, theirs, session):
            hello = network.sent(CLIENT)[0]
            for _ in range(50):
                network.inject(CLIENT, SERVER, hello)
            await settle()
            assert ours.endpoint.statistics().rate_limited >= 40
            send(session, b"still here")
            assert await receive(theirs) == [b"still here"]
            assert ours.endpoint.statistics().half_open == 0

    run(main)


def test_one_peers_flood_does_not_hold_up_another(certificates: Any) -> None:
    async def main() -> None:
        chooser = random.Random(2)
        async with connected(certificates) as (network, ours, theirs, session):
            async with gateway(network, ("10.0.0.9", 9)) as flooding:
                await connect(flooding)
                await ours.accepted.receive()
                for round_number in range(40):
                    for _ in range(20):
                        junk = b"\x17\xfe\xfd\0\1" + chooser.randbytes(40)
                        network.inject(("10.0.0.9", 9), SERVER, junk)
                    send(session, b"round %d" % round_number)
                    with trio.fail_after(1):
                        assert await receive(theirs) == [b"round %d" % round_number]
            assert theirs.statistics().incoming_overflow == 0

    run(main)


def test_random_batches_never_raise(certificates: Any, seeds: Callable[[int], range]) -> None:
    async def main() -> None:
        async with connected(certificates) as (network, ours, theirs, session):
            genuine = network.sent(CLIENT)
            for seed in seeds(3000):
                chooser = random.Random(seed)
                data = bytearray(
                    b"".join(chooser.choices(genuine, k=chooser.randrange(1, 4)))
                    if chooser.random() < 0.7
                    else chooser.randbytes(chooser.randrange(1, 100))
                )
                for _ in range(chooser.randrange(4)):
                    data[chooser.randrange(len(data))] = chooser.randrange(256)
                source = CLIENT if chooser.random() < 0.6 else ("192.0.2.1", seed % 7)
                ours.endpoint._dispatch_batch_untrusted(
                    bytes(data), chooser.randrange(1, len(data) + 1), source
                )
                if seed % 50 == 0:
                    await settle()
                while theirs.incoming.statistics().current_buffer_used:
                    assert not open_all(theirs, *theirs.incoming.receive_nowait())
            assert not theirs.peer_closed
            send(session, b"survived")
            assert await receive(theirs) == [b"survived"]

    run(main)
