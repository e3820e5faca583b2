"""frames/ip: lengths, checksums and the MSS clamp, against slow versions written here."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.frames.ip import (
    clamp_mss,
    fold,
    is_well_formed,
    sum_pseudo_header,
    sum_words,
)

SYN = 0x02
SYN_ACK = 0x12
ACK = 0x10


def slow_sum(data: bytes) -> int:
    """RFC 1071, word by word."""
    if len(data) % 2:
        data += b"\0"
    total = 0
    for (word,) in struct.iter_unpack("!H", data):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


def ip_packet(version: int, protocol: int, payload: bytes, options: bytes = b"") -> bytes:
    if version == 4:
        header = struct.pack(
            "!BBHHHBBH4s4s",
            0x40 | 5 + len(options) // 4,
            0,
            20 + len(options) + len(payload),
            7,
            0x4000,
            64,
            protocol,
            0,
            bytes([10, 8, 0, 2]),
            bytes([192, 168, 1, 9]),
        )
        header += options
        checksum = slow_sum(header) ^ 0xFFFF
        return header[:10] + struct.pack("!H", checksum) + header[12:] + payload
    addresses = bytes.fromhex("20010db8") + bytes(11) + b"\x01" + bytes(15) + b"\x02"
    return struct.pack("!IHBB", 0x60000000, len(payload), protocol, 64) + addresses + payload


def pseudo_header(packet: bytes, protocol: int, length: int) -> bytes:
    if packet[0] >> 4 == 4:
        return packet[12:20] + struct.pack("!BBH", 0, protocol, length)
    return packet[8:40] + struct.pack("!II", length, protocol)


def ip_header_length(packet: bytes) -> int:
    return (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40


def tcp_packet(
    version: int, flags: int, tcp_options: bytes, payload: bytes = b"", ip_options: bytes = b""
) -> bytes:
    assert len(tcp_options) % 4 == 0
    words = 5 + len(tcp_options) // 4
    segment = struct.pack("!HHIIBBHHH", 80, 5001, 1, 2, words << 4, flags, 512, 0, 0)
    segment += tcp_options + payload
    bare = ip_packet(version, 6, segment, ip_options)
    checksum = slow_sum(pseudo_header(bare, 6, len(segment)) + segment) ^ 0xFFFF
    at = ip_header_length(bare) + 16
    return bare[:at] + struct.pack("!H", checksum) + bare[at + 2 :]


def tcp_checksum_holds(packet: bytes) -> bool:
    segment = packet[ip_header_length(packet) :]
    return slow_sum(pseudo_header(packet, 6, len(segment)) + segment) == 0xFFFF


@given(st.binary(max_size=5000), st.integers(0, 20), st.integers(0, 20))
def test_sum_is_that_of_rfc_1071_at_any_alignment(data: bytes, before: int, behind: int) -> None:
    buffer = b"\xa5" * before + data + b"\x5a" * behind
    for view in (buffer, bytearray(buffer), memoryview(buffer)):
        assert sum_words(view, before, before + len(data)) == slow_sum(data)


@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 9, 2047, 2048, 2049, 4096, 65535])
@pytest.mark.parametrize("byte", [0x00, 0x01, 0xFF])
def test_sum_carries_all_round(size: int, byte: int) -> None:
    data = bytes([byte]) * size
    assert sum_words(data, 0, size) == slow_sum(data)


@given(st.integers(0, 2**63))
def test_fold_keeps_the_remainder(total: int) -> None:
    folded = fold(total)
    assert 0 <= folded <= 0xFFFF
    assert folded % 0xFFFF == total % 0xFFFF
    assert (folded == 0) == (total == 0)


@given(st.sampled_from([4, 6]), st.sampled_from([6, 17]), st.integers(0, 65535), st.integers(0, 9))
def test_pseudo_header(version: int, protocol: int, length: int, before: int) -> None:
    packet = ip_packet(version, protocol, b"payload")
    expected = slow_sum(pseudo_header(packet, protocol, length))
    buffer = bytes(before) + packet
    assert sum_pseudo_header(buffer, before, version, protocol, length) == expected


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b"", 0),
        (b"\x45", 0),
        (ip_packet(4, 17, b""), 4),
        (ip_packet(4, 17, b"data"), 4),
        (ip_packet(4, 17, b"data") + b"ethernet padding", 4),
        (ip_packet(4, 17, b"data")[:-1], 0),
        (ip_packet(4, 17, b"", b"\x01" * 40), 4),
        (b"\x44" + ip_packet(4, 17, b"data")[1:], 0),
        (b"\x4f" + ip_packet(4, 17, b"data")[1:], 0),
        (b"\x45\x00\x00\x13" + bytes(16), 0),
        (ip_packet(6, 17, b""), 6),
        (ip_packet(6, 17, b"data"), 6),
        (ip_packet(6, 17, b"data")[:-1], 0),
        (ip_packet(6, 17, b"")[:39], 0),
        (b"\x55" + ip_packet(4, 17, b"data")[1:], 0),
        (bytes(60), 0),
    ],
)
def test_is_well_formed(packet: bytes, expected: int) -> None:
    assert is_well_formed(packet, 0, len(packet)) == expected
    # What lies around the packet has no say.
    buffer = b"\x45" * 3 + packet + b"\x60" * 50
    assert is_well_formed(buffer, 3, len(packet)) == expected


@given(st.binary(max_size=100))
def test_well_formed_means_that_the_stated_length_is_there(data: bytes) -> None:
    version = is_well_formed(data, 0, len(data))
    if version == 4:
        assert 20 <= (data[0] & 15) * 4 <= int.from_bytes(data[2:4], "big") <= len(data)
    elif version == 6:
        assert 40 + int.from_bytes(data[4:6], "big") <= len(data)
    else:
        assert version == 0


def mss_option(mss: int) -> bytes:
    return struct.pack("!BBH", 2, 4, mss)


OPTIONS = [
    (mss_option(1460), 2),
    (b"\x01\x01\x04\x02" + mss_option(1460), 6),
    # The value begins at an odd offset.
    (b"\x01" + mss_option(1460) + b"\x01\x04\x02", 3),
    (b"\x03\x03\x07" + mss_option(1460) + b"\x00", 5),
    (b"\x08\x0a" + bytes(8) + b"\x01\x01" + mss_option(1460), 14),
]


@pytest.mark.parametrize(("version", "clamped"), [(4, 1200), (6, 1180)])
@pytest.mark.parametrize("flags", [SYN, SYN_ACK])
@pytest.mark.parametrize(("options", "at"), OPTIONS)
@pytest.mark.parametrize("ip_options", [b"", b"\x01" * 8])
def test_mss_is_lowered_and_the_checksum_holds(
    version: int, clamped: int, flags: int, options: bytes, at: int, ip_options: bytes
) -> None:
    packet = tcp_packet(version, flags, options, b"fast open", ip_options if version == 4 else b"")
    buffer = bytearray(b"xxx" + packet + b"yy")
    assert clamp_mss(buffer, 3, len(packet), 1200, 1180)
    got = bytes(buffer[3 : 3 + len(packet)])
    value = ip_header_length(packet) + 20 + at
    assert got[value : value + 2] == struct.pack("!H", clamped)
    assert tcp_checksum_holds(got)
    # Nothing else changed.
    checksum = ip_header_length(packet) + 16
    for place in (value, checksum):
        got = got[:place] + packet[place : place + 2] + got[place + 2 :]
    assert got == packet
    assert buffer[:3] == b"xxx"
    assert buffer[-2:] == b"yy"
    assert not clamp_mss(buffer, 3, len(packet), 1200, 1180)


@pytest.mark.parametrize(
    "packet",
    [
        tcp_packet(4, ACK, mss_option(1460)),
        tcp_packet(4, SYN, mss_option(1200)),
        tcp_packet(4, SYN, mss_option(536)),
        tcp_packet(4, SYN, b""),
        tcp_packet(4, SYN, b"\x00\x00\x00\x00" + mss_option(1460)),
        # Options of impossible sizes: no progress, past the end, an MSS of 3 bytes.
        tcp_packet(4, SYN, b"\x03\x00\x01\x01" + mss_option(1460)),
        tcp_packet(4, SYN, b"\x03\x01\x01\x01" + mss_option(1460)),
        tcp_packet(4, SYN, b"\x03\xff\x01\x01" + mss_option(1460)),
        tcp_packet(4, SYN, b"\x02\x03\x05\x01"),
        tcp_packet(6, SYN, b"\x01\x01\x01\x02"),
        ip_packet(4, 17, tcp_packet(4, SYN, mss_option(1460))[20:]),
        ip_packet(6, 0, tcp_packet(6, SYN, mss_option(1460))[40:]),
        ip_packet(4, 6, b"\0" * 19),
        b"",
    ],
)
def test_all_else_stays_as_it_is(packet: bytes) -> None:
    buffer = bytearray(packet)
    assert not clamp_mss(buffer, 0, len(buffer), 1200, 1200)
    assert buffer == packet


def test_later_fragments_have_no_tcp_header() -> None:
    packet = bytearray(tcp_packet(4, SYN, mss_option(1460)))
    packet[6:8] = b"\x20\x08"
    before = bytes(packet)
    assert not clamp_mss(packet, 0, len(packet), 1200, 1200)
    assert packet == before


def test_a_limit_of_zero_means_none() -> None:
    packet = bytearray(tcp_packet(4, SYN, mss_option(1460)))
    assert not clamp_mss(packet, 0, len(packet), 0, 0)


@given(st.binary(max_size=120), st.sampled_from([4, 6]))
def test_junk_keeps_its_length_and_surroundings(junk: bytes, version: int) -> None:
    packet = ip_packet(version, 6, junk)
    buffer = bytearray(b"before" + packet + b"behind")
    clamp_mss(buffer, 6, len(packet), 100, 100)
    assert len(buffer) == len(packet) + 12
    assert buffer.startswith(b"before" + packet[: ip_header_length(packet)])
    assert buffer.endswith(b"behind")


@given(st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 10, 255]), min_size=4, max_size=40))
def test_any_options_leave_the_checksum_as_right_as_it_was(options: list[int]) -> None:
    packet = tcp_packet(4, SYN, bytes(options[: len(options) // 4 * 4]))
    buffer = bytearray(packet)
    clamp_mss(buffer, 0, len(buffer), 100, 100)
    assert tcp_checksum_holds(bytes(buffer))
