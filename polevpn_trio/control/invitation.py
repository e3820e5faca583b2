"""What the gateway of a site is told, as far as the router's own configuration knows it.

Where the router is, by which certificate it is known, and which networks are behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from polevpn_trio.control import addresses
from polevpn_trio.control.addresses import Network
from polevpn_trio.control.certificates import read_certificate
from polevpn_trio.control.config import ListenerConfig, RouterConfig
from polevpn_trio.control.fingerprint import fingerprint_of, format_fingerprint
from polevpn_trio.control.site_directory import Address, KnownSite
from polevpn_trio.errors import ConfigError

_FIRST_TUNNEL = IPv4Network("10.8.0.0/24")
"""Where sites get their addresses if nobody says otherwise; the first is left to the router."""

_EXPECTED_SERVER = "expected its public address or name, such as --server 203.0.113.5"

_TUNNEL_LENGTHS = {4: 24, 6: 64}
"""Bits that the addresses inside a tunnel are taken to have in common."""


def invitation(
    config: RouterConfig,
    site: KnownSite,
    own: Sequence[Address],
    key: str,
    *,
    servers: Sequence[str] = (),
    routes: Sequence[Network] = (),
) -> dict[str, object]:
    """Give the members of the configuration of a site's gateway.

    ``own`` are its addresses, of each kind the first counts; ``servers`` are URLs or
    HOST[:PORT], in place of what the router's files say; ``routes`` are networks elsewhere,
    beside those of the sites that are known. Raises ConfigError.
    """
    urls = list(dict.fromkeys(_urls(config, servers)))
    pins = list(dict.fromkeys(format_fingerprint(each) for each in _fingerprints(config)))
    values: dict[str, object] = {
        "route_server": urls,
        "verify_router": pins if len(pins) > 1 else pins[0],
        "name": site.name,
        "key": key,
    }
    for address in reversed(own):
        values["gateway" if address.version == 4 else "gateway6"] = str(address)
    lists = (
        ("local_networks", site.networks),
        ("route_networks", _routes(config, site, own, routes)),
    )
    return {**values, **{name: list(map(str, networks)) for name, networks in lists if networks}}


def listeners(config: RouterConfig) -> Iterator[ListenerConfig]:
    """Give the listeners that are switched on."""
    yield from (listener for listener in (config.kcp, config.tls) if listener is not None)


def free_address(config: RouterConfig) -> IPv4Address | None:
    """Give the lowest address that no site has, beside those that sites have; None if all have."""
    used = set(_used_addresses(config))
    mine = config.site.gateway if config.site else None
    first = mine or min(
        (address for address in used if isinstance(address, IPv4Address)),
        default=_FIRST_TUNNEL[1],
    )
    tunnel = IPv4Network((first, _TUNNEL_LENGTHS[4]), strict=False)
    return next((host for host in list(tunnel.hosts())[1:] if host not in used), None)


def _used_addresses(config: RouterConfig) -> Iterator[Address]:
    for site in (config.sites or {}).values():
        yield from site.addresses
    if config.site is not None:
        yield from (each for each in (config.site.gateway, config.site.gateway6) if each)


# --- Where the router is


def _urls(config: RouterConfig, given: Sequence[str]) -> Iterator[str]:
    for text in given or _own_names(config):
        try:
            if "://" in text:
                _, host, _, _ = addresses.parse_url(text)
                urls = [text]
            else:
                host, port = _host_and_port(text)
                urls = list(_urls_of(config, host, port))
        except addresses.AddressMistake as mistake:
            raise ConfigError("--server", "", str(mistake)) from None
        if addresses.is_unspecified(host):
            raise ConfigError("--server", "", f"{host} is no machine's address, {_EXPECTED_SERVER}")
        yield from urls


def _urls_of(config: RouterConfig, host: str, port: int | None) -> Iterator[str]:
    shown = f"[{host}]" if ":" in host else host
    if config.kcp is not None:
        yield f"kcp://{shown}:{port or config.kcp.port}"
    if config.tls is not None:
        web = config.tls.web
        if "tls" in web.schemes:
            yield f"tls://{shown}:{port or config.tls.port}"
        else:
            yield f"wss://{shown}:{port or config.tls.port}{web.websocket_path or ''}"


def _host_and_port(text: str) -> tuple[str, int | None]:
    if addresses.is_host(text):
        return text, None
    _, host, port, _ = addresses.parse_url(f"kcp://{text}")
    return host, None if text.endswith("]") else port


def _own_names(config: RouterConfig) -> list[str]:
    """Under which names others reach the router: those of its certificate, or where it listens."""
    names: list[str] = []
    for listener in listeners(config):
        try:
            found = read_certificate(listener.cert_file).extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            )
        except x509.ExtensionNotFound:
            continue
        names += map(str, found.value.get_values_for_type(x509.IPAddress))
        names += found.value.get_values_for_type(x509.DNSName)
    names += (listener.host for listener in listeners(config))
    usable = list(dict.fromkeys(filter(_is_reachable, names)))
    if not usable:
        listening = " and ".join(dict.fromkeys(map(_listening, listeners(config))))
        raise ConfigError(
            "--server",
            "",
            f"missing: neither the certificate nor `listen` ({listening}) says where other "
            f"machines reach this router, {_EXPECTED_SERVER}",
        )
    return usable


def _is_reachable(name: str) -> bool:
    unusable = addresses.is_unspecified(name) or addresses.is_loopback(name)
    return addresses.is_host(name) and not unusable


def _listening(listener: ListenerConfig) -> str:
    if not listener.host or addresses.is_unspecified(listener.host):
        return "all addresses"
    if addresses.is_loopback(listener.host):
        return f"{listener.host}, for this machine alone"
    return listener.host


def doubts(config: RouterConfig, urls: Iterable[str]) -> Iterator[str]:
    """Give sentences on why a gateway elsewhere may not reach the router by what it is told."""
    for name, listener in (("kcp", config.kcp), ("tls", config.tls)):
        if listener is not None and addresses.is_loopback(listener.host):
            yield (
                f'"{name}" listens on {listener.host}, where no other machine reaches it: let '
                f'"listen" be ":{listener.port}", unless something on this machine passes it on'
            )
    for url in urls:
        _, host, _, _ = addresses.parse_url(url)
        if addresses.is_loopback(host):
            yield f"{url} leads to the gateway's own machine, give --server another name"


# --- By what it is known


def _fingerprints(config: RouterConfig) -> Iterator[bytes]:
    for listener in listeners(config):
        yield fingerprint_of(read_certificate(listener.cert_file).public_bytes(Encoding.DER))


# --- What is behind it


def _routes(
    config: RouterConfig, site: KnownSite, own: Iterable[Address], given: Sequence[Network]
) -> list[Network]:
    """Give ``given`` and what else is known, as far as that goes together."""
    known: list[Network] = [_tunnel_of(address) for address in own]
    if config.site is not None:
        known += config.site.local_networks
    for other in (config.sites or {}).values():
        if other.name != site.name and not other.disabled:
            # Whoever is to use another site as the exit to everywhere is told so by ``given``.
            known += (network for network in other.networks if network.prefixlen)
    chosen = list(given)
    for network in sorted(known, key=lambda each: each.prefixlen):
        if not any(network.overlaps(other) for other in chosen) and not any(
            network.overlaps(mine) and 0 < mine.prefixlen <= network.prefixlen
            for mine in site.networks
        ):
            chosen.append(network)
    return chosen


def _tunnel_of(address: Address) -> Network:
    length = _TUNNEL_LENGTHS[address.version]
    if isinstance(address, IPv4Address):
        return IPv4Network((address, length), strict=False)
    return IPv6Network((address, length), strict=False)
