"""How much of one peer's datagrams is taken in before others have their turn."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio

from polevpn_trio.transport import dtls, eager
from polevpn_trio.transport.dtls import DtlsEndpoint
from polevpn_trio.transport.dtls_session import DtlsSession
from polevpn_trio.transport.udp import UdpSocket

COUNT = 200


class Costly:
    """An owner that works ``seconds`` on each batch, all of that at the end of the turn."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.turns: list[int] = []
        self._taken = 0

    def processor_time(self) -> float:
        return self.now

    def take_untrusted(self, data: bytes, segment_size: int) -> bool:
        self._taken += 1
        return True

    def end_turn(self) -> None:
        self.now += self._taken * self.seconds
        self.turns.append(self._taken)
        self._taken = 0


async def connected(
    nursery: trio.Nursery, server: DtlsEndpoint, client: DtlsEndpoint, certificate: Any
) -> DtlsSession:
    """Open a session of two endpoints, which receive no more; return the client's."""
    context = dtls.server_context(certificate.cert_file, certificate.key_file)
    established = trio.Event()

    async def handle(_: DtlsSession) -> None:
        established.set()
        await trio.sleep_forever()

    await nursery.start(
        partial(server.serve, context, handle, handshake_timeout=10, max_half_open=10)
    )
    async with trio.open_nursery() as receiving:
        for endpoint in (server, client):
            await receiving.start(endpoint.run)
        session = await client.connect(server._udp.getsockname(), dtls.client_context(), timeout=10)
        await established.wait()
        receiving.cancel_scope.cancel()
    return session


def over_turns(
    certificate: Any, owner: Costly, body: Callable[[Callable[[int], list[int]]], None]
) -> None:
    """Let ``body`` take turns of a socket in which much waits for the owner of a session.

    What it is given takes some, and returns of how many batches each was.
    """

    async def main() -> None:
        server = DtlsEndpoint(UdpSocket.bind("127.0.0.1", 0))
        client = DtlsEndpoint(UdpSocket.connect(server._udp.getsockname()))
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                near = await connected(nursery, server, client, certificate)
                [far] = server._sessions.values()
                far.owner = owner
                server._processor_time = owner.processor_time
                server._time = lambda: 0.0
                for _ in range(COUNT):
                    near.send_batch_nowait(bytes(100), array("H", [100]), 1)
                body(lambda count: [len(server._receive_turn(server._udp)) for _ in range(count)])
                nursery.cancel_scope.cancel()
        client.close()
        server.close()

    trio.run(main)


@pytest.mark.parametrize(("crowd", "share"), [(1.0, 0.012), (2.0, 0.003), (3.0, 0.004 / 3)])
def test_turns_that_take_too_long_have_fewer_batches_until_they_do_not(
    crowd: float, share: float, certificates: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eager, "crowd", lambda: crowd)
    owner = Costly(share / 4.5)
    most = dtls.TURN_BUDGET

    def body(take_turns: Callable[[int], list[int]]) -> None:
        assert take_turns(5) == [most, 4, 5, 4, 5]
        # The first batch of a turn is one packet, which is acted on at once.
        assert owner.turns == [1, most - 1, 1, 3, 1, 4, 1, 3, 1, 4]
        owner.seconds = 0.0
        assert take_turns(most - 2) == [*range(4, most), most, most]

    over_turns(certificates.ecdsa, owner, body)


def test_among_many_a_turn_is_no_shorter_than_one_may_be_and_has_a_batch(
    certificates: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eager, "crowd", lambda: 100.0)
    owner = Costly(dtls.LEAST_SHARE / 2.5)

    def body(take_turns: Callable[[int], list[int]]) -> None:
        assert take_turns(5) == [dtls.TURN_BUDGET, 2, 3, 2, 3]
        owner.seconds = 100 * dtls.LEAST_SHARE
        assert take_turns(4) == [2, 1, 1, 1]

    over_turns(certificates.ecdsa, owner, body)
