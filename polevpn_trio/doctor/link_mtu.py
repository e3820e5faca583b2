"""The MTU of the interface by which packets to an address leave."""

from __future__ import annotations

from ipaddress import ip_address

from pyroute2 import IPRoute

from polevpn_trio.tun.netlink import REFUSALS
from polevpn_trio.tun.route_lookup import look_up_route


def look_up_link_mtu(address: str) -> int:
    """Ask the kernel, in bytes; 0 if there is no way, or it may not be asked.

    What the kernel has learned about the rest of the path is left out: it forgets that.
    """
    route = look_up_route(ip_address(address.partition("%")[0]))
    if route is None:
        return 0
    try:
        with IPRoute() as netlink:
            found = netlink.link_lookup(ifname=route.interface)
            (link,) = netlink.get_links(found[0])
            return int(link.get_attr("IFLA_MTU"))
    except (*REFUSALS, IndexError, ValueError):
        return 0
