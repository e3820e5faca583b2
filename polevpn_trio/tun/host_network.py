"""What a site asks of its host: addresses, routes, forwarding; put back when it ends.

`applied` is a context manager around a running tunnel. Inside it the interface is up with
its addresses, the routes lead into it, forwarding and masquerading are on if asked for, and
`HostNetwork.keep_reachable` sees to it that the tunnel's own outer packets do not end up in
the tunnel. On the way out everything is undone in reverse order, also on cancellation. What
a killed process left behind is undone by the next one (see `host_journal`).

Everything goes through netlink and /proc/sys, in worker threads: the calls take a few
milliseconds each and pyroute2 runs an event loop of its own in them. Threads are born into
the network namespace of the thread that starts them, so a process that lives in one
namespace finds its own there.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_network,
)
from pathlib import Path
from typing import Any

import trio
from attrs import frozen
from pyroute2 import IPRoute

from polevpn_trio.control.log import ContextLogger
from polevpn_trio.errors import HostError
from polevpn_trio.tun.host_changes import (
    SYSCTL_ROOT,
    Change,
    InterfaceAddress,
    Link,
    Masquerade,
    Route,
    Sysctl,
    read_sysctl,
)
from polevpn_trio.tun.host_journal import INTERFACE_NAME, Journal
from polevpn_trio.tun.netlink import REFUSALS, host_error, is_not_permitted
from polevpn_trio.tun.routes import (
    Address,
    Hop,
    KnownRoute,
    NoWay,
    conflicting,
    halved_default,
    read_routes,
    way_around,
)

logger = ContextLogger(logging.getLogger(__name__))

DEFAULT_STATE_DIRECTORY = Path("/run/polevpn_trio")

UNDO_DEADLINE = 5.0
"""Seconds. Undoing takes some 50 ms; a kernel that takes longer must not keep us from ending."""

_IFF_UP = 1

# net/ipv6/conf/*/addr_gen_mode: no link-local address.
_ADDR_GEN_MODE_NONE = 1
# net/ipv4/conf/*/rp_filter (RFC 3704).
_RP_FILTER_STRICT = 1
_RP_FILTER_LOOSE = 2
# net/ipv6/conf/*/accept_ra: take router advertisements even as a router.
_ACCEPT_RA_ALWAYS = 2


@frozen
class HostSettings:
    """What the host's network shall look like while the tunnel runs."""

    interface: str
    """The tunnel's interface, which exists already."""
    mtu: int
    """Of the interface, bytes."""
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    """Of the interface, usually with a full-length prefix."""
    routes: tuple[IPv4Network | IPv6Network, ...]
    """What goes into the tunnel; a default route is allowed."""
    forward: bool = False
    """Let this machine pass packets on between its interfaces."""
    masquerade: bool = False
    """Give packets that come out of the tunnel and leave elsewhere this machine's address."""
    tx_queue_length: int = 1000
    """Of the interface, packets (or super-packets) that wait for us to read them."""
    state_directory: Path = DEFAULT_STATE_DIRECTORY
    """Where the journal for the time after a crash is kept."""

    def uses(self, version: int) -> bool:
        """Tell whether IP ``version`` (4 or 6) is wanted on the tunnel."""
        return any(each.version == version for each in (*self.addresses, *self.routes))


@frozen
class HostNetworkStatistics:
    """What is changed on the host at the moment."""

    changes: int
    """How many single changes would be undone now."""
    pinned: tuple[Address, ...]
    """Peers that have a route of their own past the tunnel."""


@asynccontextmanager
async def applied(
    settings: HostSettings, *, keep_reachable: Collection[Address] = ()
) -> AsyncIterator[HostNetwork]:
    """Apply ``settings`` to the host, and undo them at the end.

    ``keep_reachable`` is what `HostNetwork.keep_reachable` takes, for peers that are known
    before the first route leads into the tunnel.

    Raises `HostError`, in one line, when the kernel refuses, lacks something, or has a route
    already to one of ``settings.routes``; nothing stays changed then.
    """
    host = HostNetwork(settings)
    try:
        await host._apply(keep_reachable)
        yield host
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + UNDO_DEADLINE) as scope:
            await host._undo()
        if scope.cancelled_caught:
            logger.warning(
                "%s: undoing changes takes longer than %g s, left to the next start",
                settings.interface,
                UNDO_DEADLINE,
                advice="start it again, which undoes the rest, and end it once more",
            )


class HostNetwork:
    """The changes in force. Made by `applied`; not to be used after it."""

    def __init__(self, settings: HostSettings) -> None:
        self._set(settings)
        self._peers: tuple[Address, ...] = ()
        self._forwarding: list[Sysctl] = []
        self._done: list[Change] = []
        self._pins: dict[Address, Route] = {}
        self._journal: Journal | None = None
        self._lock = trio.Lock()

    def _set(self, settings: HostSettings) -> None:
        self._settings = settings
        self._routes = halved_default(settings.routes)
        self._tunnel_networks = (*self._routes, *(each.network for each in settings.addresses))

    async def change(self, settings: HostSettings) -> None:
        """Go on with other routes, forwarding, or masquerading; the rest has to be as it is.

        Routes that stay are not touched. Raises `HostError`, in one line, as `applied` does;
        then everything is as before.
        """
        async with self._lock:
            # Not abandoned on cancellation, so what is done and what is noted agree.
            await trio.to_thread.run_sync(self._change_all, settings)

    async def keep_reachable(self, addresses: Collection[Address]) -> None:
        """Let packets for exactly these ``addresses`` bypass the tunnel.

        Call it with the addresses of the outer peers before each connection: ways may have
        changed (another Wi-Fi, another gateway), and addresses that are not named any more
        lose their route. An address that the tunnel's routes do not cover, or that has a
        more precise route already, needs nothing and gets nothing. One that nothing but the
        tunnel leads to is logged.

        Raises `HostError` when the kernel does not permit it, or when the address itself is
        a network of the tunnel.
        """
        async with self._lock:
            # Not abandoned on cancellation, so what is done and what is noted agree.
            await trio.to_thread.run_sync(self._keep_reachable, addresses)

    def statistics(self) -> HostNetworkStatistics:
        """Count the changes in force."""
        return HostNetworkStatistics(changes=len(self._done), pinned=tuple(self._pins))

    async def _apply(self, peers: Collection[Address]) -> None:
        async with self._lock:
            await trio.to_thread.run_sync(self._apply_all, peers)

    async def _undo(self) -> None:
        async with self._lock:
            await trio.to_thread.run_sync(self._undo_all, abandon_on_cancel=True)

    # The rest runs in worker threads, one at a time.

    def _apply_all(self, peers: Collection[Address]) -> None:
        settings = self._settings
        if not INTERFACE_NAME.fullmatch(settings.interface):
            raise HostError(
                f"{settings.interface!r} cannot be the name of a network interface",
                advice="correct `interface`, or leave it out",
            )
        if settings.uses(6) and not (SYSCTL_ROOT / "net/ipv6").exists():
            raise _lacks_ipv6()
        self._journal = Journal(settings.state_directory, settings.interface)
        with _open_netlink() as netlink:
            self._undo_leftover(netlink, self._journal)
            index = _interface_index(settings.interface)
            routes = {version: self._known_routes(netlink, version) for version in (4, 6)}
            wanted = self._wanted_routes(index, (*routes[4], *routes[6]))
            for sysctl in self._interface_sysctls():
                self._do(netlink, sysctl, optional=not sysctl.key.endswith("/disable_ipv6"))
            self._do(netlink, self._link(netlink, index))
            for address in self._missing_addresses(netlink, index):
                self._do(netlink, address)
            self._peers = tuple(peers)
            self._pin(netlink, peers)
            for route in wanted:
                self._do(netlink, route)
            self._set_forwarding(netlink, routes[6])
            if settings.masquerade:
                self._do(netlink, Masquerade(settings.interface))

    def _change_all(self, settings: HostSettings) -> None:
        before = self._settings
        if settings.uses(6) and not (SYSCTL_ROOT / "net/ipv6").exists():
            raise _lacks_ipv6()
        with _open_netlink() as netlink:
            try:
                self._move_to(netlink, settings)
            except HostError:
                self._move_to(netlink, before)
                raise

    def _move_to(self, netlink: Any, settings: HostSettings) -> None:
        """Make of the changes in force those that ``settings`` ask for."""
        self._set(settings)
        index = _interface_index(settings.interface)
        routes = {version: self._known_routes(netlink, version) for version in (4, 6)}
        wanted = self._wanted_routes(index, (*routes[4], *routes[6]))
        for sysctl in self._interface_sysctls():
            self._do(netlink, sysctl, optional=not sysctl.key.endswith("/disable_ipv6"))
        self._pin(netlink, self._peers)
        for route in wanted:
            if route in self._done:
                # Somebody has removed it meanwhile.
                self._done.remove(route)
            self._do(netlink, route)
        pins = list(self._pins.values())
        for change in self._done[:]:
            if (
                isinstance(change, Route)
                and change not in pins
                and change.destination not in self._routes
            ):
                self._take_back(netlink, change)
        self._set_forwarding(netlink, routes[6])
        masquerade = Masquerade(settings.interface)
        if settings.masquerade and masquerade not in self._done:
            self._do(netlink, masquerade)
        elif not settings.masquerade and masquerade in self._done:
            self._take_back(netlink, masquerade)

    def _set_forwarding(self, netlink: Any, routes: Sequence[KnownRoute]) -> None:
        for sysctl in self._forwarding_sysctls(routes):
            self._do(netlink, sysctl)
            self._forwarding.append(sysctl)
        if not self._settings.forward:
            while self._forwarding:
                self._take_back(netlink, self._forwarding.pop())

    def _take_back(self, netlink: Any, change: Change) -> None:
        _revert(netlink, change)
        self._done.remove(change)
        self._write_journal()

    def _undo_all(self) -> None:
        if self._journal is None:
            return
        if self._done:
            with _open_netlink() as netlink:
                while self._done:
                    _revert(netlink, self._done[-1])
                    self._done.pop()
        self._pins.clear()
        self._journal.remove()

    def _keep_reachable(self, addresses: Collection[Address]) -> None:
        self._peers = tuple(addresses)
        covered = any(address in net for address in addresses for net in self._tunnel_networks)
        if covered or self._pins:
            with _open_netlink() as netlink:
                self._pin(netlink, addresses)

    def _do(self, netlink: Any, change: Change, *, optional: bool = False) -> None:
        """Note a change, make it, and forget it again if it fails."""
        self._done.append(change)
        self._write_journal()
        try:
            change.apply(netlink)
        except HostError as error:
            self._done.remove(change)
            self._write_journal()
            if not optional:
                raise
            logger.warning("%s: %s", self._settings.interface, error, advice=error.advice)
        else:
            logger.debug("%s: %s", self._settings.interface, change.text)

    def _write_journal(self) -> None:
        if self._journal is not None:
            self._journal.write(self._done)

    def _undo_leftover(self, netlink: Any, journal: Journal) -> None:
        leftover = journal.leftover()
        for change in reversed(leftover):
            _revert(netlink, change)
        if leftover:
            logger.info(
                "%s: undid %d %s that an earlier run had left",
                self._settings.interface,
                len(leftover),
                "change" if len(leftover) == 1 else "changes",
            )
            journal.remove()

    def _known_routes(self, netlink: Any, version: int) -> tuple[KnownRoute, ...]:
        if not self._settings.uses(version):
            return ()
        try:
            return read_routes(netlink, version)
        except REFUSALS as error:
            raise host_error(f"read the IPv{version} routes", error) from error

    def _wanted_routes(self, index: int, existing: Sequence[KnownRoute]) -> list[Route]:
        """Return the routes to add; raise if one would take the place of another's."""
        found = conflicting(self._routes, existing, index)
        if found is not None:
            network, route = found
            holder = _interface_name(route.hops[0]) if route.hops else "no interface (blackhole)"
            raise HostError(
                f"route_networks: {network} is routed to {holder} on this machine already, "
                f"not to be taken over by {self._settings.interface}",
                advice=f"take {network} out of route_networks, or away from {holder} "
                f"(`ip route show {network}`)",
            )
        # An address with a shorter prefix brings a route to its network along.
        own = {route.destination for route in existing if route.uses(index)}
        own.update(each.network for each in self._settings.addresses)
        return [Route(each, self._settings.interface) for each in self._routes if each not in own]

    def _link(self, netlink: Any, index: int) -> Link:
        settings = self._settings
        try:
            [message] = netlink.get_links(index)
        except REFUSALS as error:
            raise host_error(f"read the state of {settings.interface}", error) from error
        return Link(
            interface=settings.interface,
            mtu=settings.mtu,
            tx_queue_length=settings.tx_queue_length,
            previous_mtu=message.get_attr("IFLA_MTU"),
            previous_tx_queue_length=message.get_attr("IFLA_TXQLEN"),
            previously_up=bool(message["flags"] & _IFF_UP),
        )

    def _missing_addresses(self, netlink: Any, index: int) -> list[InterfaceAddress]:
        existing = {
            (message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"), message["prefixlen"])
            for message in netlink.get_addr(index=index)
        }
        return [
            InterfaceAddress(self._settings.interface, each)
            for each in self._settings.addresses
            if (str(each.ip), each.network.prefixlen) not in existing
        ]

    def _interface_sysctls(self) -> Iterator[Sysctl]:
        """Yield what the tunnel's interface needs before it goes up."""
        name = self._settings.interface
        if self._settings.uses(6):
            # Container runtimes like to switch it off for all interfaces to come.
            yield from _sysctl(f"net/ipv6/conf/{name}/disable_ipv6", 0)
        # Whoever is at the far end must not become our router, nor need it answer our
        # solicitations; the addresses are ours to set.
        yield from _sysctl(f"net/ipv6/conf/{name}/accept_ra", 0)
        yield from _sysctl(f"net/ipv6/conf/{name}/addr_gen_mode", _ADDR_GEN_MODE_NONE)
        # The strict filter drops what comes from a network that is not routed back into the
        # tunnel, such as a gateway's own address. The kernel uses the larger of two values.
        key = f"net/ipv4/conf/{name}/rp_filter"
        values = (read_sysctl("net/ipv4/conf/all/rp_filter"), read_sysctl(key))
        if max(value or 0 for value in values) == _RP_FILTER_STRICT:
            yield from _sysctl(key, _RP_FILTER_LOOSE)

    def _forwarding_sysctls(self, routes: Sequence[KnownRoute]) -> Iterator[Sysctl]:
        if not self._settings.forward:
            return
        if not (SYSCTL_ROOT / "net").exists():
            raise HostError(
                f"forward: {SYSCTL_ROOT} is not mounted",
                advice="mount /proc; or leave `forward` out, and switch it on by other means",
            )
        if self._settings.uses(4):
            yield from _sysctl("net/ipv4/ip_forward", 1)
        if self._settings.uses(6):
            forwarding = list(_sysctl("net/ipv6/conf/all/forwarding", 1))
            if forwarding:
                # A machine that becomes a router stops listening to router advertisements
                # and drops the routes learned from them: it would lose its own uplink.
                for interface in _interfaces_with_learned_routes(routes):
                    key = f"net/ipv6/conf/{interface}/accept_ra"
                    if read_sysctl(key) == 1:
                        yield from _sysctl(key, _ACCEPT_RA_ALWAYS)
            yield from forwarding

    def _pin(self, netlink: Any, addresses: Collection[Address]) -> None:
        """Bring the routes past the tunnel in line with ``addresses``."""
        index = _interface_index(self._settings.interface)
        known = (*self._known_routes(netlink, 4), *self._known_routes(netlink, 6))
        mine = {pin.destination for pin in self._pins.values()}
        pins = [route for route in known if route.destination in mine and not route.uses(index)]
        others = [route for route in known if route not in pins]
        wanted = self._ways_around(index, others, dict.fromkeys(map(_unmapped, addresses)))
        # The kernel drops a pin when its interface goes down, and then it has to be renewed.
        present = {route.destination for route in pins}
        for address, pin in list(self._pins.items()):
            if wanted.get(address) != pin or pin.destination not in present:
                del self._pins[address]
                self._take_back(netlink, pin)
        for address, pin in wanted.items():
            if address not in self._pins:
                self._add_pin(netlink, address, pin)

    def _ways_around(
        self, index: int, routes: Sequence[KnownRoute], addresses: Collection[Address]
    ) -> dict[Address, Route]:
        wanted: dict[Address, Route] = {}
        for address in addresses:
            way = way_around(address, routes, index, self._tunnel_networks)
            if isinstance(way, Hop):
                wanted[address] = Route(
                    destination=ip_network(address),
                    interface=_interface_name(way),
                    gateway=way.gateway,
                    onlink=way.onlink,
                    source=way.source,
                )
            elif isinstance(way, NoWay):
                logger.warning(
                    "%s: no route leads to %s but the tunnel itself",
                    self._settings.interface,
                    address,
                    advice="give this machine a route to it beside the tunnel, such as a default "
                    "route",
                )
        return wanted

    def _add_pin(self, netlink: Any, address: Address, pin: Route) -> None:
        if pin.destination in self._routes:
            raise HostError(
                f"route_networks: {pin.destination} is where the tunnel's other end is reached, "
                "it cannot be routed into the tunnel",
                advice="take it out of route_networks: a larger network around it does no harm",
            )
        try:
            self._do(netlink, pin)
        except HostError as error:
            if is_not_permitted(error.__cause__):
                raise
            # The way may have gone this very moment; the next connection asks again.
            logger.warning("%s: %s", self._settings.interface, error, advice=error.advice)
        else:
            self._pins[address] = pin


def _lacks_ipv6() -> HostError:
    return HostError(
        "this machine's kernel has IPv6 switched off, the configuration uses it",
        advice="take IPv6 out of the configuration, or boot without ipv6.disable=1",
    )


def _open_netlink() -> Any:
    try:
        return IPRoute()
    except OSError as error:
        raise host_error("open a netlink socket", error) from error


def _revert(netlink: Any, change: Change) -> None:
    try:
        change.revert(netlink)
    except HostError as error:
        logger.warning("%s", error, advice=error.advice)


def _sysctl(key: str, wanted: int) -> Iterator[Sysctl]:
    """Yield the change that a setting needs, if it exists and does not have the value yet."""
    value = read_sysctl(key)
    if value is not None and value != wanted:
        yield Sysctl(key, before=value, after=wanted)


def _interface_index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise HostError(
            f"there is no network interface {name}",
            advice="`ip link` shows those that there are: it has been removed or renamed",
        ) from error


def _interface_name(hop: Hop) -> str:
    try:
        return socket.if_indextoname(hop.interface)
    except OSError:
        return f"interface {hop.interface}"


def _interfaces_with_learned_routes(routes: Sequence[KnownRoute]) -> list[str]:
    """Return the interfaces by which router advertisements have given us a route."""
    hops = [hop for route in routes if route.learned for hop in route.hops]
    return sorted({_interface_name(hop) for hop in hops})


def _unmapped(address: Address) -> Address:
    """Return the IPv4 address that a dual-stack socket shows as ::ffff:a.b.c.d."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
