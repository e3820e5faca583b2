"""Answers on the control socket, a Unix socket; never anybody else's task waits for it.

Everything is bounded: connections, the length of a request, the time that a client may take to
send one, to take the answer, or to say nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator

import attrs
import trio

from polevpn_trio.management import api, writing
from polevpn_trio.management.answers import Status
from polevpn_trio.management.api import ApiError, Params, Request
from polevpn_trio.management.events import Event, EventLog
from polevpn_trio.management.reload import Reloads
from polevpn_trio.management.view import View
from polevpn_trio.transport.containment import contained

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 16
"""Clients at a time: some people with `top`, a dashboard, and a monitor."""

IDLE_SECONDS = 60.0
"""How long a client may say nothing between two requests."""

TAKING_SECONDS = 10.0
"""How long a client may take nothing of an answer."""

SEND_BYTES = 65_536
"""What is written of an answer between two turns of the other tasks."""

PIECES = 64
"""Pieces of an answer put together between two turns."""

CHANGING = ("reload", "confirm")
"""Methods that are not for everybody who may ask."""


class ControlServer:
    """Serves a view to whoever may open the socket; only its user and root may change things."""

    def __init__(self, view: View, reloads: Reloads) -> None:
        self._view = view
        self._reloads = reloads
        self._connections = 0
        self._refused = 0
        self._requests = 0
        self._methods: dict[str, Callable[[Params], Awaitable[object]]] = {
            "status": self._status,
            "routes": self._routes,
            "explain": self._explain,
            "tree": self._tree,
            "events": self._events,
            "reload": self._reload,
            "confirm": self._confirm,
        }

    async def serve(self, listening: socket.socket, *, task_status: trio.TaskStatus[None]) -> None:
        """Answer for ever on a listening Unix socket."""
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        async with trio.open_nursery() as nursery:
            task_status.started()
            await trio.serve_listeners(self._handle, [listener], handler_nursery=nursery)

    def statistics(self) -> ControlStatistics:
        """Return the counters."""
        return ControlStatistics(self._connections, self._requests, self._refused)

    async def _handle(self, stream: trio.SocketStream) -> None:
        self._connections += 1
        try:
            with contained("control socket"):
                await self._serve_client(stream)
        finally:
            self._connections -= 1

    async def _serve_client(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                if self._connections > MOST_CONNECTIONS:
                    self._refused += 1
                    error = ApiError(
                        api.BUSY, f"{MOST_CONNECTIONS} clients are connected, end one of them"
                    )
                    await _send(stream, writing.error_line(None, error))
                else:
                    await self._converse(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            # Its fault or its wish; nobody has to know.
            log.debug("a client of the control socket went away")

    async def _converse(self, stream: trio.SocketStream) -> None:
        lines = _Lines(stream)
        while True:
            try:
                line = await lines.next()
            except ApiError as error:
                await _send(stream, writing.error_line(None, error))
                return
            if line is None:
                return
            self._requests += 1
            await self._answer(stream, line)

    async def _answer(self, stream: trio.SocketStream, line: bytes) -> None:
        request: Request | None = None
        try:
            request = api.parse_request_untrusted(line)
            params = Params(request.params)
            method = self._methods.get(request.method)
            if method is None:
                known = ", ".join(self._methods)
                raise ApiError(api.UNKNOWN_METHOD, f"unknown method, expected one of {known}")
            if request.method in CHANGING and not _may_change(stream.socket):
                raise ApiError(api.FORBIDDEN, "only root and the program's own user may do that")
            if request.method == "events" and params.flag("follow"):
                await self._follow(stream, request, params)
                return
            result = await method(params)
        except ApiError as error:
            await _send(stream, writing.error_line(request, error))
            return
        await _send_pieces(stream, writing.answer_pieces(request, result))

    # --- Methods

    async def _status(self, params: Params) -> Status:
        over = params.seconds("over", 0.0, api.LONGEST_OVER)
        params.finish()
        return await self._view.status(over)

    async def _routes(self, params: Params) -> object:
        offset = params.whole("offset", 0, 1 << 40)
        most = params.whole("most", api.MOST_ROUTES, api.MOST_ROUTES)
        params.finish()
        await trio.lowlevel.checkpoint()
        return self._view.routes(offset, most)

    async def _explain(self, params: Params) -> object:
        asked = api.parse_question_untrusted(params)
        return await self._view.explain(asked.source, asked.destination, asked.protocol, asked.port)

    async def _reload(self, params: Params) -> object:
        """Read the configuration anew; with ``confirm`` seconds, until it is confirmed."""
        within = params.seconds("confirm", 0.0, api.LONGEST_CONFIRM)
        params.finish()
        return await self._reloads.reload(within or None)

    async def _confirm(self, params: Params) -> object:
        params.finish()
        return await self._reloads.confirm()

    async def _tree(self, params: Params) -> object:
        params.finish()
        await trio.lowlevel.checkpoint()
        return self._view.tree()

    async def _events(self, params: Params) -> object:
        """Events after a number; by default the newest ones."""
        most = params.whole("most", 100, api.MOST_EVENTS)
        events = self._view.program.events
        after = params.whole("after", max(0, events.last - most), 1 << 62)
        params.finish()
        await trio.lowlevel.checkpoint()
        return _after(events, after, most)

    async def _follow(self, stream: trio.SocketStream, request: Request, params: Params) -> None:
        """Answer again with each batch of new events, until the client leaves."""
        events = self._view.program.events
        most = params.whole("most", 100, api.MOST_EVENTS)
        after = params.whole("after", max(0, events.last - most), 1 << 62)
        params.finish()
        token = trio.lowlevel.current_trio_token()
        news = _News()

        def follower() -> None:
            # Whoever logs may be in another thread.
            token.run_sync_soon(news.come, idempotent=True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_with, stream, nursery.cancel_scope)
            with events.followed(follower):
                while True:
                    batch = _after(events, after, api.MOST_EVENTS)
                    if batch.events:
                        after = batch.events[-1].number
                        await _send_pieces(stream, writing.answer_pieces(request, batch))
                    if after >= events.last:
                        await news.wait()


@attrs.frozen
class ControlStatistics:
    """Clients now, requests so far, and clients turned away because there were too many."""

    connections: int
    requests: int
    refused: int


@attrs.frozen
class Events:
    """Some events; ``last`` is the newest number, ``missed`` how many are forgotten before them."""

    events: tuple[Event, ...]
    last: int
    missed: int


def _may_change(client: trio.socket.SocketType) -> bool:
    """Whether a client is run by root, or by the user that runs this program."""
    return peer_user(client) in (0, os.geteuid())


def peer_user(client: trio.socket.SocketType) -> int:
    """Return the user who runs the other end of a Unix socket (unix(7), SO_PEERCRED)."""
    size = struct.calcsize("3i")
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    user: int = struct.unpack("3i", credentials)[1]
    return user


def _after(log: EventLog, number: int, most: int) -> Events:
    found = tuple(log.after(number, most))
    missed = max(0, found[0].number - number - 1) if found else 0
    return Events(found, log.last, missed)


class _News:
    """Wakes the one task that waits for something to have happened."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def come(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = trio.Event()


class _Lines:
    """The lines that a client sends."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def next(self) -> bytes | None:
        """Wait for a line; None at the end. Raises ApiError if it is too long."""
        with trio.fail_after(IDLE_SECONDS):
            while True:
                end = self._buffer.find(b"\n")
                if end >= 0:
                    line = bytes(self._buffer[:end])
                    del self._buffer[: end + 1]
                    return line
                if len(self._buffer) > api.LONGEST_REQUEST:
                    raise ApiError(
                        api.BAD_REQUEST, f"longer than {api.LONGEST_REQUEST} bytes in a line"
                    )
                data = await self._stream.receive_some(api.LONGEST_REQUEST)
                if not data:
                    return None
                self._buffer += data


async def _end_with(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    """End what is done for a client once it leaves; what it says until then does not matter."""
    while await stream.receive_some(api.LONGEST_REQUEST):
        pass
    scope.cancel()


async def _send(stream: trio.SocketStream, text: str) -> None:
    with trio.fail_after(TAKING_SECONDS):
        await stream.send_all(text.encode())


async def _send_pieces(stream: trio.SocketStream, pieces: Iterator[str]) -> None:
    """Put an answer together and send it, with turns for others in between."""
    waiting: list[str] = []
    size = 0
    for number, piece in enumerate(pieces, 1):
        waiting.append(piece)
        size += len(piece)
        if size >= SEND_BYTES:
            await _send(stream, "".join(waiting))
            waiting.clear()
            size = 0
        elif number % PIECES == 0:
            await trio.lowlevel.checkpoint()
    if waiting:
        await _send(stream, "".join(waiting))
