"""Which way packets take past the tunnel, decided over made-up routing tables."""

from __future__ import annotations

import ipaddress

import pytest

from polevpn_trio.tun.routes import (
    Address,
    Hop,
    KnownRoute,
    Network,
    NoNeed,
    NoWay,
    conflicting,
    halved_default,
    way_around,
)

MAIN, LOCAL = 254, 255
ETH, WIFI, TUNNEL = 2, 3, 9


def net(text: str) -> Network:
    return ipaddress.ip_network(text)


def at(text: str) -> Address:
    return ipaddress.ip_address(text)


def route(
    text: str, interface: int | None, gateway: str | None = None, *, metric: int = 0
) -> KnownRoute:
    hops: tuple[Hop, ...] = ()
    if interface is not None:
        hops = (Hop(interface, None if gateway is None else at(gateway)),)
    return KnownRoute(net(text), MAIN, metric, hops=hops)


HOME = (
    route("0.0.0.0/0", ETH, "192.0.2.1", metric=100),
    route("0.0.0.0/0", WIFI, "198.51.100.1", metric=600),
    route("192.0.2.0/24", ETH),
    route("203.0.113.0/24", None),
    route("0.0.0.0/1", TUNNEL),
    route("128.0.0.0/1", TUNNEL),
    KnownRoute(net("192.0.2.2/32"), LOCAL, hops=(Hop(ETH),)),
    route("::/0", ETH, "fe80::1", metric=1024),
)
EVERYTHING = halved_default([net("0.0.0.0/0"), net("::/0")])


def test_a_default_route_is_split_into_halves_of_its_own_family() -> None:
    wanted = [net("0.0.0.0/0"), net("10.0.0.0/8"), net("::/0"), net("128.0.0.0/1")]
    assert [str(each) for each in halved_default(wanted)] == [
        "0.0.0.0/1",
        "128.0.0.0/1",
        "10.0.0.0/8",
        "::/1",
        "8000::/1",
    ]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", Hop(ETH, at("192.0.2.1"))),
        ("2001:db8::1", Hop(ETH, at("fe80::1"))),
        # The link's own network is longer than half of everything.
        ("192.0.2.77", NoNeed()),
        # This machine itself.
        ("192.0.2.2", NoNeed()),
        # A blackhole of the operator's has the last word, and is longer than the tunnel's.
        ("203.0.113.5", NoNeed()),
    ],
)
def test_the_way_around_a_default_route_is_the_best_other_one(
    address: str, expected: object
) -> None:
    assert way_around(at(address), HOME, TUNNEL, EVERYTHING) == expected


def test_an_address_that_the_tunnel_does_not_cover_needs_nothing() -> None:
    assert way_around(at("8.8.8.8"), HOME, TUNNEL, [net("10.0.0.0/8")]) == NoNeed()
    assert way_around(at("8.8.8.8"), HOME, TUNNEL, [net("::/1")]) == NoNeed()


def test_a_tunnel_network_inside_a_local_one_is_passed_by_the_local_one() -> None:
    routes = (*HOME, route("192.0.2.64/26", TUNNEL))
    assert way_around(at("192.0.2.77"), routes, TUNNEL, [net("192.0.2.64/26")]) == Hop(ETH)


def test_without_another_route_there_is_no_way() -> None:
    assert way_around(at("8.8.8.8"), HOME[4:6], TUNNEL, EVERYTHING) == NoWay()


def test_a_default_route_whose_interface_is_down_is_no_way() -> None:
    routes = (KnownRoute(net("0.0.0.0/0"), MAIN),)
    assert way_around(at("8.8.8.8"), routes, TUNNEL, EVERYTHING) == NoWay()


def test_only_the_same_network_on_another_interface_conflicts() -> None:
    found = conflicting([net("10.0.0.0/8"), net("192.0.2.0/24")], HOME, TUNNEL)
    assert found == (net("192.0.2.0/24"), HOME[2])
    assert conflicting([net("192.0.0.0/16"), net("192.0.2.2/32")], HOME, TUNNEL) is None
    assert conflicting(EVERYTHING, HOME, TUNNEL) is None
