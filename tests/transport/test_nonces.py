"""No nonce meets the same key twice: in a session, when it ends, and when another takes over."""

from __future__ import annotations

from array import array
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.transport import records
from polevpn_trio.transport.handshake import FIRST_SEQUENCE
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
