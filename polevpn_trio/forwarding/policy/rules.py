"""The rules of a policy: the first one that matches decides whether a flow may be opened.

This is the readable form, which also says why a rule does not match; `rule_table` holds the same
rules as the data path reads them.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import attrs

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
WITH_PORTS = frozenset((TCP, UDP, SCTP))
"""Protocols whose ports a rule can name."""

NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6", SCTP: "sctp"}

DEFAULT_FLOWS = 65_536

DEFAULT_NAME = "default"
"""Stands for what holds where no rule matches."""
UNRELATED_NAME = "unrelated"
"""Stands for what no rule speaks of: it must belong to something that was let in, and does not."""


def protocol_name(protocol: int) -> str:
    """What people call an IP protocol."""
    return NAMES.get(protocol, f"protocol {protocol}")


def protocol_number(text: str, version: int) -> int | None:
    """Return the number of a protocol in IPv4 or IPv6 by its name or number, None if it is none."""
    if text.isascii() and text.isdigit():
        number = int(text[:4])
        return number if number <= 255 else None
    if text == NAMES[ICMP]:
        return ICMP if version == 4 else ICMPV6
    return next((number for number, name in NAMES.items() if name == text), None)


@attrs.frozen
class Opening:
    """What the first packet of a flow is judged by.

    ``origin`` and ``target`` are the sites that it comes from and goes to, "" for one without a
    name. ``protocol`` and ``port`` (of the destination) are None if they are not known.
    """

    origin: str
    target: str
    source: Address
    destination: Address
    protocol: int | None = None
    port: int | None = None


@attrs.frozen
class Rule:
    """Allows or denies the opening of flows. What is empty matches everything.

    ``origins`` and ``targets`` are names of sites, and networks; ``ports`` are ranges with both
    ends, of the destination.
    """

    name: str
    allows: bool
    origins: tuple[str | Network, ...] = ()
    targets: tuple[str | Network, ...] = ()
    protocols: frozenset[int] = frozenset()
    ports: tuple[tuple[int, int], ...] = ()

    @property
    def action(self) -> str:
        """The word of the configuration for what it does."""
        return "allow" if self.allows else "deny"

    def __str__(self) -> str:
        """Tell in a line whom it speaks of."""
        text = f"{self.action} {_parties(self.origins)} to {_parties(self.targets)}"
        if self.protocols:
            text += f", {self.traffic}"
        return text

    @property
    def traffic(self) -> str:
        """Its protocols and ports."""
        if not self.protocols:
            return "any protocol"
        text = "/".join(protocol_name(each) for each in sorted(self.protocols))
        if self.protocols == {ICMP, ICMPV6}:
            text = "icmp"
        if self.ports:
            spans = (f"{low}" if low == high else f"{low}-{high}" for low, high in self.ports)
            text += f" port {', '.join(spans)}"
        return text

    def mismatch(self, opening: Opening) -> str:
        """Say why it does not match; "" if it does, as far as ``opening`` is known."""
        if not _holds(self.origins, opening.origin, opening.source):
            return f"it is not from {_parties(self.origins)}"
        if not _holds(self.targets, opening.target, opening.destination):
            return f"it is not to {_parties(self.targets)}"
        if not self.protocols or opening.protocol is None:
            return ""
        port = opening.port
        fits = opening.protocol in self.protocols and (
            not self.ports or port is None or any(low <= port <= high for low, high in self.ports)
        )
        return "" if fits else f"it is only about {self.traffic}"

    def depends(self, opening: Opening) -> bool:
        """Whether it may match or not, by what of ``opening`` is not known."""
        return bool(self.protocols and opening.protocol is None) or bool(
            self.ports and opening.port is None
        )

    def covers(self, origin: str, target: str) -> bool | None:
        """Whether it matches all packets between two sites, or none (False), or some (None)."""
        cover = [_covers(self.origins, origin), _covers(self.targets, target)]
        if False in cover:
            return False
        return None if None in cover or self.protocols or self.ports else True


@attrs.frozen
class Policy:
    """Rules in their order, and what holds where none of them matches.

    ``flows`` is how many flows are remembered at most; each takes 64 bytes.
    """

    rules: tuple[Rule, ...] = ()
    default_allows: bool = True
    flows: int = DEFAULT_FLOWS

    @property
    def default_action(self) -> str:
        """The word of the configuration for what holds where no rule matches."""
        return "allow" if self.default_allows else "deny"

    @property
    def names(self) -> tuple[str, ...]:
        """What counters are called: the rules in their order, then the other two cases."""
        return (*(rule.name for rule in self.rules), DEFAULT_NAME, UNRELATED_NAME)

    def allows_all(self, origin: str, target: str) -> bool:
        """Whether every flow that one site may open to another is allowed."""
        for rule in self.rules:
            covers = rule.covers(origin, target)
            if covers is not False and not rule.allows:
                return False
            if covers is True:
                return True
        return self.default_allows


def _parties(parties: tuple[str | Network, ...]) -> str:
    if not parties:
        return "any"
    text = ", ".join(map(str, parties[:3]))
    return text + (f" and {len(parties) - 3} more" if len(parties) > 3 else "")


def _holds(parties: tuple[str | Network, ...], site: str, address: Address) -> bool:
    return not parties or any(
        party == site if isinstance(party, str) else address in party for party in parties
    )


def _covers(parties: tuple[str | Network, ...], site: str) -> bool | None:
    if not parties or site in parties:
        return True
    return None if any(not isinstance(party, str) for party in parties) else False
