"""Longest-prefix match over IPv4 and IPv6 networks.

The one table behind the router's routes and the gateway's source list. A later version may
share its content between routers, so its interface is small on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Generic, TypeVar

from polevpn_trio.forwarding.prefix_trie import PrefixTrie

Network = IPv4Network | IPv6Network
Value = TypeVar("Value")


class PrefixTable(Generic[Value]):
    """Networks with a value each; the most specific network that contains an address wins.

    The default route (``0.0.0.0/0``, ``::/0``) is the least specific of all, so it needs no
    special treatment.
    """

    lookup: Callable[[bytes], Value | None]
    """Return the value of the longest prefix that holds an address (4 or 16 bytes)."""

    def __init__(self) -> None:
        self._trie = PrefixTrie()
        # The trie's own method, since to call it from one of ours would take a third more time.
        self.lookup = self._trie.lookup
        # By their numbers in the trie, in the order in which they came. Whoever registers IPv6
        # networks could choose some with equal hashes, so those are not what finds them again.
        self._networks: dict[int, Network] = {}

    def __len__(self) -> int:
        return len(self._networks)

    def __iter__(self) -> Iterator[tuple[Network, Value]]:
        values = self._trie.values
        return ((network, values[number]) for number, network in self._networks.items())

    def get(self, network: Network) -> Value | None:
        """Return the value of exactly this network, None if it is not in the table."""
        value: Value | None = self._trie.values[self._trie.find(*_prefix(network))]
        return value

    def set(self, network: Network, value: Value) -> None:
        """Add a network, or replace its value."""
        prefix = _prefix(network)
        number = self._trie.find(*prefix)
        if number == 0:
            number = self._trie.insert(*prefix)
            self._networks[number] = network
        self._trie.values[number] = value

    def remove(self, network: Network) -> None:
        """Take a network out. Raises KeyError when it is not in the table."""
        number = self._trie.find(*_prefix(network))
        if number == 0:
            raise KeyError(network)
        del self._networks[number]
        self._trie.remove(network.version, number)


def _prefix(network: Network) -> tuple[int, int, int, int]:
    """Give a network as the trie wants it: version, both halves of the address, length in bits."""
    address = int(network.network_address)
    if network.version == 4:
        return 4, address << 32, 0, network.prefixlen
    return 6, address >> 64, address & 0xFFFFFFFFFFFFFFFF, network.prefixlen


def holds(network: Network, address: IPv4Address | IPv6Address) -> bool:
    """Whether an address of whichever version lies in a network."""
    return network.version == address.version and address in network


def longest(networks: Iterable[Network], address: IPv4Address | IPv6Address) -> Network | None:
    """Return the most precise of some networks that holds an address; a table is faster."""
    holding = [network for network in networks if holds(network, address)]
    return max(holding, key=lambda network: network.prefixlen, default=None)
