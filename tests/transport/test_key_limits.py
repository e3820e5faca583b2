"""No key is used beyond the limits of its cipher, whoever is at the other end."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from polevpn_trio.errors import LinkLost
from polevpn_trio.transport import key_limits, tls
from tests.transport.memory_network import (
    CLIENT,
    connected,
    open_all,
    receive,
    run,
    sealed_records,
    send,
)
from tests.transport.test_tls import over_stream


def test_the_limits_are_those_of_the_rfcs() -> None:
    full = 2**24.5
    assert 0.99 < key_limits.record_share(int(full), int(full) * 2**14) * 2**34 / 2**34.5 < 1.01
    # The shortest frames, a record each, are no more blocks than that.
    records = key_limits.MOST_STREAM_BYTES // key_limits.LEAST_FRAME_BYTES
    assert key_limits.record_share(records, key_limits.MOST_STREAM_BYTES) <= 1
    assert key_limits.stream_share(key_limits.MOST_STREAM_BYTES) == 1


def test_a_session_seals_nothing_beyond_the_limit_and_ends(
    certificates: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_limits, "MOST_BLOCKS", 100)

    async def main() -> None:
        async with connected(certificates) as (network, _, theirs, session):
            sent = 100 // (1 + key_limits.BLOCKS_PER_RECORD)
            for _ in range(sent):
                send(session, b"16 bytes of data")
            with pytest.raises(LinkLost, match="used up"):
                send(session, b"16 bytes of data")
            assert session.key_use > 1
            assert await receive(theirs, sent) == [b"16 bytes of data"] * sent
            assert theirs.key_use == 1
            # The handshake's last record, the data, and close_notify.
            assert len(set(sealed_records(network.sent(CLIENT)))) == sent + 2

    run(main)


def test_a_session_ends_when_too_many_records_do_not_open(
    certificates: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_limits, "MOST_FAILURES", 3)

    async def main() -> None:
        async with connected(certificates) as (network, _, theirs, session):
            send(session, b"genuine")
            record = sealed_records(network.sent(CLIENT))[-1]
            for number in range(3):
                assert theirs.incoming.statistics().open_send_channels == 1
                forged = record[:5] + (1000 + number).to_bytes(6, "big") + record[11:]
                open_all(theirs, forged, len(forged))
            assert theirs.incoming.statistics().open_send_channels == 0

    run(main)


def test_a_tls_stream_sends_no_more_at_the_limit(
    certificates: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "MOST_STREAM_BYTES", 1000)

    async def body(client: tls.TlsStream, server: tls.TlsStream) -> None:
        await client.send_all(bytes(1000))
        assert await server.receive_some() == bytes(1000)
        with pytest.raises(trio.BrokenResourceError, match="used up"):
            await client.send_all(b"more")
        assert not client.ready

    over_stream(certificates.ecdsa, body)
