"""The ports of a router: whoever comes is secured, recognised and served."""

from __future__ import annotations

import logging
import socket
from functools import partial

import trio
from OpenSSL import SSL

from polevpn_trio.control import advice
from polevpn_trio.control.admission import REASONS
from polevpn_trio.control.config import ListenerConfig
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.control.web import WebSite
from polevpn_trio.hub import GatewayConnection, Router
from polevpn_trio.management.answers import Trouble
from polevpn_trio.router_statistics import (
    UdpListenerStatistics,
)
from polevpn_trio.transport import dtls, tls
from polevpn_trio.transport.containment import contained
from polevpn_trio.transport.kcp import KcpLink, format_address
from polevpn_trio.transport.openssl import follow
from polevpn_trio.transport.recognise import recognise, secure
from polevpn_trio.transport.tcp import choose_congestion_control
from polevpn_trio.transport.udp import UdpSocket

log = ContextLogger(logging.getLogger("polevpn_trio.router"))

LISTEN_BACKLOG = 1024


async def listen_udp(
    router: Router, config: ListenerConfig, *, task_status: trio.TaskStatus[None]
) -> None:
    """Accept gateways by KCP over DTLS."""
    access = router.access
    # What is shown is another context's business as soon as there is one.
    context = dtls.server_context(config.cert_file, config.key_file)
    follow(context, lambda: access.contexts.kcp or context)
    try:
        udp = UdpSocket.bind(config.host, config.port)
    except OSError as error:
        raise advice.cannot_listen("udp", config.host, config.port, error) from error
    endpoint = router.endpoint = dtls.DtlsEndpoint(udp)

    async def handle(session: dtls.DtlsSession) -> None:
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
                    context,
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
    router: Router, config: ListenerConfig, *, task_status: trio.TaskStatus[None]
) -> None:
    """Accept gateways by TLS and WebSocket."""
    first = tls.server_context(config.cert_file, config.key_file)
    try:
        listeners = await trio.open_tcp_listeners(
            config.port, host=config.host or None, backlog=LISTEN_BACKLOG
        )
    except OSError as error:
        raise advice.cannot_listen("tcp", config.host, config.port, error) from error

    # Which the connections inherit.
    name = router.config.tcp_congestion
    for listener in listeners:
        if name and not choose_congestion_control(listener.socket, name):
            log.info("this kernel does not let us use the congestion control %s", name)

    async def handle(stream: trio.SocketStream) -> None:
        context = router.access.contexts.tls or first
        site = (router.config.tls or config).web
        await _serve_tcp(router, context, site, stream)

    async with router.root.branch(f"tcp:{config.port}", router.admission.statistics) as branch:
        for listener in listeners:
            log.info("listening on %s (tls, wss)", format_address(listener.socket.getsockname()))
        task_status.started()
        await trio.serve_listeners(handle, listeners, handler_nursery=branch.nursery)


async def _serve_kcp(router: Router, session: dtls.DtlsSession) -> None:
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
