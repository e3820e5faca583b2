"""A site behind a path that loses packets, with the real programs and the emulated path."""

from __future__ import annotations

import pytest

from polevpn_trio.lab import probes
from polevpn_trio.lab.overlay import Overlay, Site, Uplink
from polevpn_trio.lab.wan.cable import Wan
from polevpn_trio.lab.wan.conditions import Conditions

from .conftest import PathCheck

pytestmark = pytest.mark.needs_root_lab

PATIENCE = 10.0
"""Seconds that a program may take to start on a busy machine."""

LOSSY = Conditions(rate=50e6, delay=0.015, loss=0.05)
PINGS = 300


def add_far_site(overlay: Overlay) -> tuple[Site, Wan]:
    """Connect a site to the internet by an emulated path, as yet a perfect one."""
    gateway = overlay.lab.host("far gateway")
    wan = Wan.lay(overlay.internet, "far", gateway, "wan", seed=1)
    overlay.internet.add_addresses("far", "198.18.200.1/24")
    gateway.add_addresses("wan", "198.18.200.2/24")
    gateway.add_route("0.0.0.0/0", via="198.18.200.1")
    lan_host = overlay.lab.host("far host")
    uplink = Uplink("198.18.200.2", "2001:db8:200::2")
    number = len(overlay.sites) + 1
    return overlay.add_lan(Site(number, "far", gateway, lan_host, uplink)), wan


@pytest.mark.parametrize("repair", [True, False], ids=["repair", "no-repair"])
def test_nothing_is_missing_behind_a_path_that_loses_five_per_cent(
    overlay: Overlay, check_path: PathCheck, repair: bool
) -> None:
    near = overlay.add_site("near")
    far, wan = add_far_site(overlay)
    wan.change(LOSSY, LOSSY)
    overlay.start_router()
    overlay.wait_for_listener("kcp")
    for site in (near, far):
        native = {"fec": repair or site is near}
        config = overlay.gateway_config(site, overlay.url("kcp"), native=native)
        gateway = overlay.start_gateway(site, config)
        fec = " fec" if native["fec"] else ""
        gateway.wait_for_output(f"(native datagram{fec} gso handover ipv6 probe whole)", PATIENCE)
    overlay.wait_for_path(near.lan_host, far.lan_host_address)
    before = wan.statistics().forward.path
    echo = near.lan_host.call(
        probes.ping, far.lan_host_address, count=PINGS, interval=0.02, size=100
    )
    assert (echo.received, echo.duplicates, echo.corrupted) == (PINGS, 0, 0)
    seen = wan.statistics().forward.path
    assert seen.packets_in - before.packets_in > seen.packets_out - before.packets_out
    # A repair follows each ping, and their answers are acknowledged.
    assert (seen.packets_in - before.packets_in > 2.5 * PINGS) == repair
    check_path(near.lan_host, far.lan_host, far.lan_host_address)
