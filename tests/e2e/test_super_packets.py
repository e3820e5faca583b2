"""Super-packets between gateways that know them, and cut at the router for one that does not."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable

import pytest

from polevpn_trio.control.registration import FEATURES, features_over
from polevpn_trio.lab.namespaces import Host
from polevpn_trio.lab.overlay import TRANSPORTS, Overlay, Site

from .conftest import PathCheck

pytestmark = pytest.mark.needs_root_lab

UDP_SEGMENT = 103
PORT = 7002
SEGMENT = 1200
PATIENCE = 10.0
"""Seconds that a datagram may take on a busy machine."""


def start(overlay: Overlay, transport: str, *features: dict[str, bool]) -> list[Site]:
    """Start a router and a site for each choice of native features; return the sites."""
    sites = [overlay.add_site(f"site {number}") for number, _ in enumerate(features)]
    overlay.start_router()
    for site, native in zip(sites, features, strict=True):
        config = overlay.gateway_config(site, overlay.url(transport), native=native)
        gateway = overlay.start_gateway(site, config)
        all_known = features_over(transport == "kcp", FEATURES)
        known = " ".join(name for name in all_known if native.get(name, True))
        gateway.wait_for_output(f"(native {known})", PATIENCE)
    for site in sites[1:]:
        for address in (site.lan_host_address, site.lan_host_address6):
            overlay.wait_for_path(sites[0].lan_host, address)
    return sites


def exchange_datagrams(origin: Host, target: Host, address: str, seed: int) -> None:
    """Send a super-packet of UDP and compare the datagrams that arrive."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    data = random.Random(seed).randbytes(SEGMENT * 30 + 77)
    make: Callable[[int, int], socket.socket] = socket.socket
    with (
        origin.call(make, family, socket.SOCK_DGRAM) as sender,
        target.call(make, family, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.settimeout(PATIENCE)
        receiver.bind((address, PORT))
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT)
        sender.sendto(data, (address, PORT))
        got = [receiver.recv(65536) for _ in range(31)]
    assert [len(datagram) for datagram in got] == [SEGMENT] * 30 + [77]
    assert b"".join(got) == data


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("others", [{}, {"gso": False}], ids=["whole", "cut"])
def test_bulk_between_two_sites(
    overlay: Overlay, check_path: PathCheck, transport: str, others: dict[str, bool]
) -> None:
    a, b = start(overlay, transport, {}, others)
    for address in (b.lan_host_address, b.lan_host_address6):
        check_path(a.lan_host, b.lan_host, address)
        exchange_datagrams(a.lan_host, b.lan_host, address, seed=1)
    for address in (a.lan_host_address, a.lan_host_address6):
        exchange_datagrams(b.lan_host, a.lan_host, address, seed=2)


def test_who_knows_super_packets_and_who_does_not_at_one_router(
    overlay: Overlay, check_path: PathCheck
) -> None:
    sites = start(overlay, "tls", {}, {"gso": False}, {"gso": True})
    for origin in sites:
        for target in sites:
            if origin is not target:
                check_path(origin.lan_host, target.lan_host, target.lan_host_address)


def test_the_routers_own_site(overlay: Overlay, check_path: PathCheck) -> None:
    own = overlay.add_site("hub", gateway=overlay.router)
    far = overlay.add_site("far")
    overlay.start_router(overlay.router_config(site=overlay.site_config(own)))
    overlay.start_gateway(far, overlay.gateway_config(far, overlay.url("tls")))
    for origin, target in ((own, far), (far, own)):
        for address in (target.lan_host_address, target.lan_host_address6):
            overlay.wait_for_path(origin.lan_host, address)
            check_path(origin.lan_host, target.lan_host, address)
            exchange_datagrams(origin.lan_host, target.lan_host, address, seed=3)
