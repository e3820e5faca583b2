"""Reach a router: look its name up, connect, secure the connection.

The result is a `Link` over which nothing has been said yet. Each attempt uses a new socket
and so a new source port: the originals ignore a client that comes back on its old one.
"""

from __future__ import annotations

import datetime
import errno
import logging
import os
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import attrs
import trio

from polevpn_trio.control import advice
from polevpn_trio.control.config import (
    DEFAULT_CONGESTION,
    CertificatePair,
    GatewayConfig,
    KcpOptions,
    ServerUrl,
)
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.control.router_trust import RouterTrust
from polevpn_trio.errors import LinkLost, Untrusted
from polevpn_trio.transport import dtls, tls
from polevpn_trio.transport.base import Link
from polevpn_trio.transport.containment import contained
from polevpn_trio.transport.kcp import KcpLink, format_address
from polevpn_trio.transport.tcp import choose_congestion_control
from polevpn_trio.transport.tls_link import TlsLink
from polevpn_trio.transport.udp import UdpSocket
from polevpn_trio.transport.websocket import open_websocket

log = ContextLogger(logging.getLogger(__name__))

Address = IPv4Address | IPv6Address
Resolved = tuple[int, tuple[str, int]]
"""Address family, and host and port."""

FIRST_BACKOFF = 0.25
"""Seconds before the second attempt (half to all of it, at random)."""
BACKOFF_FACTOR = 1.6
OUTAGE_SHARE = 0.05
"""The wait stays within this share of the outage so far, but may always grow to
SHORTEST_LIMIT: a router that was restarted has its sites back within two seconds."""
SHORTEST_LIMIT = 1.5
LONGEST_BACKOFF = 30.0
"""Seconds between attempts in the end."""

NAME_SECONDS = 1.0
"""How long the name server is waited for where the last addresses will do: one that is silent must
not keep a link away that the network would carry."""


@attrs.define
class Backoff:
    """How long to wait between attempts: growing exponentially, and jittered.

    The jitter keeps a thousand gateways whose router was restarted from coming back in one
    instant. The longest wait grows with the outage: who was cut off for a minute is back
    within seconds, and after an hour the attempts have become rare.
    """

    random: random.Random = attrs.field(factory=random.Random)
    _next: float = FIRST_BACKOFF
    _outage: float = 0.0

    def next_delay(self) -> float:
        """Return the seconds to wait before the next attempt."""
        delay = self._next * self.random.uniform(0.5, 1.0)
        self._outage += delay
        longest = max(self._outage * OUTAGE_SHARE, SHORTEST_LIMIT)
        self._next = min(self._next * BACKOFF_FACTOR, longest, LONGEST_BACKOFF)
        return delay


class NameBook:
    """Looks up the addresses of servers, and remembers them for when that fails.

    Names are looked up for every attempt, since addresses change. But where all traffic goes
    through the tunnel, the name server may be reachable through nothing else.
    """

    def __init__(self) -> None:
        self._known: dict[ServerUrl, list[Resolved]] = {}

    async def look_up(self, server: ServerUrl, seconds: float) -> list[Resolved]:
        """Return the socket addresses of a server, the last known ones if need be.

        Raises LinkLost when it has none after ``seconds``.
        """
        if server in self._known:
            seconds = min(seconds, NAME_SECONDS)
        try:
            with trio.fail_after(seconds):
                found = await trio.socket.getaddrinfo(
                    server.host,
                    server.port,
                    type=socket.SOCK_DGRAM if server.scheme == "kcp" else socket.SOCK_STREAM,
                )
        except trio.TooSlowError:
            reason = f"no answer in {seconds:g} s"
        except (OSError, UnicodeError) as error:
            reason = str(getattr(error, "strerror", None) or error)
        else:
            self._known[server] = [(each[0], (str(each[4][0]), int(each[4][1]))) for each in found]
            return self._known[server]
        if server in self._known:
            log.debug("cannot look %s up (%s), using its last addresses", server.host, reason)
            return self._known[server]
        raise LinkLost(f"cannot look {server.host} up: {reason}", advice=advice.NO_NAME)

    async def look_all_up(self, servers: Sequence[ServerUrl], seconds: float) -> None:
        """Wait until the address of one server at least is known."""
        backoff = Backoff()
        while True:
            reasons = []
            for server in servers:
                try:
                    await self.look_up(server, seconds)
                except LinkLost as error:
                    reasons.append(str(error))
            if len(reasons) < len(servers):
                return
            log.warning("%s; trying again", "; ".join(reasons), advice=advice.NO_NAME)
            await trio.sleep(backoff.next_delay())


@attrs.frozen
class Dialer:
    """Connects to routers.

    ``before_connect`` is told the addresses that are about to be called, before any packet
    leaves, and those that other links are using: a default route through the tunnel must not
    swallow the tunnel's own packets. ``trust`` judges what routers show, before anything is said;
    ``certificate`` is what we show them if they ask.
    ``timeout`` is in seconds, for each address of a server. ``tcp_congestion`` names the
    kernel's congestion control for ``tls`` and ``wss``; "" leaves the default.
    """

    kcp_options: KcpOptions
    timeout: float
    before_connect: Callable[[tuple[Address, ...]], Awaitable[None]]
    trust: RouterTrust
    names: NameBook = attrs.field(factory=NameBook)
    certificate: CertificatePair | None = None
    tcp_congestion: str = DEFAULT_CONGESTION
    _in_use: Counter[Address] = attrs.field(factory=Counter)

    @classmethod
    def of(
        cls,
        config: GatewayConfig,
        before_connect: Callable[[tuple[Address, ...]], Awaitable[None]],
        names: NameBook,
    ) -> Dialer:
        """Make one that does as this configuration says."""
        return cls(
            config.kcp_options,
            config.connect_timeout,
            before_connect,
            config.router_trust,
            names,
            config.certificate,
            config.tcp_congestion,
        )

    def adapted(self, config: GatewayConfig) -> Dialer:
        """Make one that does as this configuration says, and knows what this one does."""
        return attrs.evolve(
            self,
            kcp_options=config.kcp_options,
            timeout=config.connect_timeout,
            trust=config.router_trust,
            certificate=config.certificate,
            tcp_congestion=config.tcp_congestion,
        )

    async def serve_link(self, server: ServerUrl, *, task_status: trio.TaskStatus[Link]) -> None:
        """Connect to ``server``, report the link, and tend it until it is closed.

        Raises LinkLost when the server cannot be reached, Untrusted when one was, but must not
        be the right one. Once the link is reported, its end
        is noticed by those who use it and does not raise here.
        """
        addresses = await self.names.look_up(server, self.timeout)
        called = [ip_address(address[0]) for _, address in addresses]
        self._in_use.update(called)
        try:
            await self.before_connect(tuple(each for each, n in self._in_use.items() if n > 0))
            await self._serve_first(server, addresses, task_status)
        finally:
            self._in_use.subtract(called)

    async def _serve_first(
        self, server: ServerUrl, addresses: list[Resolved], task_status: trio.TaskStatus[Link]
    ) -> None:
        """Connect to the first of the addresses that answers, and tend the link."""
        reasons: list[str] = []
        untrusted: Untrusted | None = None
        remedies: dict[str, None] = {}
        for family, address in addresses:
            link: Link | None = None
            with contained(f"{server.scheme} {format_address(address)}") as outcome:
                async with trio.open_nursery() as nursery:
                    link = await self._connect_in_time(server, family, address, nursery)
                    await self._tend(link, task_status)
                    nursery.cancel_scope.cancel()
            if link is not None:
                return
            if isinstance(outcome.error, Untrusted):
                untrusted = outcome.error
            reasons.append(f"{format_address(address)}: {outcome.error}")
            usual = advice.NO_UDP if server.scheme == "kcp" else advice.NO_TCP
            remedies[getattr(outcome.error, "advice", "") or usual] = None
        if untrusted is not None:
            raise untrusted
        raise LinkLost(
            f"cannot reach {server.text}: " + "; ".join(reasons), advice="; ".join(remedies)
        )

    async def _tend(self, link: Link, task_status: trio.TaskStatus[Link]) -> None:
        """Run the link's own task until it is closed; a fault in there closes it."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(link.run)
                task_status.started(link)
                await link.wait_closed()
        finally:
            link.close()

    async def _connect_in_time(
        self, server: ServerUrl, family: int, address: tuple[str, int], nursery: trio.Nursery
    ) -> Link:
        """Connect to one address; tasks that the link needs go into ``nursery``."""
        if server.scheme == "kcp":
            # Keeps the time itself, and has more to say about why it ran out.
            return await self._connect_kcp(server, address, nursery)
        try:
            with trio.fail_after(self.timeout):
                return await self._connect_stream(server, family, address)
        except trio.TooSlowError as error:
            raise LinkLost(f"no answer in {self.timeout:g} s") from error

    async def _connect_stream(
        self, server: ServerUrl, family: int, address: tuple[str, int]
    ) -> Link:
        stream = await self._connect_tls(server, family, address)
        try:
            self._check(server, stream.peer_chain())
            peer = format_address(address)
            if server.scheme == "tls":
                return TlsLink(stream, peer)
            return await open_websocket(stream, peer, server.host, server.path)
        except BaseException:
            stream.close()
            raise

    def _check(self, server: ServerUrl, chain: tuple[bytes, ...]) -> None:
        now = datetime.datetime.now(datetime.UTC)
        self.trust.check(server.scheme, server.host, server.port, chain, now)

    async def _connect_kcp(
        self, server: ServerUrl, address: tuple[str, int], nursery: trio.Nursery
    ) -> Link:
        try:
            udp = UdpSocket.connect(address)
        except OSError as error:
            raise _lost(error) from error
        endpoint = dtls.DtlsEndpoint(udp)
        try:
            await nursery.start(endpoint.run)
            session = await endpoint.connect(
                address, dtls.client_context(own=self.certificate), timeout=self.timeout
            )
            self._check(server, session.peer_chain)
            return KcpLink(session, self.kcp_options, endpoint.close)
        except BaseException:
            endpoint.close()
            raise

    async def _connect_tls(
        self, server: ServerUrl, family: int, address: tuple[str, int]
    ) -> tls.TlsStream:
        try:
            connecting = trio.socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            raise _lost(error) from error
        name = self.tcp_congestion
        if name and not choose_congestion_control(connecting, name):
            log.debug("this kernel does not let us use the congestion control %s", name)
        try:
            await connecting.connect(address)
        except OSError as error:
            connecting.close()
            raise _lost(error) from error
        except BaseException:
            connecting.close()
            raise
        plain = socket.socket(fileno=connecting.detach())
        return await tls.TlsStream.handshake(
            plain, tls.client_context(self.certificate), server_name=server.host
        )


def _lost(error: OSError) -> LinkLost:
    """Say what the kernel said, without its numbers."""
    if error.errno == errno.ECONNREFUSED:
        return LinkLost("connection refused: nothing listens there", advice=advice.NOBODY_LISTENS)
    # Trio's own text has the address as Python writes it.
    return LinkLost((os.strerror(error.errno) if error.errno else str(error)).lower())
