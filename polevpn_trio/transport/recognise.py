"""What comes to a router's TCP port: secured, and told by its first bytes."""

from __future__ import annotations

import socket

import trio
from OpenSSL import SSL

from polevpn_trio.control.web import WebSite
from polevpn_trio.errors import LinkLost
from polevpn_trio.frames.codec import HEADER_SIZE, KICK_OUT
from polevpn_trio.transport import tls
from polevpn_trio.transport.base import Link
from polevpn_trio.transport.tls_link import TlsLink
from polevpn_trio.transport.websocket import accept_websocket

MAX_LOGIN_BYTES = 16_384
"""Longest frame that may begin before login; afterwards it is 65,535 bytes."""

FIRST_BYTES = 4
"""What a TCP client is recognised by: length and command of its first frame, or a piece of HTTP.
A method begins with a letter, which as a length would be that of a frame too long before login."""


async def secure(plain: socket.socket, context: SSL.Context, login_by: float) -> tls.TlsStream:
    """Secure an accepted connection by TLS, by ``login_by``. Raises LinkLost."""
    with trio.move_on_at(login_by):
        return await tls.TlsStream.handshake(plain, context)
    raise LinkLost("TLS handshake not finished in time")


async def recognise(stream: tls.TlsStream, peer: str, login_by: float, site: WebSite) -> Link:
    """Tell by the first bytes whether a client speaks frames, or HTTP; serve it as a web server.

    Whoever asks that for a WebSocket gets one. Raises LinkLost.
    """
    with trio.move_on_at(login_by):
        start = b""
        while len(start) < FIRST_BYTES and not _is_http(start, site):
            try:
                received = await stream.receive_some()
            except trio.BrokenResourceError as error:
                raise LinkLost(f"cannot receive: {error}") from error
            if not received:
                raise LinkLost("closed before it said anything")
            start += received
        stream.push_back(start)
        if _is_http(start, site):
            return await accept_websocket(stream, peer, site)
        return TlsLink(stream, peer)
    raise LinkLost("it said nothing in time")


def _is_http(start: bytes, site: WebSite) -> bool:
    """Whether a connection that starts so is none that begins with a frame for us."""
    if "tls" not in site.schemes:
        return bool(start)
    if len(start) < FIRST_BYTES:
        return start[:1].isalpha()
    size, command = int.from_bytes(start[:2], "big"), int.from_bytes(start[2:4], "big")
    return not HEADER_SIZE <= size <= MAX_LOGIN_BYTES or command > KICK_OUT
