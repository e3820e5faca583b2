"""What a configuration would do, in a few lines for the person who wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from polevpn_trio.control.config import (
    GatewayConfig,
    KcpOptions,
    ListenerConfig,
    RouterConfig,
    SiteConfig,
)
from polevpn_trio.control.dashboard_config import DashboardConfig
from polevpn_trio.control.log import printable
from polevpn_trio.control.metrics_config import METRICS_PATH, MetricsConfig
from polevpn_trio.control.registration import FEATURES
from polevpn_trio.control.run_as import RunAs
from polevpn_trio.forwarding.policy.rules import Policy

_LABEL_WIDTH = 16
_NAMES_SHOWN = 10


def summary(config: RouterConfig | GatewayConfig) -> str:
    """Lines of text, without a secret in them."""
    lines: list[tuple[str, str]]
    if isinstance(config, RouterConfig):
        role = "router"
        lines = list(_router(config))
    else:
        role = "gateway"
        lines = list(_gateway(config))
    shown = [f"{config.path}: a good configuration for `{role}`"]
    shown += [f"  {label:<{_LABEL_WIDTH}}{text}" for label, text in lines]
    shown += [f"  {'warning':<{_LABEL_WIDTH}}{text}" for text in config.warnings]
    return "\n".join(printable(line) for line in shown)


def _router(config: RouterConfig) -> Iterator[tuple[str, str]]:
    if config.kcp is not None:
        yield "kcp", _listener("UDP", config.kcp)
    if config.tls is not None:
        yield "tls and wss", _listener("TCP", config.tls)
    yield "dialect", _dialect(config)
    yield (
        "timeouts",
        f"login {config.auth_timeout:g} s, without heartbeat {config.idle_timeout:g} s",
    )
    yield "queue", f"{config.queue_bytes} bytes for each gateway"
    yield "tcp", _congestion(config.tcp_congestion)
    yield from _kcp_options(config.kcp_options)
    if config.sites is not None:
        yield "known sites", _some(sorted(config.sites))
    if config.policy is not None:
        yield "policy", _policy(config.policy)
    if config.dashboard is not None:
        yield "dashboard", _dashboard(config.dashboard)
    if config.site is None:
        yield "own site", "none: only forwards between gateways"
    else:
        yield from _site(config.site)
    yield from _metrics(config.metrics)
    yield from _run_as(config.run_as)
    yield "log level", config.log_level


def _gateway(config: GatewayConfig) -> Iterator[tuple[str, str]]:
    yield "server", ", then ".join(server.text for server in config.servers)
    if config.name:
        yield "known there as", config.name
    yield "verified", str(config.router_trust)
    yield "dialect", _dialect(config)
    yield "timeouts", f"each attempt {config.connect_timeout:g} s"
    yield "tcp", _congestion(config.tcp_congestion)
    yield from _kcp_options(config.kcp_options)
    yield from _site(config.site)
    yield from _metrics(config.metrics)
    yield from _run_as(config.run_as)
    yield "log level", config.log_level


def _run_as(run_as: RunAs | None) -> Iterator[tuple[str, str]]:
    if run_as is not None:
        group = f", group {run_as.group}" if run_as.group else ""
        yield "started by root", f"becomes user {run_as.user}{group}"


def _metrics(metrics: MetricsConfig | None) -> Iterator[tuple[str, str]]:
    if metrics is not None:
        host = f"[{metrics.host}]" if ":" in metrics.host else metrics.host or "*"
        yield "metrics", f"http://{host}:{metrics.port}{METRICS_PATH}"


def _listener(protocol: str, listener: ListenerConfig) -> str:
    host = f"[{listener.host}]" if ":" in listener.host else listener.host
    where = f"{host} port {listener.port}" if host else f"port {listener.port} of every address"
    return f"{protocol} {where}, certificate {listener.cert_file}"


def _policy(policy: Policy) -> str:
    rules = f"{len(policy.rules)} rule{'s' if len(policy.rules) != 1 else ''}"
    return f"{rules}, else {policy.default_action}; at most {policy.flows} flows"


def _dashboard(dashboard: DashboardConfig) -> str:
    host = f"[{dashboard.host}]" if ":" in dashboard.host else dashboard.host or "*"
    scheme = "http" if dashboard.cert_file is None else "https"
    return f"{scheme}://{host}:{dashboard.port}/, history in {dashboard.history}"


def _dialect(config: RouterConfig | GatewayConfig) -> str:
    if not config.native:
        return "classic only"
    absent = [name for name in FEATURES if name not in config.features]
    without = f" without {', '.join(absent)}" if absent else ""
    with_originals = "classic with the originals" if config.classic else "none with the originals"
    return f"native{without}, {with_originals}"


def _congestion(name: str) -> str:
    return f"congestion control {name} if the kernel has it" if name else "the kernel's defaults"


def _kcp_options(options: KcpOptions) -> Iterator[tuple[str, str]]:
    if options != KcpOptions():
        yield (
            "kcp options",
            f"datagrams of {options.mtu} bytes, windows of {options.send_window} (send) and "
            f"{options.receive_window} (receive) segments, repair up to {options.repair_budget} %",
        )


def _site(site: SiteConfig) -> Iterator[tuple[str, str]]:
    own = [str(address) for address in (site.gateway, site.gateway6) if address is not None]
    yield "gateway", f"{' and '.join(own)} on {site.interface or 'a new tun device'}"
    yield "local networks", _listed(site.local_networks, "none: only this machine")
    yield "routes", _listed(site.route_networks, "none")
    yield "let in", _listed(site.acls, "every source address")
    clamp = ", MSS clamped" if site.mss_clamp else ", MSS left alone"
    yield "mtu", f"{site.mtu} bytes{clamp}"
    changes = [
        text
        for wanted, text in (
            (site.forward, "switches on IP forwarding"),
            (site.masquerade, "masquerades what leaves the tunnel"),
        )
        if wanted
    ]
    yield "this machine", _listed(changes, "neither forwarding nor masquerading is set up")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return _listed(names[:_NAMES_SHOWN], "none yet (see `keys site`)") + more


def _listed(entries: Iterable[object], none: str) -> str:
    return ", ".join(str(entry) for entry in entries) or none
