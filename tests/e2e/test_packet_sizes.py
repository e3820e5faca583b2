"""No size of packet is lost to the tunnel's own overhead, whatever the path below it carries."""

from __future__ import annotations

import pytest

from polevpn_trio.lab import probes
from polevpn_trio.lab.overlay import Overlay, Site

from .conftest import OverlayMaker, PathCheck

pytestmark = pytest.mark.needs_root_lab

IPV6_MIN_MTU = 1280
"""The least that a path of IPv6 may carry, and what mobile and nested tunnels often give."""

HEADERS = 28
"""Bytes of the IPv4 and ICMP headers, which come on top of a ping's size."""


def start(overlay: Overlay, url: str) -> tuple[Site, Site]:
    a, b = overlay.add_site("a"), overlay.add_site("b")
    overlay.start_router()
    for site in (a, b):
        overlay.start_gateway(site, overlay.gateway_config(site, url))
    overlay.wait_for_path(a.lan_host, b.lan_host_address)
    return a, b


@pytest.mark.parametrize("transport", ["kcp", "tls"])
@pytest.mark.parametrize("mtu", [1500, IPV6_MIN_MTU])
def test_pings_of_all_sizes(
    make_overlay: OverlayMaker, check_path: PathCheck, transport: str, mtu: int
) -> None:
    overlay = make_overlay(mtu=mtu)
    a, b = start(overlay, overlay.url(transport))
    for size in (0, 1200, 1300, 1400, 1472, 1473, 2000 - HEADERS, 2000, 8000):
        for address in (b.lan_host_address, b.lan_host_address6):
            echo = a.lan_host.call(probes.ping, address, count=5, interval=0.005, size=size)
            assert (echo.received, echo.corrupted) == (5, 0), (size, address)
    check_path(a.lan_host, b.lan_host, b.lan_host_address)
    check_path(a.lan_host, b.lan_host, b.lan_host_address6)


def test_small_mtu_below_ipv6(make_overlay: OverlayMaker, check_path: PathCheck) -> None:
    overlay = make_overlay(mtu=IPV6_MIN_MTU)
    a, b = start(overlay, overlay.url("kcp", ipv6=True))
    echo = a.lan_host.call(probes.ping, b.lan_host_address, count=5, interval=0.005, size=2000)
    assert echo.received == 5
    check_path(a.lan_host, b.lan_host, b.lan_host_address)


def test_whole_packets_pass_without_fragmentation(overlay: Overlay) -> None:
    a, b = start(overlay, overlay.url("kcp"))

    def answered(size: int) -> int:
        return a.lan_host.call(
            probes.ping,
            b.lan_host_address,
            count=5,
            interval=0.005,
            size=size,
            timeout=0.5,
            dont_fragment=True,
        ).received

    assert answered(1500 - HEADERS) == 5
    assert answered(1501 - HEADERS) == 0


def test_tunnel_with_a_small_mtu(overlay: Overlay, check_path: PathCheck) -> None:
    a, b = overlay.add_site("a"), overlay.add_site("b")
    overlay.start_router()
    for site in (a, b):
        config = overlay.gateway_config(site, overlay.url("kcp"), mtu=IPV6_MIN_MTU)
        overlay.start_gateway(site, config)
    overlay.wait_for_path(a.lan_host, b.lan_host_address)
    echo = a.lan_host.call(probes.ping, b.lan_host_address, count=5, interval=0.005, size=2000)
    assert echo.received == 5
    check_path(a.lan_host, b.lan_host, b.lan_host_address)
