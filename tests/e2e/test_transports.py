"""Every transport carries IPv4 and IPv6, over IPv4 and IPv6, from LAN to LAN."""

from __future__ import annotations

import sys

import pytest

from polevpn_trio.lab import probes
from polevpn_trio.lab.overlay import TRANSPORTS, Overlay, python_path

from .conftest import PathCheck

pytestmark = pytest.mark.needs_root_lab


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("outside", [4, 6], ids=["over-ipv4", "over-ipv6"])
def test_lan_to_lan(overlay: Overlay, check_path: PathCheck, transport: str, outside: int) -> None:
    a, b = overlay.add_site("a"), overlay.add_site("b")
    overlay.start_router()
    url = overlay.url(transport, ipv6=outside == 6)
    gateways = [overlay.start_gateway(site, overlay.gateway_config(site, url)) for site in (a, b)]
    for address in (b.lan_host_address, b.lan_host_address6):
        overlay.wait_for_path(a.lan_host, address)
        check_path(a.lan_host, b.lan_host, address)
    check_path(b.lan_host, a.lan_host, a.lan_host_address)
    for gateway in gateways:
        assert f"registered at {transport} " in gateway.log()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_udp_datagrams_of_all_sizes(overlay: Overlay, transport: str) -> None:
    a, b = overlay.add_site("a"), overlay.add_site("b")
    overlay.start_router()
    for site in (a, b):
        overlay.start_gateway(site, overlay.gateway_config(site, overlay.url(transport)))
    server = b.lan_host.start(
        [sys.executable, "-m", "polevpn_trio.lab.probes", "udp-server", "7000"],
        environment=python_path(),
    )
    overlay.wait_for_path(a.lan_host, b.lan_host_address)
    server.wait_for_output("listening", 10)
    for size in (2, 100, 1472, 1473, 9000):
        result = a.lan_host.call(
            probes.udp_echo, b.lan_host_address, 7000, count=20, interval=0.002, size=size
        )
        assert (result.received, result.corrupted) == (20, 0), size


def test_sites_on_different_transports(overlay: Overlay, check_path: PathCheck) -> None:
    sites = [overlay.add_site(transport) for transport in TRANSPORTS]
    overlay.start_router()
    for site in sites:
        overlay.start_gateway(site, overlay.gateway_config(site, overlay.url(site.name)))
    for origin in sites:
        for target in sites:
            if origin is not target:
                overlay.wait_for_path(origin.lan_host, target.lan_host_address)
                check_path(origin.lan_host, target.lan_host, target.lan_host_address)


@pytest.mark.parametrize("native", [True, False], ids=["native", "classic"])
def test_gateways_reach_each_other_themselves(overlay: Overlay, native: bool) -> None:
    a, b = overlay.add_site("a"), overlay.add_site("b")
    overlay.start_router(overlay.router_config(native=native))
    for site, other in ((a, b), (b, a)):
        config = overlay.gateway_config(site, overlay.url("kcp"), classic=not native)
        config["route_networks"].append(f"{other.tunnel_address}/32")
        overlay.start_gateway(site, config)
    overlay.wait_for_path(a.gateway, b.tunnel_address)
    overlay.wait_for_path(b.gateway, a.tunnel_address)
