"""No nonce meets the same key twice: in a session, when it ends, and when another takes over."""

from __future__ import annotations

from array import array
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.transport import records
from polevpn_trio.transport.handshake import FIRST_SEQUENCE
from polevpn_trio.transport.tls_records import HANDSHAKE, TlsSealer, sealed_size
from polevpn_trio.transport.tls_session import OwnRecords, expand_label
from tests.transport.memory_network import (
    CLIENT,
    SERVER,
    Network,
    connect,
    gateway,
    open_all,
    receive,
    router,
    run,
    sealed_records,
    send,
)

MASK = 2**64 - 1
KEY_AND_IV = (("key", 16), ("iv", 12))


@given(
    base=st.integers(0, MASK),
    calls=st.lists(st.one_of(st.lists(st.integers(0, 40), max_size=8), st.none()), max_size=20),
)
def test_batches_and_alerts_in_any_order_take_nonces_that_differ(
    base: int, calls: list[list[int] | None]
) -> None:
    sealer = records.RecordSealer(bytes(16), bytes(4), FIRST_SEQUENCE, base)
    sequences, nonces = [], []
    for call in calls:
        if call is None:
            made = [sealer.seal_alert(1, 0)]
        else:
            sealer.seal_batch(bytes(sum(call)), array("H", call), len(call))
            made, at = [], 0
            for size in sealer.sizes[: len(call)]:
                made.append(bytes(sealer.datagrams[at : at + size]))
                at += size
        for record in made:
            sequences.append(int.from_bytes(record[5:11], "big"))
            nonces.append(int.from_bytes(record[13:21], "big"))
    assert sequences == list(range(FIRST_SEQUENCE, FIRST_SEQUENCE + len(sequences)))
    assert nonces == [(base + sequence) & MASK for sequence in sequences]
    assert len(set(nonces)) == len(nonces)


@given(
    first=st.integers(0, 3),
    steps=st.lists(st.one_of(st.integers(1, 40_000), st.none()), max_size=12),
)
def test_tls_numbers_its_records_without_a_gap_under_each_key(
    first: int, steps: list[int | None]
) -> None:
    """Whatever is sent, whenever the peer asks for another key, and when the end is told."""
    ours, theirs = bytes(range(32)), bytes(range(32, 64))
    session = OwnRecords("TLS_AES_128_GCM_SHA256", ours, theirs, first)
    stream = b""
    for step in steps:
        if step is not None:
            stream += session.seal(bytes(step))
            continue
        key, iv = (expand_label(theirs, name, size, "sha256") for name, size in KEY_AND_IV)
        asks = bytearray(sealed_size(5))
        TlsSealer(key, iv).seal_into(HANDSHAKE, bytes((24, 0, 0, 1, 1)), asks)
        session.open_untrusted(asks, len(asks), bytearray(100))
        assert not session.failure
        theirs = expand_label(theirs, "traffic upd", 32, "sha256")
    stream += session.last_words()
    number = first
    updates = 0
    plain = b""
    while stream:
        key, iv = (expand_label(ours, name, size, "sha256") for name, size in KEY_AND_IV)
        size = int.from_bytes(stream[3:5], "big")
        nonce = (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
        plain = AESGCM(key).decrypt(nonce, stream[5 : 5 + size], stream[:5])
        stream = stream[5 + size :]
        number += 1
        if plain[-1] == HANDSHAKE:
            ours, number = expand_label(ours, "traffic upd", 32, "sha256"), 0
            updates += 1
    assert plain == b"\x01\x00\x15"
    asked = [n for n, step in enumerate(steps) if step is None]
    assert updates == sum(any(steps[n + 1 :][:1]) for n in asked)


def test_each_session_that_takes_over_has_keys_of_its_own(certificates: Any) -> None:
    """Also while both are alive, and after the farewell of the first."""

    async def main() -> None:
        exporters: set[bytes] = set()
        before: list[bytes] = []
        for _ in range(3):
            network = Network()
            async with router(network, certificates.ecdsa) as (ours, _), gateway(network) as end:
                session = await connect(end)
                theirs = await ours.accepted.receive()
                for sender, receiver in ((session, theirs), (theirs, session)):
                    send(sender, *[b"data"] * 20)
                    await receive(receiver, 20)
                # What another session sealed is none of this one's, whatever its number.
                for record in before:
                    late = record[:5] + (10**6 + len(exporters)).to_bytes(6, "big") + record[11:]
                    assert open_all(theirs, record, len(record)) == []
                    assert open_all(theirs, late, len(late)) == []
                session.close()
                assert send(session, b"after the farewell")
                exporters.add(session.identity.exporter)
                for side in (CLIENT, SERVER):
                    sealed = set(sealed_records(network.sent(side)))
                    assert len({record[13:21] for record in sealed}) == len(sealed)
                before = sealed_records(network.sent(CLIENT))[-5:]
        assert len(exporters) == 3

    run(main)
