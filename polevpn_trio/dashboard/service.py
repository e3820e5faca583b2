"""Starts the dashboard of a router that wants one, if what it takes is installed."""

from __future__ import annotations

import importlib.util

from polevpn_trio.control.dashboard_config import DashboardConfig
from polevpn_trio.errors import HostError
from polevpn_trio.management.view import View
from polevpn_trio.nursery_tree import Branch

EXTRA = ("hypercorn", "starlette")
"""Packages of the extra `dashboard`."""


async def start_dashboard(root: Branch, config: DashboardConfig, view: View) -> None:
    """Serve it in a task of the tree. Raises HostError if it cannot be."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise HostError(
            f"`dashboard` is configured, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed",
            advice="pip install 'polevpn-trio[dashboard]', or take `dashboard` out",
        )
    # Not before it is known that it can be imported.
    from polevpn_trio.dashboard.server import Dashboard

    dashboard = Dashboard(config, view)
    await root.start("dashboard", dashboard.run, dashboard.statistics)
