"""The router: accepts gateways and carries packets between them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

from polevpn_trio.access import derive_keys
from polevpn_trio.control.changes import ROUTER_KEYS, Changes
from polevpn_trio.control.config import RouterConfig, load_router
from polevpn_trio.control.garbage import collect_when_grown, without_full_collections
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.control.open_files import allow_many_files
from polevpn_trio.dashboard.service import DashboardService
from polevpn_trio.hub import Router
from polevpn_trio.listeners import listen_tcp, listen_udp
from polevpn_trio.management.certificate_status import certificates_of
from polevpn_trio.management.reload import Reloader, Source
from polevpn_trio.management.router_view import RouterView
from polevpn_trio.management.routing import RouterTable
from polevpn_trio.management.service import managed, start_control, start_metrics
from polevpn_trio.management.service_manager import start_service_manager
from polevpn_trio.nursery_tree import open_root
from polevpn_trio.site import open_site
from polevpn_trio.site_peer import join_site

log = ContextLogger(logging.getLogger(__name__))


async def run(config: RouterConfig, source: Source[RouterConfig] | None = None) -> None:
    """Be a router until cancelled; go on with what comes from ``source``, by default its file.

    Raises HostError when a port or the TUN device cannot be had.
    """
    source = source or Source(partial(load_router, config.path))
    allow_many_files()
    with managed("router", config.path, config.control, config.warnings) as program:
        async with AsyncExitStack() as stack, open_root("router") as root:
            router = Router(config, root)
            stack.enter_context(without_full_collections())
            root.start_soon("garbage", collect_when_grown)
            own = None
            if config.site is not None:
                site = await stack.enter_async_context(open_site(config.site))
                router.own_site = site
                own = join_site(router.forwarder, router.roster, root, config, site)
            if config.kcp is not None:
                await root.nursery.start(partial(listen_udp, router, config.kcp))
            if config.tls is not None:
                await root.nursery.start(partial(listen_tcp, router, config.tls))
            table = RouterTable(router.forwarder, router.roster, own)
            root.start_soon("expiry", router.access.watch_time)
            view = RouterView(
                program,
                root,
                table,
                lambda: router.strangers.count,
                lambda: router.strangers.refused,
                lambda: certificates_of(router.config),
                lambda: router.admission.refused,
            )
            dashboard = DashboardService(root, view)

            async def adopt(changes: Changes[RouterConfig]) -> Sequence[str]:
                with dashboard.changing(changes.config.dashboard) as change:
                    cut = await router.adopt(changes)
                    change()
                return cut

            reloader = Reloader(program, config, source, ROUTER_KEYS, adopt, prepare=derive_keys)
            root.start_soon("reload", reloader.serve)
            await start_control(root, view, reloader)
            await start_metrics(root, view, config.metrics)
            dashboard.start(config.dashboard)
            start_service_manager(root, view)
            log.info("ready")
