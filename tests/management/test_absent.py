"""Who would get a packet if all were as it should be, in the words of `explain`."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import trio

from polevpn_trio.control.advice import CLOSED_SITE, LEFT
from polevpn_trio.control.site_directory import KnownSite
from polevpn_trio.management.absent import UNNAMED_ADVICE
from polevpn_trio.management.answers import Trouble
from polevpn_trio.management.router_view import RouterView
from polevpn_trio.management.routing import NO_ROUTE_ADVICE
from tests.management.sites import Peer
from tests.management.test_routing import Network

GONE = Trouble("the peer closed the link", LEFT)


def known(name: str, *networks: str) -> KnownSite:
    parsed = tuple(ip_network(network) for network in networks)
    return KnownSite(name, Path(f"sites/{name}.json"), networks=parsed)


def explain(
    network: Network, destination: str, *sites: tuple[KnownSite, str], source: str = "192.168.1.10"
) -> Any:
    view = RouterView(None, None, network.table, int, known=lambda: sites)  # type: ignore[arg-type]
    return trio.run(view.explain, ip_address(source), ip_address(destination))


def leave(network: Network, peer: Peer) -> None:
    network.forwarder.unregister(peer)
    network.roster.left(peer, GONE, 1.0)


def test_a_site_that_went_away_is_named_with_the_reason_and_what_to_do() -> None:
    network = Network()
    leave(network, network.oslo)
    found = explain(network, "fd00:3::1", source="fd00:9::1")
    assert (found.verdict, found.reason, found.advice) == ("dropped", "no_route", f"oslo: {LEFT}")
    assert found.steps[-1].answer == (
        "none: oslo has fd00:3::/64, but is down: the peer closed the link"
    )


def test_who_gets_a_packet_in_place_of_a_site_that_is_down_is_told_beside_it() -> None:
    network = Network()
    leave(network, network.oslo)
    found = explain(network, "10.99.7.1", source="172.31.0.9")
    assert (found.verdict, found.site, found.route) == ("delivered", "berlin", "10.99.0.0/16")
    [other] = found.alternatives
    assert (other.what, other.why_not) == (
        "10.99.7.0/24 of oslo",
        "is down: the peer closed the link",
    )


def test_a_site_that_never_came_is_known_by_the_configuration() -> None:
    rome = known("rome", "192.168.9.0/24", "0.0.0.0/0")
    answer = explain(Network(), "192.168.9.1", (rome, "")).steps[-1].answer
    assert answer == "none: rome has 192.168.9.0/24, but is down"
    found = explain(Network(), "192.168.9.1", (rome, "disabled"))
    assert found.steps[-1].answer.endswith("but is not let in: disabled")
    assert found.advice == f"rome: {CLOSED_SITE}"


def test_a_site_that_is_up_but_has_not_registered_what_it_may_is_told_to() -> None:
    network = Network()
    found = explain(network, "192.168.5.1", (known("berlin", "192.168.0.0/16"), ""))
    assert found.advice == f"berlin: {UNNAMED_ADVICE}"
    assert "but its gateway has not registered it" in found.steps[-1].answer


def test_what_nobody_has_stays_without_a_name() -> None:
    found = explain(Network(), "203.0.113.1", (known("rome", "192.168.9.0/24"), ""))
    assert (found.steps[-1].answer, found.advice) == ("none", NO_ROUTE_ADVICE)


def test_the_site_of_a_source_is_named_too() -> None:
    network = Network()
    leave(network, network.berlin)
    found = explain(network, "172.31.0.9")
    assert found.steps[0].answer.startswith(
        "no site has 192.168.1.10: berlin has 192.168.1.0/24, but is down"
    )


def test_networks_that_a_site_shares_with_another_are_its_own_still() -> None:
    """It has what it should have: nothing is missing."""
    network = Network()
    oslo = known("oslo", "10.99.0.0/16")
    assert IPv4Network("10.99.0.0/16") in oslo.networks
    alternatives = explain(network, "10.99.1.1", (oslo, "")).alternatives
    assert [each.what for each in alternatives] == ["10.99.0.0/16 of berlin"]
