"""What the TCP port is to those who come with a browser: a small HTTPS server.

It has one page, if the operator gave it one, and knows no other; to a client that asks for a
WebSocket at the right path it becomes that. Nothing it says names this program.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
from email.utils import formatdate
from http import HTTPStatus

import attrs
import trio

from polevpn_trio.control.web import WebSite
from polevpn_trio.errors import LinkLost
from polevpn_trio.transport.http_request import BadRequest, HttpRequest, RequestReader
from polevpn_trio.transport.tls import LINGER_SECONDS, TlsStream

MAX_REQUESTS = 100
"""Requests on one connection; browsers come back with another one."""

KEEP_ALIVE_SECONDS = 5.0
"""How long a connection may be idle after an answer."""

# RFC 6455 section 1.3 and 4.4.
_ACCEPT_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_WEBSOCKET_VERSION = "13"
_KEY_BYTES = 16

_READ_METHODS = ("GET", "HEAD")


@attrs.frozen
class Upgrade:
    """The answer to a proper request for a WebSocket."""

    accept: str
    """What goes into ``Sec-WebSocket-Accept``."""


@attrs.frozen
class Reply:
    """Any other answer."""

    status: int
    body: bytes = attrs.field(repr=False)
    body_type: str = "text/html; charset=utf-8"
    fields: tuple[str, ...] = ()


def answer(site: WebSite, request: HttpRequest) -> Upgrade | Reply:
    """Decide what a request gets. Raises BadRequest for a WebSocket wrongly asked for."""
    if _wants_websocket(request) and _has_websocket_at(site, request.path):
        return _answer_upgrade(request)
    if request.method not in _READ_METHODS:
        return error_page(405, "Allow: GET, HEAD")
    if request.path != "/" or site.page is None:
        return error_page(404)
    return Reply(200, site.page, site.page_type)


def error_page(status: int, *fields: str) -> Reply:
    """Make the answer that says only what its status means."""
    title = f"{status} {HTTPStatus(status).phrase}"
    body = f"<!DOCTYPE html>\n<title>{title}</title>\n<h1>{title}</h1>\n"
    return Reply(status, body.encode(), fields=fields)


def _wants_websocket(request: HttpRequest) -> bool:
    return (
        request.method == "GET"
        and request.minor > 0
        and "upgrade" in request.tokens("connection")
        and "websocket" in request.tokens("upgrade")
    )


def _has_websocket_at(site: WebSite, path: str) -> bool:
    if "wss" not in site.schemes or site.websocket_path is None:
        return "wss" in site.schemes
    # In a time that tells nothing of how much of it was right.
    return hmac.compare_digest(path.encode(), site.websocket_path.encode())


def _answer_upgrade(request: HttpRequest) -> Upgrade | Reply:
    """Answer the client's part of the opening handshake (RFC 6455 section 4.2)."""
    if request.fields.get("sec-websocket-version") != _WEBSOCKET_VERSION:
        return error_page(426, "Upgrade: websocket", f"Sec-WebSocket-Version: {_WEBSOCKET_VERSION}")
    key = request.fields.get("sec-websocket-key", "")
    try:
        size = len(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if size != _KEY_BYTES or request.has_body:
        raise BadRequest(400, "its WebSocket handshake is malformed")
    digest = hashlib.sha1(key.encode("ascii") + _ACCEPT_SALT).digest()
    return Upgrade(base64.b64encode(digest).decode("ascii"))


async def serve_until_websocket(stream: TlsStream, site: WebSite) -> None:
    """Answer requests until one of them has made a WebSocket of the stream.

    The next receive starts behind that request. Raises LinkLost when the client leaves
    without, or is sent away. The caller sets the deadline, and closes the stream.
    """
    reader = RequestReader()
    for number in range(MAX_REQUESTS):
        request = None
        try:
            with trio.move_on_after(KEEP_ALIVE_SECONDS if number else math.inf):
                request = await _receive_request(stream, reader)
            if request is None:
                break
            reply = answer(site, request)
        except BadRequest as error:
            page = error_page(error.status)
            await _send_all(stream, to_bytes(page, head_only=False, last=True))
            await _part(stream)
            raise LinkLost(str(error)) from error
        if isinstance(reply, Upgrade):
            await _send_all(
                stream,
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + reply.accept.encode("ascii") + b"\r\n\r\n",
            )
            stream.push_back(reader.rest)
            return
        last = not request.keeps_alive or number + 1 == MAX_REQUESTS
        head_only = request.method == "HEAD"
        await _send_all(stream, to_bytes(reply, head_only=head_only, last=last))
        if last:
            break
    await _part(stream)
    raise LinkLost("it spoke HTTP, and asked for no WebSocket")


async def _receive_request(stream: TlsStream, reader: RequestReader) -> HttpRequest:
    request = reader.receive_data_untrusted(b"")
    while request is None:
        try:
            data = await stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkLost(f"cannot receive: {error}") from error
        if not data:
            raise LinkLost("it closed the connection, and asked for no WebSocket")
        request = reader.receive_data_untrusted(data)
    return request


def to_bytes(reply: Reply, *, head_only: bool, last: bool) -> bytes:
    """Write an answer as it travels; ``last`` says that the connection ends with it."""
    head = "\r\n".join(
        (
            f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
            f"Date: {formatdate(usegmt=True)}",
            f"Content-Type: {reply.body_type}",
            f"Content-Length: {len(reply.body)}",
            f"Connection: {'close' if last else 'keep-alive'}",
            *reply.fields,
            "\r\n",
        )
    )
    return head.encode("latin-1") + (b"" if head_only else reply.body)


async def _send_all(stream: TlsStream, data: bytes) -> None:
    try:
        await stream.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise LinkLost(f"cannot send: {error}") from error


async def _part(stream: TlsStream) -> None:
    """End our side, and let the client read what we said and then end its own."""
    stream.shut_down()
    with trio.move_on_after(LINGER_SECONDS):
        await stream.linger()
