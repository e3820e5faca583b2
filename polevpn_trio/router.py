"""The router: accepts gateways and carries packets between them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from functools import partial

import attrs

from polevpn_trio.access import ListenerContexts, derive_keys
from polevpn_trio.control.changes import ROUTER_KEYS, Changes
from polevpn_trio.control.config import RouterConfig, load_router
from polevpn_trio.control.garbage import collect_when_grown, without_full_collections
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.control.open_files import allow_many_files
from polevpn_trio.dashboard.service import DashboardService
from polevpn_trio.hub import Router
from polevpn_trio.listeners import Ports, listen_tcp, listen_udp, open_ports
from polevpn_trio.management.certificate_status import certificates_of
from polevpn_trio.management.reload import Reloader, Source
from polevpn_trio.management.router_view import RouterView
from polevpn_trio.management.routing import RouterTable
from polevpn_trio.management.service import managed, start_control, start_metrics
from polevpn_trio.management.service_manager import start_service_manager
from polevpn_trio.nursery_tree import open_root
from polevpn_trio.site import open_device, open_site
from polevpn_trio.site_peer import join_site
from polevpn_trio.tun.device import TunDevice

log = ContextLogger(logging.getLogger(__name__))


@attrs.frozen
class Opened:
    """What takes rights to open that a router need not keep."""

    contexts: ListenerContexts
    """Certificates and keys, read."""
    ports: Ports
    device: TunDevice | None

    @property
    def interface(self) -> str | None:
        """The name of the TUN device, if there is one."""
        return self.device.name if self.device is not None else None


@contextmanager
def opened(config: RouterConfig) -> Iterator[Opened]:
    """Open it, for as long as the block lasts; no thread is started.

    Raises HostError when a port, a certificate or the TUN device cannot be had.
    """
    with ExitStack() as stack:
        contexts = ListenerContexts.of(config)
        ports = stack.enter_context(closing(open_ports(config)))
        device = stack.enter_context(open_device(config.site)) if config.site is not None else None
        yield Opened(contexts, ports, device)


async def run(
    config: RouterConfig,
    source: Source[RouterConfig] | None = None,
    given: Opened | None = None,
) -> None:
    """Be a router until cancelled; go on with what comes from ``source``, by default its file.

    ``given`` is what was `opened` before; else that is done now. Raises HostError when something
    of the machine cannot be had.
    """
    if given is None:
        with opened(config) as given:
            await run(config, source, given)
        return
    source = source or Source(partial(load_router, config.path))
    allow_many_files()
    with managed("router", config.path, config.control, config.warnings) as program:
        async with AsyncExitStack() as stack, open_root("router") as root:
            router = Router(config, root, given.contexts)
            stack.enter_context(without_full_collections())
            root.start_soon("garbage", collect_when_grown)
            own = None
            if config.site is not None:
                site = await stack.enter_async_context(open_site(config.site, given.device))
                router.own_site = site
                own = join_site(router.forwarder, router.roster, root, config, site)
            if config.kcp is not None:
                await root.nursery.start(partial(listen_udp, router, config.kcp, given.ports.udp))
            if config.tls is not None:
                await root.nursery.start(partial(listen_tcp, router, config.tls, given.ports.tcp))
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
                router.access.known_sites,
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
