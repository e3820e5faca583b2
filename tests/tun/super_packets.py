"""Packets, frames and super-packets for the tests of tun/offload, made by slow code of its own."""

from __future__ import annotations

import struct

import attrs
from hypothesis import strategies as st

from polevpn_trio.tun.offload import VNET_HEADER, Coalescer, Splitter

NEEDS_CSUM = 1
TCPV4 = 1
TCPV6 = 4
UDP_L4 = 5
ECN = 0x80

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
TCP = 6
UDP = 17
COMMAND = 3
MTU = 1500
TIMESTAMPS = b"\x01\x01\x08\x0a" + bytes(range(8))


def slow_sum(data: bytes) -> int:
    """RFC 1071, word by word."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(word for (word,) in struct.iter_unpack("!H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@attrs.frozen
class Headers:
    """What the packets of a flow have in common, and the place of one in it."""

    version: int = 4
    protocol: int = TCP
    source_port: int = 4000
    flags: int = ACK
    sequence: int = 1000
    acknowledgement: int = 77
    window: int = 502
    options: bytes = TIMESTAMPS
    traffic_class: int = 0
    hop_limit: int = 64
    identification: int = 1
    dont_fragment: bool = True
    host: int = 1

    @property
    def ip_length(self) -> int:
        return 20 if self.version == 4 else 40

    @property
    def length(self) -> int:
        return self.ip_length + (20 + len(self.options) if self.protocol == TCP else 8)


def pseudo_header(headers: Headers, length: int) -> bytes:
    if headers.version == 4:
        addresses = bytes([10, 0, 0, headers.host, 10, 0, 1, 1])
        return addresses + struct.pack("!BBH", 0, headers.protocol, length)
    addresses = b"\xfd" + bytes(14) + bytes([headers.host]) + b"\xfd" + bytes(14) + b"\x99"
    return addresses + struct.pack("!II", length, headers.protocol)


def make_packet(headers: Headers, payload: bytes, *, partial: bool = False) -> bytes:
    """Build an IP packet; ``partial`` leaves only the pseudo-header's sum as its checksum."""
    if headers.protocol == TCP:
        words = 5 + len(headers.options) // 4
        l4 = struct.pack(
            "!HHIIBBHHH",
            headers.source_port,
            5001,
            headers.sequence & 0xFFFFFFFF,
            headers.acknowledgement,
            words << 4,
            headers.flags,
            headers.window,
            0,
            0,
        )
        l4 += headers.options + payload
        field = 16
    else:
        l4 = struct.pack("!HHHH", headers.source_port, 53, 8 + len(payload), 0) + payload
        field = 6
    pseudo = pseudo_header(headers, len(l4))
    checksum = slow_sum(pseudo) if partial else slow_sum(pseudo + l4) ^ 0xFFFF
    if not partial and not checksum and headers.protocol == UDP:
        checksum = 0xFFFF
    l4 = l4[:field] + struct.pack("!H", checksum) + l4[field + 2 :]
    if headers.version == 6:
        word = 6 << 28 | headers.traffic_class << 20 | 0xABCDE
        ip = struct.pack("!IHBB", word, len(l4), headers.protocol, headers.hop_limit)
        return ip + pseudo[:32] + l4
    ip = struct.pack(
        "!BBHHHBBH",
        0x45,
        headers.traffic_class,
        20 + len(l4),
        headers.identification & 0xFFFF,
        0x4000 if headers.dont_fragment else 0,
        headers.hop_limit,
        headers.protocol,
        0,
    )
    ip += pseudo[:8]
    ip = ip[:10] + struct.pack("!H", slow_sum(ip) ^ 0xFFFF) + ip[12:]
    return ip + l4


def make_super_packet(headers: Headers, payload: bytes, segment_size: int) -> bytes:
    """Build what the kernel hands over or takes: vnet header and super-packet."""
    if headers.protocol == UDP:
        kind, offset = UDP_L4, 6
    else:
        kind, offset = (TCPV4 if headers.version == 4 else TCPV6), 16
    vnet = struct.pack(
        "<BBHHHH", NEEDS_CSUM, kind, headers.length, segment_size, headers.ip_length, offset
    )
    return vnet + make_packet(headers, payload, partial=True)


def frame(packet: bytes, command: int = COMMAND, sequence: int = 0) -> bytes:
    return struct.pack("!HHI", 8 + len(packet), command, sequence) + packet


def packets_of(taken: bytes | memoryview, command: int = COMMAND) -> list[bytes]:
    frames = bytes(taken)
    packets = []
    at = 0
    while at < len(frames):
        length, got, sequence = struct.unpack_from("!HHI", frames, at)
        assert (got, sequence) == (command, 0)
        packets.append(frames[at + 8 : at + length])
        at += length
    assert at == len(frames)
    return packets


def split(raw: bytes, splitter: Splitter | None = None) -> list[bytes]:
    splitter = splitter or Splitter(MTU)
    splitter.packet[: len(raw)] = raw
    count = splitter.split(len(raw), COMMAND)
    assert splitter.frames == count
    packets = packets_of(splitter.take())
    assert len(packets) == count
    assert splitter.frames == splitter.end == 0
    return packets


def coalesce(packets: list[bytes], coalescer: Coalescer | None = None) -> list[bytes]:
    coalescer = coalescer or Coalescer(MTU, merge_tcp=True, merge_udp=True)
    frames = b"".join(frame(packet, command) for command, packet in enumerate(packets))
    units = []
    for index in range(coalescer.coalesce_batch_untrusted(frames)):
        length = coalescer.assemble(index)
        units.append(bytes(coalescer.unit[:length]))
    return units


def pieces(headers: Headers, payload: bytes, size: int) -> list[bytes]:
    """Build the packets that a sender without offloads would send for ``payload``."""
    starts = range(0, len(payload), size)
    return [
        make_packet(
            attrs.evolve(
                headers,
                sequence=headers.sequence + start,
                identification=headers.identification + number,
                # These belong to the end and the beginning of a run.
                flags=headers.flags
                & ~((FIN | PSH) if start != starts[-1] else 0)
                & ~(CWR if start else 0),
            ),
            payload[start : start + size],
        )
        for number, start in enumerate(starts)
    ]


def super_frame(
    headers: Headers, payload: bytes, segment_size: int, command: int = COMMAND
) -> bytes:
    """Build the frame of a super-packet."""
    return frame(make_packet(headers, payload, partial=True), command, segment_size)


LONE = bytes(VNET_HEADER)


def bend(raw: bytes, at: int, *values: int) -> bytes:
    return raw[:at] + bytes(values) + raw[at + len(values) :]


headers_strategy = st.builds(
    Headers,
    version=st.sampled_from([4, 6]),
    protocol=st.sampled_from([TCP, UDP]),
    source_port=st.integers(0, 65535),
    flags=st.sampled_from([ACK, ACK | PSH, ACK | ECE, ACK | PSH | ECE]),
    sequence=st.integers(0, 2**32 - 1),
    acknowledgement=st.integers(0, 2**32 - 1),
    window=st.integers(0, 65535),
    options=st.sampled_from([b"", TIMESTAMPS, b"\x01" * 40]),
    traffic_class=st.integers(0, 255),
    hop_limit=st.integers(1, 255),
    identification=st.integers(0, 65535),
    dont_fragment=st.booleans(),
)
