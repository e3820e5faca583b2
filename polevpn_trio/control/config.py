"""The configuration files of both roles, parsed once and checked completely.

The JSON is that of the PoleVPN originals, with the ``//`` comments that their README shows, plus
optional keys of our own. What comes out are frozen objects that need no second look; what is
wrong comes out as ConfigError, which names the file, the key and what was expected. All mistakes
of a file are found in one go: the first one is the exception, the others are its notes
(``__notes__``).

Reading a configuration touches nothing but the files that it names.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Mapping
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import attrs

from polevpn_trio.control import addresses
from polevpn_trio.control.certificates import Unfit, check_pair
from polevpn_trio.control.commented_json import kind, parse, read
from polevpn_trio.control.control_config import ControlConfig, control_config
from polevpn_trio.control.dashboard_config import DashboardConfig, dashboard_config
from polevpn_trio.control.limits import DEFAULT_LIMITS, Limits, read_limits
from polevpn_trio.control.log import LEVELS, printable
from polevpn_trio.control.members import Members, Report, shown
from polevpn_trio.control.metrics_config import MetricsConfig, metrics_config
from polevpn_trio.control.policy_config import read_policy
from polevpn_trio.control.registration import FEATURES
from polevpn_trio.control.renewal import RENEW_SECONDS
from polevpn_trio.control.router_trust import RouterTrust
from polevpn_trio.control.run_as import RunAs, run_as
from polevpn_trio.control.shared_key import read_key, read_router_keys
from polevpn_trio.control.site_directory import SiteDirectory, is_site_name, read_sites
from polevpn_trio.control.trust_config import router_trust
from polevpn_trio.control.web import DEFAULT_SITE, WEB_KEYS, WebSite, web_site
from polevpn_trio.errors import ConfigError
from polevpn_trio.forwarding.policy.rules import Policy
from polevpn_trio.frames.messages import MAX_BODY, RegisterRequest

Network = IPv4Network | IPv6Network

DEFAULT_CONGESTION = "bbr"
"""For tls:// and wss://: it takes loss for what it mostly is on long paths, a fault of the line."""

DEFAULT_MTU = 1500
MIN_MTU, MIN_MTU_IPV6, MAX_MTU = 576, 1280, 9000

_SITE_KEYS = (
    "gateway",
    "gateway6",
    "local_network",
    "local_networks",
    "route_networks",
    "acls",
    "interface",
    "mtu",
    "forward",
    "masquerade",
    "mss_clamp",
)
_SHARED_KEYS = (
    "key",
    "classic",
    "log_level",
    "native",
    "kcp_options",
    "tcp_congestion",
    "control",
    "metrics",
    "user",
    "group",
)
_ROUTER_KEYS = (
    "kcp",
    "tls",
    "gateways",
    "gateways_directory",
    "admit_shared_key",
    "site",
    "idle_timeout",
    "auth_timeout",
    "queue_bytes",
    "source_check",
    "policy",
    "dashboard",
    "limits",
    *_SHARED_KEYS,
)
_GATEWAY_KEYS = (
    "route_server",
    "name",
    "cert_file",
    "key_file",
    "renew_seconds",
    "connect_timeout",
    "verify_router",
    "known_routers",
    *_SITE_KEYS,
    *_SHARED_KEYS,
)
_LISTENER_KEYS = ("enable", "listen", "cert_file", "key_file")
_KEYS_OF_LISTENER = {"kcp": _LISTENER_KEYS, "tls": (*_LISTENER_KEYS, *WEB_KEYS)}
_KCP_KEYS = ("mtu", "send_window", "receive_window", "repair_budget")


@attrs.frozen
class CertificatePair:
    """A certificate and its private key, two PEM files."""

    cert_file: Path
    key_file: Path
    digest: bytes = attrs.field(default=b"", eq=False, repr=False)
    """Of what is in the files: tells whether they have changed."""


@attrs.frozen
class ListenerConfig:
    """Where a router listens, and how it shows who it is."""

    host: str
    """Address or host name; "" means every address of the machine, IPv4 and IPv6."""
    port: int
    cert_file: Path
    """PEM, own certificate first."""
    key_file: Path
    web: WebSite = DEFAULT_SITE
    """What a listener for TCP is to browsers."""
    pair_digest: bytes = attrs.field(default=b"", eq=False, repr=False)
    """Of what is in the two files."""


@attrs.frozen
class KcpOptions:
    """Sizes of a KCP conversation; the defaults suit the originals on the other side."""

    mtu: int = 1350
    """Bytes of the largest datagram inside DTLS."""
    send_window: int = 2048
    """Segments."""
    receive_window: int = 2048
    """Segments."""
    repair_budget: int = 25
    """Bytes of repair (FEC) among each 100 bytes that are sent, at most."""


@attrs.frozen
class SiteConfig:
    """A network that this machine joins to the others by a TUN device of its own."""

    gateway: IPv4Address | None = None
    """Address of the TUN device; ``gateway``, ``gateway6`` or both are there."""
    gateway6: IPv6Address | None = None
    local_networks: tuple[Network, ...] = ()
    """Networks on this side, announced to the router."""
    route_networks: tuple[Network, ...] = ()
    """Networks on the other side, routed into the tunnel."""
    acls: tuple[Network, ...] = ()
    """Who may send to this site, by source address; () lets everybody."""
    interface: str | None = None
    """Name of the TUN device; None leaves it to the kernel."""
    mtu: int = DEFAULT_MTU
    """Bytes, of the TUN device."""
    forward: bool = False
    """Switch on the kernel's IP forwarding while the program runs."""
    masquerade: bool = False
    """Let packets from the tunnel leave to the LAN with this machine's address."""
    mss_clamp: bool = True
    """Lower the MSS of TCP connections to what the tunnel carries in one packet."""


@attrs.frozen
class ServerUrl:
    """One way to reach the router."""

    scheme: str
    """``kcp``, ``tls`` or ``wss``."""
    host: str
    """Address (IPv6 without brackets) or host name."""
    port: int
    path: str
    """Request target of ``wss``, "/" if the others."""
    text: str
    """The URL as it was written."""


@attrs.frozen
class RouterConfig:
    """What ``router`` needs; at least one of ``kcp`` and ``tls`` is there."""

    path: Path
    key: str = attrs.field(repr=False)
    """The shared key; "" if nobody is let in by it."""
    other_keys: tuple[str, ...] = attrs.field(default=(), repr=False, kw_only=True)
    """What is taken as well while gateways change from an old key to a new one."""
    kcp: ListenerConfig | None = None
    tls: ListenerConfig | None = None
    """Takes tls:// and wss:// alike."""
    sites: SiteDirectory | None = None
    """The sites that are known; None lets in everybody who has the shared key."""
    site: SiteConfig | None = None
    log_level: str = "info"
    idle_timeout: float = 60.0
    """Seconds without a heartbeat after which a connection is closed."""
    auth_timeout: float = 10.0
    """Seconds that a client may take for handshake and login."""
    queue_bytes: int = 4 << 20
    """Bytes that may wait for one gateway before packets to it are dropped."""
    source_check: bool = True
    """Drop packets whose source their sender has not registered."""
    policy: Policy | None = None
    """Who may talk to whom; None lets every site talk to every other."""
    limits: Limits = DEFAULT_LIMITS
    """What strangers and sites may ask of it."""
    classic: bool = True
    """Let gateways log in that send the key as it is."""
    native: bool = True
    """Offer our own dialect to peers that know it."""
    features: tuple[str, ...] = FEATURES
    """What of it is offered."""
    kcp_options: KcpOptions = KcpOptions()
    tcp_congestion: str = DEFAULT_CONGESTION
    """The kernel's congestion control for tls:// and wss://; "" leaves its own default."""
    control: ControlConfig = attrs.field(factory=ControlConfig)
    metrics: MetricsConfig | None = None
    """Where Prometheus may ask; None: nowhere."""
    dashboard: DashboardConfig | None = None
    run_as: RunAs | None = None
    """Whom it becomes if root starts it; None: nobody else."""
    secret_files: tuple[Path, ...] = attrs.field(default=(), eq=False)
    """Those that hold a key or a token."""
    warnings: tuple[str, ...] = ()
    """What is allowed but hardly meant, one line each."""


@attrs.frozen
class GatewayConfig:
    """What ``gateway`` needs; the keys of ``site`` stand at the top of the file."""

    path: Path
    servers: tuple[ServerUrl, ...]
    """Tried in this order; never empty."""
    key: str = attrs.field(repr=False)
    """The site's own key, or the shared one; "" if a certificate is all it has."""
    site: SiteConfig
    router_trust: RouterTrust
    """How a router proves that it is the right one."""
    name: str = ""
    """Under which the router knows this site; "" if it lets in all who have the shared key."""
    certificate: CertificatePair | None = None
    """By which the router knows this site."""
    log_level: str = "info"
    renew_seconds: float = RENEW_SECONDS
    """How long a link's keys are used at most before a new link takes over."""
    connect_timeout: float = 5.0
    """Seconds for one attempt, from the first packet to the answered login."""
    classic: bool = False
    """Send the key as it is to a router that takes nothing else."""
    native: bool = True
    """Offer our own dialect to a router that knows it."""
    features: tuple[str, ...] = FEATURES
    """What of it is offered."""
    kcp_options: KcpOptions = KcpOptions()
    tcp_congestion: str = DEFAULT_CONGESTION
    """The kernel's congestion control for tls:// and wss://; "" leaves its own default."""
    control: ControlConfig = attrs.field(factory=ControlConfig)
    metrics: MetricsConfig | None = None
    """Where Prometheus may ask; None: nowhere."""
    run_as: RunAs | None = None
    """Whom it becomes if root starts it; None: nobody else."""
    secret_files: tuple[Path, ...] = attrs.field(default=(), eq=False)
    """Those that hold a key or a token."""
    warnings: tuple[str, ...] = ()
    """What is allowed but hardly meant, one line each."""

    @property
    def site_name(self) -> str:
        """What the site is called: by its name, or else by its address."""
        return self.name or str(self.site.gateway or self.site.gateway6)


def load_router(path: Path | str) -> RouterConfig:
    """Read a router's file. Raises ConfigError."""
    path = Path(path)
    return _router(path, read(path))


def load_gateway(path: Path | str) -> GatewayConfig:
    """Read a gateway's file. Raises ConfigError."""
    path = Path(path)
    return _gateway(path, read(path))


def load_any(path: Path | str) -> RouterConfig | GatewayConfig:
    """Read a file of either role, told apart by its keys. Raises ConfigError."""
    path = Path(path)
    values = read(path)
    if _is_gateway(values):
        return _gateway(path, values)
    if _is_router(values):
        return _router(path, values)
    raise ConfigError(
        path,
        "",
        'neither a router\'s file nor a gateway\'s, expected "kcp" or "tls" (router), '
        'or "route_server" (gateway)',
    )


def parse_router(path: Path, text: str) -> RouterConfig:
    """A router's configuration from the text of the file ``path``. Raises ConfigError."""
    return _router(path, parse(path, text))


def parse_gateway(path: Path, text: str) -> GatewayConfig:
    """A gateway's configuration from the text of the file ``path``. Raises ConfigError."""
    return _gateway(path, parse(path, text))


def _is_gateway(values: Mapping[str, object]) -> bool:
    return "route_server" in values or ("gateway" in values and not _is_router(values))


def _is_router(values: Mapping[str, object]) -> bool:
    return "route_server" not in values and ("kcp" in values or "tls" in values)


def _router(path: Path, values: dict[str, object]) -> RouterConfig:
    if _is_gateway(values):
        raise ConfigError(
            path,
            "route_server" if "route_server" in values else "gateway",
            'this is the file of a gateway, expected that of a router (with "kcp" or "tls"); '
            "start it with the command `gateway`",
        )
    report = Report(path)
    top = Members(report, "", values, _ROUTER_KEYS)
    sites = read_sites(top)
    key, other_keys = read_router_keys(top, sites_known=sites is not None)
    # A listener that is switched off is checked all the same, but need not be complete.
    given = [name for name in ("kcp", "tls") if top.has(name)]
    listeners = {name: _listener(top, name) for name in given}
    if not given:
        top.problem("kcp", 'missing, expected a "kcp" or "tls" section, or both')
    elif not any(listeners.values()) and not report.mistakes:
        top.problem(f"{given[0]}.enable", "no listener is enabled, expected at least one")
    site = None
    if top.has("site"):
        members = top.section("site", _SITE_KEYS)
        site = _site(members) if members else None
    native, features = _native(top)
    if sites is not None and not native:
        top.problem("native", "false, expected true, since sites log in by it")
    config = RouterConfig(
        path=path,
        key=key,
        other_keys=other_keys,
        kcp=listeners.get("kcp"),
        tls=listeners.get("tls"),
        sites=sites,
        site=site,
        log_level=_log_level(top),
        idle_timeout=top.seconds("idle_timeout", 60.0, 15, 86400),
        auth_timeout=top.seconds("auth_timeout", 10.0, 1, 120),
        queue_bytes=top.whole("queue_bytes", 4 << 20, 65536, 1 << 30, "bytes"),
        source_check=top.flag("source_check", True),
        policy=read_policy(top, sites, own_site=site is not None),
        limits=read_limits(top),
        classic=_classic(top, bool(key), native),
        native=native,
        features=features,
        kcp_options=_kcp_options(top),
        tcp_congestion=_tcp_congestion(top),
        control=control_config(top),
        metrics=metrics_config(top),
        dashboard=dashboard_config(top, partial(_pair, dtls=False)),
        run_as=run_as(top),
    )
    report.finish()
    return attrs.evolve(config, secret_files=tuple(report.secrets), warnings=tuple(report.warnings))


def _gateway(path: Path, values: dict[str, object]) -> GatewayConfig:
    if _is_router(values):
        raise ConfigError(
            path,
            "kcp" if "kcp" in values else "tls",
            'this is the file of a router, expected that of a gateway (with "route_server"); '
            "start it with the command `router`",
        )
    report = Report(path)
    top = Members(report, "", values, _GATEWAY_KEYS)
    native, features = _native(top)
    config = GatewayConfig(
        path=path,
        servers=_servers(top),
        key=read_key(top) if top.has("key") or not top.has("cert_file") else "",
        site=_site(top),
        router_trust=router_trust(top),
        name=_name(top),
        certificate=_client_certificate(top),
        log_level=_log_level(top),
        renew_seconds=top.seconds("renew_seconds", RENEW_SECONDS, 2, RENEW_SECONDS),
        connect_timeout=top.seconds("connect_timeout", 5.0, 0.5, 60),
        classic=_classic(top, False, native),
        native=native,
        features=features,
        kcp_options=_kcp_options(top),
        tcp_congestion=_tcp_congestion(top),
        control=control_config(top),
        metrics=metrics_config(top),
        run_as=run_as(top),
    )
    _check_registration(top, config)
    report.finish()
    return attrs.evolve(config, secret_files=tuple(report.secrets), warnings=tuple(report.warnings))


def _listener(top: Members, name: str) -> ListenerConfig | None:
    members = top.section(name, _KEYS_OF_LISTENER[name])
    if members is None or not members.flag("enable", True):
        return None
    host, port = "", 0
    if members.required("listen", 'an address such as "0.0.0.0:443"'):
        listen = members.text("listen", 'an address such as "0.0.0.0:443"')
        if listen is not None:
            try:
                host, port = addresses.parse_listen(listen)
            except addresses.AddressMistake as mistake:
                members.problem("listen", str(mistake))
    pair = _pair(members, dtls=name == "kcp")
    web = web_site(members, top.report.file.parent) if name == "tls" else DEFAULT_SITE
    if pair is None:
        return None
    return ListenerConfig(host, port, pair.cert_file, pair.key_file, web, pair.digest)


def _pair(members: Members, *, dtls: bool) -> CertificatePair | None:
    report = members.report
    files: dict[str, Path] = {}
    for member, what in (("cert_file", "a certificate"), ("key_file", "a private key")):
        expected = f"the path of {what} in PEM form"
        if members.required(member, expected) and (text := members.text(member, expected)):
            files[member] = report.locate(text)
        elif members.value(member) == "":
            members.problem(member, f"empty, expected {expected}")
    if len(files) < 2:
        return None
    pair = CertificatePair(files["cert_file"], files["key_file"])
    try:
        warning = check_pair(
            pair.cert_file, pair.key_file, dtls=dtls, now=datetime.datetime.now(datetime.UTC)
        )
    except Unfit as unfit:
        members.problem(unfit.member, unfit.problem)
        return None
    if warning:
        members.warn("cert_file", warning)
    report.note_secret(pair.key_file, f"the private key {pair.key_file}")
    return attrs.evolve(pair, digest=_digest(pair))


def _digest(pair: CertificatePair) -> bytes:
    digest = hashlib.sha256()
    for file in (pair.cert_file, pair.key_file):
        try:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError:
            # It was there a moment ago; whoever opens it next will say more.
            return b""
    return digest.digest()


def _name(top: Members) -> str:
    if not top.has("name"):
        if top.has("cert_file"):
            top.problem("name", "missing, expected the name under which the router knows the site")
        return ""
    name = top.text("name", "the name under which the router knows this site")
    if name is not None and not is_site_name(name):
        top.problem("name", f'"{shown(name)}", expected at most 63 letters, digits, ".", "_", "-"')
    return name or ""


def _client_certificate(top: Members) -> CertificatePair | None:
    if not top.has("cert_file") and not top.has("key_file"):
        return None
    return _pair(top, dtls=True)


def _servers(top: Members) -> tuple[ServerUrl, ...]:
    expected = 'a URL such as "kcp://203.0.113.5:443", or a list of them'
    if not top.required("route_server", expected):
        return ()
    servers: list[ServerUrl] = []
    for name, text in top.texts("route_server", expected, one_or_more=True):
        try:
            server = ServerUrl(*addresses.parse_url(text), text=text)
        except addresses.AddressMistake as mistake:
            top.problem(name, str(mistake))
            continue
        if any(attrs.evolve(known, text=text) == server for known in servers):
            top.problem(name, f'"{printable(text)}" is given twice, expected each server once')
        servers.append(server)
    return tuple(servers)


def _site(members: Members) -> SiteConfig:
    gateway, gateway6 = _gateway_addresses(members)
    if members.has("local_network") and members.has("local_networks"):
        members.problem("local_network", "given beside local_networks, expected only one of them")
    local = _networks(members, "local_networks")
    if members.has("local_network"):
        local = _networks(members, "local_network", single=True)
    routes = _networks(members, "route_networks")
    acls = _networks(members, "acls")
    if members.value("acls") == []:
        members.problem(
            "acls",
            "empty, so every packet would be dropped, expected at least one network "
            '("0.0.0.0/0" for all) or no such key',
        )
    _check_overlaps(members, local, routes)
    interface = None
    if members.has("interface"):
        expected = "the name of a network interface, at most 15 letters, digits, '.', '_' or '-'"
        interface = members.text("interface", expected)
        if interface is not None and not addresses.is_interface_name(interface):
            members.problem("interface", f'"{shown(interface)}" is no name, expected {expected}')
    ipv6 = gateway6 is not None or any(
        network.version == 6 for network in (*local.values(), *routes.values())
    )
    least, why = (MIN_MTU_IPV6, ", IPv6 needs 1280") if ipv6 else (MIN_MTU, "")
    return SiteConfig(
        gateway=gateway,
        gateway6=gateway6,
        local_networks=tuple(local.values()),
        route_networks=tuple(routes.values()),
        acls=tuple(acls.values()),
        interface=interface,
        mtu=members.whole("mtu", DEFAULT_MTU, least, MAX_MTU, f"bytes{why}"),
        forward=members.flag("forward", False),
        masquerade=members.flag("masquerade", False),
        mss_clamp=members.flag("mss_clamp", True),
    )


def _gateway_addresses(members: Members) -> tuple[IPv4Address | None, IPv6Address | None]:
    gateway: IPv4Address | None = None
    gateway6: IPv6Address | None = None
    if not members.has("gateway6") and not members.required(
        "gateway", 'the address of this gateway in the tunnel, such as "10.8.0.2"'
    ):
        return None, None
    expected = 'an IPv4 address such as "10.8.0.2"'
    if members.has("gateway") and (text := members.text("gateway", expected)) is not None:
        try:
            gateway = addresses.parse_gateway(text)
        except addresses.AddressMistake as mistake:
            members.problem("gateway", str(mistake))
    expected = 'an IPv6 address such as "fd08::2"'
    if members.has("gateway6") and (text := members.text("gateway6", expected)) is not None:
        try:
            gateway6 = addresses.parse_gateway6(text)
        except addresses.AddressMistake as mistake:
            members.problem("gateway6", str(mistake))
    return gateway, gateway6


def _networks(members: Members, name: str, *, single: bool = False) -> dict[str, Network]:
    """The networks of a member by their key path."""
    if not members.has(name):
        return {}
    expected = 'a network such as "192.168.1.0/24"'
    if single:
        text = members.text(name, expected)
        entries = [] if text is None else [(name, text)]
    else:
        entries = members.texts(name, f"a list of networks, each {expected}")
    networks: dict[str, Network] = {}
    for path, text in entries:
        try:
            networks[path] = addresses.parse_network(text)
        except addresses.AddressMistake as mistake:
            members.problem(path, str(mistake))
    return networks


def _check_overlaps(
    members: Members, local: Mapping[str, Network], routes: Mapping[str, Network]
) -> None:
    for group in (local, routes):
        paths: dict[Network, str] = {}
        enclosing = addresses.EnclosingNetworks(group.values())
        for path, network in group.items():
            first = paths.setdefault(network, path)
            other = network if first != path else enclosing.of(network)
            if other is not None:
                # The wider one may stand further down.
                where = next(name for name, value in group.items() if value == other)
                members.problem(
                    path,
                    f"{network} overlaps {other} ({members.path(where)}), "
                    "expected networks apart from each other",
                )
    own = set(local.values())
    enclosing = addresses.EnclosingNetworks(own)
    for path, route in routes.items():
        # A wider route is fine: for the LAN, the kernel's own narrower route wins.
        led = route if route in own else enclosing.of(route)
        if led is not None:
            where = next(name for name, value in local.items() if value == led)
            members.problem(
                path,
                f"{route} would lead the own network {led} ({members.path(where)}) into "
                "the tunnel, expected networks of other sites",
            )


def _check_registration(top: Members, config: GatewayConfig) -> None:
    site = config.site
    if config.name and not config.native:
        top.problem("name", "needs our own dialect, expected native to be true, or no name")
    if site.gateway is None and site.gateway6 is not None:
        if "ipv6" in config.features:
            top.warn("gateway", "missing: a router of the PoleVPN originals needs an IPv4 address")
        else:
            since = "leaves out ipv6" if config.native else "is false"
            top.problem("gateway", f"missing, expected an IPv4 address, since native {since}")
    body = RegisterRequest(site.gateway, config.key, site.local_networks, site.gateway6).to_json()
    if len(body) > MAX_BODY:
        top.problem(
            "local_networks",
            f"{len(site.local_networks)} networks and the key take {len(body)} bytes, "
            f"expected at most {MAX_BODY} to fit into one frame",
        )


def _native(top: Members) -> tuple[bool, tuple[str, ...]]:
    """Whether to offer our own dialect, and which features of it."""
    value = top.value("native") if top.has("native") else True
    if isinstance(value, bool):
        return value, FEATURES if value else ()
    if not isinstance(value, dict):
        names = ", ".join(FEATURES)
        top.problem("native", f"{kind(value)}, expected true, false, or an object with {names}")
        return True, FEATURES
    members = Members(top.report, f"{top.path('native')}.", value, FEATURES)
    return True, tuple(name for name in FEATURES if members.flag(name, True))


def _classic(top: Members, default: bool, native: bool) -> bool:
    """Whether the key may be sent as it is, as it must without our own dialect."""
    classic = top.flag("classic", default or not native)
    if not classic and not native:
        top.problem("classic", "false, expected true, since native is false")
    return classic


def _log_level(top: Members) -> str:
    expected = "one of " + ", ".join(f'"{level}"' for level in LEVELS)
    level = top.text("log_level", expected) if top.has("log_level") else None
    if level is None:
        return "info"
    if level not in LEVELS:
        top.problem("log_level", f'"{shown(level)}", expected {expected}')
        return "info"
    return level


def _kcp_options(top: Members) -> KcpOptions:
    members = top.section("kcp_options", _KCP_KEYS) if top.has("kcp_options") else None
    if members is None:
        return KcpOptions()
    return KcpOptions(
        mtu=members.whole("mtu", 1350, 576, 1400, "bytes"),
        send_window=members.whole("send_window", 2048, 32, 8192, "segments"),
        receive_window=members.whole("receive_window", 2048, 32, 8192, "segments"),
        repair_budget=members.whole("repair_budget", 25, 0, 100, "per cent"),
    )


def _tcp_congestion(top: Members) -> str:
    expected = 'the name of a congestion control such as "bbr" or "cubic", or ""'
    name = top.text("tcp_congestion", expected) if top.has("tcp_congestion") else None
    if name is None:
        return DEFAULT_CONGESTION
    if not re.fullmatch("[a-z0-9_]{0,15}", name):
        top.problem("tcp_congestion", f'"{shown(name)}", expected {expected}')
        return DEFAULT_CONGESTION
    return name
