"""The ``policy`` section: what it means, and one clear line for each mistake in it."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from polevpn_trio.control import config as config_module
from polevpn_trio.control import policy_config
from polevpn_trio.control.commented_json import parse
from polevpn_trio.control.config import load_router
from polevpn_trio.control.policy_config import (
    _POLICY_KEYS,
    _RULE_KEYS,
    LEAST_FLOWS,
    MOST_FLOWS,
    OWN_SITE,
)
from polevpn_trio.forwarding.policy.rules import DEFAULT_FLOWS, Policy, Rule
from tests.control.test_site_directory import SITE, folder, mistakes, router

__all__ = ["folder"]

OSLO: dict[str, Any] = {**SITE, "addresses": ["10.8.0.3"]}
SITES = {"berlin": SITE, "oslo": OSLO}


def policy(folder: Path, value: object, **values: Any) -> Policy | None:
    return load_router(router(folder, gateways=SITES, policy=value, **values)).policy


def test_without_the_section_there_is_no_policy(folder: Path) -> None:
    assert load_router(router(folder, gateways=SITES)).policy is None
    assert policy(folder, {}) == Policy((), True, DEFAULT_FLOWS)


def test_rules_keep_their_order_and_mean_everything_that_they_do_not_name(folder: Path) -> None:
    rules = [
        {
            "name": "web",
            "action": "allow",
            "from": "berlin",
            "to": ["oslo", "10.2.0.0/16", "10.3.0.1", "fd00::1", "fd01::/64", "router"],
            "protocol": ["tcp", "udp", 132],
            "ports": [443, "80", "8000-8100"],
        },
        {"action": "deny", "to": "oslo", "protocol": "icmp"},
        {"action": "allow", "from": "any", "to": ["oslo", "any"], "protocol": ["any", 47]},
        {"action": "deny", "protocol": [47, 6], "name": "others"},
    ]
    own = {"gateway": "10.8.0.1", "local_networks": ["172.31.0.0/16"]}
    found = policy(folder, {"default": "deny", "rules": rules, "flows": 4096}, site=own)
    targets = (
        "oslo",
        *map(ip_network, ("10.2.0.0/16", "10.3.0.1/32", "fd00::1/128", "fd01::/64")),
        "router",
    )
    ports = ((443, 443), (80, 80), (8000, 8100))
    assert found == Policy(
        (
            Rule("web", True, ("berlin",), targets, frozenset({6, 17, 132}), ports),
            Rule("rule 2", False, (), ("oslo",), frozenset({1, 58})),
            Rule("rule 3", True),
            Rule("others", False, (), (), frozenset({6, 47})),
        ),
        default_allows=False,
        flows=4096,
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], "policy: a list, expected an object with the keys default, rules, flows"),
        ({"defualt": "deny"}, 'policy.defualt: unknown key, did you mean "default"?'),
        ({"default": "drop"}, 'policy.default: "drop", expected "allow" or "deny"'),
        (
            {"flows": 5},
            "policy.flows: 5, expected a whole number from 1024 to 16777216 (flows)",
        ),
        ({"rules": {}}, "policy.rules: an object, expected a list of rules"),
        ({"rules": [5]}, "policy.rules[0]: a number, expected an object with a rule"),
    ],
)
def test_each_mistake_of_the_section_is_one_line(
    value: object, expected: str, folder: Path
) -> None:
    assert mistakes(router(folder, gateways=SITES, policy=value)) == [f"router.json: {expected}"]


PARTY = 'a site, a network such as "192.168.1.0/24", an address, "any", or a list of them'
PROTOCOL = '"tcp", "udp", "icmp", "any", a number from 0 to 255, or a list of them'
PORTS = 'a port from 0 to 65535, a range such as "8000-8080", or a list of them'


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"action": None}, '.action: null, expected "allow" or "deny"'),
        ({"action": ["allow"]}, '.action: a list, expected "allow" or "deny"'),
        ({"form": "berlin"}, '.form: unknown key, did you mean "from"?'),
        ({"from": "berlni"}, '.from: no site is called "berlni", did you mean "berlin"?'),
        ({"to": "tokyo"}, '.to: no site is called "tokyo", expected one of gateways'),
        (
            {"to": "router"},
            '.to: the router has no "site" of its own, expected another one',
        ),
        ({"to": []}, f".to: an empty list, expected {PARTY}"),
        ({"to": ["oslo", 5]}, f".to[1]: a number, expected {PARTY}"),
        (
            {"from": "10.1.0.1/16"},
            '.from: "10.1.0.1/16" has bits set behind the prefix, expected the network '
            '"10.1.0.0/16" (or the one host "10.1.0.1/32")',
        ),
        (
            {"from": "10.1.0.300"},
            '.from: no site is called "10.1.0.300", expected one of gateways',
        ),
        (
            {"from": "not a name"},
            '.from: "not a name" is no network, expected a network such as "192.168.1.0/24"',
        ),
        ({"protocol": []}, f".protocol: an empty list, expected {PROTOCOL}"),
        ({"protocol": "sctp"}, f'.protocol: "sctp", expected {PROTOCOL}'),
        ({"protocol": 256}, f".protocol: 256, expected {PROTOCOL}"),
        ({"protocol": -1}, f".protocol: -1, expected {PROTOCOL}"),
        ({"protocol": [True]}, f".protocol[0]: true, expected {PROTOCOL}"),
        ({"ports": 22}, '.ports: only some protocols have them, expected "tcp" or "udp" beside'),
        (
            {"protocol": ["tcp", 47], "ports": 22},
            '.ports: only some protocols have them, expected "tcp" or "udp" beside',
        ),
        ({"protocol": "tcp", "ports": "90-80"}, f'.ports: "90-80", expected {PORTS}'),
        ({"protocol": "tcp", "ports": [1, 65536]}, f".ports[1]: 65536, expected {PORTS}"),
        ({"protocol": "tcp", "ports": [1.5]}, f".ports[0]: 1.5, expected {PORTS}"),
        ({"protocol": "tcp", "ports": True}, f".ports: true, expected {PORTS}"),
        ({"protocol": "tcp", "ports": "80-"}, f'.ports: "80-", expected {PORTS}'),
        (
            {"protocol": "tcp", "ports": "\N{FULLWIDTH DIGIT EIGHT}"},
            f'.ports: "\N{FULLWIDTH DIGIT EIGHT}", expected {PORTS}',
        ),
        ({"protocol": "tcp", "ports": []}, f".ports: an empty list, expected {PORTS}"),
        ({"name": ""}, '.name: "", expected a name of at most 63 characters'),
        ({"name": "x" * 64}, f'.name: "{"x" * 57}...", expected a name of at most 63 characters'),
        ({"name": 5}, ".name: a number, expected a name of at most 63 characters"),
        ({"name": "x\n"}, '.name: "x\\n", expected a name of at most 63 characters'),
        (
            {"name": "default"},
            '.name: "default", which stands for something else, expected another one',
        ),
    ],
)
def test_each_mistake_of_a_rule_is_one_line(
    rule: dict[str, Any], expected: str, folder: Path
) -> None:
    value = {"rules": [{"action": "allow", **rule}]}
    found = mistakes(router(folder, gateways=SITES, policy=value))
    assert found == [f"router.json: policy.rules[0]{expected}"]


def test_values_at_the_bounds_are_good(folder: Path) -> None:
    rule = {
        "name": "x" * 63,
        "action": "deny",
        "from": ["berlin", "10.2.0.0/16", "berlin", "10.2.0.0/16"],
        "protocol": ["udp", 17],
        "ports": [0, 65535, "0-65535"],
    }
    others = [{"action": "allow", "protocol": [0, 255]}, {"action": "deny", "to": "any"}]
    for flows in (LEAST_FLOWS, MOST_FLOWS):
        assert policy(folder, {"rules": [rule, *others], "flows": flows}) == Policy(
            (
                Rule(
                    name="x" * 63,
                    allows=False,
                    origins=("berlin", ip_network("10.2.0.0/16")),
                    protocols=frozenset({17}),
                    ports=((0, 0), (65535, 65535), (0, 65535)),
                ),
                Rule("rule 2", True, protocols=frozenset({0, 255})),
                Rule("rule 3", False),
            ),
            flows=flows,
        )


def test_there_are_no_more_rules_than_are_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_config, "MOST_RULES", 2)
    rules = [{"action": "deny"}] * 3
    found = policy(folder, {"rules": rules[:2]})
    assert found is not None
    assert len(found.rules) == 2
    assert mistakes(router(folder, gateways=SITES, policy={"rules": rules})) == [
        "router.json: policy.rules: 3 rules, expected at most 2"
    ]


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    rules = [
        "deny",
        {"action": "drop", "from": ["x", 5, "berlin"], "protocol": ["sctp", "tcp", -1]},
        {"action": "deny", "protocol": "tcp", "ports": ["high", 80, 70_000]},
    ]
    found = mistakes(router(folder, gateways=SITES, policy={"default": 1, "rules": rules}))
    assert found == [
        f"router.json: policy.{each}"
        for each in (
            'default: 1, expected "allow" or "deny"',
            "rules[0]: a string, expected an object with a rule",
            f'rules[1].protocol[0]: "sctp", expected {PROTOCOL}',
            f"rules[1].protocol[2]: -1, expected {PROTOCOL}",
            'rules[1].action: "drop", expected "allow" or "deny"',
            'rules[1].from[0]: no site is called "x", expected one of gateways',
            f"rules[1].from[1]: a number, expected {PARTY}",
            f'rules[2].ports[0]: "high", expected {PORTS}',
            f"rules[2].ports[2]: 70000, expected {PORTS}",
        )
    ]


def test_a_rule_does_something_and_has_a_name_of_its_own(folder: Path) -> None:
    value = {"rules": [{}, {"action": "deny", "name": "x"}, {"action": "deny", "name": "x"}]}
    assert mistakes(router(folder, gateways=SITES, policy=value)) == [
        'router.json: policy.rules[0].action: missing, expected "allow" or "deny"',
        'router.json: policy.rules[2].name: "x" is the name of rules[1], too, expected another one',
    ]


def test_sites_can_be_named_only_where_some_are_known(folder: Path) -> None:
    value = {"rules": [{"action": "deny", "from": "berlin", "to": "10.0.0.0/8"}]}
    assert mistakes(router(folder, key="a long secret", policy=value)) == [
        'router.json: policy.rules[0].from: site "berlin": no "gateways" are there, '
        "expected a network"
    ]


def test_a_site_with_a_file_of_its_own_may_come_later(folder: Path) -> None:
    value = {"rules": [{"action": "deny", "from": "bonn"}]}
    config = load_router(router(folder, gateways_directory="sites", policy=value))
    assert config.policy == Policy((Rule("rule 1", False, ("bonn",)),))
    assert 'policy.rules[0].from: no site is called "bonn"' in config.warnings


def test_no_site_is_called_as_what_means_something_else_in_rules(folder: Path) -> None:
    sites = {"any": SITE, "router": OSLO}
    reserved = "in rules of policy this name means something else, expected another name"
    assert load_router(router(folder, gateways=sites)).policy is None
    assert mistakes(router(folder, gateways=sites, policy={})) == [
        f"router.json: gateways.any: {reserved}"
    ]
    own = {"gateway": "10.8.0.1", "local_networks": ["172.31.0.0/16"]}
    assert mistakes(router(folder, gateways=sites, policy={}, site=own)) == [
        f"router.json: gateways.any: {reserved}",
        f"router.json: gateways.router: {reserved}",
    ]


def test_the_one_in_the_example_file_is_good(folder: Path) -> None:
    """It is commented out there."""
    text = (Path(config_module.__file__).parents[2] / "conf/router.json").read_text()
    begun = text.index('    //   "policy": {')
    lines = text[begun : text.index("    //   },\n", begun)].splitlines()
    block = "\n".join(line.removeprefix("    //   ") for line in lines)
    values = parse(folder / "example", f"{{{block}}}}}")
    found = policy(folder, values["policy"], site={"gateway": "10.8.0.1"})
    assert found is not None
    assert [(rule.name, rule.origins) for rule in found.rules] == [
        ("web in berlin", ("oslo", OWN_SITE))
    ]
    assert set(values["policy"]) == set(_POLICY_KEYS)  # type: ignore[call-overload]
    [rule] = values["policy"]["rules"]  # type: ignore[index]
    assert set(rule) == set(_RULE_KEYS)
