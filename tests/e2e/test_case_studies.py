"""The networks that people build with this product."""

from __future__ import annotations

import itertools
import socket

import pytest

from polevpn_trio.lab.namespaces import Host
from polevpn_trio.lab.overlay import PORT, Overlay, Site, Uplink
from polevpn_trio.tun import nat

from .conftest import PathCheck

pytestmark = pytest.mark.needs_root_lab


def test_head_office_branch_and_cloud(overlay: Overlay, check_path: PathCheck) -> None:
    """Three LANs join; the hosts in them have no software of ours, and every pair talks."""
    sites = [overlay.add_site(name) for name in ("head office", "branch", "cloud")]
    overlay.start_router()
    for site in sites:
        overlay.start_gateway(site, overlay.gateway_config(site, overlay.url("kcp")))
    for origin, target in itertools.permutations(sites, 2):
        overlay.wait_for_path(origin.lan_host, target.lan_host_address)
    for origin, target in itertools.combinations(sites, 2):
        check_path(origin.lan_host, target.lan_host, target.lan_host_address)
        assert overlay.reaches(target.lan_host, origin.lan_host_address6)
    assert not any(site.lan_host.state().nat_tables for site in sites)


def test_router_that_joins_a_network_itself(overlay: Overlay, check_path: PathCheck) -> None:
    """Cloud and computer room: the router's machine is the cloud's gateway, in one process."""
    cloud = overlay.add_site("cloud", gateway=overlay.router)
    room = overlay.add_site("computer room")
    overlay.start_router(overlay.router_config(site=overlay.site_config(cloud)))
    overlay.start_gateway(room, overlay.gateway_config(room, overlay.url("kcp")))
    check_both_ways(overlay, check_path, cloud, room)


@pytest.mark.parametrize("transport", ["kcp", "tls"])
def test_router_and_gateway_on_one_machine(
    overlay: Overlay, check_path: PathCheck, transport: str
) -> None:
    """Cloud and computer room, with two programs on the cloud's machine as the originals do it."""
    cloud = overlay.add_site("cloud", gateway=overlay.router)
    room = overlay.add_site("computer room")
    overlay.start_router()
    local = f"{transport}://127.0.0.1:{PORT}"
    overlay.start_gateway(cloud, overlay.gateway_config(cloud, local))
    overlay.start_gateway(room, overlay.gateway_config(room, overlay.url(transport)))
    check_both_ways(overlay, check_path, cloud, room)


def check_both_ways(overlay: Overlay, check_path: PathCheck, one: Site, other: Site) -> None:
    overlay.wait_for_path(one.lan_host, other.lan_host_address)
    check_path(one.lan_host, other.lan_host, other.lan_host_address)
    check_path(other.lan_host, one.lan_host, one.lan_host_address)
    overlay.wait_for_path(other.lan_host, one.lan_host_address6)


@pytest.mark.parametrize("transport", ["kcp", "tls"])
def test_gateway_behind_nat(overlay: Overlay, check_path: PathCheck, transport: str) -> None:
    """A gateway without a public address is reached over the connection that it made itself."""
    office = overlay.add_site("office")
    box = overlay.lab.host("nat box")
    box_uplink = overlay.attach(box)
    hidden = add_site_behind(overlay, box)
    overlay.start_router()
    for site in (office, hidden):
        overlay.start_gateway(site, overlay.gateway_config(site, overlay.url(transport)))
    check_both_ways(overlay, check_path, office, hidden)
    router = overlay.programs()[0]
    assert f"{transport} {box_uplink.address}:" in router.log()
    assert hidden.uplink.address not in router.log()


def add_site_behind(overlay: Overlay, box: Host) -> Site:
    """Add a site whose gateway has only a private address, in a network behind ``box``."""
    gateway = overlay.lab.host("hidden gateway")
    overlay.lab.connect(box, "inside", gateway, "wan")
    box.add_addresses("inside", "172.16.0.1/24")
    box.forward_packets()
    box.call(nat.add_masquerade, "inside")
    gateway.add_addresses("wan", "172.16.0.2/24")
    gateway.add_route("0.0.0.0/0", via="172.16.0.1")
    number = len(overlay.sites) + 1
    lan_host = overlay.lab.host("hidden host")
    return overlay.add_lan(Site(number, "hidden", gateway, lan_host, Uplink("172.16.0.2", "")))


@pytest.mark.parametrize("transport", ["kcp", "tls"])
def test_default_route_leads_to_an_exit(overlay: Overlay, transport: str) -> None:
    """All of a site's traffic leaves at another one, under that one's address."""
    branch, exit_site = overlay.add_site("branch"), overlay.add_site("exit")
    server = overlay.lab.host("server")
    uplink = overlay.attach(server)
    overlay.start_router()
    everything = ["0.0.0.0/0", "::/0"]
    overlay.start_gateway(
        branch,
        overlay.gateway_config(branch, overlay.url(transport), route_networks=everything),
    )
    config = overlay.gateway_config(
        exit_site, overlay.url(transport), local_networks=everything, masquerade=True
    )
    # For the branch's gateway itself, whose packets come from its address in the tunnel.
    config["route_networks"] += [f"{branch.tunnel_address}/32", f"{branch.tunnel_address6}/128"]
    overlay.start_gateway(exit_site, config)
    overlay.wait_for_path(branch.lan_host, exit_site.lan_host_address)
    for family, own, address in (
        (socket.AF_INET, exit_site.uplink.address, uplink.address),
        (socket.AF_INET6, exit_site.uplink.address6, uplink.address6),
    ):
        overlay.wait_for_path(branch.lan_host, address)
        with server.call(socket.create_server, (address, 8080), family=family) as listener:
            listener.settimeout(5)
            for origin in (branch.lan_host, branch.gateway):
                with origin.call(socket.create_connection, (address, 8080), timeout=5):
                    connection, peer = listener.accept()
                    connection.close()
                    assert peer[0] == own
