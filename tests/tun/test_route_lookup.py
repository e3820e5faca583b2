"""What the kernel says about the way of a packet."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from polevpn_trio.lab.namespaces import Lab
from polevpn_trio.tun.route_lookup import KernelRoute, look_up_route

pytestmark = pytest.mark.needs_root_lab


def test_the_way_is_told_by_interface_and_gateway() -> None:
    with Lab() as lab:
        left, right = lab.host("left"), lab.host("right")
        lab.connect(left, "eth7", right, "eth0")
        left.add_addresses("eth7", "192.0.2.1/24")
        left.add_route("198.51.100.0/24", via="192.0.2.9")
        for address, expected in (
            ("192.0.2.5", KernelRoute("eth7", "")),
            ("198.51.100.5", KernelRoute("eth7", "192.0.2.9")),
            ("192.0.2.1", KernelRoute("lo", "")),
            ("203.0.113.1", None),
            ("2001:db8::1", None),
        ):
            assert left.call(look_up_route, ip_address(address)) == expected
