"""IP packets and frames for targets that would seldom see a sound one otherwise."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.fuzz.draw import Draw

FRAME_HEADER = 8


def frame(command: int, payload: bytes, sequence: int = 0) -> bytes:
    """Put a payload that fits into a frame."""
    return struct.pack("!HHI", FRAME_HEADER + len(payload), command, sequence) + payload


def walk(frames: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Give command, sequence and payload of frames that must be whole to the last byte."""
    at = 0
    while at < len(frames):
        size, command, sequence = struct.unpack_from("!HHI", frames, at)
        assert FRAME_HEADER <= size <= len(frames) - at, "a frame is torn"
        yield command, sequence, frames[at + FRAME_HEADER : at + size]
        at += size


def checksum(data: bytes) -> int:
    """Give the ones' complement sum of 16-bit words (RFC 1071), slowly and plainly."""
    data += bytes(len(data) & 1)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def l4_sum(packet: bytes) -> int:
    """Give the sum over TCP or UDP with its pseudo-header: 0xFFFF if the checksum is right."""
    if packet[0] >> 4 == 4:
        start = (packet[0] & 15) * 4
        addresses, protocol = packet[12:20], packet[9]
    else:
        start = 40
        addresses, protocol = packet[8:40], packet[6]
    body = packet[start:]
    return checksum(addresses + struct.pack("!II", protocol, len(body)) + body)


def sound_packet(draw: Draw) -> bytes:
    """Make an IPv4 or IPv6 packet with TCP or UDP of few flows, its checksums right or not."""
    kind = draw.byte()
    version = 6 if kind & 1 else 4
    tcp = kind & 2 == 0
    spoilt = kind & 12 == 12
    host, flags, count = draw.byte(), draw.byte(), draw.byte()
    payload = bytes([host ^ 0x5A]) * (count * (8 if kind & 16 else 1))
    ports = struct.pack("!HH", 1000 + (host & 3), 443)
    if tcp:
        numbers = struct.pack("!II", 1000 + draw.byte() * 100, 7)
        # An acknowledgement mostly, now and then with other flags.
        body = ports + numbers + bytes((0x50, flags if kind & 32 else 0x10)) + b"\1\0\0\0\0\0"
        field = 16
    else:
        body = ports + struct.pack("!HH", 8 + len(payload), 0)
        field = 6
    body += payload
    protocol = 6 if tcp else 17
    if version == 4:
        head = struct.pack(
            "!BBHHHBBH", 0x45, 0, 20 + len(body), draw.byte(), 0x4000, 64, protocol, 0
        ) + bytes((10, 0, 0, host >> 6, 10, 1, 0, 1))
        head = head[:10] + struct.pack("!H", checksum(head) ^ 0xFFFF) + head[12:]
        addresses = head[12:20]
    else:
        head = struct.pack("!IHBB", 0x60000000, len(body), protocol, 64)
        head += bytes(15) + bytes((host >> 6,)) + bytes(15) + b"\1"
        addresses = head[8:40]
    right = checksum(addresses + struct.pack("!II", protocol, len(body)) + body) ^ 0xFFFF
    right = right or 0xFFFF
    value = right ^ 1 if spoilt else right
    return head + body[:field] + struct.pack("!H", value) + body[field + 2 :]


def draw_frames(draw: Draw, command: int, most: int = 40) -> bytes:
    """Make frames, some sound and some of whatever bytes."""
    frames = b""
    for _ in range(draw.byte() % (most + 1)):
        if draw.exhausted:
            break
        kind = draw.byte()
        if kind & 7 == 0:
            payload = draw.piece()[: 65535 - FRAME_HEADER]
            frames += frame(draw.byte() & 7, payload, draw.byte())
        else:
            sequence = draw.byte() if kind & 8 else 0
            frames += frame(command, sound_packet(draw), sequence)
    return frames
