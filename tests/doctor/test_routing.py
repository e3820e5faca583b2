"""Conflicts between the tunnel's routes and those of a real routing table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest

from polevpn_trio.doctor.finding import Finding, Status
from polevpn_trio.doctor.routing import judge_routes, look_at_routes
from polevpn_trio.lab.namespaces import Host
from polevpn_trio.tun.device import TunDevice

from .machines import gateway, ills

pytestmark = pytest.mark.needs_root_lab


@contextmanager
def route(machine: Host, network: str, via: str = "198.18.2.1") -> Iterator[None]:
    machine.add_route(network, via=via)
    try:
        yield
    finally:
        machine.remove_route(network, via=via)


def judged(machine: Host, **changes: Any) -> list[Finding]:
    return judge_routes(machine.call(look_at_routes), gateway(**changes).site)


def test_a_site_with_networks_of_its_own_is_well(machine: Host) -> None:
    assert not ills(judged(machine))
    # The default route, and the halves that the program makes of it, leave all others alone.
    assert not ills(judged(machine, route_networks=["0.0.0.0/0"]))
    assert not ills(judged(machine, local_networks=["0.0.0.0/0"]))
    assert not ills(judged(machine, gateway6="fd08::2", local_networks=["fd00:1::/64"]))


def test_a_route_of_somebody_elses_is_a_failure(machine: Host) -> None:
    with route(machine, "192.168.2.0/24"):
        [found] = ills(judged(machine))
        assert found.status is Status.FAIL
        assert "192.168.2.0/24 is routed to wan" in found.text
        assert found.remedy.startswith("ip route del 192.168.2.0/24")
    assert not ills(judged(machine))


def test_two_sites_with_the_same_lan_are_a_failure(machine: Host) -> None:
    [found] = ills(judged(machine, local_networks=[], route_networks=["192.168.1.0/24"]))
    assert found.status is Status.FAIL
    assert found.check == "networks"
    assert "is the network of lan" in found.text
    assert "other addresses" in found.remedy


def test_a_remote_network_within_the_lan_is_told(machine: Host) -> None:
    [found] = ills(judged(machine, local_networks=[], route_networks=["192.168.1.128/25"]))
    assert found.status is Status.WARN
    assert "192.168.1.128/25 of route_networks lies within 192.168.1.0/24" in found.text


def test_a_lan_within_the_remote_networks_is_told_unless_it_is_announced(machine: Host) -> None:
    [found] = ills(judged(machine, route_networks=["192.168.0.0/16"], local_networks=[]))
    assert found.status is Status.WARN
    assert found.remedy.startswith('add "192.168.1.0/24" to local_networks')
    assert not ills(judged(machine, route_networks=["192.168.0.0/16"]))


def test_an_announced_network_that_nothing_leads_to_is_told(machine: Host) -> None:
    [found] = ills(judged(machine, local_networks=["192.168.1.0/24", "172.20.0.0/16"]))
    assert found.status is Status.WARN
    assert "172.20.0.0/16 is announced" in found.text
    assert found.remedy.startswith("ip route add 172.20.0.0/16 via")
    with route(machine, "172.20.0.0/16"):
        assert not ills(judged(machine, local_networks=["192.168.1.0/24", "172.20.0.0/16"]))


def test_an_address_inside_the_tunnel_that_is_of_the_lan_is_told(machine: Host) -> None:
    [found] = ills(judged(machine, gateway="192.168.1.9"))
    assert found.status is Status.WARN
    assert "192.168.1.9 lies within 192.168.1.0/24" in found.text
    assert found.remedy.startswith('"gateway":')


@pytest.mark.parametrize("interface", ["pole0", None])
def test_the_tunnel_of_the_running_program_is_no_conflict(
    machine: Host, interface: str | None
) -> None:
    config = gateway()
    site = attrs.evolve(config.site, interface=interface)
    with machine.call(TunDevice.open, interface, 1500) as device:
        machine.add_addresses(device.name, "10.8.0.2/32")
        machine.set_link(device.name, up=True)
        index = machine.call(machine._index, device.name)
        for network in ("10.8.0.0/24", "192.168.2.0/24"):
            machine.call(machine._netlink.route, "add", dst=network, oif=index)
        assert not ills(judge_routes(machine.call(look_at_routes), site))
