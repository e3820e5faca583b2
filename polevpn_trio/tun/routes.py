"""Which way packets take on this machine, decided from a copy of its routing tables.

Sans-IO, except for `read_routes`, which makes the copy. The kernel's own lookup cannot be
asked here: it would answer with the tunnel, and the question is what it would do without.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

from attrs import field, frozen

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# linux/rtnetlink.h
_RTN_UNICAST = 1
_RT_TABLE_MAIN = 254
_RT_TABLE_LOCAL = 255
_RTPROT_RA = 9
_RTNH_F_DEAD = 1
RTNH_F_ONLINK = 4


@frozen
class Hop:
    """Where packets go next: out by an interface, perhaps to a gateway there."""

    interface: int
    """Interface index."""
    gateway: Address | None = None
    onlink: bool = False
    """The gateway counts as a neighbour although no route says so (RTNH_F_ONLINK)."""
    source: Address | None = None
    """The source address that the route prefers."""


@frozen
class KnownRoute:
    """One route of the kernel's, as far as it matters here."""

    destination: Network
    table: int
    metric: int = 0
    learned: bool = False
    """From a router advertisement."""
    hops: tuple[Hop, ...] = field(default=())
    """The ways to go, without those whose interface is down; empty for a blackhole."""

    def uses(self, interface: int) -> bool:
        """Tell whether packets on this route may leave by ``interface``."""
        return any(hop.interface == interface for hop in self.hops)


def read_routes(netlink: Any, version: int) -> tuple[KnownRoute, ...]:
    """Copy the tables ``main`` and ``local`` of IP ``version`` (4 or 6).

    Routes for one source or type of service only are left out: they are no answer to the
    question where a destination is. Raises what pyroute2 raises.
    """
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return tuple(
        _known_route(message, version)
        for message in netlink.get_routes(family=family)
        if not message["src_len"]
        and not message["tos"]
        and message.get_attr("RTA_TABLE") in (_RT_TABLE_MAIN, _RT_TABLE_LOCAL)
    )


def halved_default(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Return ``networks`` with each default route as its two halves, without duplicates.

    Halves win against any default route by being longer, whatever its metric (0, the best,
    is what ``ip route add default`` gives it) and whenever it comes (DHCP, router
    advertisements); nothing of the operator's has to be moved aside or put back.
    """
    halves: dict[Network, None] = {}
    for network in networks:
        for part in network.subnets() if network.prefixlen == 0 else (network,):
            halves[part] = None
    return tuple(halves)


def conflicting(
    networks: Iterable[Network], routes: Sequence[KnownRoute], tunnel: int
) -> tuple[Network, KnownRoute] | None:
    """Find a route in ``main`` to one of exactly ``networks`` that is not the tunnel's."""
    existing = {
        route.destination: route
        for route in routes
        if route.table == _RT_TABLE_MAIN and not route.uses(tunnel)
    }
    for network in networks:
        if network in existing:
            return network, existing[network]
    return None


@frozen
class NoWay:
    """No route but the tunnel's leads to the address."""


@frozen
class NoNeed:
    """The kernel does not send packets for the address into the tunnel."""


def way_around(
    address: Address,
    routes: Sequence[KnownRoute],
    tunnel: int,
    tunnel_networks: Iterable[Network],
) -> Hop | NoWay | NoNeed:
    """Decide how packets for ``address`` get past the tunnel.

    ``routes`` are the kernel's without those that we pinned, ``tunnel`` is the index of the
    tunnel interface, ``tunnel_networks`` what is routed into it.
    """
    covering = max((n.prefixlen for n in tunnel_networks if address in n), default=-1)
    if covering < 0:
        return NoNeed()
    best: KnownRoute | None = None
    for route in routes:
        if address not in route.destination:
            continue
        if route.table == _RT_TABLE_LOCAL:
            # This machine's own addresses are looked up before all others.
            return NoNeed()
        if route.uses(tunnel):
            continue
        if best is None or (-route.destination.prefixlen, route.metric) < (
            -best.destination.prefixlen,
            best.metric,
        ):
            best = route
    if best is None:
        return NoWay()
    if best.destination.prefixlen > covering:
        return NoNeed()
    if not best.hops:
        return NoWay()
    # With several, the first will do: the peers of a tunnel are one flow each.
    return best.hops[0]


def _known_route(message: Any, version: int) -> KnownRoute:
    everything = "0.0.0.0" if version == 4 else "::"
    destination = ip_network(
        f"{message.get_attr('RTA_DST') or everything}/{message['dst_len']}", strict=False
    )
    source = _address(message.get_attr("RTA_PREFSRC"))
    hops = []
    if message["type"] == _RTN_UNICAST or message.get_attr("RTA_TABLE") == _RT_TABLE_LOCAL:
        several = message.get_attr("RTA_MULTIPATH")
        for each in several or (message,):
            index = each["oif"] if several else each.get_attr("RTA_OIF")
            if index is not None and not each["flags"] & _RTNH_F_DEAD:
                hops.append(
                    Hop(
                        interface=index,
                        gateway=_gateway(each),
                        onlink=bool(each["flags"] & RTNH_F_ONLINK),
                        source=source,
                    )
                )
    return KnownRoute(
        destination=destination,
        table=message.get_attr("RTA_TABLE"),
        metric=message.get_attr("RTA_PRIORITY") or 0,
        learned=message["proto"] == _RTPROT_RA,
        hops=tuple(hops),
    )


def _gateway(message: Any) -> Address | None:
    direct = _address(message.get_attr("RTA_GATEWAY"))
    if direct is not None:
        return direct
    # An IPv4 route by way of an IPv6 gateway.
    via = message.get_attr("RTA_VIA")
    return _address(via["addr"]) if via else None


def _address(text: str | None) -> Address | None:
    return ip_address(text) if text else None
