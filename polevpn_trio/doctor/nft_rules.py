"""What a single nftables rule does to a packet to a port, or of an interface.

Only what is certain from the rule alone counts: a rule that also asks for other things may or may
not apply, and is neither held against the rules nor for them.
"""

from __future__ import annotations

from typing import Any

import attrs

from polevpn_trio.doctor.nft_ruleset import Rule

_ACCEPTING = ("accept", "vmap", "queue")
"""A verdict map, or a program that is asked, may accept."""

_REFUSING = ("drop", "reject")


@attrs.frozen
class _Port:
    """How a rule that applies to packets to a port asks for them."""

    named: bool
    """It names the port."""
    conditional: bool
    """It asks for other things as well."""


def accepts_port(rule: Rule, protocol: str, port: int) -> bool:
    """Whether a rule lets in what comes to a port (``protocol``: tcp, udp), or well may."""
    found = _port_of(rule, protocol, port) if _says(rule, _ACCEPTING) else None
    # Those that ask only for other things, such as known connections, do not say who may begin one.
    return found is not None and (found.named or not found.conditional)


def decides_port(rule: Rule, protocol: str, port: int) -> bool | None:
    """Whether a rule lets all that comes to a port in, or keeps it out; None if neither."""
    found = _port_of(rule, protocol, port)
    if found is None or found.conditional:
        return None
    if _says(rule, ("accept",)):
        return True
    return False if found.named and _says(rule, _REFUSING) else None


def refuses_all(rule: Rule) -> bool:
    """Whether nothing gets past a rule."""
    return _says(rule, _REFUSING) and all(
        each.keys() & {"counter", "log", "comment", *_REFUSING} for each in rule
    )


def accepts_interface(rule: Rule, side: str, name: str) -> bool:
    """Whether a rule lets all pass that comes in (``side``: iifname), or goes out (oifname)."""
    matches = _matches(rule)
    if not _says(rule, _ACCEPTING):
        return False
    return not matches or any(_meta(m, side) and _may_name(m, name) for m in matches)


def decides_interface(rule: Rule, side: str, name: str) -> bool | None:
    """Whether a rule lets all pass on that side of an interface, or keeps it; None if neither."""
    matches = _matches(rule)
    if len(matches) > 1 or not all(_meta(m, side) and _may_name(m, name) for m in matches):
        return None
    if _says(rule, ("accept",)):
        return True
    named = bool(matches) and matches[0].get("op", "==") in ("==", "in")
    return False if named and _says(rule, _REFUSING) else None


def translates(rule: Rule, tunnel: str) -> bool:
    """Whether a rule changes the source of packets that leave by the tunnel."""
    if not _says(rule, ("masquerade", "snat")):
        return False
    for match in _matches(rule):
        if _meta(match, "oifname") and not _may_name(match, tunnel):
            return False
        if _meta(match, "iifname") or "payload" in match["left"]:
            # For one interface or network only: whoever wrote that knew what he was doing.
            return False
    return True


def _says(rule: Rule, words: tuple[str, ...]) -> bool:
    return any(word in expression for expression in rule for word in words)


def _matches(rule: Rule) -> list[dict[str, Any]]:
    return [expression["match"] for expression in rule if "match" in expression]


def _port_of(rule: Rule, protocol: str, port: int) -> _Port | None:
    """None if the rule is for other packets."""
    named = opaque = conditional = False
    for expression in rule:
        if "vmap" in expression:
            key = expression["vmap"].get("key", {})
            named = named or _payload(key).get("field") == "dport"
            conditional = True
        elif "xt" in expression:
            opaque = True
    for match in _matches(rule):
        left, right = match["left"], match["right"]
        meta = left.get("meta", {}) if isinstance(left, dict) else {}
        if _payload(left).get("field") == "dport":
            covered = _payload(left).get("protocol") in (protocol, "th") and _covers(right, port)
            if covered == (match.get("op", "==") == "!="):
                return None
            named = True
        elif meta.get("key") == "l4proto":
            if not _covers(right, protocol):
                return None
            # Of iptables: what it asks for beside the protocol is likely to be ports.
            named = named or opaque
        else:
            conditional = True
    return _Port(named, conditional or opaque)


def _payload(left: object) -> dict[str, Any]:
    found = left.get("payload", {}) if isinstance(left, dict) else {}
    return found if isinstance(found, dict) else {}


def _covers(right: object, value: int | str) -> bool:
    """Whether the right side of a match may mean ``value``; a named set may mean anything."""
    if isinstance(right, dict):
        if "range" in right:
            low, high = right["range"]
            return isinstance(value, int) and low <= value <= high
        return any(_covers(each, value) for each in right.get("set", ()))
    if isinstance(right, str) and right.startswith("@"):
        return True
    return right == value


def _meta(match: dict[str, Any], key: str) -> bool:
    left = match["left"]
    # iif and oif compare the index, which nft shows as a name again.
    keys = (key, key.removesuffix("name"))
    return isinstance(left, dict) and left.get("meta", {}).get("key") in keys


def _may_name(match: dict[str, Any], name: str) -> bool:
    right = match["right"]
    names = right.get("set", ()) if isinstance(right, dict) else (right,)
    hit = any(
        isinstance(each, str)
        and (each == name or (each.endswith("*") and name.startswith(each[:-1])) or each[:1] == "@")
        for each in names
    )
    return hit if match.get("op", "==") in ("==", "in") else not hit
