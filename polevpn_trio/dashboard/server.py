"""Serves the dashboard, as a branch of the router's tree. Only what is imported here is extra."""

from __future__ import annotations

import logging
import socket

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from polevpn_trio.control import advice
from polevpn_trio.control.dashboard_config import DashboardConfig
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.dashboard.application import Application, ApplicationStatistics
from polevpn_trio.dashboard.history import History, HistoryStatistics
from polevpn_trio.dashboard.recorder import recording
from polevpn_trio.dashboard.sessions import Doorkeeper
from polevpn_trio.management.view import View
from polevpn_trio.transport.containment import contained

log = ContextLogger(logging.getLogger("polevpn_trio.dashboard"))

BACKLOG = 64

STUCK_SECONDS = 10.0
"""How long a browser may take none of what is sent before the kernel ends its connection: hypercorn
waits for it even while the program ends."""

HANDSHAKE_SECONDS = 10.0

GRACE_SECONDS = 0.5
"""For answers that are under way when the program ends; streams of news would go on for ever."""


@attrs.frozen
class DashboardStatistics:
    """Counters of what browsers ask, and of what is written of it."""

    application: ApplicationStatistics
    history: HistoryStatistics


class Dashboard:
    """The dashboard of one running program, on a port that is open.

    ``doorkeeper`` may be that of another one with the same token, so that sessions go on.
    """

    def __init__(
        self,
        config: DashboardConfig,
        view: View,
        listening: socket.socket,
        doorkeeper: Doorkeeper | None = None,
    ) -> None:
        self.config = config
        self.doorkeeper = doorkeeper or Doorkeeper(config.token)
        self.listening = listening
        self.ended = trio.Event()
        self._scope = trio.CancelScope()
        self._view = view
        self._history = History(config.history)
        self._application: Application | None = None

    @property
    def url(self) -> str:
        """Where browsers find it."""
        return _url(self.config, self.listening)

    def end(self) -> None:
        """Have `run` return soon."""
        self._scope.cancel()

    def statistics(self) -> DashboardStatistics | None:
        """Return the counters; None before it is up."""
        if self._application is None:
            return None
        return DashboardStatistics(self._application.statistics(), self._history.statistics())

    async def run(self, after: Dashboard | None = None) -> None:
        """Serve until cancelled, or ended; not before another one has ended, who has the history.

        A fault of ours ends the dashboard alone.
        """
        config = self.config
        try:
            if after is not None:
                await after.ended.wait()
            with self._scope, contained("dashboard"):
                log.info("dashboard at %s", self.url)
                await self._history.open()
                async with recording(self._view, self._history) as recorder:
                    self._application = Application(
                        recorder, self.doorkeeper, secure=config.cert_file is not None
                    )
                    await serve(
                        # Hypercorn and Starlette each have a type of their own for a scope.
                        self._application.asgi,  # type: ignore[arg-type]
                        _hypercorn(config, self.listening),
                        mode="asgi",
                    )
        finally:
            self.listening.close()
            self.ended.set()


def listen(host: str, port: int) -> socket.socket:
    """Open the port, with a socket that hypercorn gets. Raises HostError."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise advice.cannot_listen("tcp", host, port, error) from error
    # So are its duplicates, which share that: one that blocked would hold up the router.
    listening.setblocking(False)
    # Connections inherit it.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STUCK_SECONDS * 1000))
    return listening


def _url(config: DashboardConfig, listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    scheme = "http" if config.cert_file is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"


def _hypercorn(config: DashboardConfig, listening: socket.socket) -> Config:
    settings = Config()
    # It closes what it is given.
    settings.bind = [f"fd://{listening.dup().detach()}"]
    if config.cert_file is not None:
        settings.certfile = str(config.cert_file)
        settings.keyfile = str(config.key_file)
    settings.alpn_protocols = ["http/1.1"]
    settings.ssl_handshake_timeout = HANDSHAKE_SECONDS
    settings.graceful_timeout = GRACE_SECONDS
    settings.include_server_header = False
    server_log = logging.getLogger("polevpn_trio.dashboard.http")
    server_log.setLevel(logging.WARNING)
    settings.errorlog = server_log
    return settings
