"""Sifting packets by source, against a filter that anybody can read."""

from __future__ import annotations

import random
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.batch import SEQUENCES_FOREIGN, SEQUENCES_OFFLOAD, SEQUENCES_ZERO
from polevpn_trio.forwarding.source_filter import (
    MARTIAN,
    OWN,
    SPOOFED,
    SourceFilter,
    is_martian,
)
from polevpn_trio.frames.codec import build_frame
from tests.memory_links import frames, ipv4, ipv6, split
from tests.tun.super_packets import Headers, frame, make_packet

DESTINATION = "192.168.2.6"


def source_of(packet: bytes) -> bytes:
    return packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]


def sift(
    judge: Callable[[bytes], int], data: bytes, sequences: int = SEQUENCES_ZERO
) -> tuple[bytes, SourceFilter]:
    found = SourceFilter(judge)
    room = bytearray(data)
    return bytes(room[: found.sift_untrusted(room, sequences, 0)]), found


SOURCES = st.integers(0, 9).map(lambda number: ipv4(f"10.0.{number}.1", DESTINATION)) | st.integers(
    0, 9
).map(lambda number: ipv6(number << 64 | 1, 5))


@given(st.lists(SOURCES, max_size=30), st.integers(0, 2**32))
def test_what_passes_is_what_the_judge_lets_pass_in_the_same_order(
    packets: list[bytes], seed: int
) -> None:
    chance = random.Random(seed)
    verdicts = {
        source_of(packet): chance.choice([OWN, OWN, SPOOFED, MARTIAN]) for packet in packets
    }
    kept, found = sift(verdicts.__getitem__, frames(2, *packets))
    assert kept == frames(2, *(each for each in packets if verdicts[source_of(each)] == OWN))
    spoofed = [each for each in packets if verdicts[source_of(each)] == SPOOFED]
    assert found.spoofed == len(spoofed)
    assert found.martian == sum(verdicts[source_of(each)] == MARTIAN for each in packets)
    assert found.refused == (source_of(spoofed[0]) if spoofed else b"")


def test_the_judge_is_asked_once_for_an_address_until_the_table_changes() -> None:
    asked: list[bytes] = []
    verdict = OWN

    def judge(source: bytes) -> int:
        asked.append(source)
        return verdict

    found = SourceFilter(judge)
    mixed = frames(2, *[ipv4(f"10.0.0.{n % 3}", DESTINATION) for n in range(30)], ipv6(1, 2))
    for _ in range(3):
        assert found.sift_untrusted(bytearray(mixed), SEQUENCES_ZERO, 7) == len(mixed)
    assert len(asked) == 4
    verdict = SPOOFED
    assert found.sift_untrusted(bytearray(mixed), SEQUENCES_ZERO, 8) == 0
    assert found.spoofed == 31
    assert len(asked) == 8


@pytest.mark.parametrize("version", [4, 6])
def test_addresses_that_share_a_place_in_the_memory_are_told_apart(version: int) -> None:
    """Thousands of addresses of which every second one is refused, at random and again."""
    chance = random.Random(version)
    found = SourceFilter(lambda source: OWN if source[-1] % 2 else SPOOFED)
    packets = [
        ipv4(f"10.{chance.randrange(9)}.{chance.randrange(9)}.{chance.randrange(256)}", DESTINATION)
        if version == 4
        else ipv6(chance.randrange(2**128), 5)
        for _ in range(5000)
    ]
    for _ in range(2):
        room = bytearray(frames(2, *packets))
        kept = found.sift_untrusted(room, SEQUENCES_ZERO, 0)
        assert [each.payload for each in split(bytes(room[:kept]))] == [
            each for each in packets if source_of(each)[-1] % 2
        ]


@pytest.mark.parametrize("version", [4, 6])
def test_one_bit_makes_another_address(version: int) -> None:
    own = 0x0A010203 if version == 4 else 0xFD000102030405060708090A0B0C0D0E

    def packet(number: int) -> bytes:
        return ipv4(str(IPv4Address(number)), DESTINATION) if version == 4 else ipv6(number, 5)

    judged = SourceFilter(lambda source: OWN if int.from_bytes(source) == own else SPOOFED)
    for bit in range(32 if version == 4 else 128):
        # Beside its neighbour, and when both have been seen before.
        data = frames(2, packet(own), packet(own ^ 1 << bit), packet(own), packet(own ^ 1 << bit))
        for _ in range(2):
            room = bytearray(data)
            kept = judged.sift_untrusted(room, SEQUENCES_ZERO, 0)
            assert bytes(room[:kept]) == frames(2, packet(own), packet(own)), bit


def test_an_ipv6_address_that_holds_an_ipv4_address_is_another_one() -> None:
    mapped = int(ip_address("10.0.0.1"))
    found = SourceFilter(lambda source: OWN if len(source) == 4 else SPOOFED)
    data = bytearray(frames(2, ipv4("10.0.0.1", DESTINATION), ipv6(mapped, 1)))
    assert found.sift_untrusted(data, SEQUENCES_ZERO, 0) == len(
        frames(2, ipv4("10.0.0.1", DESTINATION))
    )


@pytest.mark.parametrize("version", [4, 6])
def test_a_super_packet_counts_as_the_packets_in_it(version: int) -> None:
    packet = make_packet(Headers(version=version), bytes(300), partial=True)
    data = frame(packet, sequence=100) + frame(packet)
    _, found = sift(lambda source: SPOOFED, data, SEQUENCES_OFFLOAD)
    assert found.spoofed == 4
    # What another dialect writes there means nothing.
    _, found = sift(lambda source: MARTIAN, data, SEQUENCES_FOREIGN)
    assert (found.spoofed, found.martian) == (0, 2)


@given(st.binary(max_size=200), st.integers(0, 2))
def test_any_bytes_are_sifted_without_an_error(junk: bytes, sequences: int) -> None:
    sound = frames(2, ipv4("10.0.0.1", DESTINATION))
    kept, _ = sift(lambda source: OWN, sound + junk, sequences)
    assert kept.startswith(sound)
    kept, _ = sift(lambda source: SPOOFED, sound + junk, sequences)
    assert kept == b""


def test_what_is_no_ip_packet_is_left_out() -> None:
    sound = ipv4("10.0.0.1", DESTINATION)
    data = build_frame(2, b"\x50" + bytes(30)) + build_frame(2, sound) + build_frame(2, b"")
    kept, _ = sift(lambda source: OWN, data)
    assert kept == build_frame(2, sound)


def test_frames_around_what_is_no_ip_packet_are_judged_all_the_same() -> None:
    asked: list[bytes] = []

    def judge(source: bytes) -> int:
        asked.append(source)
        return OWN

    first, second, last = (ipv4(f"10.0.0.{n}", DESTINATION) for n in (1, 2, 3))
    # It says that it is longer than its frame, by less than what follows.
    longer = bytearray(ipv4("10.0.0.9", DESTINATION))
    longer[3] += 8
    data = frames(2, first, b"\x50" + bytes(40), second, bytes(longer), b"", last)
    kept, found = sift(judge, data)
    assert kept == frames(2, first, second, last)
    assert asked == [source_of(each) for each in (first, second, last)]
    assert found.spoofed == 0


def test_a_frame_that_is_cut_short_ends_the_batch_wherever_it_stands() -> None:
    whole = frames(2, ipv4("10.0.0.1", DESTINATION))
    for size in range(1, len(whole)):
        kept, _ = sift(lambda source: OWN, whole * 3 + whole[:size])
        assert kept == whole * 3


MARTIANS = """
0.0.0.0 0.1.2.3 127.0.0.1 169.254.7.7 224.0.0.1 239.1.1.1 255.255.255.255
:: ::1 fe80::1 febf::1 ff02::1
"""
HOSTS = """
1.0.0.1 10.0.0.1 126.1.1.1 128.0.0.1 169.253.1.1 223.255.255.254 240.0.0.1 255.255.255.254
::2 100:: fe7f::1 fec0::1 fd00::1 2001:db8::1 ::ffff:127.0.0.1
"""


@pytest.mark.parametrize("address", MARTIANS.split())
def test_addresses_of_no_host_and_of_one_link_are_martian(address: str) -> None:
    assert is_martian(ip_address(address).packed)


@pytest.mark.parametrize("address", HOSTS.split())
def test_other_addresses_are_not(address: str) -> None:
    assert not is_martian(ip_address(address).packed)
