# cython: annotation_typing=False
"""The rules of a policy in flat arrays, as the data path reads them.

A rule costs a few comparisons, and only the first packet of a flow is held against them, so a
plain walk is fast enough for thousands.
"""

from __future__ import annotations

from array import array

from polevpn_trio.forwarding.policy.rules import Network, Policy

_SITE = 0
_WORDS = 4
_WORD_BITS = 64
_LOW64 = 0xFFFFFFFFFFFFFFFF


class RuleTable:
    """Finds the first rule that matches.

    ``count`` is the number of rules; as the number of a rule it stands for the default. Sites have
    numbers here, 0 is one that no rule names.
    """

    def __init__(self, policy: Policy) -> None:
        self.count = len(policy.rules)
        self._sites: dict[str, int] = {}
        protocols: list[int] = []
        first_ports, ports = [0], list[tuple[int, int]]()
        first_parties, parties = [0], list[tuple[int, int, int, int, int, int]]()
        for rule in policy.rules:
            bits = sum(1 << each for each in rule.protocols) if rule.protocols else (1 << 256) - 1
            protocols += [bits >> _WORD_BITS * word & _LOW64 for word in range(_WORDS)]
            ports += rule.ports
            first_ports.append(len(ports))
            for group in (rule.origins, rule.targets):
                parties += map(self._party, group)
                first_parties.append(len(parties))
        self._allows = array("B", [*(rule.allows for rule in policy.rules), policy.default_allows])
        # 256 bits a rule, one for each protocol. No array is empty, for the C build's sake.
        self._protocols = array("Q", [*protocols, 0])
        self._first_port = array("i", first_ports)
        self._low_port = array("i", [*(low for low, _ in ports), 0])
        self._high_port = array("i", [*(high for _, high in ports), 0])
        # Where the origins of a rule begin, and then its targets.
        self._first_party = array("i", first_parties)
        columns = zip(*parties, (0, 0, 0, 0, 0, 0), strict=True)
        self._version, self._number = (array("i", next(columns)) for _ in range(2))
        self._high, self._low, self._mask_high, self._mask_low = (
            array("Q", column) for column in columns
        )

    def _party(self, party: str | Network) -> tuple[int, int, int, int, int, int]:
        """Give version (of a site: 0), number of the site, and address and mask in two words."""
        if isinstance(party, str):
            return _SITE, self._sites.setdefault(party, len(self._sites) + 1), 0, 0, 0, 0
        address, mask = int(party.network_address), int(party.netmask)
        if party.version == 4:
            return 4, 0, 0, address, 0, mask
        return (
            6,
            0,
            address >> _WORD_BITS,
            address & _LOW64,
            mask >> _WORD_BITS,
            mask & _LOW64,
        )

    def site(self, name: str) -> int:
        """Give the number of a site."""
        return self._sites.get(name, 0)

    def allows(self, rule: int) -> bool:
        """Whether this rule, or the default, lets pass what it matches."""
        return self._allows[rule] != 0

    def decide(
        self,
        origin: int,
        target: int,
        version: int,
        source_high: int,
        source_low: int,
        destination_high: int,
        destination_low: int,
        protocol: int,
        port: int,
    ) -> int:
        """Return the number of the rule for a flow that is opened from ``origin`` to ``target``.

        ``port`` is that of the destination, -1 where the protocol has none.
        """
        for rule in range(self.count):
            if not self._protocols[_WORDS * rule + (protocol >> 6)] >> (protocol & 63) & 1:
                continue
            first = self._first_port[rule]
            last = self._first_port[rule + 1]
            if first != last and not self._has_port(first, last, port):
                continue
            first = self._first_party[2 * rule]
            last = self._first_party[2 * rule + 1]
            if first != last and not self._has_party(
                first, last, origin, version, source_high, source_low
            ):
                continue
            first = last
            last = self._first_party[2 * rule + 2]
            if first != last and not self._has_party(
                first, last, target, version, destination_high, destination_low
            ):
                continue
            return rule
        return self.count

    def _has_port(self, first: int, last: int, port: int) -> bool:
        for index in range(first, last):
            if self._low_port[index] <= port <= self._high_port[index]:
                return True
        return False

    def _has_party(
        self, first: int, last: int, site: int, version: int, high: int, low: int
    ) -> bool:
        for index in range(first, last):
            if self._version[index] == _SITE:
                if self._number[index] == site:
                    return True
            elif (
                self._version[index] == version
                and high & self._mask_high[index] == self._high[index]
                and low & self._mask_low[index] == self._low[index]
            ):
                return True
        return False
