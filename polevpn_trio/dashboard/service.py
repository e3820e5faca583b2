"""Has a router serve the dashboard that its configuration asks for, if its packages are there."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from polevpn_trio.control.dashboard_config import DashboardConfig
from polevpn_trio.errors import HostError
from polevpn_trio.management.view import View
from polevpn_trio.nursery_tree import Branch

if TYPE_CHECKING:
    from polevpn_trio.dashboard.server import Dashboard

EXTRA = ("hypercorn", "starlette")
"""Packages of the extra `dashboard`."""


def missing_packages() -> list[str]:
    """Those of `EXTRA` that this program cannot import."""
    return [name for name in EXTRA if importlib.util.find_spec(name) is None]


def pip_install(packages: Sequence[str]) -> str:
    """The command that installs packages where this program finds them."""
    return f"{sys.executable} -m pip install {' '.join(packages)}"


SAME_PORT = (
    'the running dashboard may have the port: reload once with "enable": false, then as it is now'
)


class DashboardService:
    """The dashboard of a router, which may get another configuration while it runs."""

    def __init__(self, root: Branch, view: View) -> None:
        self._root = root
        self._view = view
        self.dashboard: Dashboard | None = None
        """The one that is in force."""

    def start(self, config: DashboardConfig | None) -> None:
        """Serve in a task of the tree. Raises HostError if that cannot be."""
        with self.changing(config) as change:
            change()

    @contextmanager
    def changing(self, config: DashboardConfig | None) -> Iterator[Callable[[], None]]:
        """Give a function that goes on with this configuration; it does not fail.

        What may fail is done before: raises HostError, and all is as it was. So it is if the
        function is not called in the block.
        """
        running = self.dashboard
        if running is not None and running.ended.is_set():
            running = None
        if config == (running.config if running is not None else None):
            yield lambda: None
        elif config is None:
            yield partial(self._go_on_with, None)
        else:
            new = self._open(config, running)
            try:
                yield partial(self._go_on_with, new)
            finally:
                if self.dashboard is not new:
                    new.listening.close()

    def _open(self, config: DashboardConfig, running: Dashboard | None) -> Dashboard:
        missing = missing_packages()
        if missing:
            raise HostError(
                f"`dashboard` is configured, but {' and '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not installed",
                advice=f"`{pip_install(missing)}`, or take `dashboard` out",
            )
        # Not before it is known that it can be imported.
        from polevpn_trio.dashboard.server import Dashboard, listen

        doorkeeper = None
        if running is not None and running.config.token == config.token:
            doorkeeper = running.doorkeeper
        if running is not None and _place(running.config) == _place(config):
            return Dashboard(config, self._view, running.listening.dup(), doorkeeper)
        try:
            listening = listen(config.host, config.port)
        except HostError as error:
            if running is None or running.config.port != config.port:
                raise
            raise HostError(str(error), advice=SAME_PORT) from error
        return Dashboard(config, self._view, listening, doorkeeper)

    def _go_on_with(self, new: Dashboard | None) -> None:
        running, self.dashboard = self.dashboard, new
        if running is not None:
            running.end()
        if new is not None:
            self._root.start_soon("dashboard", partial(new.run, running), new.statistics)


def _place(config: DashboardConfig) -> tuple[str, int]:
    return config.host, config.port
