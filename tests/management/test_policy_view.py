"""Which rule of a policy decides on a packet, and why no other does."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from polevpn_trio.control.advice import DENIED
from polevpn_trio.forwarding.policy.guard import PolicyGuard
from polevpn_trio.forwarding.policy.rules import Policy, Rule
from polevpn_trio.management.policy_view import (
    NO_RULES,
    QUESTION,
    RULES_SHOWN,
    THERE,
    policy_status,
)
from tests.management.test_routing import Network

SSH = Rule("no ssh", False, (), ("oslo", ip_network("172.31.0.0/16")), frozenset({6}), ((22, 22),))
FROM_OSLO = Rule("oslo out", False, ("oslo",))
PING = Rule("ping", True, ("berlin",), (), frozenset({1, 58}))
BERLIN, OSLO = "192.168.1.10", "10.99.7.1"


def explain(
    policy: Policy | None,
    source: str = BERLIN,
    destination: str = OSLO,
    protocol: int | None = None,
    port: int | None = None,
) -> Any:
    network = Network()
    network.forwarder.name(network.berlin, "berlin")
    network.forwarder.name(network.oslo, "oslo")
    if policy is not None:
        network.forwarder.guard = PolicyGuard(policy, seed=1)
    return network.table.explain(ip_address(source), ip_address(destination), 5.0, protocol, port)


def ways_not_taken(found: Any) -> dict[str, str]:
    return {
        each.what.partition(":")[0]: each.why_not
        for each in found.alternatives
        if each.what.startswith("rule")
    }


def test_the_rule_that_denies_is_named() -> None:
    found = explain(Policy((FROM_OSLO, SSH)), protocol=6, port=22)
    assert (found.verdict, found.reason, found.advice) == ("dropped", "denied", DENIED)
    assert found.policy == 'rule "no ssh": deny any to oslo, 172.31.0.0/16, tcp port 22'
    assert found.steps[-1].question == QUESTION
    assert found.steps[-1].answer == f"no, {found.policy}"
    assert not found.steps[-1].passes
    assert ways_not_taken(found) == {'rule "oslo out"': "it is not from oslo"}


def test_the_rule_that_allows_is_named_and_the_gateway_has_a_say_too() -> None:
    found = explain(Policy((SSH, PING), default_allows=False), protocol=1)
    assert (found.verdict, found.reason) == ("delivered", "")
    assert found.policy == f'rule "ping": allow berlin to any, icmp{THERE}'
    assert found.steps[-1].passes
    assert ways_not_taken(found) == {'rule "no ssh"': "it is only about tcp port 22"}


def test_where_no_rule_matches_the_default_decides() -> None:
    found = explain(Policy((SSH,), default_allows=False), protocol=17, port=22)
    assert (found.verdict, found.policy) == ("dropped", "by default: deny")
    assert explain(Policy((SSH,)), protocol=17, port=22).policy == f"by default: allow{THERE}"


def test_without_a_protocol_the_rules_about_some_are_told() -> None:
    found = explain(Policy((SSH, PING)))
    assert found.verdict == "delivered"
    assert found.policy == f"by default: allow{THERE}"
    more = "; name protocol and port to learn of those"
    assert ways_not_taken(found) == {
        'rule "no ssh"': f"decides only about tcp port 22{more}",
        'rule "ping"': f"decides only about icmp{more}",
    }
    found = explain(Policy((SSH, PING)), protocol=6)
    assert ways_not_taken(found)['rule "ping"'] == "it is only about icmp"


def test_of_many_rules_those_that_come_close_are_named() -> None:
    others = [Rule(f"{n}", False, ("oslo",)) for n in range(1000)]
    others[500] = SSH
    found = explain(Policy(tuple(others)), protocol=6, port=23)
    named = ways_not_taken(found)
    assert len(named) == RULES_SHOWN
    assert next(iter(named)) == 'rule "no ssh"'
    assert found.alternatives[-1].what == f"{1000 - RULES_SHOWN} other rules"


def test_rules_are_not_asked_where_the_packet_does_not_get_so_far() -> None:
    deny = Policy((), default_allows=False)
    assert explain(deny, destination="203.0.113.9").reason == "no_route"
    assert explain(deny, source="127.0.0.1").reason == "martian"
    found = explain(deny, destination="10.8.0.2")
    assert (found.verdict, found.policy) == (
        "delivered",
        "it stays at one site: rules are not asked",
    )
    assert explain(None).policy.startswith(NO_RULES)


def test_status_tells_what_each_rule_has_done() -> None:
    assert policy_status(None, 1.0) is None
    found = policy_status(PolicyGuard(Policy((SSH,), flows=1024), seed=1), 1.0)
    assert found is not None
    assert [(rule.name, rule.rule, rule.flows, rule.denied) for rule in found.rules] == [
        ("no ssh", "deny any to oslo, 172.31.0.0/16, tcp port 22", 0, 0),
        ("default", "allow", 0, 0),
        ("unrelated", "deny what belongs to no flow that was allowed", 0, 0),
    ]
    assert (found.flows, found.flows_limit, found.evicted) == (0, 1024, 0)
