"""Reads the addresses, networks and URLs that a configuration holds.

Each function takes one string and raises AddressMistake, whose text says what is wrong with it
and what was expected. Strictness is on purpose: what Python or Go would silently understand in
different ways (leading zeros, netmasks, host bits) is sent back to its author.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from polevpn_trio.control.log import printable

Network = IPv4Network | IPv6Network

SCHEMES = ("kcp", "tls", "wss")
DEFAULT_PORT = 443

_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(.*)", re.DOTALL)
_HOST_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,5}", re.ASCII)
_PREFIX_LENGTH = re.compile(r"[0-9]{1,3}", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)
_REQUEST_TARGET = re.compile(r"/[!-~]*", re.ASCII)

# Directories below /proc/sys/net/ipv4/conf that are no interfaces, and two that are no files.
_NO_INTERFACES = frozenset({".", "..", "all", "default"})


class EnclosingNetworks:
    """Finds out whether networks lie inside others, for lists of any length.

    Default routes enclose nothing here: every network may stand beside one.
    """

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = frozenset(networks)
        lengths = {(network.version, network.prefixlen) for network in self._networks}
        self._lengths = sorted(lengths, reverse=True)

    def of(self, network: Network) -> Network | None:
        """The narrowest of the networks that is wider than this one and holds it."""
        for version, length in self._lengths:
            if version == network.version and 0 < length < network.prefixlen:
                wider = network.supernet(new_prefix=length)
                if wider in self._networks:
                    return wider
        return None


class AddressMistake(Exception):
    """What is wrong with an address, and what was expected."""


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of ``host:port``, ``:port`` (host "") or ``[v6]:port``."""
    expected = 'expected host:port, such as "0.0.0.0:443" or "[::]:443"'
    host, port = _split_port(text, expected)
    if port is None:
        raise AddressMistake(f"{_quoted(text)} names no port, {expected}")
    if host:
        _check_host(host, text, expected)
    return host, port


def parse_url(text: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of a router's URL."""
    expected = 'expected a URL such as "kcp://203.0.113.5:443" (schemes kcp, tls, wss)'
    if "@" in text:
        # Not quoted: what stands before the @ may be a password.
        raise AddressMistake(f"names a user, {expected} without one")
    found = _URL.fullmatch(text)
    scheme, rest = found.groups() if found else (None, text)
    if scheme is None:
        raise AddressMistake(f"{_quoted(text)} has no scheme, {expected}")
    if scheme not in SCHEMES:
        raise AddressMistake(f'unknown scheme "{_shortened(scheme)}", {expected}')
    slash = re.search(r"[/?#]", rest)
    authority, path = (rest[: slash.start()], rest[slash.start() :]) if slash else (rest, "")
    if scheme != "wss" and path not in ("", "/"):
        raise AddressMistake(f"{_quoted(text)} has a path, {expected} without one")
    path = path or "/"
    if not _REQUEST_TARGET.fullmatch(path) or "#" in path:
        raise AddressMistake(f'{_quoted(text)}: the path cannot be requested, expected "/..."')
    host, port = _split_port(authority, expected)
    if not host:
        raise AddressMistake(f"{_quoted(text)} names no host, {expected}")
    _check_host(host, text, expected)
    return scheme, host, DEFAULT_PORT if port is None else port, path


def parse_gateway(text: str) -> IPv4Address:
    """The IPv4 address of a TUN device."""
    expected = 'expected an IPv4 address such as "10.8.0.2", without a prefix length'
    try:
        address = IPv4Address(text)
    except ValueError:
        raise AddressMistake(f"{_quoted(text)} is no IPv4 address, {expected}") from None
    if (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address == IPv4Address("255.255.255.255")
    ):
        raise AddressMistake(f"{_quoted(text)} cannot be the address of a host, {expected}")
    return address


def parse_gateway6(text: str) -> IPv6Address:
    """The IPv6 address of a TUN device."""
    expected = 'expected an IPv6 address such as "fd08::2", without a prefix length'
    try:
        address = IPv6Address(text)
    except ValueError:
        raise AddressMistake(f"{_quoted(text)} is no IPv6 address, {expected}") from None
    if (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or address.ipv4_mapped
        or address.scope_id
    ):
        raise AddressMistake(f"{_quoted(text)} cannot be reached through a tunnel, {expected}")
    return address


def parse_network(text: str) -> Network:
    """A network in CIDR notation, without host bits."""
    expected = 'expected a network such as "192.168.1.0/24"'
    address_text, slash, length = text.partition("/")
    try:
        if "%" in address_text:
            raise ValueError
        address = IPv6Address(address_text) if ":" in address_text else IPv4Address(address_text)
    except ValueError:
        raise AddressMistake(f"{_quoted(text)} is no network, {expected}") from None
    if not slash:
        raise AddressMistake(
            f"{_quoted(text)} has no prefix length, {expected} "
            f'(this one host is "{address}/{address.max_prefixlen}")'
        )
    if not _PREFIX_LENGTH.fullmatch(length) or int(length) > address.max_prefixlen:
        raise AddressMistake(
            f"{_quoted(text)}: bad prefix length, expected 0 to {address.max_prefixlen} "
            "after the slash"
        )
    network: Network
    if isinstance(address, IPv4Address):
        network = IPv4Network((address, int(length)), strict=False)
    else:
        network = IPv6Network((address, int(length)), strict=False)
    if network.network_address != address:
        raise AddressMistake(
            f"{_quoted(text)} has bits set behind the prefix, expected the network "
            f'"{network}" (or the one host "{address}/{address.max_prefixlen}")'
        )
    return network


def is_interface_name(text: str) -> bool:
    """Whether Linux would take the text as an interface's name, and nobody misread it."""
    return _INTERFACE.fullmatch(text) is not None and text not in _NO_INTERFACES


def _split_port(text: str, expected: str) -> tuple[str, int | None]:
    """Host without brackets, and the port if there is one."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise AddressMistake(f"{_quoted(text)}: bad brackets, {expected}")
        colon, port = rest[:1], rest[1:]
    else:
        host, colon, port = text.partition(":")
        if ":" in port:
            raise AddressMistake(
                f"{_quoted(text)} has several colons, {expected} (IPv6 addresses in brackets)"
            )
    if not colon:
        return host, None
    if not _DIGITS.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise AddressMistake(
            f"bad port {_quoted(port)} in {_quoted(text)}, expected a number from 1 to 65535"
        )
    return host, int(port)


def is_host(text: str) -> bool:
    """Whether this is an address, IPv6 without brackets, or can be a host name."""
    try:
        _check_host(text, text, "")
    except AddressMistake:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether this address or name leads to the very machine that uses it."""
    address = _address(host)
    return address.is_loopback if address is not None else host == "localhost"


def is_unspecified(host: str) -> bool:
    """Whether this is an address that stands for all of a machine's, such as 0.0.0.0."""
    address = _address(host)
    return address is not None and address.is_unspecified


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _check_host(host: str, text: str, expected: str) -> None:
    labels = host.removesuffix(".").split(".")
    try:
        if ":" in host:
            IPv6Address(host)
        elif labels[-1].isdigit():
            IPv4Address(host)
        elif len(host) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
            raise ValueError
    except ValueError:
        raise AddressMistake(
            f"{_quoted(host)} in {_quoted(text)} is no address and no host name, {expected}"
        ) from None


def _quoted(text: str) -> str:
    return f'"{_shortened(text)}"'


def _shortened(text: str) -> str:
    text = printable(text)
    return text if len(text) <= 60 else f"{text[:57]}..."
