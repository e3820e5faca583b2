"""A network in memory, with our endpoints and plain OpenSSL ones on it.

``plain_peer`` is trio.DTLSEndpoint without our record layer: every record it sends or accepts
was made or checked by OpenSSL.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
import trio.testing
from OpenSSL import SSL

from polevpn_trio.transport import records
from polevpn_trio.transport.dtls import DtlsEndpoint, client_context, server_context
from polevpn_trio.transport.dtls_session import DtlsSession
from polevpn_trio.transport.eager import Handler
from polevpn_trio.transport.handshake import (
    split_records_untrusted,
)
from polevpn_trio.transport.udp import Address

SERVER = ("10.0.0.1", 443)
CLIENT = ("10.0.0.2", 5000)
SUITES = sorted(records.SUITES)


class Network:
    """Carries datagrams at once; ``deliver`` may be replaced to lose, keep or repeat them."""

    def __init__(self) -> None:
        self.sockets: dict[Address, MemorySocket] = {}
        self.wire: list[tuple[Address, Address, bytes]] = []
        self.deliver: Callable[[Address, Address, bytes], bool] = lambda *_: True

    def send(self, source: Address, target: Address, datagram: bytes) -> None:
        self.wire.append((source, target, datagram))
        if self.deliver(source, target, datagram):
            self.inject(source, target, datagram)

    def inject(self, source: Address, target: Address, datagram: bytes) -> None:
        """Deliver a datagram, whoever really sent it."""
        if target in self.sockets:
            self.sockets[target].arrive(source, datagram)

    def sent(self, source: Address) -> list[bytes]:
        return [datagram for sender, _, datagram in self.wire if sender == source]


class MemorySocket:
    """A UdpSocket on a `Network`, which merges what it receives as GRO does."""

    family: int = trio.socket.AF_INET
    hello_sockets: tuple[MemorySocket, ...] = ()

    def __init__(self, network: Network, address: Address, peer: Address | None = None) -> None:
        self.peer = peer
        self.last_error: OSError | None = None
        self.withheld = 0
        self.room = 1 << 30
        self._network = network
        self._address = address
        self._queue: deque[tuple[Address, bytes]] = deque()
        self._lot = trio.lowlevel.ParkingLot()
        self._writable = trio.lowlevel.ParkingLot()
        self._closed = False
        network.sockets[address] = self

    def arrive(self, source: Address, datagram: bytes) -> None:
        self._queue.append((source, datagram))
        self._lot.unpark_all()

    def receive_batch_nowait(self) -> tuple[bytes, int, Address]:
        if self._closed:
            raise trio.ClosedResourceError
        if not self._queue:
            raise BlockingIOError
        source, data = self._queue.popleft()
        segment = size = len(data)
        while self._queue and size == segment and self._queue[0][0] == source:
            size = len(self._queue[0][1])
            if not 0 < size <= segment or len(data) + size > 65_535:
                break
            data += self._queue.popleft()[1]
        return data, segment or 1, source

    def send_batch_nowait(
        self,
        datagrams: bytes | bytearray | memoryview,
        sizes: array[int],
        count: int,
        address: Address,
        first: int = 0,
    ) -> int:
        if self._closed:
            raise trio.ClosedResourceError
        at = sum(sizes[:first])
        for index in range(first, count):
            if not self.room:
                return index - first
            self.room -= 1
            datagram = bytes(datagrams[at : at + sizes[index]])
            self._network.send(self._address, self.peer or address, datagram)
            at += sizes[index]
        return count - first

    def make_room(self, datagrams: int) -> None:
        self.room += datagrams
        self._writable.unpark_all()

    def is_readable(self) -> bool:
        if self._closed:
            raise trio.ClosedResourceError
        return bool(self._queue)

    async def wait_readable(self) -> None:
        if not self.is_readable():
            await self._lot.park()

    async def while_readable(self, handler: Handler) -> None:
        while True:
            await self.wait_readable()
            if not handler():
                return

    async def wait_writable(self) -> None:
        if not self.room:
            await self._writable.park()

    def split_off(self, address: Address) -> MemorySocket | None:
        return None

    def close(self) -> None:
        self._closed = True
        self._lot.unpark_all()
        if self._network.sockets.get(self._address) is self:
            del self._network.sockets[self._address]

    def getsockname(self) -> Address:
        return self._address

    def path_mtu(self, address: Address) -> int:
        return 1500


class PlainSocket(trio.socket.SocketType):
    """What a plain trio.DTLSEndpoint needs of a socket."""

    def __init__(self, udp: MemorySocket) -> None:
        super().__init__()
        self.udp = udp

    @property
    def family(self) -> int:  # type: ignore[override]  # an enum upstream
        return trio.socket.AF_INET

    @property
    def type(self) -> int:  # type: ignore[override]  # an enum upstream
        return trio.socket.SOCK_DGRAM

    def getsockname(self) -> Address:
        return self.udp.getsockname()

    async def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Address]:
        while not self.udp._queue:
            await self.udp.wait_readable()
            if self.udp._closed:
                raise trio.ClosedResourceError
        source, datagram = self.udp._queue.popleft()
        return datagram, source

    async def sendto(self, data: bytes, address: Address, /) -> int:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        self.udp.send_batch_nowait(data, array("H", [len(data)]), 1, address)
        return len(data)

    def close(self) -> None:
        self.udp.close()


def run(main: Callable[[], Awaitable[object]]) -> None:
    """Run with a clock that jumps over every wait."""
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def settle() -> None:
    """Let everything happen that needs no time."""
    await trio.testing.wait_all_tasks_blocked()


def with_suite(context: SSL.Context, suite: str) -> SSL.Context:
    context.set_cipher_list(suite.encode())
    return context


def certificate_for(certificates: Any, suite: str) -> Any:
    return certificates.ecdsa if "ECDSA" in suite else certificates.rsa


def send(session: DtlsSession, *plaintexts: bytes) -> bool:
    sizes = array("H", [len(plaintext) for plaintext in plaintexts])
    return session.send_batch_nowait(b"".join(plaintexts), sizes, len(plaintexts))


def open_all(session: DtlsSession, data: bytes, segment: int) -> list[bytes]:
    count = session.open_batch_untrusted(data, segment)
    found = []
    at = 0
    for size in session.opener.sizes[:count]:
        found.append(bytes(session.opener.datagrams[at : at + size]))
        at += size
    return found


async def receive(session: DtlsSession, count: int = 1) -> list[bytes]:
    got: list[bytes] = []
    while len(got) < count:
        got += open_all(session, *await session.incoming.receive())
    return got


class Router:
    """Our endpoint as a server; sessions come out of ``accepted``."""

    def __init__(self, network: Network, nursery: trio.Nursery) -> None:
        self.udp = MemorySocket(network, SERVER)
        self.endpoint = DtlsEndpoint(self.udp)
        self._nursery = nursery
        self._put, self.accepted = trio.open_memory_channel[DtlsSession](100)

    async def start(
        self, context: SSL.Context, *, max_half_open: int = 16, handshake_timeout: float = 10.0
    ) -> None:
        await self._nursery.start(self.endpoint.run)
        await self._nursery.start(
            partial(
                self.endpoint.serve,
                context,
                self._handle,
                handshake_timeout=handshake_timeout,
                max_half_open=max_half_open,
            )
        )

    async def _handle(self, session: DtlsSession) -> None:
        self._put.send_nowait(session)
        await trio.sleep_forever()


@asynccontextmanager
async def router(
    network: Network, certificate: Any, **options: Any
) -> AsyncIterator[tuple[Router, trio.Nursery]]:
    async with trio.open_nursery() as nursery:
        ours = Router(network, nursery)
        try:
            context = server_context(certificate.cert_file, certificate.key_file)
            await ours.start(context, **options)
            yield ours, nursery
        finally:
            nursery.cancel_scope.cancel()
            ours.endpoint.close()


@asynccontextmanager
async def gateway(network: Network, address: Address = CLIENT) -> AsyncIterator[DtlsEndpoint]:
    async with trio.open_nursery() as nursery:
        endpoint = DtlsEndpoint(MemorySocket(network, address, peer=SERVER))
        try:
            await nursery.start(endpoint.run)
            yield endpoint
        finally:
            endpoint.close()
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def plain_peer(network: Network, address: Address) -> AsyncIterator[trio.DTLSEndpoint]:
    with trio.DTLSEndpoint(
        PlainSocket(MemorySocket(network, address)), incoming_packets_buffer=100
    ) as endpoint:
        yield endpoint


def connect(
    endpoint: DtlsEndpoint, context: SSL.Context | None = None, within: float = 60
) -> Awaitable[DtlsSession]:
    return endpoint.connect(SERVER, context or client_context(), timeout=within)


@asynccontextmanager
async def connected(
    certificates: Any, network: Network | None = None
) -> AsyncIterator[tuple[Network, Router, DtlsSession, DtlsSession]]:
    """A network, our router, and both ends of an established session: router's, gateway's."""
    network = network or Network()
    async with router(network, certificates.ecdsa) as (ours, _), gateway(network) as endpoint:
        session = await connect(endpoint)
        yield network, ours, await ours.accepted.receive(), session


def sealed_records(datagrams: list[bytes]) -> list[bytes]:
    found = [record for datagram in datagrams for record in split_records_untrusted(datagram)]
    return [record for record in found if record[3:5] != b"\0\0"]


def assert_nonces_differ(network: Network, source: Address) -> int:
    """Every nonce belongs to one record only; the same record may have been sent again."""
    different = set(sealed_records(network.sent(source)))
    nonces = {record[13:21] for record in different}
    assert len(nonces) == len(different)
    return len(different)
