"""Puts a role's view on its control socket, as a branch of the role's tree."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from polevpn_trio.control.control_config import ControlConfig
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.control.metrics_config import MetricsConfig
from polevpn_trio.errors import HostError
from polevpn_trio.management.events import recording_events
from polevpn_trio.management.instances import control_socket
from polevpn_trio.management.reload import Reloads
from polevpn_trio.management.server import ControlServer
from polevpn_trio.management.view import Program, View
from polevpn_trio.nursery_tree import Branch

log = ContextLogger(logging.getLogger("polevpn_trio.control"))


async def start_control(root: Branch, view: View, reloads: Reloads) -> None:
    """Answer on the program's control socket, if it has one, in a task of the tree."""
    socket = view.program.socket
    if socket is not None:
        server = ControlServer(view, reloads)
        await root.start("control", partial(server.serve, socket.listening), server.statistics)
        log.info("answering questions at %s", socket.path)


async def start_metrics(root: Branch, view: View, config: MetricsConfig | None) -> None:
    """Serve the program's metrics, if the configuration says where. Raises HostError."""
    if config is not None:
        # Only now: whoever does not want metrics need not hold the client library in memory.
        from polevpn_trio.management.metrics_server import MetricsServer, open_listeners

        server = MetricsServer(view)
        listeners = await open_listeners(config)
        await root.start("metrics", partial(server.serve, listeners), server.statistics)


@contextmanager
def managed(
    role: str, config_file: Path, config: ControlConfig, warnings: tuple[str, ...]
) -> Iterator[Program]:
    """Record events and own the control socket, as long as the block lasts.

    A program without a socket works as well; only where the configuration names one and it
    cannot be had, HostError is raised.
    """
    with recording_events() as events, ExitStack() as stack:
        socket = None
        if config.enabled:
            try:
                socket = stack.enter_context(control_socket(role, config_file, config))
            except HostError as error:
                if config.path is not None or config.group is not None:
                    raise
                log.warning("%s: nobody can ask how we are", error, advice=error.advice)
        yield Program(role, config_file, warnings, events, socket)
