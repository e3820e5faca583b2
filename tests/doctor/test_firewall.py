"""Firewall rules that the kernel has, and what is said of them."""

from __future__ import annotations

import pytest

from polevpn_trio.doctor.finding import Finding, Status
from polevpn_trio.doctor.firewall import judge_forward, judge_input, judge_nat, judge_reading
from polevpn_trio.doctor.nft_ruleset import FirewallFacts, look_at_firewall
from polevpn_trio.lab.namespaces import Host
from polevpn_trio.tun.nat import add_masquerade, remove_masquerade

from .machines import gateway, ills, rules

pytestmark = pytest.mark.needs_root_lab

INPUT = "table inet filter {{ chain input {{ type filter hook input priority 0; {}\n}}\n}}"
FORWARD = "table inet filter {{ chain forward {{ type filter hook forward priority 0; {}\n}}\n}}"
NAT = "table ip nat {{ chain post {{ type nat hook postrouting priority srcnat; {}\n}}\n}}"

OPEN_INPUTS = [
    "policy accept",
    "policy drop; udp dport 443 accept",
    "policy drop; udp dport { 53, 443 } accept",
    "policy drop; th dport 400-500 accept",
    "policy drop; meta l4proto udp accept",
    "policy drop; ct state established accept; iifname wan udp dport 443 counter accept",
    "policy drop; udp dport vmap { 53 : drop, 443 : accept }",
    "policy drop; udp dport != 53 accept",
    "policy accept; tcp dport 443 drop; udp dport 53 reject",
    "policy accept; ip saddr 192.0.2.0/24 udp dport 443 drop",
]

CLOSED_INPUTS = [
    "policy drop",
    "policy drop; tcp dport 443 accept; udp dport 53 accept; udp dport { 54, 55 } accept",
    "policy drop; ct state established,related accept; iifname lo accept",
    "policy drop; ct state vmap { established : accept, invalid : drop }",
    "policy drop; meta l4proto tcp accept; ip saddr 192.0.2.0/24 accept",
    "policy accept; ct state established accept; counter reject",
    "policy accept; udp dport 443 drop",
    "policy accept; udp dport { 443, 444 } counter reject",
]

OPEN_FORWARDS = [
    "policy accept",
    'policy drop; iifname "pole0" accept; oifname "pole0" accept',
    'policy drop; iifname "pole*" accept; oifname { "eth0", "pole0" } counter accept',
    "policy drop; accept",
    'policy accept; iifname "docker0" drop',
    'policy accept; iifname "docker0" oifname "pole0" drop',
]

CLOSED_FORWARDS = [
    ("policy drop", ("iifname", "oifname")),
    ('policy drop; iifname "pole0" accept', ("oifname",)),
    ("policy drop; ct state established accept", ("iifname", "oifname")),
    ('policy accept; iifname "pole0" drop', ("iifname", "oifname")),
    ("policy accept; iifname lo accept; reject with icmpx admin-prohibited", ("iifname",)),
]

WIDE_NATS = ["masquerade", "oifname != lo masquerade", 'oifname "pole*" snat to 192.0.2.1']
NARROW_NATS = ['oifname "wan" masquerade', "ip saddr 172.17.0.0/16 masquerade"]


def incoming(machine: Host, protocol: str = "udp") -> list[Finding]:
    return ills(judge_input(machine.call(look_at_firewall), protocol, 443))


def forwarded(machine: Host) -> list[Finding]:
    return ills(judge_forward(machine.call(look_at_firewall), gateway().site))


def translated(machine: Host) -> list[Finding]:
    return ills(judge_nat(machine.call(look_at_firewall), gateway().site, ["lo", "wan", "lan"]))


def test_without_rules_nothing_is_said(machine: Host) -> None:
    with rules(machine, ""):
        facts = machine.call(look_at_firewall)
        assert judge_reading(facts) == []
        assert not incoming(machine)
        assert not forwarded(machine)
        assert not translated(machine)


@pytest.mark.parametrize("text", OPEN_INPUTS)
def test_a_port_that_is_let_in_is_well(machine: Host, text: str) -> None:
    with rules(machine, INPUT.format(text)):
        assert not incoming(machine)


@pytest.mark.parametrize("text", CLOSED_INPUTS)
def test_a_port_that_is_kept_out_is_told(machine: Host, text: str) -> None:
    with rules(machine, INPUT.format(text)):
        [found] = incoming(machine)
        assert found.status is Status.WARN
        assert "udp port 443" in found.text
        # What is advised is what mends it.
        done = machine.run(["sh", "-c", found.remedy], timeout=30)
        assert done.returncode == 0, done.stderr
        assert not incoming(machine)


@pytest.mark.parametrize("text", OPEN_FORWARDS)
def test_a_chain_that_lets_the_tunnel_through_is_well(machine: Host, text: str) -> None:
    with rules(machine, FORWARD.format(text)):
        assert not forwarded(machine)


@pytest.mark.parametrize(("text", "sides"), CLOSED_FORWARDS)
def test_a_chain_that_keeps_the_tunnel_back_is_told(
    machine: Host, text: str, sides: tuple[str, ...]
) -> None:
    with rules(machine, FORWARD.format(text)):
        [found] = forwarded(machine)
        assert found.status is Status.WARN
        for side in sides:
            assert f'nft insert rule inet filter forward {side} "pole0" accept' in found.remedy
        done = machine.run(["sh", "-c", found.remedy], timeout=30)
        assert done.returncode == 0, done.stderr
        assert not forwarded(machine)


def test_rules_in_chains_that_are_jumped_to_count(machine: Host) -> None:
    text = """table ip filter {
        chain known {
            udp dport 443 accept; iifname "pole0" accept; oifname "pole0" accept
        }
        chain input {
            type filter hook input priority 0; policy drop; jump known
        }
        chain forward {
            type filter hook forward priority 0; policy drop; jump known
        }
    }"""
    with rules(machine, text):
        assert not incoming(machine)
        assert len(incoming(machine, "tcp")) == 1
        assert not forwarded(machine)


@pytest.mark.parametrize("text", WIDE_NATS)
def test_source_nat_that_catches_the_tunnel_is_told(machine: Host, text: str) -> None:
    with rules(machine, NAT.format(text)):
        [found] = translated(machine)
        assert found.status is Status.WARN
        assert "oifname" in found.remedy


@pytest.mark.parametrize("text", NARROW_NATS)
def test_source_nat_of_other_interfaces_is_well(machine: Host, text: str) -> None:
    with rules(machine, NAT.format(text)):
        assert not translated(machine)


def test_a_table_of_a_killed_run_is_told_and_that_of_a_running_one_is_not(machine: Host) -> None:
    with rules(machine, ""):
        machine.call(add_masquerade, "pole9")
        [found] = translated(machine)
        assert found.remedy == "nft delete table inet polevpn_trio_pole9"
        machine.call(remove_masquerade, "pole9")
        machine.call(add_masquerade, "wan")
        assert not translated(machine)


def test_rules_that_cannot_be_read_are_no_alarm() -> None:
    facts = FirewallFacts(unread="nft is not installed", legacy=True)
    assert [each.status for each in judge_reading(facts)] == [Status.SKIP, Status.SKIP]
    assert judge_input(facts, "udp", 443) == []
    assert judge_forward(facts, gateway().site) == []
    assert judge_nat(facts, gateway().site, []) == []
