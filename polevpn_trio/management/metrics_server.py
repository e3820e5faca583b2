"""Serves a program's metrics to Prometheus, over HTTP, without any thread.

Everything is bounded: connections, the time that a client may take, and the time until the data
path gets its next turn while an answer is put together.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

import attrs
import trio
from prometheus_client import CollectorRegistry, ProcessCollector

from polevpn_trio.control import advice
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.control.metrics_config import METRICS_PATH, MetricsConfig
from polevpn_trio.management.metrics import CONTENT_TYPE, exposition, families
from polevpn_trio.management.view import View
from polevpn_trio.transport.containment import contained
from polevpn_trio.transport.http_request import BadRequest, HttpRequest, RequestReader
from polevpn_trio.transport.kcp import format_address
from polevpn_trio.transport.web_server import Reply, error_page, to_bytes

log = ContextLogger(logging.getLogger("polevpn_trio.metrics"))

MOST_CONNECTIONS = 8
"""Clients at a time: two Prometheus servers, and somebody who looks."""

IDLE_SECONDS = 120.0
"""How long a client may say nothing between two requests: scrapes may be a minute apart."""

REQUEST_SECONDS = 10.0
"""How long a client may take for its first request, and for the answer."""

RECEIVE_BYTES = 4096


@attrs.frozen
class MetricsStatistics:
    """Clients now, scrapes so far, and clients turned away because there were too many."""

    connections: int
    scrapes: int
    refused: int


class MetricsServer:
    """Serves a view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._process = ProcessCollector(registry=CollectorRegistry())
        # Scrapes take their turns: two at once would take twice as long.
        self._turn = trio.Lock()
        self._connections = 0
        self._scrapes = 0
        self._refused = 0

    async def serve(
        self, listeners: Sequence[trio.SocketListener], *, task_status: trio.TaskStatus[None]
    ) -> None:
        """Answer for ever."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            await trio.serve_listeners(self._handle, list(listeners), handler_nursery=nursery)

    def statistics(self) -> MetricsStatistics:
        """Return the counters."""
        return MetricsStatistics(self._connections, self._scrapes, self._refused)

    async def _handle(self, stream: trio.SocketStream) -> None:
        if self._connections >= MOST_CONNECTIONS:
            self._refused += 1
            await trio.aclose_forcefully(stream)
            return
        self._connections += 1
        try:
            with (
                contained("metrics"),
                contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
            ):
                async with stream:
                    await self._converse(stream)
        finally:
            self._connections -= 1

    async def _converse(self, stream: trio.SocketStream) -> None:
        reader = RequestReader()
        patience = REQUEST_SECONDS
        while True:
            request = None
            try:
                with trio.move_on_after(patience):
                    request = await _receive_request(stream, reader)
                if request is None:
                    return
                reply = await self._answer(request)
                last = not request.keeps_alive
                head_only = request.method == "HEAD"
            except BadRequest as error:
                reply, last, head_only = error_page(error.status), True, False
            answer = to_bytes(reply, head_only=head_only, last=last)
            with trio.move_on_after(REQUEST_SECONDS) as taking:
                await stream.send_all(answer)
            if last or taking.cancelled_caught:
                return
            patience = IDLE_SECONDS

    async def _answer(self, request: HttpRequest) -> Reply:
        if request.path != METRICS_PATH:
            return error_page(404)
        if request.method not in ("GET", "HEAD"):
            return error_page(405, "Allow: GET, HEAD")
        async with self._turn:
            self._scrapes += 1
            return Reply(200, await self.scrape(), CONTENT_TYPE)

    async def scrape(self) -> bytes:
        """Write all metrics as they are now."""
        status = await self._view.status(0.0)
        written = bytearray()
        for family in families(status):
            written += exposition(family)
            # A router with many sites has something else to do, too.
            await trio.lowlevel.checkpoint()
        for family in self._process.collect():
            written += exposition(family)
        return bytes(written)


async def _receive_request(stream: trio.SocketStream, reader: RequestReader) -> HttpRequest | None:
    """Wait for a request; None if the client left."""
    request = reader.receive_data_untrusted(b"")
    while request is None:
        data = await stream.receive_some(RECEIVE_BYTES)
        if not data:
            return None
        request = reader.receive_data_untrusted(data)
    return request


async def open_listeners(config: MetricsConfig) -> list[trio.SocketListener]:
    """Bind the configured address. Raises HostError."""
    try:
        listeners = await trio.open_tcp_listeners(config.port, host=config.host or None)
    except OSError as error:
        raise advice.cannot_listen("tcp", config.host, config.port, error) from error
    for listener in listeners:
        where = format_address(listener.socket.getsockname())
        log.info("metrics at http://%s%s", where, METRICS_PATH)
    return listeners
