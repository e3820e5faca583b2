"""The ports of a router: whoever comes is secured, recognised and served."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from functools import partial

import attrs
import trio
from OpenSSL import SSL

from polevpn_trio.control import advice
from polevpn_trio.control.admission import REASONS
from polevpn_trio.control.config import ListenerConfig, RouterConfig
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.control.web import WebSite
from polevpn_trio.errors import HostError
from polevpn_trio.hub import GatewayConnection, Router
from polevpn_trio.management.answers import Trouble
from polevpn_trio.router_statistics import (
    UdpListenerStatistics,
)
from polevpn_trio.transport import dtls
from polevpn_trio.transport.containment import contained
from polevpn_trio.transport.dtls_session import DtlsSession
from polevpn_trio.transport.kcp import KcpLink, format_address
from polevpn_trio.transport.openssl import follow
from polevpn_trio.transport.recognise import recognise, secure
from polevpn_trio.transport.tcp import choose_congestion_control
from polevpn_trio.transport.udp import UdpSocket

log = ContextLogger(logging.getLogger("polevpn_trio.router"))

LISTEN_BACKLOG = 1024


@attrs.frozen
class Ports:
    """The sockets that a router listens on. Opened before anything is served, by `open_ports`."""

    udp: UdpSocket | None
    tcp: tuple[socket.socket, ...]

    def close(self) -> None:
        """Close those that nobody has closed yet."""
        if self.udp is not None:
            self.udp.close()
        for listening in self.tcp:
            listening.close()


def open_ports(config: RouterConfig) -> Ports:
    """Open the ports of a configuration. Raises HostError, and then none is open."""
    udp = open_udp(config.kcp) if config.kcp is not None else None
    try:
        tcp = open_tcp(config.tls, config.tcp_congestion) if config.tls is not None else ()
    except HostError:
        if udp is not None:
            udp.close()
        raise
    return Ports(udp, tuple(tcp))


def open_udp(config: ListenerConfig) -> UdpSocket:
    """Open a UDP port. Raises HostError."""
    try:
        udp = UdpSocket.bind(config.host, config.port)
    except OSError as error:
        raise advice.cannot_listen("udp", config.host, config.port, error) from error
    # At once: who has become another user meanwhile may not.
    udp.split_hellos()
    return udp


def open_tcp(config: ListenerConfig, congestion: str) -> list[socket.socket]:
    """Listen on a TCP port, on each address that its host has. Raises HostError.

    ``congestion`` names the kernel's congestion control for what comes; "" leaves its own choice.
    """
    opened: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(
            config.host or None, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            try:
                listening = socket.socket(family, socket.SOCK_STREAM)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT:
                    # A machine without IPv6, or without IPv4.
                    continue
                raise
            opened.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(LISTEN_BACKLOG)
        if not opened:
            raise OSError(errno.EAFNOSUPPORT, "this machine has no such addresses")
    except OSError as error:
        for listening in opened:
            listening.close()
        raise advice.cannot_listen("tcp", config.host, config.port, error) from error
    for listening in opened:
        # Which the connections inherit.
        if congestion and not choose_congestion_control(listening, congestion):
            log.info("this kernel does not let us use the congestion control %s", congestion)
    return opened


async def listen_udp(
    router: Router,
    config: ListenerConfig,
    opened: UdpSocket | None = None,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Accept gateways by KCP over DTLS, on a port that is ``opened`` already or opened now."""
    access = router.access
    first = access.contexts.kcp
    assert first is not None
    # What is shown is another context's business as soon as there is one.
    follow(first, lambda: access.contexts.kcp or first)
    udp = opened or open_udp(config)
    endpoint = router.endpoint = dtls.DtlsEndpoint(udp)

    async def handle(session: DtlsSession) -> None:
        await _serve_kcp(router, session)

    def turns_away(address: dtls.Address) -> bool:
        return router.turns_away(f"kcp {format_address(address)}", str(address[0]))

    try:
        async with router.root.branch(
            f"udp:{config.port}",
            lambda: UdpListenerStatistics(endpoint.statistics(), router.admission.statistics()),
        ) as branch:
            await branch.nursery.start(endpoint.run)
            await branch.nursery.start(
                partial(
                    endpoint.serve,
                    first,
                    handle,
                    handshake_timeout=router.config.auth_timeout,
                    max_half_open=router.config.limits.unauthenticated,
                    turns_away=turns_away,
                )
            )
            log.info("listening on %s (kcp)", format_address(udp.getsockname()))
            task_status.started()
    finally:
        endpoint.close()


async def listen_tcp(
    router: Router,
    config: ListenerConfig,
    opened: Sequence[socket.socket] = (),
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Accept gateways by TLS and WebSocket, on a port that is ``opened`` already or opened now."""
    first = router.access.contexts.tls
    assert first is not None
    listeners = [
        trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        for listening in opened or open_tcp(config, router.config.tcp_congestion)
    ]

    async def handle(stream: trio.SocketStream) -> None:
        context = router.access.contexts.tls or first
        site = (router.config.tls or config).web
        await _serve_tcp(router, context, site, stream)

    async with router.root.branch(f"tcp:{config.port}", router.admission.statistics) as branch:
        for listener in listeners:
            log.info("listening on %s (tls, wss)", format_address(listener.socket.getsockname()))
        task_status.started()
        await trio.serve_listeners(handle, listeners, handler_nursery=branch.nursery)


async def _serve_kcp(router: Router, session: DtlsSession) -> None:
    """Serve a client that has finished the DTLS handshake."""
    host = str(session.peer_address[0])
    name = f"kcp {format_address(session.peer_address)}"
    login_by = trio.current_time() + router.config.auth_timeout
    with (
        trio.CancelScope() as scope,
        router.admission.place(host, scope.cancel) as place,
        contained(name),
    ):
        config = router.config
        link = KcpLink(session, config.kcp_options, stranger=True, queue_bytes=config.queue_bytes)
        await GatewayConnection(router, link, place, login_by).serve()
    if scope.cancelled_caught:
        router.strangers.note(name, Trouble(REASONS["unauthenticated"], advice.CROWD))


async def _serve_tcp(
    router: Router,
    context: SSL.Context,
    site: WebSite,
    accepted: trio.SocketStream,
) -> None:
    """Secure one accepted connection, see what it speaks, and serve it.

    All of it in the connection's own task and under one deadline: a client that says nothing
    holds up nobody else.
    """
    try:
        address = accepted.socket.getpeername()
    except OSError:
        # Gone again already.
        return
    name, host = f"tcp {format_address(address)}", str(address[0])
    if router.turns_away(name, host):
        return
    login_by = trio.current_time() + router.config.auth_timeout
    plain = socket.socket(fileno=accepted.socket.detach())
    served = False
    with trio.CancelScope() as scope, router.admission.place(host, scope.cancel) as place:
        with contained(name) as outcome:
            stream = await secure(plain, context, login_by)
            try:
                link = await recognise(stream, format_address(address), login_by, site)
                served = True
                await GatewayConnection(router, link, place, login_by).serve()
            finally:
                stream.close()
        if not served:
            router.strangers.note_failed_start(name, outcome.error)
    if scope.cancelled_caught:
        router.strangers.note(name, Trouble(REASONS["unauthenticated"], advice.CROWD))
