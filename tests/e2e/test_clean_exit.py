"""A program that ends leaves its host as it found it, even when an earlier one had crashed."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from polevpn_trio.lab.overlay import Overlay

pytestmark = pytest.mark.needs_root_lab

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"forward": False},
    "forward": {"forward": True},
    "masquerade": {"forward": True, "masquerade": True},
    "default-route": {"route_networks": ["0.0.0.0/0", "::/0"], "masquerade": True},
}


@pytest.mark.parametrize(
    ("name", "number"),
    [*((name, signal.SIGTERM) for name in SETTINGS), ("masquerade", signal.SIGINT)],
)
def test_gateway_leaves_nothing_behind(overlay: Overlay, name: str, number: signal.Signals) -> None:
    site, other = overlay.add_site("site"), overlay.add_site("other")
    changes = SETTINGS[name]
    if not changes.get("forward"):
        site.gateway.forward_packets()
    before = site.gateway.state()
    overlay.start_router()
    overlay.start_gateway(other, overlay.gateway_config(other, overlay.url("kcp")))
    config = overlay.gateway_config(site, overlay.url("kcp"), **changes)
    gateway = overlay.start_gateway(site, config)
    overlay.wait_for_path(site.lan_host, other.lan_host_address)
    during = site.gateway.state()
    assert overlay.INTERFACE in during.links
    assert during.routes_through(overlay.INTERFACE)
    assert bool(during.nat_tables) == changes.get("masquerade", False)
    gateway.send_signal(number)
    assert gateway.wait(10) == 0
    assert site.gateway.state() == before
    assert "Traceback" not in gateway.log()


def test_gateway_without_forwarding_leaves_the_host_alone(overlay: Overlay) -> None:
    site = overlay.add_site("site")
    before = site.gateway.state()
    overlay.start_router()
    config = overlay.gateway_config(site, overlay.url("kcp"), forward=False)
    gateway = overlay.start_gateway(site, config)
    gateway.wait_for_output("registered", 10)
    assert "net/ipv4/ip_forward=0" in before.settings
    assert "net/ipv4/ip_forward=0" in site.gateway.state().settings


@pytest.mark.parametrize("name", ["masquerade", "default-route"])
def test_next_gateway_undoes_what_a_crash_left(overlay: Overlay, name: str) -> None:
    site = overlay.add_site("site")
    before = site.gateway.state()
    overlay.start_router()
    config = overlay.gateway_config(site, overlay.url("kcp"), **SETTINGS[name])
    crashed = overlay.start_gateway(site, config)
    crashed.wait_for_output("registered", 10)
    crashed.kill()
    assert site.gateway.state() != before
    gateway = overlay.start_gateway(site, config)
    gateway.wait_for_output("registered", 10)
    assert gateway.stop() == 0
    assert site.gateway.state() == before


def test_router_with_a_site_leaves_nothing_behind(overlay: Overlay) -> None:
    site = overlay.add_site("cloud", gateway=overlay.router)
    before = overlay.router.state()
    router = overlay.start_router(
        overlay.router_config(site=overlay.site_config(site, masquerade=True))
    )
    overlay.wait_for_listener("kcp")
    router.wait_for_output("ready", 10)
    assert overlay.INTERFACE in overlay.router.state().links
    assert router.stop() == 0
    assert overlay.router.state() == before
    assert not overlay.router.listens("udp", 443)
    assert not overlay.router.listens("tcp", 443)
    assert "Traceback" not in router.log()


def test_end_of_a_gateway_that_never_got_through(overlay: Overlay) -> None:
    site = overlay.add_site("site")
    before = site.gateway.state()
    gateway = overlay.start_gateway(site, overlay.gateway_config(site, overlay.url("tls")))
    gateway.wait_for_output("cannot reach", 10)
    assert gateway.stop() == 0
    assert site.gateway.state() == before
