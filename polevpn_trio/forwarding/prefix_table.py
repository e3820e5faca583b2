"""Longest-prefix match over IPv4 and IPv6 networks.

The one table behind the router's routes and the gateway's source list. A later version may
share its content between routers, so its interface is small on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Generic, TypeVar

import radix

Network = IPv4Network | IPv6Network
Value = TypeVar("Value")


class PrefixTable(Generic[Value]):
    """Networks with a value each; the most specific network that contains an address wins.

    The default route (``0.0.0.0/0``, ``::/0``) is the least specific of all, so it needs no
    special treatment.
    """

    def __init__(self) -> None:
        # One tree an address family: in a shared one ::/0 would be found for IPv4 too.
        self._trees = {4: radix.Radix(), 16: radix.Radix()}
        self._values: dict[Network, Value] = {}

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[tuple[Network, Value]]:
        return iter(self._values.items())

    def get(self, network: Network) -> Value | None:
        """Return the value of exactly this network, None if it is not in the table."""
        return self._values.get(network)

    def set(self, network: Network, value: Value) -> None:
        """Add a network, or replace its value."""
        tree = self._trees[len(network.network_address.packed)]
        tree.add(str(network)).data["value"] = value
        self._values[network] = value

    def remove(self, network: Network) -> None:
        """Take a network out. Raises KeyError when it is not in the table."""
        del self._values[network]
        self._trees[len(network.network_address.packed)].delete(str(network))

    def lookup(self, address: bytes) -> Value | None:
        """Return the value of the longest prefix that holds ``address`` (4 or 16 bytes)."""
        node = self._trees[len(address)].search_best(packed=address)
        if node is None:
            return None
        value: Value = node.data["value"]
        return value


def holds(network: Network, address: IPv4Address | IPv6Address) -> bool:
    """Whether an address of whichever version lies in a network."""
    return network.version == address.version and address in network


def longest(networks: Iterable[Network], address: IPv4Address | IPv6Address) -> Network | None:
    """Return the most precise of some networks that holds an address; a table is faster."""
    holding = [network for network in networks if holds(network, address)]
    return max(holding, key=lambda network: network.prefixlen, default=None)
