"""What a host's network configuration is at one moment, in a form that can be compared.

Tests take one reading before a program starts and one after it ended: they must be equal.
"""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Any

import attrs
from pyroute2 import IPRoute
from pyroute2.netlink.rtnl import rt_type
from pyroute2.nftables.main import NFTables

SETTINGS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/*/forwarding",
    "net/ipv4/conf/*/rp_filter",
    "net/ipv6/conf/*/forwarding",
    "net/ipv6/conf/*/accept_ra",
    "net/ipv6/conf/*/disable_ipv6",
)
"""Files below /proc/sys that our programs, or the kernel on their behalf, may change."""


@attrs.frozen
class HostState:
    """Every member is a tuple of lines, sorted where the kernel gives no order."""

    links: tuple[str, ...]
    addresses: tuple[str, ...]
    routes: tuple[str, ...]
    rules: tuple[str, ...]
    nat_tables: tuple[str, ...]
    settings: tuple[str, ...]

    def routes_through(self, interface: str) -> tuple[str, ...]:
        """The routes whose packets leave by ``interface``."""
        return tuple(route for route in self.routes if f" dev {interface} " in f"{route} ")


def read_host_state(netlink: IPRoute) -> HostState:
    """Read the configuration of the namespace of ``netlink`` and of the calling thread."""
    names = {link["index"]: link.get("ifname") for link in netlink.get_links()}
    return HostState(
        links=tuple(sorted(names.values())),
        addresses=tuple(sorted(_addresses(netlink, names))),
        routes=tuple(sorted(_routes(netlink, names))),
        rules=tuple(sorted(_rules(netlink))),
        nat_tables=tuple(sorted(_nat_tables())),
        settings=tuple(_settings()),
    )


def _settings() -> list[str]:
    root = Path("/proc/sys")
    files = [file for pattern in SETTINGS for file in sorted(root.glob(pattern))]
    return [f"{file.relative_to(root)}={file.read_text().strip()}" for file in files]


def _addresses(netlink: IPRoute, names: dict[int, str]) -> list[str]:
    lines = []
    for message in netlink.get_addr():
        address = message.get("local") or message.get("address")
        # The kernel gives link-local addresses by itself, some time after a link came up.
        if not ipaddress.ip_address(address).is_link_local:
            lines.append(f"{address}/{message['prefixlen']} dev {names[message['index']]}")
    return lines


def _routes(netlink: IPRoute, names: dict[int, str]) -> list[str]:
    lines = []
    for message in netlink.get_routes():
        destination = message.get("dst")
        if destination and ipaddress.ip_address(destination).is_link_local:
            continue
        # Host and multicast entries come and go with addresses, which are read above.
        if message["type"] not in _LISTED_ROUTES:
            continue
        any_address = "::" if message["family"] == socket.AF_INET6 else "0.0.0.0"
        words = [f"{destination or any_address}/{message['dst_len']}"]
        if message["type"] != rt_type["unicast"]:
            words.append(_NAME_OF_ROUTE[message["type"]])
        if message.get("gateway"):
            words += ["via", message.get("gateway")]
        if message.get("oif"):
            words += ["dev", names.get(message.get("oif"), "?")]
        if message.get("priority"):
            words += ["metric", str(message.get("priority"))]
        if message.get("table") != 254:
            words += ["table", str(message.get("table"))]
        lines.append(" ".join(words))
    return lines


_NAME_OF_ROUTE: dict[int, str] = {number: name for name, number in rt_type.items()}
_LISTED_ROUTES = {rt_type[name] for name in ("unicast", "blackhole", "unreachable", "prohibit")}


def _rules(netlink: IPRoute) -> list[str]:
    lines = []
    for message in (
        *netlink.get_rules(family=socket.AF_INET),
        *netlink.get_rules(family=socket.AF_INET6),
    ):
        members: dict[str, Any] = dict(message["attrs"])
        header = {name: message[name] for name in ("family", "src_len", "dst_len", "action")}
        lines.append(f"{header} {members}")
    return lines


def _nat_tables() -> list[str]:
    with NFTables(nfgen_family=socket.AF_UNSPEC) as nftables:
        return [message.get("NFTA_TABLE_NAME") for message in nftables.get_tables()]
