"""The route table and the way of a packet, explained."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from polevpn_trio.forwarding.forwarder import Forwarder
from polevpn_trio.management.roster import Roster
from polevpn_trio.management.routing import RouterTable
from tests.management.sites import Peer


class Network:
    """A router with three sites: berlin and oslo, of which oslo came later, and its own."""

    def __init__(self) -> None:
        self.forwarder, self.roster = Forwarder(), Roster()
        self.berlin, self.oslo, self.own = Peer(), Peer(), Peer()
        self.table = RouterTable(self.forwarder, self.roster, self.own)
        self.join(self.berlin, "berlin", "10.8.0.2", "192.168.1.0/24", "10.99.0.0/16")
        self.join(self.oslo, "oslo", "10.8.0.3", "10.99.0.0/16", "10.99.7.0/24", "fd00:3::/64")
        self.forwarder.register(self.berlin, [], [ip_network("fd00:9::/64")])
        self.join(self.own, "here", "10.8.0.1", "172.31.0.0/16", transport="local")

    def join(self, peer: Peer, name: str, address: str, *networks: str, **changes: Any) -> None:
        parsed = [ip_network(network) for network in networks]
        self.roster.joined(peer, name, [address], parsed, peer.connected(**changes))
        self.forwarder.register(peer, [ip_address(address)], parsed)

    def explain(self, source: str, destination: str) -> Any:
        return self.table.explain(ip_address(source), ip_address(destination), 5.0)


def test_routes_tell_their_origin_and_conflicts() -> None:
    routes = Network().table.routes(0, 100, 5.0)
    assert routes.total == len(routes.routes) == 9
    found = {route.network: route for route in routes.routes}
    assert found["10.8.0.2"].site == "berlin"
    assert found["192.168.1.0/24"].origin == "registered"
    assert found["172.31.0.0/16"].origin == "configured"
    assert found["172.31.0.0/16"].via == "local 198.51.100.7:50412"
    shared = found["10.99.0.0/16"]
    assert (shared.site, shared.age) == ("oslo", 5.0)
    assert [trouble.what for trouble in shared.conflicts] == [
        "also named by berlin: the last one has it"
    ]
    assert not any(route.conflicts for network, route in found.items() if network != "10.99.0.0/16")


def test_a_table_may_be_had_in_parts() -> None:
    table = Network().table
    parts = [table.routes(offset, 3, 5.0).routes for offset in (0, 3, 6, 9)]
    assert [len(part) for part in parts] == [3, 3, 3, 0]
    assert [route for part in parts for route in part] == list(table.routes(0, 99, 5.0).routes)


def test_a_packet_takes_the_longest_prefix_and_the_others_are_named() -> None:
    found = Network().explain("192.168.1.10", "10.99.7.1")
    assert (found.verdict, found.site, found.route) == ("delivered", "oslo", "10.99.7.0/24")
    assert (found.source_site, found.link.identifier) == ("berlin", "1f")
    assert [other.what for other in found.alternatives] == ["10.99.0.0/16 of oslo"]
    assert all(step.passes for step in found.steps)


def test_of_two_sites_with_one_network_the_standby_is_named() -> None:
    found = Network().explain("192.168.1.10", "10.99.1.1")
    [standby] = found.alternatives
    assert found.site == "oslo"
    assert standby.what == "10.99.0.0/16 of berlin"
    assert "takes over" in standby.why_not


def test_drops_are_told_with_the_name_of_their_counter_and_what_to_do() -> None:
    network = Network()
    network.oslo.takes_ipv6 = False
    for source, destination, reason in (
        ("192.168.1.10", "203.0.113.1", "no_route"),
        ("192.168.1.10", "192.168.1.11", "hairpin"),
        ("fd00:9::10", "fd00:3::10", "not_ipv4"),
    ):
        found = network.explain(source, destination)
        assert (found.verdict, found.reason) == ("dropped", reason)
        assert found.advice
        assert not found.steps[-1].passes


def test_the_very_address_of_the_senders_gateway_is_no_hairpin() -> None:
    found = Network().explain("192.168.1.10", "10.8.0.2")
    assert (found.verdict, found.site, found.route) == ("delivered", "berlin", "10.8.0.2")


def test_a_source_that_nobody_has_is_said_to_be_unknown() -> None:
    found = Network().explain("203.0.113.5", "192.168.1.10")
    assert (found.verdict, found.reason, found.source_site) == ("dropped", "spoofed", "")
    assert found.advice
    assert not found.steps[0].passes


def test_a_source_that_nobody_has_may_pass_where_sources_are_not_checked() -> None:
    network = Network()
    network.forwarder.source_check = False
    found = network.explain("203.0.113.5", "192.168.1.10")
    assert (found.verdict, found.source_site) == ("delivered", "")


def test_an_address_of_no_host_is_said_to_be_no_source() -> None:
    found = Network().explain("127.0.0.1", "192.168.1.10")
    assert (found.verdict, found.reason) == ("dropped", "martian")
