"""Packets as a policy sees them, and a small world to send them through."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import attrs

from polevpn_trio.batch import SEQUENCES_ZERO
from polevpn_trio.forwarding.policy.guard import PolicyGuard
from polevpn_trio.forwarding.policy.rules import Policy
from polevpn_trio.frames.codec import S2C_IPDATA, FrameRun, build_frame

SYN, SYN_ACK, ACK_ONLY, FIN_ACK, RST_ONLY = 0x02, 0x12, 0x10, 0x11, 0x04
LATER = 10_000.0
"""Seconds: some time after the start."""


def ip(source: str, destination: str, protocol: int, body: bytes, *, fragment: int = 0) -> bytes:
    """An IP packet; ``fragment`` is the field with flags and offset of IPv4."""
    addresses = ip_address(source).packed + ip_address(destination).packed
    if ip_address(source).version == 4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 77, fragment, 64, protocol, 0)
        return head + addresses + body
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + addresses + body


def tcp_body(source_port: int, port: int, flags: int = SYN) -> bytes:
    return struct.pack("!HHIIBBHHH", source_port, port, 1, 2, 0x50, flags, 9, 0, 0)


def udp_body(source_port: int, port: int, payload: bytes = b"data") -> bytes:
    return struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload


def tcp(source: str, source_port: int, destination: str, port: int, flags: int = SYN) -> bytes:
    return ip(source, destination, 6, tcp_body(source_port, port, flags))


def udp(source: str, source_port: int, destination: str, port: int) -> bytes:
    return ip(source, destination, 17, udp_body(source_port, port))


def echo(source: str, destination: str, *, reply: bool = False, identifier: int = 7) -> bytes:
    six = ":" in source
    kind = (129 if reply else 128) if six else (0 if reply else 8)
    return ip(
        source, destination, 58 if six else 1, struct.pack("!BBHHH", kind, 0, 0, identifier, 1)
    )


def icmp_error(source: str, destination: str, quoted: bytes, *, kind: int | None = None) -> bytes:
    """An error that quotes the beginning of a packet, by default "unreachable"."""
    six = ":" in source
    kind = (1 if six else 3) if kind is None else kind
    header = struct.pack("!BBHI", kind, 0, 0, 0)
    return ip(source, destination, 58 if six else 1, header + quoted[: 48 if six else 28])


@attrs.define
class Border:
    """A guard between sites called "a" and "b"."""

    guard: PolicyGuard

    @classmethod
    def of(cls, policy: Policy) -> Border:
        return cls(PolicyGuard(policy, seed=3))

    def send(
        self, *packets: bytes, origin: str = "a", target: str = "b", now: float = LATER
    ) -> list[bytes]:
        """Send packets in one run; return those that pass."""
        return [
            packet
            for _, packet in self.send_frames(
                [(0, packet) for packet in packets], origin=origin, target=target, now=now
            )
        ]

    def send_frames(
        self,
        numbered: list[tuple[int, bytes]],
        *,
        sequences: int = SEQUENCES_ZERO,
        packets: int | None = None,
        origin: str = "a",
        target: str = "b",
        now: float = LATER,
    ) -> list[tuple[int, bytes]]:
        data = bytearray(
            b"".join(build_frame(S2C_IPDATA, packet, sequence) for sequence, packet in numbered)
        )
        count = len(numbered) if packets is None else packets
        version = numbered[0][1][0] >> 4
        run = FrameRun(S2C_IPDATA, 0, version, b"", memoryview(data), count, sequences)
        self.guard.keep_allowed(run, self, origin, target, now)
        found, at = [], 0
        while at < len(run.data):
            size, _, sequence = struct.unpack_from("!HHI", run.data, at)
            found.append((sequence, bytes(run.data[at + 8 : at + size])))
            at += size
        return found

    def answer(self, *packets: bytes, now: float = LATER) -> list[bytes]:
        """Send packets the other way."""
        return self.send(*packets, origin="b", target="a", now=now)

    def denials(self) -> dict[str, int]:
        return {count.name: count.denials for count in self.guard.counts() if count.denials}

    def openings(self) -> dict[str, int]:
        return {count.name: count.openings for count in self.guard.counts() if count.openings}
