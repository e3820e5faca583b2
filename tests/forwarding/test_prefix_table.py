"""Longest prefix, not longest string."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from polevpn_trio.forwarding.prefix_table import Network, PrefixTable, longest


def packed(address: str) -> bytes:
    return ip_address(address).packed


def test_longer_prefix_wins_where_string_order_would_not() -> None:
    table: PrefixTable[str] = PrefixTable()
    for network in ("10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"):
        table.set(ip_network(network), network)
    assert table.lookup(packed("10.1.2.3")) == "10.1.0.0/16"
    assert table.lookup(packed("10.2.2.3")) == "10.0.0.0/8"
    assert table.lookup(packed("11.2.2.3")) == "0.0.0.0/0"


def test_default_route_of_one_family_does_not_serve_the_other() -> None:
    table: PrefixTable[str] = PrefixTable()
    table.set(ip_network("::/0"), "six")
    assert table.lookup(packed("10.0.0.1")) is None
    assert table.lookup(packed("2001:db8::1")) == "six"


def test_removed_network_leaves_the_covering_one() -> None:
    table: PrefixTable[str] = PrefixTable()
    table.set(ip_network("10.0.0.0/8"), "wide")
    table.set(ip_network("10.1.0.0/16"), "narrow")
    table.remove(ip_network("10.1.0.0/16"))
    assert table.lookup(packed("10.1.2.3")) == "wide"
    assert len(table) == 1
    with pytest.raises(KeyError):
        table.remove(ip_network("10.1.0.0/16"))


NETWORKS = st.one_of(
    st.builds(
        lambda bits, length: IPv4Network(
            ((0x0A000000 | bits) & ~((1 << (32 - length)) - 1), length)
        ),
        st.integers(0, 0xFFFF),
        st.integers(0, 32),
    ),
    st.builds(
        lambda bits, length: IPv6Network(
            ((0xFD << 120 | bits) >> (128 - length) << (128 - length), length)
        ),
        st.integers(0, 0xFFFF),
        st.integers(0, 128),
    ),
)


@given(
    networks=st.lists(NETWORKS, max_size=20),
    removed=st.sets(st.integers(0, 19)),
    host=st.integers(0, 0xFFFF),
)
def test_agrees_with_a_linear_search(
    networks: list[IPv4Network | IPv6Network], removed: set[int], host: int
) -> None:
    table: PrefixTable[str] = PrefixTable()
    for network in networks:
        table.set(network, str(network))
    left = dict.fromkeys(networks)
    for index in removed:
        if index < len(networks) and networks[index] in left:
            table.remove(networks[index])
            del left[networks[index]]
    for address in (ip_address(0x0A000000 | host), ip_address(0xFD << 120 | host)):
        holders = [n for n in left if n.version == address.version and address in n]
        longest = max(holders, key=lambda n: n.prefixlen, default=None)
        assert table.lookup(address.packed) == (None if longest is None else str(longest))
    assert {network for network, _ in table} == set(left)


def addresses(version: int) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    """Draw addresses that have much in common: a few, and those that differ from them in a bit."""
    bits = 32 if version == 4 else 128
    kind = IPv4Address if version == 4 else IPv6Address
    return st.builds(
        lambda base, flipped: kind(base ^ flipped),
        st.sampled_from((0, (1 << bits) - 1, 0x0A010203 << (bits - 32))),
        st.one_of(
            st.just(0),
            st.integers(0, bits - 1).map(lambda bit: 1 << bit),
            st.integers(0, 7).map(lambda last: last << (bits // 2 - 3)),
            st.integers(0, (1 << bits) - 1),
        ),
    )


ADDRESSES = st.sampled_from((4, 6)).flatmap(addresses)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    address = draw(ADDRESSES)
    length = draw(st.integers(0, address.max_prefixlen))
    return ip_network((address, length), strict=False)


class TableBesideADictionary(RuleBasedStateMachine):
    """Does to a table and to a dictionary the same, which must then say the same."""

    def __init__(self) -> None:
        super().__init__()
        self.table: PrefixTable[int] = PrefixTable()
        self.model: dict[Network, int] = {}
        self.changes = 0

    @rule(network=networks())
    def set(self, network: Network) -> None:
        self.changes += 1
        self.table.set(network, self.changes)
        self.model[network] = self.changes

    @rule(network=networks(), count=st.integers(1, 12), step=st.integers(1, 7))
    def set_nested(self, network: Network, count: int, step: int) -> None:
        for length in range(network.prefixlen, -1, -step)[:count]:
            self.set(network.supernet(new_prefix=length))

    @rule(network=networks(), count=st.integers(1, 12))
    def set_neighbours(self, network: Network, count: int) -> None:
        first = int(network.network_address)
        for index in range(count):
            address = first ^ index << (network.max_prefixlen - network.prefixlen)
            if address >> network.max_prefixlen == 0:
                self.set(type(network)((address, network.prefixlen)))

    @precondition(lambda self: self.model)
    @rule(data=st.data(), count=st.integers(1, 12))
    def remove(self, data: st.DataObject, count: int) -> None:
        present = list(self.model)
        first = data.draw(st.integers(0, len(present) - 1))
        for network in present[first : first + count]:
            self.table.remove(network)
            del self.model[network]

    @rule(network=networks())
    def ask_for(self, network: Network) -> None:
        assert self.table.get(network) == self.model.get(network)
        if network not in self.model:
            with pytest.raises(KeyError):
                self.table.remove(network)

    @rule(address=ADDRESSES)
    def look_up(self, address: IPv4Address | IPv6Address) -> None:
        network = longest(self.model, address)
        wanted = None if network is None else self.model[network]
        assert self.table.lookup(address.packed) == wanted

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def look_up_at_an_edge(self, data: st.DataObject) -> None:
        network = data.draw(st.sampled_from(list(self.model)))
        kind = type(network.network_address)
        for number in (int(network.network_address), int(network.broadcast_address)):
            for beyond in (-1, 0, 1):
                if 0 <= number + beyond < 1 << network.max_prefixlen:
                    self.look_up(kind(number + beyond))

    @invariant()
    def both_hold_the_same_in_the_same_order(self) -> None:
        assert len(self.table) == len(self.model)
        assert list(self.table) == list(self.model.items())


TestTableBesideADictionary = TableBesideADictionary.TestCase
