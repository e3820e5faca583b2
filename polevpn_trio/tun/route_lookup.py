"""Asks the kernel where it would send a packet (what ``ip route get`` shows)."""

from __future__ import annotations

from typing import Any

import attrs
from pyroute2 import IPRoute

from polevpn_trio.tun.netlink import REFUSALS
from polevpn_trio.tun.routes import Address


@attrs.frozen
class KernelRoute:
    """Where packets go next: out by an interface, to a gateway there ("" if it is a neighbour)."""

    interface: str
    gateway: str


def look_up_route(destination: Address) -> KernelRoute | None:
    """Ask for the way of a packet that this machine sends; None if there is none.

    Blocks for as long as the kernel takes, some hundred microseconds.
    """
    try:
        with IPRoute() as netlink:
            found: Any = netlink.route("get", dst=str(destination))
            index = found[0].get_attr("RTA_OIF")
            name = netlink.get_links(index)[0].get_attr("IFLA_IFNAME")
    except (*REFUSALS, IndexError):
        return None
    return KernelRoute(str(name), str(found[0].get_attr("RTA_GATEWAY") or ""))
