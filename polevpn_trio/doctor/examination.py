"""The whole examination: which checks concern a machine and a configuration, in their order."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Iterator

import attrs
import trio

from polevpn_trio.control.config import (
    DEFAULT_CONGESTION,
    GatewayConfig,
    ListenerConfig,
    RouterConfig,
    ServerUrl,
    SiteConfig,
)
from polevpn_trio.doctor import (
    clock,
    congestion,
    files,
    firewall,
    forwarding_settings,
    names,
    peers,
    ports,
    routing,
    run_as,
    sites,
    surroundings,
    tunnel_device,
    udp_sockets,
)
from polevpn_trio.doctor.finding import Finding, Status, fail, skip
from polevpn_trio.doctor.link_mtu import look_up_link_mtu
from polevpn_trio.doctor.nft_ruleset import look_at_firewall
from polevpn_trio.doctor.path_probes import Progress, ask_by_tcp, ask_by_udp
from polevpn_trio.errors import HostError
from polevpn_trio.tun.netlink import REFUSALS

Config = RouterConfig | GatewayConfig

ADDRESSES_ASKED = 4
"""Of a router's name; a gateway tries them all, one after the other."""


@attrs.frozen
class Section:
    """Findings that belong together."""

    title: str
    findings: tuple[Finding, ...]


def worst(sections: list[Section]) -> Status:
    """The worst of all findings; what could not be found out counts as well."""
    found = {finding.status for section in sections for finding in section.findings}
    return next((each for each in (Status.FAIL, Status.WARN) if each in found), Status.OK)


def examine_machine(config: Config | None) -> Section:
    """Look at what does not depend on networks; ``config`` tells what matters."""
    return Section("machine", tuple(_machine(config)))


def examine_files(config: Config) -> Section:
    """Look at the configuration and the files that it names."""
    return Section("configuration", tuple(_files(config)))


def examine_network(config: Config) -> Section:
    """Look at this machine's ports, settings, routes, and firewall."""
    return Section("network", tuple(_network(config)))


async def examine_routers(config: GatewayConfig, progress: Progress) -> list[Section]:
    """Ask the routers of a gateway, as a stranger would; tells ``progress`` what is being done."""
    asked: list[peers.Asked] = []
    found: dict[ServerUrl, list[Finding]] = {server: [] for server in config.servers}
    addresses: dict[str, names.NameFacts] = {}
    for server in config.servers:
        if server.host not in addresses:
            progress(f"{server.text}: looking for its address", None)
            addresses[server.host] = await names.look_up(server.host)
            name = names.judge_name(addresses[server.host])
            found[server] += [name] if name else []
        for family, address in addresses[server.host].addresses[:ADDRESSES_ASKED]:
            asked.append(await _ask(server, family, address, progress))
    now = datetime.datetime.now(datetime.UTC)
    for server, finding in peers.judge_all(config, asked, now):
        found[server].append(finding)
    for each in asked:
        if each.facts.clock is not None and each.facts.asked_at is not None:
            found[each.server].append(
                clock.judge_skew(
                    each.facts.asked_at, each.facts.clock, each.facts.round_trip, each.where
                )
            )
    return [
        Section(f"router {server.text}", tuple(findings))
        for server, findings in found.items()
        if findings
    ]


async def _ask(server: ServerUrl, family: int, address: str, progress: Progress) -> peers.Asked:
    version = 6 if family == socket.AF_INET6 else 4
    target = (family, address)
    if server.scheme == "kcp":
        link_mtu = await trio.to_thread.run_sync(look_up_link_mtu, address)
        facts = await ask_by_udp(
            target, server.port, lambda what, share: progress(f"{server.text}: {what}", share)
        )
        return peers.Asked(server, version, address, facts, link_mtu)
    progress(f"{server.text}: TLS handshake", None)
    return peers.Asked(server, version, address, await ask_by_tcp(target, server.port, server.host))


def _machine(config: Config | None) -> Iterator[Finding]:
    container = surroundings.look_for_container()
    rights = tunnel_device.look_at_rights()
    site = _site_of(config)
    has_site = config is None or site is not None
    yield surroundings.look_at_kernels()
    yield surroundings.judge_container(container, has_site=has_site)
    yield tunnel_device.judge_rights(rights, has_site=has_site)
    if has_site:
        tun = tunnel_device.look_at_tun()
        yield tunnel_device.judge_tun(tun, rights, container=container.kind)
        offload = tunnel_device.judge_offload(tun)
        if offload is not None:
            yield offload
    by_udp, by_tcp = _protocols(config)
    if by_udp:
        yield from _udp(rights)
    if by_tcp:
        wanted = DEFAULT_CONGESTION if config is None else config.tcp_congestion
        yield congestion.judge_congestion(congestion.look_at_congestion(wanted))
    if not isinstance(config, GatewayConfig):
        yield surroundings.look_at_open_files()
    if isinstance(config, RouterConfig) and config.dashboard is not None:
        yield from surroundings.judge_packages()
    if config is not None and config.run_as is not None:
        yield run_as.judge_user(config, config.run_as, run_as.look_at_user(config, config.run_as))
    known = () if config is None else (config.path,)
    yield clock.judge_clock(clock.look_at_clock(*known))


def _udp(rights: tunnel_device.Rights) -> Iterator[Finding]:
    try:
        facts = udp_sockets.look_at_udp()
    except (HostError, OSError) as error:
        yield fail(
            "udp-offload",
            f"no UDP socket can be opened: {getattr(error, 'strerror', None) or error}",
            "kcp:// cannot be used",
            "ip link set lo up",
        )
        return
    yield udp_sockets.judge_udp_offload(facts)
    buffers = udp_sockets.judge_socket_buffers(facts, rights)
    if buffers is not None:
        yield buffers


def _files(config: Config) -> Iterator[Finding]:
    now = datetime.datetime.now(datetime.UTC)
    yield from files.judge_warnings(config)
    yield from files.judge_secrets([files.look_at_file(each) for each in config.secret_files])
    for file in files.certificate_files(config):
        yield files.judge_certificate(files.look_at_certificate(file), now)


def _network(config: Config) -> Iterator[Finding]:
    yield from _ports(config)
    listeners = _listeners(config)
    rules = look_at_firewall()
    yield from firewall.judge_reading(rules)
    for protocol, listener in listeners:
        yield from firewall.judge_input(rules, protocol, listener.port)
    if isinstance(config, RouterConfig):
        yield from sites.judge_sites(config)
    site = _site_of(config)
    if site is None:
        return
    kernel = forwarding_settings.look_at_forwarding()
    container = surroundings.look_for_container()
    yield from forwarding_settings.judge_forwarding(kernel, site, container=container.kind)
    yield forwarding_settings.judge_source_filter(kernel)
    try:
        routes = routing.look_at_routes()
    except REFUSALS as error:
        yield skip("routes", f"the kernel's routes cannot be read: {error}")
        interfaces: list[str] = []
    else:
        yield from routing.judge_routes(routes, site)
        interfaces = list(routes.interfaces.values())
    yield from firewall.judge_forward(rules, site)
    yield from firewall.judge_nat(rules, site, interfaces)


def _ports(config: Config) -> Iterator[Finding]:
    role = "gateway" if isinstance(config, GatewayConfig) else "router"
    wanted: list[tuple[str, ports.Listener]] = [*_listeners(config)]
    if config.metrics is not None:
        wanted.append(("tcp", config.metrics))
    if isinstance(config, RouterConfig) and config.dashboard is not None:
        wanted.append(("tcp", config.dashboard))
    for protocol, listener in wanted:
        try:
            port = ports.look_at_port(protocol, listener)
        except OSError:
            yield ports.judge_unknown_host(listener, role)
        else:
            yield ports.judge_port(protocol, listener, port, role)


def _site_of(config: Config | None) -> SiteConfig | None:
    return None if config is None else config.site


def _listeners(config: Config) -> list[tuple[str, ListenerConfig]]:
    if isinstance(config, GatewayConfig):
        return []
    both = (("udp", config.kcp), ("tcp", config.tls))
    return [(protocol, listener) for protocol, listener in both if listener is not None]


def _protocols(config: Config | None) -> tuple[bool, bool]:
    """Whether tunnels go over UDP, and over TCP."""
    if config is None:
        return True, True
    if isinstance(config, RouterConfig):
        return config.kcp is not None, config.tls is not None
    schemes = {server.scheme for server in config.servers}
    return "kcp" in schemes, schemes != {"kcp"}


def no_configuration() -> Section:
    """What is said where there is no file to look at."""
    text = "no configuration was named: only the machine is looked at"
    return Section(
        "configuration", (skip("config", text, remedy="polevpn-trio doctor gateway.json"),)
    )
