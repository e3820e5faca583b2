"""tun/offload, the splitter: checked packet by packet, and the MSS clamp both ways."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polevpn_trio.frames.segmentation import Segmenter
from polevpn_trio.tun.offload import VNET_HEADER, Coalescer, Splitter
from tests.tun.super_packets import (
    ACK,
    COMMAND,
    CWR,
    ECE,
    ECN,
    FIN,
    LONE,
    MTU,
    NEEDS_CSUM,
    PSH,
    SYN,
    TCP,
    TCPV4,
    TCPV6,
    UDP,
    UDP_L4,
    URG,
    Headers,
    bend,
    coalesce,
    frame,
    headers_strategy,
    make_packet,
    make_super_packet,
    packets_of,
    pieces,
    split,
    super_frame,
)

# --- Splitting


@given(headers_strategy, st.integers(0, 2**32), st.integers(1, 20_000), st.integers(100, 9000))
@settings(max_examples=200)
def test_segments_of_a_super_packet_are_those_of_a_sender_without_offload(
    headers: Headers, seed: int, length: int, segment_size: int
) -> None:
    payload = random.Random(seed).randbytes(length)
    assert split(make_super_packet(headers, payload, segment_size)) == pieces(
        headers, payload, segment_size
    )


@pytest.mark.parametrize("version", [4, 6])
def test_fin_and_push_go_last_and_cwr_first(version: int) -> None:
    headers = Headers(version=version, flags=ACK | FIN | PSH | CWR | ECE)
    segments = split(make_super_packet(headers, bytes(350), 100))
    at = headers.ip_length + 13
    assert [segment[at] for segment in segments] == [
        ACK | ECE | CWR,
        ACK | ECE,
        ACK | ECE,
        ACK | ECE | FIN | PSH,
    ]
    # A run of one is both first and last.
    (only,) = split(make_super_packet(headers, bytes(100), 100))
    assert only[at] == headers.flags


def test_sequence_and_identification_wrap_around() -> None:
    headers = Headers(sequence=2**32 - 150, identification=65534)
    assert split(make_super_packet(headers, bytes(400), 100)) == pieces(headers, bytes(400), 100)


def test_ecn_mark_of_the_vnet_header_changes_nothing() -> None:
    raw = bytearray(make_super_packet(Headers(flags=ACK | CWR), bytes(300), 100))
    raw[1] |= ECN
    assert split(bytes(raw)) == pieces(Headers(flags=ACK | CWR), bytes(300), 100)


def test_largest_super_packet_in_smallest_segments() -> None:
    payload = random.Random(1).randbytes(65535 - 52)
    splitter = Splitter(MTU)
    assert split(make_super_packet(Headers(), payload, 8), splitter) == pieces(
        Headers(), payload, 8
    )
    assert splitter.super_packets == 1
    # The buffer that had to grow for it serves on.
    assert split(LONE + make_packet(Headers(), b"next"), splitter)


def test_many_packets_wait_until_taken() -> None:
    splitter = Splitter(MTU)
    packet = make_packet(Headers(protocol=UDP), bytes(1400))
    for number in range(1, 400):
        splitter.packet[: VNET_HEADER + len(packet)] = LONE + packet
        assert splitter.split(VNET_HEADER + len(packet), COMMAND) == 1
        assert splitter.frames == number
    assert splitter.end == 399 * (8 + len(packet))
    assert packets_of(splitter.take()) == [packet] * 399
    assert splitter.take() == b""


def test_ipv6_extension_header_is_repeated_and_its_final_address_counts() -> None:
    """The kernel's partial checksum is for the last hop, which only the routing header names."""
    headers = Headers(version=6)
    plain = make_packet(headers, bytes(250), partial=True)
    extension = bytes([TCP, 0, 60, 0, 1, 2, 3, 4])
    ip = plain[:4] + struct.pack("!HBB", len(plain) - 40 + 8, 0, 64) + plain[8:40]
    vnet = struct.pack("<BBHHHH", NEEDS_CSUM, TCPV6, 80, 100, 48, 16)
    segments = split(vnet + ip + extension + plain[40:])
    expected = pieces(headers, bytes(250), 100)
    assert [segment[40:48] for segment in segments] == [extension] * 3
    assert [segment[48:] for segment in segments] == [segment[40:] for segment in expected]
    assert [segment[4:6] for segment in segments] == [
        struct.pack("!H", len(segment) - 40) for segment in segments
    ]


@given(headers_strategy, st.binary(max_size=300))
def test_unfinished_checksum_of_a_lone_packet_is_finished(headers: Headers, payload: bytes) -> None:
    offset = 16 if headers.protocol == TCP else 6
    vnet = struct.pack("<BBHHHH", NEEDS_CSUM, 0, 0, 0, headers.ip_length, offset)
    packet = make_packet(headers, payload, partial=True)
    assert split(vnet + packet) == [make_packet(headers, payload)]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [1, 2])
def test_udp_checksum_zero_is_written_as_all_ones(version: int, size: int) -> None:
    """Also in the segments of a super-packet; searched for by trying all payloads."""
    headers = Headers(version=version, protocol=UDP)
    missing = next(
        payload
        for payload in (number.to_bytes(2, "big") for number in range(65536))
        if make_packet(headers, payload)[headers.ip_length + 6 : headers.ip_length + 8]
        == b"\xff\xff"
    )
    vnet = struct.pack("<BBHHHH", NEEDS_CSUM, 0, 0, 0, headers.ip_length, 6)
    raw = (
        vnet + make_packet(headers, missing, partial=True)
        if size == 1
        else make_super_packet(headers, missing * size, len(missing))
    )
    for packet in split(raw):
        at = headers.ip_length + 6
        assert packet[at : at + 2] == b"\xff\xff"


def test_a_packet_without_vnet_work_is_not_touched() -> None:
    for packet in (
        make_packet(Headers(), b"data"),
        make_packet(Headers(version=6, protocol=UDP), b"data") + b"trailing",
        make_packet(Headers(), b"bad checksum")[:-1] + b"M",
        b"\x45\x00\x00\x14" + bytes(16),
    ):
        assert split(LONE + packet) == [packet]


SUPER4 = make_super_packet(Headers(), bytes(300), 100)
SUPER6 = make_super_packet(Headers(version=6), bytes(300), 100)
UDP4 = make_super_packet(Headers(protocol=UDP), bytes(300), 100)
LONE4 = struct.pack("<BBHHHH", NEEDS_CSUM, 0, 0, 0, 20, 16) + make_packet(Headers(), b"x")


@pytest.mark.parametrize(
    ("raw", "counter"),
    [
        (b"", "malformed"),
        (bytes(9), "malformed"),
        (LONE, "malformed"),
        (LONE + bytes(40), "malformed"),
        (LONE + make_packet(Headers(), b"cut")[:-1], "malformed"),
        (SUPER4[:-1], "malformed"),
        (LONE + make_packet(Headers(), bytes(65528 - 52)), "oversize"),
        # Segment size 0, no checksum to do, kinds unknown or of the other IP version.
        (bend(SUPER4, 4, 0, 0), "bad_offload"),
        (bend(SUPER4, 0, 0), "bad_offload"),
        (bend(SUPER4, 1, 3), "bad_offload"),
        (bend(SUPER4, 1, TCPV6), "bad_offload"),
        (bend(SUPER4, 1, UDP_L4), "bad_offload"),
        (bend(SUPER6, 1, TCPV4), "bad_offload"),
        (bend(UDP4, 1, TCPV4), "bad_offload"),
        (bend(UDP4, 1, TCPV4, 0, 0, 100, 0, 20, 0, 16, 0), "bad_offload"),
        # The checksum's place: inside the IP header, behind the end, not a TCP one.
        (bend(SUPER4, 6, 16, 0), "bad_offload"),
        (bend(SUPER6, 6, 39, 0), "bad_offload"),
        (bend(SUPER6, 6, 0xFF, 0xFF), "bad_offload"),
        (bend(SUPER4, 8, 6, 0), "bad_offload"),
        (bend(LONE4, 6, 0xFF, 0xFF, 0xFF, 0xFF), "bad_offload"),
        (bend(LONE4, 6, 20, 0, 52, 0), "bad_offload"),
        (bend(LONE4, 6, 0, 0, 2, 0), "bad_offload"),
        # TCP headers of 16 bytes, and longer than the packet; bytes behind the packet.
        (bend(SUPER4, 10 + 32, 0x40), "bad_offload"),
        (bend(make_super_packet(Headers(), b"", 100), 10 + 32, 0xF0), "bad_offload"),
        (make_super_packet(Headers(), b"", 100), "bad_offload"),
        (SUPER4 + b"!", "bad_offload"),
    ],
)
def test_what_cannot_be_split_is_dropped_and_counted(raw: bytes, counter: str) -> None:
    splitter = Splitter(MTU)
    assert split(raw, splitter) == []
    counters = {name: getattr(splitter, name) for name in ("malformed", "bad_offload", "oversize")}
    assert counters == dict.fromkeys(counters, 0) | {counter: 1}


@given(st.binary(min_size=10, max_size=10), st.binary(max_size=200), st.sampled_from([4, 6, 0]))
@settings(max_examples=500)
def test_junk_in_any_header_never_harms(vnet: bytes, junk: bytes, version: int) -> None:
    packet = junk
    if version == 4 and len(junk) >= 20:
        packet = b"\x45" + junk[1:2] + struct.pack("!H", len(junk)) + junk[4:]
    elif version == 6 and len(junk) >= 40:
        packet = b"\x60" + junk[1:4] + struct.pack("!H", len(junk) - 40) + junk[6:]
    splitter = Splitter(MTU)
    raw = vnet + packet
    splitter.packet[: len(raw)] = raw
    count = splitter.split(len(raw), COMMAND)
    assert len(packets_of(splitter.take())) == count
    assert (count == 0) == (splitter.malformed + splitter.bad_offload == 1)


# --- Keeping super-packets whole


def keep(raw: bytes, splitter: Splitter | None = None) -> bytes:
    splitter = splitter or Splitter(MTU)
    splitter.keep_whole = True
    splitter.packet[: len(raw)] = raw
    splitter.split(len(raw), COMMAND)
    return bytes(splitter.take())


@given(headers_strategy, st.integers(1, 20_000), st.integers(200, 9000))
def test_a_super_packet_kept_whole_is_cut_later_as_it_would_have_been(
    headers: Headers, length: int, segment_size: int
) -> None:
    payload = random.Random(length).randbytes(segment_size + length)
    raw = make_super_packet(headers, payload, segment_size)
    whole = keep(raw)
    assert whole == super_frame(headers, payload, segment_size)
    assert packets_of(Segmenter().segment_batch_untrusted(whole)) == split(raw)


def test_packets_are_counted_that_a_super_packet_stands_for() -> None:
    splitter = Splitter(MTU)
    splitter.keep_whole = True
    raw = make_super_packet(Headers(), bytes(1000), 300)
    for expected in (1, 2):
        splitter.packet[: len(raw)] = raw
        assert splitter.split(len(raw), COMMAND) == 1
        assert (splitter.frames, splitter.packets) == (expected, 4 * expected)
        assert splitter.kept_whole == splitter.super_packets == expected
    splitter.take()
    assert (splitter.frames, splitter.packets, splitter.kept_whole) == (0, 0, 0)


def test_what_the_other_end_could_not_take_whole_is_cut() -> None:
    """One segment, too many, too large for a frame, what is never joined, extension headers."""
    large = Headers(protocol=UDP)
    for headers, size, segment_size in (
        (Headers(), 100, 100),
        (Headers(), 12_900, 100),
        (large, 65535 - 28, 9000),
        (Headers(flags=ACK | URG), 250, 100),
    ):
        raw = make_super_packet(headers, bytes(size), segment_size)
        assert packets_of(keep(raw)) == pieces(headers, bytes(size), segment_size)
    fits = super_frame(large, bytes(65535 - 36), 9000)
    assert keep(make_super_packet(large, bytes(65535 - 36), 9000)) == fits
    plain = make_packet(Headers(version=6), bytes(250), partial=True)
    ip = plain[:4] + struct.pack("!HBB", len(plain) - 32, 0, 64) + plain[8:40]
    vnet = struct.pack("<BBHHHH", NEEDS_CSUM, TCPV6, 80, 100, 48, 16)
    extended = vnet + ip + bytes([TCP, 0, 60, 0, 1, 2, 3, 4]) + plain[40:]
    assert packets_of(keep(extended)) == split(extended)


def test_single_packets_and_bad_ones_fare_as_ever() -> None:
    vnet = struct.pack("<BBHHHH", NEEDS_CSUM, 0, 0, 0, 20, 16)
    assert keep(vnet + make_packet(Headers(), b"x", partial=True)) == frame(
        make_packet(Headers(), b"x")
    )
    splitter = Splitter(MTU)
    assert keep(bend(make_super_packet(Headers(), bytes(300), 100), 1, TCPV6), splitter) == b""
    assert splitter.bad_offload == 1


@given(st.binary(min_size=10, max_size=10), st.binary(max_size=200), st.sampled_from([4, 6, 0]))
@settings(max_examples=500)
def test_junk_kept_whole_is_sound(vnet: bytes, junk: bytes, version: int) -> None:
    packet = junk
    if version == 4 and len(junk) >= 20:
        packet = (
            b"\x45" + junk[1:2] + struct.pack("!H", len(junk)) + b"\0\0\0\0\x40\x06" + junk[10:]
        )
    elif version == 6 and len(junk) >= 40:
        packet = b"\x60" + junk[1:4] + struct.pack("!H", len(junk) - 40) + b"\x06" + junk[7:]
    segmenter = Segmenter()
    segmenter.segment_batch_untrusted(keep(vnet + packet))
    assert segmenter.malformed == 0


# --- The MSS clamp, both ways


def syn(version: int, mss: int) -> bytes:
    return make_packet(
        Headers(version=version, flags=SYN, options=struct.pack("!BBH", 2, 4, mss)), b""
    )


@pytest.mark.parametrize(("version", "mss"), [(4, 1360), (6, 1340)])
def test_mss_of_a_syn_fits_the_mtu_in_both_directions(version: int, mss: int) -> None:
    splitter = Splitter(1400)
    coalescer = Coalescer(1400)
    assert split(LONE + syn(version, 8960), splitter) == [syn(version, mss)]
    assert coalesce([syn(version, 8960)], coalescer) == [LONE + syn(version, mss)]
    assert (splitter.clamped, coalescer.clamped) == (1, 1)
    assert split(LONE + syn(version, 536), splitter) == [syn(version, 536)]
    assert coalesce([syn(version, 536)], coalescer) == [LONE + syn(version, 536)]
    assert (splitter.clamped, coalescer.clamped) == (1, 1)


def test_mss_is_clamped_after_the_checksum_is_finished() -> None:
    headers = Headers(flags=SYN, options=struct.pack("!BBH", 2, 4, 9000))
    vnet = struct.pack("<BBHHHH", NEEDS_CSUM, 0, 0, 0, 20, 16)
    assert split(vnet + make_packet(headers, b"", partial=True), Splitter(1400)) == [syn(4, 1360)]


def test_the_clamp_can_be_switched_off() -> None:
    assert split(LONE + syn(4, 8960), Splitter(1400, clamp=False)) == [syn(4, 8960)]
    assert coalesce([syn(4, 8960)], Coalescer(1400, clamp=False)) == [LONE + syn(4, 8960)]
