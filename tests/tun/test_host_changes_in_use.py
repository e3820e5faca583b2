"""What a site asks of its host may change while it is in use."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from polevpn_trio.lab.namespaces import Host, Process
from tests.tun.test_host_network import PEER, PLAIN, end, forwarding, host, start, wait_for_steps

__all__ = ["host"]

pytestmark = pytest.mark.needs_root_lab


def moves(process: Process) -> Iterator[str]:
    """Move on from step to step; yield what each says."""
    for number in range(2, 100):
        process.send_signal(signal.SIGUSR1)
        yield wait_for_steps(process, number)


def test_routes_forwarding_and_masquerading_come_and_go(host: Host) -> None:
    before = host.state()
    changes = [
        {"routes": ["10.9.0.0/16", "10.10.0.0/16"], "forward": True, "masquerade": True},
        {"routes": ["10.10.0.0/16", "fd99::/64"], "forward": True},
        {},
    ]
    process = start(host, {**PLAIN, "changes": changes})
    beginning = host.state()
    step = moves(process)

    next(step)
    now = host.state()
    assert set(now.routes) - set(beginning.routes) == {"10.10.0.0/16 dev pole0"}
    assert set(beginning.routes) < set(now.routes)
    assert forwarding(host) == (1, 0)
    assert now.nat_tables == ("polevpn_trio_pole0",)

    next(step)
    now = host.state()
    assert "10.9.0.0/16 dev pole0" not in now.routes
    assert {"10.10.0.0/16 dev pole0", "fd99::/64 dev pole0 metric 1024"} < set(now.routes)
    assert forwarding(host) == (1, 1)
    assert now.nat_tables == ()

    next(step)
    assert host.state() == beginning
    assert forwarding(host) == (0, 0)
    end(process)
    assert host.state() == before


def test_a_default_route_leaves_the_way_to_the_router_open(host: Host) -> None:
    changes = [{"routes": ["0.0.0.0/0"]}, {}]
    process = start(host, {**PLAIN, "peers": [[PEER]], "changes": changes})
    beginning = host.state()
    step = moves(process)
    next(step)
    pin = f"{PEER}/32 via 192.0.2.1 dev eth0"
    assert {pin, "0.0.0.0/1 dev pole0", "128.0.0.0/1 dev pole0"} < set(host.state().routes)
    next(step)
    assert host.state() == beginning
    end(process)


def test_a_change_that_is_refused_leaves_all_as_it_was(host: Host) -> None:
    # The second of these networks is where the uplink is.
    refused = {"routes": ["10.10.0.0/16", "192.0.2.0/24"], "forward": True, "masquerade": True}
    later = {"routes": ["10.10.0.0/16", f"{PEER}/32"], "masquerade": True}
    process = start(host, {**PLAIN, "peers": [[PEER]], "changes": [refused, later]})
    beginning = host.state()
    step = moves(process)
    said = next(step)
    assert "refused: route_networks: 192.0.2.0/24 is routed to eth0 on this machine already" in said
    assert host.state() == beginning
    said = next(step)
    assert f"refused: route_networks: {PEER}/32 is where the tunnel's other end" in said
    assert host.state() == beginning
    assert forwarding(host) == (0, 0)
    end(process)
