"""Peers and packets for benchmarks of a router's table, without links, encryption, system calls."""

from __future__ import annotations

import struct

from polevpn_trio.batch import SEQUENCES_OFFLOAD, FrameBatch
from polevpn_trio.forwarding.policy.rules import TCP
from polevpn_trio.frames.codec import C2S_IPDATA

BATCH_BYTES = 65_536
"""Of a batch, about what a link's reader hands on."""

_SEGMENT = 1400
"""Bytes that a super-packet is said to be cut into."""


class Sink:
    """A peer that takes everything."""

    takes_ipv6 = True
    sequences = SEQUENCES_OFFLOAD

    def enqueue_nowait(self, batch: FrameBatch) -> bool:
        """Forget it."""
        return True

    def flush(self) -> None:
        """Do nothing."""

    def note_refused(self, reason: str, packets: int, source: bytes) -> None:
        """Do nothing."""


def tcp_frame(
    source: int, destination: int, ports: tuple[int, int], size: int, *, super_packet: bool
) -> bytes:
    """A frame with an IPv4 packet of ``size`` bytes from a gateway; addresses as 32-bit numbers."""
    ip = struct.pack("!BBHIBBHII", 0x45, 0, size, 0, 64, TCP, 0, source, destination)
    tcp = struct.pack("!HHIIBBHI", *ports, 0, 0, 0x50, 0x10, 0, 0)
    sequence = _SEGMENT if super_packet else 0
    frame = struct.pack("!HHI", 8 + size, C2S_IPDATA, sequence) + ip + tcp
    return frame.ljust(8 + size, b"\0")


def frames_in_batch(size: int) -> int:
    """How many frames with packets of ``size`` bytes make a batch."""
    return max(BATCH_BYTES // (8 + size), 1)
