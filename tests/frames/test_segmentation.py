"""frames/segmentation: what passes for a super-packet, and the packets that are made of it."""

from __future__ import annotations

import random
import struct

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polevpn_trio.batch import (
    SEQUENCES_FOREIGN,
    SEQUENCES_OFFLOAD,
    SEQUENCES_ZERO,
    FrameBatch,
)
from polevpn_trio.frames.segmentation import (
    MAX_SEGMENTS,
    Segmenter,
    clear_sequences,
    holds_super_packets,
    segments_in,
)
from tests.tun.super_packets import (
    ACK,
    CWR,
    ECE,
    FIN,
    PSH,
    RST,
    SYN,
    UDP,
    URG,
    Headers,
    bend,
    frame,
    headers_strategy,
    make_packet,
    packets_of,
    pieces,
    super_frame,
)

OPTIONS = bytes([0x94, 4, 0, 0])
"""Router alert (RFC 2113), as an IPv4 header may bear it."""


def with_ip_options(packet: bytes) -> bytes:
    """Lengthen an IPv4 header; what its checksum was, it stays."""
    length = struct.pack("!H", len(packet) + len(OPTIONS))
    return b"\x46" + packet[1:2] + length + packet[4:20] + OPTIONS + packet[20:]


def sound(packet: bytes, segment_size: int) -> int:
    """Ask about a packet in the midst of other bytes."""
    return segments_in(b"\xff" * 3 + packet + b"\xff" * 100, 3, len(packet), segment_size)


# --- Cutting


@given(headers_strategy, st.integers(0, 2**32), st.integers(1, 20_000), st.integers(200, 9000))
@settings(max_examples=200)
def test_segments_are_the_packets_of_a_sender_without_offload(
    headers: Headers, seed: int, length: int, segment_size: int
) -> None:
    payload = random.Random(seed).randbytes(segment_size + length)
    segmenter = Segmenter()
    made = segmenter.segment_batch_untrusted(super_frame(headers, payload, segment_size))
    assert packets_of(made) == pieces(headers, payload, segment_size)
    assert (segmenter.super_packets, segmenter.malformed) == (1, 0)


@given(headers_strategy, st.integers(0, 65535))
def test_the_checksum_of_a_super_packet_means_nothing(headers: Headers, junk: int) -> None:
    raw = super_frame(headers, bytes(range(250)), 100)
    at = 8 + headers.ip_length + (6 if headers.protocol == UDP else 16)
    raw = bend(raw, at, junk >> 8, junk & 0xFF)
    made = Segmenter().segment_batch_untrusted(raw)
    assert packets_of(made) == pieces(headers, bytes(range(250)), 100)


@pytest.mark.parametrize("version", [4, 6])
def test_fin_and_push_go_last_and_cwr_first(version: int) -> None:
    headers = Headers(version=version, flags=ACK | FIN | PSH | CWR | ECE)
    made = packets_of(Segmenter().segment_batch_untrusted(super_frame(headers, bytes(250), 100)))
    at = headers.ip_length + 13
    assert [packet[at] for packet in made] == [ACK | ECE | CWR, ACK | ECE, ACK | ECE | FIN | PSH]


def test_ip_options_are_repeated_and_their_checksum_is_right() -> None:
    packet = with_ip_options(make_packet(Headers(), bytes(250), partial=True))
    made = packets_of(Segmenter().segment_batch_untrusted(frame(packet, sequence=100)))
    plain = pieces(Headers(), bytes(250), 100)
    for number, (got, expected) in enumerate(zip(made, plain, strict=True)):
        assert got[20:24] == OPTIONS
        assert got[24:] == expected[20:]
        assert struct.unpack_from("!HH", got, 2) == (len(expected) + 4, 1 + number)
        words = sum(word for (word,) in struct.iter_unpack("!H", got[:24]))
        assert words % 0xFFFF == 0


def test_ordinary_frames_between_super_packets_keep_their_place() -> None:
    lone = make_packet(Headers(protocol=UDP), b"alone") + b"trailing"
    headers = Headers()
    data = frame(lone) + super_frame(headers, bytes(300), 100) + frame(lone) + frame(b"")
    segmenter = Segmenter()
    made = packets_of(segmenter.segment_batch_untrusted(data))
    assert made == [lone, *pieces(headers, bytes(300), 100), lone, b""]


def test_each_frame_keeps_its_command() -> None:
    data = super_frame(Headers(), bytes(200), 100, command=2)
    assert len(packets_of(Segmenter().segment_batch_untrusted(data), command=2)) == 2


@pytest.mark.parametrize(("tcp", "udp"), [(True, False), (False, True), (False, False)])
def test_one_kind_may_stay_whole(tcp: bool, udp: bool) -> None:
    of_tcp = super_frame(Headers(), bytes(300), 100)
    of_udp = super_frame(Headers(version=6, protocol=UDP), bytes(300), 100)
    made = Segmenter().segment_batch_untrusted(of_tcp + of_udp, tcp, udp)
    parts = [
        Segmenter().segment_batch_untrusted(of_tcp) if tcp else of_tcp,
        Segmenter().segment_batch_untrusted(of_udp) if udp else of_udp,
    ]
    assert made == b"".join(parts)
    for want_tcp, want_udp in ((True, False), (False, True)):
        found = holds_super_packets(made, want_tcp, want_udp)
        assert found is ((want_tcp and not tcp) or (want_udp and not udp))


def test_a_batch_larger_than_the_buffer_is_cut_as_well() -> None:
    payload = bytes(60_000)
    data = super_frame(Headers(), payload, 500) * 10
    segmenter = Segmenter()
    assert (
        packets_of(segmenter.segment_batch_untrusted(data)) == pieces(Headers(), payload, 500) * 10
    )
    assert (segmenter.end, segmenter.frames, segmenter.packets) == (0, 0, 0)


# --- What passes for a super-packet

TCP4 = make_packet(Headers(), bytes(300))
TCP6 = make_packet(Headers(version=6), bytes(300))
UDP4 = make_packet(Headers(protocol=UDP), bytes(300))


def test_segments_are_counted() -> None:
    for packet in (TCP4, TCP6, UDP4, with_ip_options(TCP4)):
        assert [sound(packet, size) for size in (299, 150, 149, 100, 99, 3)] == [2, 2, 3, 3, 4, 100]


@pytest.mark.parametrize("segment_size", [0, 300, 301, 2, 1, 0x10000, 0x10064, 0xFFFFFFFF])
def test_a_segment_size_that_makes_one_packet_or_too_many_is_unsound(segment_size: int) -> None:
    assert MAX_SEGMENTS < 300 / 2
    assert sound(TCP4, segment_size) == 0


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        bytes(40),
        TCP4[:-1],
        TCP4 + b"!",
        TCP6[:-1],
        TCP6 + b"!",
        # A fragment: more follow, others came before.
        bend(TCP4, 6, 0x20),
        bend(TCP4, 7, 1),
        # Neither TCP nor UDP; an IPv6 extension header.
        bend(TCP4, 9, 1),
        bend(TCP6, 6, 60),
        # TCP headers of 16 bytes and of more than there is; none at all.
        bend(TCP4, 32, 0x40),
        bend(make_packet(Headers(), bytes(8)), 32, 0xF0),
        make_packet(Headers(), b""),
        make_packet(Headers(), bytes(9))[:20],
        bend(TCP4[:39], 2, 0, 39),
        bend(UDP4[:27], 2, 0, 27),
        # UDP that states another length.
        bend(UDP4, 25, 0),
        *(
            make_packet(attrs.evolve(Headers(), flags=ACK | flag), bytes(300))
            for flag in (SYN, RST, URG)
        ),
    ],
)
def test_what_no_kernel_makes_is_unsound(packet: bytes) -> None:
    assert sound(packet, 100) == sound(packet, 1) == 0
    segmenter = Segmenter()
    assert segmenter.segment_batch_untrusted(frame(packet, sequence=100)) == b""
    assert segmenter.malformed == 1


@pytest.mark.parametrize("tail", [b"\0", bytes(8), b"\0\x07" + bytes(6), b"\0\x0a" + bytes(7)])
def test_what_follows_a_frame_of_impossible_length_is_dropped(tail: bytes) -> None:
    segmenter = Segmenter()
    good = super_frame(Headers(), bytes(300), 100)
    assert len(packets_of(segmenter.segment_batch_untrusted(good + tail))) == 3
    assert segmenter.malformed == 1
    assert holds_super_packets(good + tail, True, True)
    assert not holds_super_packets(tail, True, True)


@st.composite
def bent_frames(draw: st.DrawFn) -> bytes:
    """Frames that are nearly right."""
    data = b""
    for _ in range(draw(st.integers(1, 4))):
        headers = draw(headers_strategy)
        raw = super_frame(headers, bytes(draw(st.integers(0, 400))), draw(st.integers(0, 500)))
        for _ in range(draw(st.integers(0, 3))):
            raw = bend(raw, draw(st.integers(0, len(raw) - 1)), draw(st.integers(0, 255)))
        data += raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) else raw
    return data


@given(st.one_of(st.binary(max_size=300), bent_frames()), st.booleans(), st.booleans())
@settings(max_examples=500)
def test_hostile_frames_give_ordinary_ones_or_nothing(data: bytes, tcp: bool, udp: bool) -> None:
    segmenter = Segmenter()
    made = segmenter.segment_batch_untrusted(data, tcp, udp)
    assert not holds_super_packets(made, tcp, udp)
    # What is left is sound.
    assert segmenter.segment_batch_untrusted(made, tcp, udp) == made
    assert len(made) <= len(data) + 128 * MAX_SEGMENTS * (1 + len(data) // 50)


# --- The marks of batches


def test_a_batch_for_a_peer_that_takes_no_super_packets() -> None:
    segmenter = Segmenter()
    plain = FrameBatch(frame(TCP4), 1)
    assert segmenter.to_ordinary(plain) == plain
    whole = FrameBatch(super_frame(Headers(), bytes(300), 100), 3, SEQUENCES_OFFLOAD)
    cut = segmenter.to_ordinary(whole)
    assert packets_of(bytes(cut.data)) == pieces(Headers(), bytes(300), 100)
    assert (cut.packets, cut.sequences) == (3, SEQUENCES_ZERO)


def test_sequences_that_mean_nothing_are_cleared_in_place() -> None:
    buffer = bytearray(frame(TCP4, sequence=100) + frame(UDP4, sequence=0xFFFFFFFF))
    batch = FrameBatch(memoryview(buffer), 2, SEQUENCES_FOREIGN)
    ordinary = Segmenter().to_ordinary(batch)
    assert bytes(buffer) == bytes(ordinary.data) == frame(TCP4) + frame(UDP4)
    assert ordinary.sequences == SEQUENCES_ZERO


@given(st.binary(max_size=200))
def test_clearing_stops_at_what_is_no_frame(data: bytes) -> None:
    buffer = bytearray(data)
    clear_sequences(buffer)
    assert len(buffer) == len(data)
