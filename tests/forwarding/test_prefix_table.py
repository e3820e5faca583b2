"""Longest prefix, not longest string."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.forwarding.prefix_table import PrefixTable


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
