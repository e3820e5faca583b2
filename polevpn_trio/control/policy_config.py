"""The ``policy`` section of a router's file: who may talk to whom."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from ipaddress import ip_network

from polevpn_trio.control import addresses
from polevpn_trio.control.commented_json import kind
from polevpn_trio.control.log import printable
from polevpn_trio.control.members import Members, shown
from polevpn_trio.control.site_directory import SiteDirectory, is_site_name
from polevpn_trio.forwarding.policy.rules import (
    DEFAULT_FLOWS,
    DEFAULT_NAME,
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    UNRELATED_NAME,
    WITH_PORTS,
    Network,
    Policy,
    Rule,
)

ANY = "any"
OWN_SITE = "router"
"""What rules call the router's own site."""

MOST_RULES = 10_000
LEAST_FLOWS, MOST_FLOWS = 1024, 16_777_216

_POLICY_KEYS = ("default", "rules", "flows")
_RULE_KEYS = ("name", "action", "from", "to", "protocol", "ports")
_ACTIONS = ("allow", "deny")
_PROTOCOLS = {"tcp": (TCP,), "udp": (UDP,), "icmp": (ICMP, ICMPV6)}
_EXPECTED_ACTION = '"allow" or "deny"'
_EXPECTED_PARTY = 'a site, a network such as "192.168.1.0/24", an address, "any", or a list of them'
_EXPECTED_PROTOCOL = '"tcp", "udp", "icmp", "any", a number from 0 to 255, or a list of them'
_EXPECTED_PORTS = 'a port from 0 to 65535, a range such as "8000-8080", or a list of them'
_LONGEST_NAME = 63


def read_policy(top: Members, sites: SiteDirectory | None, *, own_site: bool) -> Policy | None:
    """Read the section from the members of a file; mistakes are reported there.

    None if it is not there. ``sites`` are those that rules can name, beside `OWN_SITE` if the
    router has one.
    """
    section = top.section("policy", _POLICY_KEYS) if top.has("policy") else None
    if section is None:
        return None
    reader = _Reader(top, sites, own_site)
    default = _action(section, "default") if section.has("default") else True
    flows = section.whole("flows", DEFAULT_FLOWS, LEAST_FLOWS, MOST_FLOWS, "flows")
    return Policy(tuple(reader.rules(section)), default, flows)


class _Reader:
    """Reads rules; ``top`` is the whole file."""

    def __init__(self, top: Members, sites: SiteDirectory | None, own_site: bool) -> None:
        self._names = set(sites or ())
        self._has_sites = sites is not None
        # Sites with files of their own come and go: a rule may be there before, or after.
        self._may_be_missing = top.has("gateways_directory")
        self._own_site = own_site
        self._top = top

    def rules(self, section: Members) -> Iterable[Rule]:
        value = section.value("rules") if section.has("rules") else []
        if not isinstance(value, list):
            section.problem("rules", f"{kind(value)}, expected a list of rules")
            return
        if len(value) > MOST_RULES:
            section.problem("rules", f"{len(value)} rules, expected at most {MOST_RULES}")
            return
        for reserved in (ANY, *([OWN_SITE] if self._own_site else [])):
            if reserved in self._names:
                self._top.problem(
                    f"gateways.{reserved}",
                    "in rules of policy this name means something else, expected another name",
                )
        seen: dict[str, int] = {}
        for index, entry in enumerate(value):
            path = f"rules[{index}]"
            if not isinstance(entry, dict):
                section.problem(path, f"{kind(entry)}, expected an object with a rule")
                continue
            members = Members(section.report, f"{section.path(path)}.", entry, _RULE_KEYS)
            rule = self._rule(members, index)
            first = seen.setdefault(rule.name, index)
            if first != index:
                members.problem(
                    "name",
                    f'"{rule.name}" is the name of rules[{first}], too, expected another one',
                )
            yield rule

    def _rule(self, members: Members, index: int) -> Rule:
        protocols = self._protocols(members)
        return Rule(
            name=_name(members) or f"rule {index + 1}",
            allows=members.required("action", _EXPECTED_ACTION) and _action(members, "action"),
            origins=self._parties(members, "from"),
            targets=self._parties(members, "to"),
            protocols=protocols,
            ports=_ports(members, protocols),
        )

    def _parties(self, members: Members, name: str) -> tuple[str | Network, ...]:
        parties: list[str | Network] = []
        anybody = False
        for path, entry in _entries(members, name, _EXPECTED_PARTY):
            if not isinstance(entry, str):
                members.problem(path, f"{kind(entry)}, expected {_EXPECTED_PARTY}")
            elif entry == ANY:
                anybody = True
            else:
                party = self._party(members, path, entry)
                if party is not None:
                    parties.append(party)
        return () if anybody else tuple(dict.fromkeys(parties))

    def _party(self, members: Members, path: str, text: str) -> str | Network | None:
        if ":" in text and "/" not in text:
            text = f"{text}/128"
        if text in self._names or (text == OWN_SITE and self._own_site):
            return text
        if "/" in text or not is_site_name(text):
            try:
                return addresses.parse_network(text)
            except addresses.AddressMistake as mistake:
                members.problem(path, str(mistake))
                return None
        try:
            return ip_network(text)
        except ValueError:
            pass
        if text == OWN_SITE:
            members.problem(path, 'the router has no "site" of its own, expected another one')
        elif not self._has_sites:
            members.problem(
                path, f'site "{shown(text)}": no "gateways" are there, expected a network'
            )
        else:
            near = difflib.get_close_matches(text, self._names, n=1)
            problem = f'no site is called "{shown(text)}"'
            if near:
                problem += f', did you mean "{near[0]}"?'
            if self._may_be_missing:
                members.warn(path, problem)
                return text
            members.problem(path, problem if near else f"{problem}, expected one of gateways")
        return None

    def _protocols(self, members: Members) -> frozenset[int]:
        protocols: set[int] = set()
        every = False
        for path, entry in _entries(members, "protocol", _EXPECTED_PROTOCOL):
            if isinstance(entry, str) and entry in _PROTOCOLS:
                protocols.update(_PROTOCOLS[entry])
            elif entry == ANY:
                every = True
            elif isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry <= 255:
                protocols.add(entry)
            else:
                members.problem(path, f"{_found(entry)}, expected {_EXPECTED_PROTOCOL}")
        return frozenset() if every else frozenset(protocols)


def _entries(members: Members, name: str, expected: str) -> list[tuple[str, object]]:
    """One value, or those of a list, with their key paths; none if the member is not there."""
    if not members.has(name):
        return []
    value = members.value(name)
    if not isinstance(value, list):
        return [(name, value)]
    if not value:
        # It would match everything, which is hardly meant.
        members.problem(name, f"an empty list, expected {expected}")
    return [(f"{name}[{index}]", entry) for index, entry in enumerate(value)]


def _found(value: object) -> str:
    if isinstance(value, str):
        return f'"{shown(value)}"'
    return f"{value}" if type(value) in (int, float) else kind(value)


def _action(members: Members, name: str) -> bool:
    action = members.value(name)
    if action not in _ACTIONS:
        members.problem(name, f"{_found(action)}, expected {_EXPECTED_ACTION}")
    return action == "allow"


def _name(members: Members) -> str:
    """The name of a rule, "" if it has none."""
    expected = f"a name of at most {_LONGEST_NAME} characters"
    name = members.text("name", expected) if members.has("name") else ""
    if name is None:
        return ""
    if name in (DEFAULT_NAME, UNRELATED_NAME):
        members.problem("name", f'"{name}", which stands for something else, expected another one')
    elif members.has("name") and (not 0 < len(name) <= _LONGEST_NAME or printable(name) != name):
        members.problem("name", f'"{shown(name)}", expected {expected}')
    return name


def _ports(members: Members, protocols: frozenset[int]) -> tuple[tuple[int, int], ...]:
    entries = _entries(members, "ports", _EXPECTED_PORTS)
    if entries and not (protocols and protocols <= WITH_PORTS):
        members.problem("ports", 'only some protocols have them, expected "tcp" or "udp" beside')
        return ()
    ports = []
    for path, entry in entries:
        span = _span(entry)
        if span is None:
            members.problem(path, f"{_found(entry)}, expected {_EXPECTED_PORTS}")
        else:
            ports.append(span)
    return tuple(ports)


def _span(entry: object) -> tuple[int, int] | None:
    """A range of ports, with both ends; None if it is none."""
    if isinstance(entry, int) and not isinstance(entry, bool):
        entry = str(entry)
    if not isinstance(entry, str):
        return None
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", entry, re.ASCII)
    if found is None:
        return None
    low = int(found[1])
    high = int(found[2] or low)
    return (low, high) if low <= high <= 65535 else None
