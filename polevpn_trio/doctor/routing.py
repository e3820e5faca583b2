"""Routes and networks: what conflicts with the tunnel's, and what overlaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
from pyroute2 import IPRoute

from polevpn_trio.control.config import Network, SiteConfig
from polevpn_trio.doctor.finding import Finding, fail, ok, warn
from polevpn_trio.tun.routes import KnownRoute, conflicting, halved_default, read_routes

# linux/rtnetlink.h
_MAIN, _LOCAL = 254, 255
_LOOPBACK = "lo"


@attrs.frozen
class RoutingFacts:
    """The kernel's routes, and the names of the interfaces by index."""

    routes: tuple[KnownRoute, ...]
    interfaces: dict[int, str]
    tunnels: frozenset[int] = frozenset()
    """Those that are TUN devices, by index."""

    def name(self, route: KnownRoute) -> str:
        if not route.hops:
            return "nowhere (blackhole)"
        return self.interfaces.get(route.hops[0].interface, f"#{route.hops[0].interface}")

    def tunnel_of(self, site: SiteConfig) -> int:
        """The index of the site's own TUN device; 0, which none has, unless its program runs."""
        for index in self.tunnels:
            if site.interface is not None:
                if self.interfaces[index] == site.interface:
                    return index
            elif any(
                route.table == _LOCAL
                and route.uses(index)
                and route.destination.network_address in (site.gateway, site.gateway6)
                for route in self.routes
            ):
                return index
        return 0


def look_at_routes() -> RoutingFacts:
    """Read the kernel's tables. Raises what pyroute2 raises."""
    with IPRoute() as netlink:
        links = tuple(netlink.get_links())
        return RoutingFacts(
            read_routes(netlink, 4) + read_routes(netlink, 6),
            {int(link["index"]): str(link.get_attr("IFLA_IFNAME")) for link in links},
            frozenset(
                int(link["index"])
                for link in links
                if link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "tun"
            ),
        )


def judge_routes(facts: RoutingFacts, site: SiteConfig) -> list[Finding]:
    """All that is wrong with the routes of ``site`` here; one good finding if nothing is."""
    tunnel = facts.tunnel_of(site)
    found = [
        *_taken_routes(facts, site, tunnel),
        *_overlaps(facts, site, tunnel),
        *_taken_addresses(facts, site, tunnel),
        *_unreachable_networks(facts, site, tunnel),
    ]
    return found or [ok("routes", "no route or network here conflicts with the tunnel's")]


def _taken_routes(facts: RoutingFacts, site: SiteConfig, tunnel: int) -> Iterator[Finding]:
    for network in halved_default(site.route_networks):
        found = conflicting((network,), facts.routes, tunnel)
        if found is not None:
            where = facts.name(found[1])
            if any(hop.gateway is None for hop in found[1].hops):
                yield fail(
                    "networks",
                    f"route_networks: {network} is the network of {where} on this machine",
                    "both sites use the same addresses: neither can send to the other, and the "
                    "program will end",
                    "give one of the two sites other addresses, or leave the network out of "
                    "route_networks",
                )
                continue
            yield fail(
                "routes",
                f"route_networks: {network} is routed to {where} on this machine already",
                "the program does not take over a route of somebody else's, and will end",
                f"ip route del {network}, or leave it out of route_networks",
            )


def _connected(facts: RoutingFacts, tunnel: int) -> Iterator[tuple[Network, str]]:
    """The networks that lie on this machine's own interfaces, without its tunnel's."""
    for route in facts.routes:
        on_link = [hop for hop in route.hops if hop.gateway is None]
        if route.table == _MAIN and on_link and not route.uses(tunnel):
            name = facts.name(route)
            network = route.destination
            special = network.is_link_local or network.is_multicast
            if name != _LOOPBACK and network.prefixlen and not special:
                yield network, name


def _overlaps(facts: RoutingFacts, site: SiteConfig, tunnel: int) -> Iterator[Finding]:
    taken = set(halved_default(site.route_networks))
    for own, name in _connected(facts, tunnel):
        if own in taken:
            continue
        for remote in taken:
            if _contains(own, remote):
                yield warn(
                    "networks",
                    f"{remote} of route_networks lies within {own}, which is on {name} here",
                    f"hosts of the LAN take {remote} for their neighbours, and never ask this "
                    "machine for the way",
                    "give one of the two sites other addresses, or the LAN a longer prefix",
                )
            elif (
                _contains(remote, own)
                and remote.prefixlen > 1
                and not any(_contains(local, own) for local in site.local_networks)
            ):
                yield warn(
                    "networks",
                    f"{own}, which is on {name} here, lies within {remote} of route_networks",
                    f"a site whose LAN is {own}, too, cannot be reached from here; and nobody can "
                    "reach this one, which is not in local_networks",
                    f'add "{own}" to local_networks if the others shall reach it',
                )


def _taken_addresses(facts: RoutingFacts, site: SiteConfig, tunnel: int) -> Iterator[Finding]:
    for key, address in (("gateway", site.gateway), ("gateway6", site.gateway6)):
        if address is None:
            continue
        for network, name in _connected(facts, tunnel):
            if address in network:
                yield warn(
                    "networks",
                    f"{key}: {address} lies within {network}, which is on {name} here",
                    "addresses inside the tunnel must belong to no LAN: answers to this one may go "
                    "out to the LAN",
                    f'"{key}": an address of a range that no site uses, such as 10.8.0.0/24',
                )


def _unreachable_networks(facts: RoutingFacts, site: SiteConfig, tunnel: int) -> Iterator[Finding]:
    own = (site.gateway, site.gateway6)
    for network in site.local_networks:
        if network.prefixlen == 0 or network.network_address in own:
            continue
        led = any(
            route.destination.prefixlen
            and (_contains(route.destination, network) or _contains(network, route.destination))
            for route in _others(facts.routes, tunnel)
        )
        if not led:
            yield warn(
                "networks",
                f"local_networks: {network} is announced, but no interface and no route here "
                "leads to it",
                "packets for it leave by the default route, if there is one, or are dropped",
                f"ip route add {network} via THE-ROUTER-THAT-KNOWS-IT, or correct local_networks",
            )


def _others(routes: Sequence[KnownRoute], tunnel: int) -> Iterator[KnownRoute]:
    return (route for route in routes if route.hops and not route.uses(tunnel))


def _contains(wide: Network, narrow: Network) -> bool:
    return (
        wide.version == narrow.version
        and wide.prefixlen <= narrow.prefixlen
        and narrow.network_address in wide
    )
