"""The machine's nftables rules, as ``nft --json`` tells them (libnftables-json(5)).

Those of iptables-nft are among them, those of the legacy iptables are not.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import attrs

_TIMEOUT = 5.0
"""Seconds for nft; tens of thousands of rules take one."""

Rule = tuple[dict[str, Any], ...]
"""The expressions of a rule, in order."""


@attrs.frozen
class Chain:
    """A chain and its rules."""

    family: str
    table: str
    name: str
    hook: str
    """"" if it is jumped to only."""
    policy: str
    rules: tuple[Rule, ...]

    @property
    def text(self) -> str:
        """How nft wants it named."""
        return f"{self.family} {self.table} {self.name}"


@attrs.frozen
class FirewallFacts:
    """``unread`` tells why the rules are not known; "" if they are."""

    chains: tuple[Chain, ...] = ()
    unread: str = ""
    legacy: bool = False
    """Legacy iptables has tables, which nft does not show."""


def look_at_firewall() -> FirewallFacts:
    """Ask ``nft`` for all rules; blocks for some milliseconds."""
    legacy = any(map(_has_tables, ("ip_tables_names", "ip6_tables_names")))
    try:
        done = subprocess.run(
            ["nft", "--json", "list", "ruleset"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        return FirewallFacts(unread="nft is not installed", legacy=legacy)
    except (OSError, subprocess.TimeoutExpired) as error:
        return FirewallFacts(unread=f"nft does not answer: {error}", legacy=legacy)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        return FirewallFacts(
            unread=f"nft refuses: {said[0] if said else 'no reason'}", legacy=legacy
        )
    try:
        return FirewallFacts(parse_ruleset(done.stdout), legacy=legacy)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return FirewallFacts(unread=f"nft's answer cannot be read: {error!r}", legacy=legacy)


def _has_tables(name: str) -> bool:
    try:
        # Of this thread's network namespace, which /proc/net is not.
        return bool(Path("/proc/thread-self/net", name).read_text().strip())
    except OSError:
        return False


def parse_ruleset(text: str | bytes) -> tuple[Chain, ...]:
    """Read what ``nft --json list ruleset`` printed. Raises ValueError, KeyError, TypeError."""
    chains: dict[tuple[str, str, str], dict[str, Any]] = {}
    rules: dict[tuple[str, str, str], list[Rule]] = {}
    for entry in json.loads(text)["nftables"]:
        if "chain" in entry:
            chain = entry["chain"]
            chains[chain["family"], chain["table"], chain["name"]] = chain
        elif "rule" in entry:
            rule = entry["rule"]
            key = (rule["family"], rule["table"], rule["chain"])
            rules.setdefault(key, []).append(tuple(rule.get("expr", ())))
    return tuple(
        Chain(*key, chain.get("hook", ""), chain.get("policy", "accept"), tuple(rules.get(key, ())))
        for key, chain in chains.items()
    )
