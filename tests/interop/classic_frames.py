"""PolePacket frames, JSON bodies and IPv4 packets, written once more from the protocol's text.

Nothing here shares code with the product: it is the second opinion.
"""

from __future__ import annotations

import ipaddress
import json
import struct
from dataclasses import dataclass

AUTH, REGISTER, S2C_IPDATA, C2S_IPDATA, HEART_BEAT, CLIENT_CLOSED, KICK_OUT = range(7)
HEADER = struct.Struct(">HHI")


class FrameError(Exception):
    """A frame announces a length under 8: the originals close the connection."""


@dataclass(frozen=True)
class Frame:
    command: int
    sequence: int
    payload: bytes

    def encode(self) -> bytes:
        return HEADER.pack(8 + len(self.payload), self.command, self.sequence) + self.payload


def frame(command: int, payload: bytes = b"", sequence: int = 0) -> bytes:
    return Frame(command, sequence, payload).encode()


class FrameReader:
    """Cuts a byte stream into frames, wherever it was cut on the way."""

    def __init__(self) -> None:
        self.buffer = b""

    def feed(self, data: bytes) -> list[Frame]:
        self.buffer += data
        frames = []
        while len(self.buffer) >= 2:
            length = int.from_bytes(self.buffer[:2], "big")
            if length < 8:
                raise FrameError(f"frame length {length}")
            if len(self.buffer) < length:
                break
            _, command, sequence = HEADER.unpack_from(self.buffer)
            frames.append(Frame(command, sequence, self.buffer[8:length]))
            self.buffer = self.buffer[length:]
        return frames


def go_json(value: object) -> bytes:
    """Compact, members sorted, with the escapes that Go's encoder makes."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def read_json(body: bytes) -> object:
    """One JSON value, whatever follows it; ValueError if there is none."""
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    value, _ = json.JSONDecoder().raw_decode(text)
    return value


def text_member(value: object, name: str) -> str:
    """A member of the wrong type counts as absent, that is as the empty string."""
    member = value.get(name) if isinstance(value, dict) else None
    return member if isinstance(member, str) else ""


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(
    source: str, destination: str, payload: bytes = b"", *, protocol: int = 253, ttl: int = 64
) -> bytes:
    """A well-formed IPv4 packet; protocol 253 is the one for experiments (RFC 3692)."""
    head = struct.pack(
        ">BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(payload),
        0,
        0,
        ttl,
        protocol,
        0,
        ipaddress.IPv4Address(source).packed,
        ipaddress.IPv4Address(destination).packed,
    )
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


def ipv6(source: str, destination: str, payload: bytes = b"") -> bytes:
    return (
        struct.pack(">IHBB", 0x6000_0000, len(payload), 59, 64)
        + ipaddress.IPv6Address(source).packed
        + ipaddress.IPv6Address(destination).packed
        + payload
    )


def icmp_echo(
    source: str, destination: str, size: int = 56, *, request: bool = True, number: int = 1
) -> bytes:
    body = struct.pack(">BBHHH", 8 if request else 0, 0, 0, 0x7A7A, number) + bytes(size)
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    return ipv4(source, destination, body, protocol=1)


def ipv4_fault(packet: bytes) -> str | None:
    """Why a kernel would reject or drop the packet; None if it is well-formed IPv4.

    Bytes after the stated end are allowed: kernels cut them off.
    """
    if len(packet) < 20:
        return f"IP packet of {len(packet)} bytes"
    if packet[0] >> 4 != 4:
        return f"IP version {packet[0] >> 4}"
    header = (packet[0] & 15) * 4
    if header < 20 or header > len(packet):
        return f"IPv4 header of {header} bytes in {len(packet)}"
    if not header <= int.from_bytes(packet[2:4], "big") <= len(packet):
        return f"IPv4 total length {int.from_bytes(packet[2:4], 'big')} in {len(packet)} bytes"
    if checksum(packet[:header]):
        return "IPv4 header checksum"
    return None


def addresses(packet: bytes) -> tuple[str, str]:
    return str(ipaddress.IPv4Address(packet[12:16])), str(ipaddress.IPv4Address(packet[16:20]))
