"""Tells systemd, or whatever else sets ``NOTIFY_SOCKET``, that the program is up, and how it is.

The protocol of sd_notify(3): a datagram of ``NAME=value`` lines to a Unix socket. The watchdog's
signs of life come from a task of the tree, so they stop when the tree does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from functools import partial

import attrs
import trio

from polevpn_trio.control.log import ContextLogger, printable
from polevpn_trio.management.answers import DEGRADED, DOWN, UP, Status
from polevpn_trio.management.view import View
from polevpn_trio.nursery_tree import Branch
from polevpn_trio.transport.containment import contained

log = ContextLogger(logging.getLogger(__name__))

STATUS_SECONDS = 10.0
"""How often the status is told where there is no watchdog that wants to hear more often."""

LONGEST_TROUBLE = 200
"""Characters of what is wrong that are worth a status line."""


@attrs.frozen
class ServiceManager:
    """Whom to tell. ``watchdog`` is the longest time in seconds without a sign of life."""

    address: str
    watchdog: float | None = None

    def tell(self, *lines: str) -> None:
        """Send a notification; that nobody takes it hurts nobody."""
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        ):
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self.address)

    @contextlib.contextmanager
    def telling_of_reload(self) -> Iterator[None]:
        """Say that the configuration is read anew, as long as the block lasts."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self.tell("READY=1")

    async def keep_informed(self, view: View) -> None:
        """Say that the program is ready, tell how it is for ever, and in the end that it ends."""
        interval = min(STATUS_SECONDS, (self.watchdog or STATUS_SECONDS) / 3)
        self.tell("READY=1")
        try:
            while True:
                lines = ["WATCHDOG=1"]
                # A status that cannot be told is no reason to be started anew.
                with contained("service manager"):
                    lines.append(f"STATUS={summary(await view.status(0.0))}")
                self.tell(*lines)
                await trio.sleep(interval)
        finally:
            self.tell("STOPPING=1", "STATUS=ending")


def service_manager(environment: Mapping[str, str] = os.environ) -> ServiceManager | None:
    """Find out who started us, if it wants to be told."""
    address = environment.get("NOTIFY_SOCKET", "")
    if address.startswith("@"):
        # An abstract one (unix(7)).
        address = "\0" + address[1:]
    elif not address.startswith("/"):
        return None
    watchdog = None
    try:
        microseconds = int(environment.get("WATCHDOG_USEC", "0"))
        process = int(environment.get("WATCHDOG_PID", "0"))
    except ValueError:
        log.warning(
            "WATCHDOG_USEC or WATCHDOG_PID is no number: no signs of life will be given",
            advice="correct or unset them where this program is started: systemd sets them itself",
        )
        microseconds = process = 0
    if microseconds > 0 and process in (0, os.getpid()):
        watchdog = microseconds / 1e6
    return ServiceManager(address, watchdog)


def start_service_manager(root: Branch, view: View, manager: ServiceManager | None = None) -> None:
    """Keep whoever started us informed, in a task of the tree; call it when all else runs."""
    manager = manager or service_manager()
    if manager is not None:
        root.start_soon("service manager", partial(manager.keep_informed, view))


def summary(status: Status) -> str:
    """Say in a line how the sites are, and what is wrong with the first that is not well."""
    counts = dict.fromkeys((UP, DEGRADED, DOWN), 0)
    for site in status.sites:
        counts[site.state] += 1
    text = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    for site in status.sites:
        if site.state != UP and site.troubles:
            trouble = f"{site.name}: {site.troubles[0].what}"
            return f"sites: {text}; {printable(trouble)[:LONGEST_TROUBLE]}"
    return f"sites: {text or 'none yet'}"
