"""How much of one peer's datagrams is taken in before others have their turn."""

from __future__ import annotations

from array import array
from functools import partial
from typing import Any

import trio

from polevpn_trio.transport import dtls
from polevpn_trio.transport.dtls import DtlsEndpoint, DtlsSession
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


def test_turns_that_take_too_long_have_fewer_batches_until_they_do_not(certificates: Any) -> None:
    async def main() -> None:
        server = DtlsEndpoint(UdpSocket.bind("127.0.0.1", 0))
        client = DtlsEndpoint(UdpSocket.connect(server._udp.getsockname()))
        owner = Costly(dtls.ROUND_SECONDS / 4.5)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                near = await connected(nursery, server, client, certificates.ecdsa)
                [far] = server._sessions.values()
                far.owner = owner
                server._processor_time = owner.processor_time
                server._time = lambda: 0.0
                for _ in range(COUNT):
                    near.send_batch_nowait(bytes(100), array("H", [100]), 1)

                def take_turns(count: int) -> list[int]:
                    """The first batch of a turn is one packet, which is acted on at once."""
                    owner.turns = []
                    for _ in range(count):
                        server._receive_turn(server._udp)
                    ones, others = owner.turns[::2], owner.turns[1::2]
                    assert ones == [1] * count
                    return [1 + other for other in others]

                assert take_turns(5) == [dtls.TURN_BUDGET, 4, 5, 4, 5]
                owner.seconds = 0.0
                most = dtls.TURN_BUDGET
                assert take_turns(most - 2) == [*range(4, most), most, most]
                nursery.cancel_scope.cancel()
        client.close()
        server.close()

    trio.run(main)
