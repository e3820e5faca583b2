"""What fails comes back by itself, and in time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from polevpn_trio.lab.namespaces import Process, wait_until
from polevpn_trio.lab.overlay import TRANSPORTS, Overlay, Site

from .conftest import PathCheck

pytestmark = pytest.mark.needs_root_lab

RECOVERY_SECONDS = 2.0
"""How long after the router listens again traffic may take to flow: a promise of the product."""


def two_sites(
    overlay: Overlay, route_server: str | list[str], **changes: object
) -> tuple[Site, Site]:
    a, b = overlay.add_site("a"), overlay.add_site("b")
    overlay.start_router()
    # Lest a first attempt that came too early has them begin on the second server.
    overlay.wait_for_listener("kcp")
    overlay.wait_for_listener("tls")
    for site in (a, b):
        overlay.start_gateway(site, overlay.gateway_config(site, route_server, **changes))
    overlay.wait_for_path(a.lan_host, b.lan_host_address)
    return a, b


def programs(overlay: Overlay, name: str) -> list[Process]:
    return [process for process in overlay.programs() if process.name.startswith(name)]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("outage", [0.0, 4.0], ids=["at-once", "after-4s"])
def test_router_killed_and_started_again(
    overlay: Overlay,
    transport: str,
    outage: float,
    record_property: Callable[[str, object], None],
) -> None:
    a, b = two_sites(overlay, overlay.url(transport))
    programs(overlay, "router")[0].kill()
    with pytest.raises(TimeoutError):
        # However long it is away, the gateways keep looking.
        overlay.wait_for_path(a.lan_host, b.lan_host_address, timeout=outage)
    overlay.start_router()
    overlay.wait_for_listener(transport)
    seconds = overlay.wait_for_path(a.lan_host, b.lan_host_address, timeout=RECOVERY_SECONDS)
    record_property("recovery_seconds", seconds)
    print(f"traffic was back {seconds:.3f} s after the router listened ({transport})")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_gateway_killed_and_started_again(
    overlay: Overlay, check_path: PathCheck, transport: str
) -> None:
    a, b = two_sites(overlay, overlay.url(transport))
    programs(overlay, "gateway-1")[0].kill()
    overlay.start_gateway(a, overlay.gateway_config(a, overlay.url(transport)))
    overlay.wait_for_path(a.lan_host, b.lan_host_address, timeout=10)
    check_path(b.lan_host, a.lan_host, a.lan_host_address)


def test_gateway_started_before_the_router(overlay: Overlay) -> None:
    a, b = overlay.add_site("a"), overlay.add_site("b")
    gateways = [
        overlay.start_gateway(site, overlay.gateway_config(site, overlay.url("tls")))
        for site in (a, b)
    ]
    for gateway in gateways:
        gateway.wait_for_output("cannot reach", 10)
    overlay.start_router()
    overlay.wait_for_path(a.lan_host, b.lan_host_address)


def test_blocked_udp_falls_back_to_tls_and_returns(overlay: Overlay, check_path: PathCheck) -> None:
    servers = [overlay.url("kcp"), overlay.url("tls")]
    with overlay.internet.dropping("udp"):
        a, b = two_sites(overlay, servers, connect_timeout=1)
        gateways = programs(overlay, "gateway")
        for gateway in gateways:
            assert "registered at tls " in gateway.log()
            assert "registered at kcp " not in gateway.log()
        check_path(a.lan_host, b.lan_host, b.lan_host_address)
    for gateway in gateways:
        gateway.wait_for_output("registered at kcp ", 15)
    check_path(a.lan_host, b.lan_host, b.lan_host_address)


def test_udp_that_becomes_blocked_in_use(overlay: Overlay) -> None:
    servers = [overlay.url("kcp"), overlay.url("tls")]
    a, b = two_sites(overlay, servers, connect_timeout=1)
    for gateway in programs(overlay, "gateway"):
        assert "registered at kcp " in gateway.log()
    with overlay.internet.dropping("udp"):
        # The path was broken for sure only when a ping has stayed unanswered.
        wait_until(
            lambda: not overlay.reaches(a.lan_host, b.lan_host_address), 5, "the path to break"
        )
        overlay.wait_for_path(a.lan_host, b.lan_host_address, timeout=15)
        for gateway in programs(overlay, "gateway"):
            gateway.wait_for_output("registered at tls ", 10)


def test_a_cable_that_was_out_for_a_while(overlay: Overlay) -> None:
    a, b = two_sites(overlay, overlay.url("kcp"))
    a.gateway.set_link("wan", up=False)
    with pytest.raises(TimeoutError):
        overlay.wait_for_path(a.lan_host, b.lan_host_address, timeout=1)
    a.gateway.set_link("wan", up=True)
    # The kernel drops the routes of a link that goes down.
    a.gateway.add_route("0.0.0.0/0", via="198.18.2.1")
    overlay.wait_for_path(a.lan_host, b.lan_host_address, timeout=10)
