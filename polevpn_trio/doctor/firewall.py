"""Firewall rules that stand in the way of the tunnel, and NAT that catches what goes into it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from polevpn_trio.control.config import SiteConfig
from polevpn_trio.doctor.finding import Finding, ok, skip, warn
from polevpn_trio.doctor.nft_rules import (
    accepts_interface,
    accepts_port,
    decides_interface,
    decides_port,
    refuses_all,
    translates,
)
from polevpn_trio.doctor.nft_ruleset import Chain, FirewallFacts, Rule
from polevpn_trio.tun.nat import TABLE_PREFIX

_IP_FAMILIES = ("ip", "ip6", "inet")


def judge_reading(facts: FirewallFacts) -> list[Finding]:
    """What stands in the way of judging the rules; [] if nothing does."""
    found = []
    if facts.unread:
        found.append(
            skip(
                "firewall",
                f"the rules cannot be read: {facts.unread}",
                remedy="apt install nftables; run this as root",
            )
        )
    if facts.legacy:
        found.append(
            skip(
                "firewall",
                "legacy iptables has rules, which are not looked at",
                remedy="iptables-legacy -S; ip6tables-legacy -S",
            )
        )
    return found


def judge_input(facts: FirewallFacts, protocol: str, port: int) -> list[Finding]:
    """Whether packets to a listener of a router would be taken (``protocol``: tcp, udp)."""
    if facts.unread:
        return []
    what = f"{protocol} port {port}"
    meaning = "gateways do not reach this router"
    found = []
    for chain in _base_chains(facts.chains, "input"):
        rules = _rules_of_table(facts.chains, chain)
        command = f"nft insert rule {chain.text} {protocol} dport {port} accept"
        if _first(decides_port(rule, protocol, port) for rule in rules) is False:
            text = (
                f"a rule of the table {chain.family} {chain.table} keeps out what comes to {what}"
            )
            found.append(warn("firewall", text, meaning, command))
        elif _is_closed(chain) and not any(accepts_port(rule, protocol, port) for rule in rules):
            text = f"the chain {chain.text} lets nothing in that no rule accepts, and none for "
            found.append(warn("firewall", f"{text}{what} was found", meaning, command))
    return found or [ok("firewall", f"no nftables rule keeps out what comes to {what}")]


def judge_forward(facts: FirewallFacts, site: SiteConfig) -> list[Finding]:
    """Whether packets between the tunnel and the LAN would pass."""
    if facts.unread:
        return []
    tunnel = site.interface or "tun0"
    meaning = "packets between the tunnel and the LAN do not pass this machine"
    advice = "" if site.interface else f' (and "interface": "{tunnel}", so that the name is fixed)'
    found = []
    for chain in _base_chains(facts.chains, "forward"):
        rules = _rules_of_table(facts.chains, chain)
        both = [f'nft insert rule {chain.text} {s} "{tunnel}" accept' for s in _SIDES]
        if any(
            _first(decides_interface(rule, side, tunnel) for rule in rules) is False
            for side in _SIDES
        ):
            text = f"a rule of the table {chain.family} {chain.table} keeps back what the tunnel"
            text += " brings, or takes"
            found.append(warn("firewall", text, meaning, "; ".join(both) + advice))
        elif _is_closed(chain):
            missing = [
                command
                for side, command in zip(_SIDES, both, strict=True)
                if not any(accepts_interface(rule, side, tunnel) for rule in rules)
            ]
            if missing:
                text = f"the chain {chain.text} lets nothing through that no rule accepts, and "
                text += "none for the tunnel was found (Docker sets such a chain up)"
                found.append(warn("firewall", text, meaning, "; ".join(missing) + advice))
    return found or [ok("firewall", "no nftables rule keeps back what is passed on")]


def judge_nat(facts: FirewallFacts, site: SiteConfig, interfaces: Sequence[str]) -> list[Finding]:
    """Source NAT that catches what goes into the tunnel, and tables that a killed run left."""
    if facts.unread:
        return []
    tunnel = site.interface or "tun0"
    found = []
    for chain in facts.chains:
        if chain.table.startswith(TABLE_PREFIX):
            owner = chain.table.removeprefix(TABLE_PREFIX)
            if chain.hook == "postrouting" and owner not in interfaces:
                found.append(
                    warn(
                        "nat",
                        f"the table {chain.family} {chain.table} is left from a killed run",
                        "harmless; the next start with this interface takes it away",
                        f"nft delete table {chain.family} {chain.table}",
                    )
                )
        elif chain.hook == "postrouting" and any(translates(rule, tunnel) for rule in chain.rules):
            found.append(
                warn(
                    "nat",
                    f"a rule of the chain {chain.text} also masquerades what goes into the tunnel",
                    "other sites see this gateway's address instead of the hosts', and connections "
                    "from there to here may break",
                    f'let the rule name its interface, as in: oifname "eth0" masquerade; or: nft '
                    f'insert rule {chain.text} oifname "{tunnel}" accept',
                )
            )
    return found or [ok("nat", "no source NAT catches what goes into the tunnel")]


_SIDES = ("iifname", "oifname")


def _base_chains(chains: Sequence[Chain], hook: str) -> Iterator[Chain]:
    return (chain for chain in chains if chain.hook == hook and chain.family in _IP_FAMILIES)


def _rules_of_table(chains: Sequence[Chain], chain: Chain) -> list[Rule]:
    """The rules of ``chain`` in order, and after them those of chains that it may jump to."""
    others = [
        each
        for each in chains
        if (each.family, each.table, each.hook) == (chain.family, chain.table, "")
    ]
    return [rule for each in (chain, *others) for rule in each.rules]


def _first(verdicts: Iterable[bool | None]) -> bool | None:
    return next((verdict for verdict in verdicts if verdict is not None), None)


def _is_closed(chain: Chain) -> bool:
    """Whether a packet that no rule speaks of is dropped."""
    return chain.policy == "drop" or any(map(refuses_all, chain.rules))
