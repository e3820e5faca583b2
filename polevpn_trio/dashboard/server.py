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
    """The dashboard of one running program."""

    def __init__(self, config: DashboardConfig, view: View) -> None:
        self._config = config
        self._view = view
        self._history = History(config.history)
        self._application: Application | None = None

    def statistics(self) -> DashboardStatistics | None:
        """Return the counters; None before it is up."""
        if self._application is None:
            return None
        return DashboardStatistics(self._application.statistics(), self._history.statistics())

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started with the URL, when the port is open.

        Raises HostError if the port cannot be had. A fault of ours ends the dashboard alone.
        """
        config = self._config
        with _listening(config.host, config.port) as listening:
            url = _url(config, listening)
            log.info("dashboard at %s", url)
            # A router does not wait for the disk to be ready.
            task_status.started(url)
            with contained("dashboard"):
                await self._history.open()
                async with recording(self._view, self._history) as recorder:
                    self._application = Application(
                        recorder, Doorkeeper(config.token), secure=config.cert_file is not None
                    )
                    await serve(
                        # Hypercorn and Starlette each have a type of their own for a scope.
                        self._application.asgi,  # type: ignore[arg-type]
                        _hypercorn(config, listening),
                        mode="asgi",
                    )


def _listening(host: str, port: int) -> socket.socket:
    """A socket that hypercorn gets. Raises HostError."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise advice.cannot_listen("tcp", host, port, error) from error
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
