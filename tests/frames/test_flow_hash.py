"""frames/flow_hash: packets of a flow fall together, others apart."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.frames.flow_hash import FlowHash

TCP, UDP, ICMP, ESP = 6, 17, 1, 50
HOP_BY_HOP, FRAGMENT, DESTINATION_OPTIONS = 0, 44, 60
MORE_FRAGMENTS = 0x2000


def ipv4(
    source: int = 1, target: int = 2, protocol: int = TCP, l4: bytes = b"", fragment: int = 0
) -> bytes:
    header = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(l4), 0, fragment, 64, protocol, 0,
                         source, target)  # fmt: skip
    return header + l4


def ipv6(source: int = 1, target: int = 2, protocol: int = TCP, l4: bytes = b"") -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(l4), protocol, 64)
    return header + source.to_bytes(16, "big") + target.to_bytes(16, "big") + l4


def ports(source: int, target: int) -> bytes:
    return struct.pack("!HHI", source, target, 0)


def hash_of(packet: bytes, seed: int = 1) -> int:
    return FlowHash(seed).of_packet(packet, 0, len(packet))


@pytest.mark.parametrize("make", [ipv4, ipv6])
@pytest.mark.parametrize("protocol", [TCP, UDP, ESP])
def test_what_names_a_flow_tells(make: Callable[..., bytes], protocol: int) -> None:
    packets = [
        make(1, 2, protocol, ports(10, 20)),
        make(3, 2, protocol, ports(10, 20)),
        make(1, 3, protocol, ports(10, 20)),
        make(2, 1, protocol, ports(20, 10)),
        make(1, 2, 132, ports(10, 20)),
        make(1, 2, protocol, ports(11, 20)),
        make(1, 2, protocol, ports(10, 21)),
    ]
    assert len({hash_of(packet) for packet in packets}) == len(packets)


@pytest.mark.parametrize("make", [ipv4, ipv6])
def test_payload_and_surroundings_do_not_tell(make: Callable[..., bytes]) -> None:
    packet = make(1, 2, UDP, ports(10, 20) + b"one")
    other = b"before" + make(1, 2, UDP, ports(10, 20) + b"another") + b"behind"
    assert FlowHash(7).of_packet(other, 6, len(other) - 12) == hash_of(packet, 7)


def test_hop_limit_and_ecn_do_not_tell() -> None:
    packet = bytearray(ipv4(1, 2, TCP, ports(10, 20)))
    before = hash_of(bytes(packet))
    packet[1] = 3
    packet[8] = 9
    packet[10:12] = b"xy"
    assert hash_of(bytes(packet)) == before


@pytest.mark.parametrize("make", [ipv4, ipv6])
def test_without_ports_address_and_protocol_tell(
    make: Callable[..., bytes],
) -> None:
    assert hash_of(make(1, 2, ICMP, b"one 1234")) == hash_of(make(1, 2, ICMP, b"other 12"))
    assert hash_of(make(1, 2, ICMP, b"one 1234")) != hash_of(make(1, 3, ICMP, b"one 1234"))


def test_all_fragments_of_a_packet_fall_together() -> None:
    first = ipv4(1, 2, UDP, ports(10, 20), MORE_FRAGMENTS)
    middle = ipv4(1, 2, UDP, b"anything", MORE_FRAGMENTS | 100)
    last = ipv4(1, 2, UDP, b"somewhat", 200)
    assert hash_of(first) == hash_of(middle) == hash_of(last)
    assert hash_of(first) != hash_of(ipv4(1, 2, UDP, ports(10, 20)))


def test_all_ipv6_fragments_fall_together() -> None:
    first = ipv6(1, 2, FRAGMENT, struct.pack("!BBHI", UDP, 0, 1, 99) + ports(10, 20))
    last = ipv6(1, 2, FRAGMENT, struct.pack("!BBHI", UDP, 0, 1000, 99) + b"anything")
    assert hash_of(first) == hash_of(last)


def test_ports_behind_ipv6_extension_headers_count() -> None:
    plain = ipv6(1, 2, TCP, ports(10, 20))
    options = struct.pack("!BBHI", DESTINATION_OPTIONS, 0, 0, 0)
    options += struct.pack("!BB14x", TCP, 1)
    assert hash_of(ipv6(1, 2, HOP_BY_HOP, options + ports(10, 20))) == hash_of(plain)
    assert hash_of(ipv6(1, 2, HOP_BY_HOP, options + ports(10, 21))) != hash_of(plain)


def test_endless_extension_headers_end() -> None:
    chain = struct.pack("!BB6x", DESTINATION_OPTIONS, 0) * 100
    packet = ipv6(1, 2, DESTINATION_OPTIONS, chain)
    assert hash_of(packet) == hash_of(ipv6(1, 2, DESTINATION_OPTIONS, chain[:-8]))


def test_what_is_no_packet_has_no_flow() -> None:
    assert hash_of(b"") == 0
    assert hash_of(b"\x45 too short") == 0


def test_the_seed_decides() -> None:
    packet = ipv4(1, 2, TCP, ports(10, 20))
    assert len({hash_of(packet, seed) for seed in range(100)}) == 100


def test_flows_spread_over_the_buckets() -> None:
    buckets = Counter(
        hash_of(ipv4(0x0A000001, 0x0A000101, TCP, ports(port, 443)), 5) % 1024
        for port in range(1024, 2048)
    )
    # Thrown at random, 1,024 balls leave 377 of 1,024 urns empty and fill none with 12.
    assert len(buckets) > 550
    assert max(buckets.values()) < 12


@given(st.binary(max_size=90), st.sampled_from([b"", b"\x45", b"\x60", b"\x4f"]), st.integers(0, 3))
def test_any_bytes_have_a_hash(data: bytes, begin: bytes, before: int) -> None:
    packet = begin + data
    got = FlowHash(1).of_packet(bytes(before) + packet, before, len(packet))
    assert 0 <= got < 2**32
    assert got == FlowHash(1).of_packet(packet, 0, len(packet))


@given(st.lists(st.sampled_from([HOP_BY_HOP, 43, DESTINATION_OPTIONS, TCP, FRAGMENT, 255]),
                max_size=60))  # fmt: skip
def test_any_chain_of_extension_headers_has_a_hash(chain: list[int]) -> None:
    packet = ipv6(1, 2, chain[0] if chain else TCP, bytes(chain))
    assert 0 < hash_of(packet) < 2**32
