"""Rules in flat arrays against rules that anybody can read, and what these say of themselves."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from polevpn_trio.forwarding.policy.rule_table import RuleTable
from polevpn_trio.forwarding.policy.rules import (
    WITH_PORTS,
    Network,
    Opening,
    Policy,
    Rule,
    protocol_number,
)
from tests.forwarding.policy.packets import Border, ip, tcp_body, udp_body

SITES = ("a", "b", "c")
HOSTS = (
    ("10.1.0.1", "10.1.1.1", "10.2.0.1"),
    ("fd00:1::1", "fd00:1:0:1::1", "fd00:2::1"),
)
NETWORKS: tuple[Network, ...] = (
    *map(IPv4Network, ("0.0.0.0/0", "10.1.0.0/16", "10.1.1.0/24", "10.2.0.1/32")),
    *map(IPv6Network, ("::/0", "fd00:1::/32", "fd00:1:0:1::/64", "fd00:2::1/128")),
)
PROTOCOLS = (0, 1, 6, 17, 47, 58, 64, 132, 255)

parties = st.lists(st.sampled_from([*SITES, *NETWORKS]), max_size=3).map(tuple)
ports = st.lists(
    st.tuples(st.sampled_from((0, 22, 80, 443)), st.sampled_from((0, 1, 400, 65000))).map(
        lambda pair: (pair[0], min(pair[0] + pair[1], 65535))
    ),
    max_size=3,
).map(tuple)


rules = st.frozensets(st.sampled_from(PROTOCOLS), max_size=3).flatmap(
    lambda protocols: st.builds(
        Rule,
        st.just("some rule"),
        st.booleans(),
        parties,
        parties,
        st.just(protocols),
        ports if protocols and protocols <= WITH_PORTS else st.just(()),
    )
)
policies = st.builds(Policy, st.lists(rules, max_size=12).map(tuple), st.booleans(), st.just(1024))


openings = st.sampled_from(HOSTS).flatmap(
    lambda hosts: st.builds(
        Opening,
        st.sampled_from(("", *SITES)),
        st.sampled_from(("", *SITES)),
        st.sampled_from(hosts).map(ip_address),
        st.sampled_from(hosts).map(ip_address),
        st.sampled_from(PROTOCOLS),
        st.sampled_from((0, 1, 22, 79, 80, 443, 481, 65535)),
    )
)


def expected(policy: Policy, opening: Opening) -> int:
    for number, rule in enumerate(policy.rules):
        if not rule.mismatch(opening):
            return number
    return len(policy.rules)


def words(address: int) -> tuple[int, int]:
    return address >> 64, address & (1 << 64) - 1


@settings(max_examples=200)
@given(policies, openings)
def test_the_first_rule_that_matches_is_found(policy: Policy, opening: Opening) -> None:
    table = RuleTable(policy)
    assert opening.protocol is not None
    port = opening.port if opening.protocol in (6, 17, 132) else -1
    assert port is not None
    found = table.decide(
        table.site(opening.origin),
        table.site(opening.target),
        opening.source.version,
        *words(int(opening.source)),
        *words(int(opening.destination)),
        opening.protocol,
        port,
    )
    number = expected(policy, opening)
    assert found == number
    allows = policy.rules[number].allows if number < table.count else policy.default_allows
    assert table.allows(found) == allows


@settings(max_examples=100)
@given(policies, st.lists(openings, max_size=8))
@example(Policy((Rule("", False, (), (), frozenset({6}), ((22, 22),)),)), [])
def test_a_flow_passes_if_its_rule_says_so(policy: Policy, sent: list[Opening]) -> None:
    """By packets: nothing is known of any flow, as each is between other ports."""
    border = Border.of(policy)
    for number, opening in enumerate(sent):
        protocol = 6 if number % 2 else 17
        opening = attrs.evolve(opening, protocol=protocol)
        make = tcp_body if protocol == 6 else udp_body
        assert opening.port is not None
        body = make(1000 + number, opening.port)
        packet = ip(str(opening.source), str(opening.destination), protocol, body)
        rule = expected(policy, opening)
        allows = policy.rules[rule].allows if rule < len(policy.rules) else policy.default_allows
        passed = border.send(packet, origin=opening.origin, target=opening.target)
        assert passed == ([packet] if allows else [])


@settings(max_examples=100)
@given(policies, openings)
def test_whether_all_may_pass_is_no_guess(policy: Policy, opening: Opening) -> None:
    if policy.allows_all(opening.origin, opening.target):
        number = expected(policy, opening)
        assert number == len(policy.rules) or policy.rules[number].allows


ANYBODY = Rule("", False)


@pytest.mark.parametrize(
    ("policy", "pairs"),
    [
        (Policy(), "ab ba ac ca bc cb aa"),
        (Policy(default_allows=False), ""),
        (Policy((Rule("", False, ("a",), ("b",)),)), "ba ac ca bc cb aa"),
        (Policy((Rule("", False, (), ("b",)),)), "ba ac ca bc aa"),
        (Policy((Rule("", False, ("a",)),)), "ba ca bc cb"),
        (Policy((Rule("", False, (NETWORKS[1],), ("b",)),)), "ba ac ca bc aa"),
        (Policy((Rule("", False, ("a",), (NETWORKS[1],)),)), "ba ca bc cb"),
        (
            Policy((Rule("", False, ("a",), ("b",), frozenset({6}), ((22, 22),)),)),
            "ba ac ca bc cb aa",
        ),
        (Policy((Rule("", True, ("a",), ("b", "c")), ANYBODY)), "ab ac"),
        (Policy((Rule("", True, ("a",), ("b", NETWORKS[1])), ANYBODY)), "ab"),
        (Policy((Rule("", True, ("a",), ("b",), frozenset({6})), ANYBODY)), ""),
        (Policy((Rule("", True, ("a",), ("b",), frozenset({6})),), default_allows=False), ""),
        (Policy((Rule("", True, ("a",), ("b",)),), default_allows=False), "ab"),
        (Policy((ANYBODY, Rule("", True, ("a",), ("b",)))), ""),
    ],
)
def test_between_these_sites_all_may_pass_and_between_no_others(policy: Policy, pairs: str) -> None:
    every = ("ab", "ba", "ac", "ca", "bc", "cb", "aa")
    assert {pair for pair in every if policy.allows_all(*pair)} == set(pairs.split())


@pytest.mark.parametrize(
    ("text", "in_ipv4", "in_ipv6"),
    [
        ("icmp", 1, 58),
        ("icmpv6", 58, 58),
        ("tcp", 6, 6),
        ("sctp", 132, 132),
        ("0", 0, 0),
        ("255", 255, 255),
        ("256", None, None),
        ("2550", None, None),
        ("1" * 5000, None, None),
        ("\N{SUPERSCRIPT TWO}", None, None),
        ("-1", None, None),
        ("gre", None, None),
        ("", None, None),
    ],
)
def test_a_protocol_is_known_by_name_or_number(
    text: str, in_ipv4: int | None, in_ipv6: int | None
) -> None:
    assert [protocol_number(text, version) for version in (4, 6)] == [in_ipv4, in_ipv6]


def test_a_rule_tells_whom_it_speaks_of() -> None:
    assert str(Rule("", True)) == "allow any to any"
    some = ("a", "b", ip_network("10.1.0.0/16"), "c", "d")
    rule = Rule("", False, some, ("b",), frozenset({6, 17}), ((22, 22), (80, 90)))
    assert str(rule) == "deny a, b, 10.1.0.0/16 and 2 more to b, tcp/udp port 22, 80-90"
    assert str(Rule("", True, (), ("b",), frozenset({1, 58}))) == "allow any to b, icmp"
    assert str(Rule("", True, (), (), frozenset({47}))) == "allow any to any, protocol 47"


def test_a_rule_tells_why_it_does_not_match() -> None:
    rule = Rule("", True, ("a",), (ip_network("10.2.0.0/16"),), frozenset({6}), ((22, 22),))
    opening = Opening("a", "b", ip_address("10.1.0.1"), ip_address("10.2.0.1"), 6, 22)
    assert rule.mismatch(opening) == ""
    for change, why in (
        ({"origin": "b"}, "it is not from a"),
        ({"destination": ip_address("10.3.0.1")}, "it is not to 10.2.0.0/16"),
        ({"protocol": 17}, "it is only about tcp port 22"),
        ({"port": 23}, "it is only about tcp port 22"),
    ):
        assert rule.mismatch(attrs.evolve(opening, **change)) == why
    unknown = attrs.evolve(opening, protocol=None, port=None)
    assert rule.mismatch(unknown) == ""
    assert rule.depends(unknown)
    assert rule.depends(attrs.evolve(opening, port=None))
    assert not rule.depends(opening)
    without_ports = attrs.evolve(rule, ports=())
    assert without_ports.depends(unknown)
    assert not without_ports.depends(attrs.evolve(opening, port=None))
    assert not attrs.evolve(without_ports, protocols=frozenset()).depends(unknown)
