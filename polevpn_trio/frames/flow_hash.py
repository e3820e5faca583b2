# cython: annotation_typing=False
"""Which flow an IP packet belongs to: a keyed hash of its addresses, protocol and ports.

The hash is multilinear over 32-bit words with random 64-bit factors, which makes it strongly
universal: whoever does not know the seed cannot choose packets so that their flows meet more
often than by chance (Lemire and Kaser, "Strongly universal string hashing is fast", 2014).
"""

from __future__ import annotations

import random
from array import array

from polevpn_trio.frames.ip import is_well_formed

_FRAGMENT = 44
_HOP_BY_HOP = 0
_ROUTING = 43
_DESTINATION_OPTIONS = 60
_TCP = 6
_UDP = 17
_DCCP = 33
_ESP = 50
_SCTP = 132
_UDP_LITE = 136

_MOST_EXTENSIONS = 8
"""IPv6 extension headers that are walked over; real packets have two at most."""

# The C build keeps the factors in 64-bit words and wraps around; as a literal so large a
# number would be an object there.
_FACTORS = 11
_MASK64 = 0xFFFFFFFFFFFFFFFF


class FlowHash:
    """Hashes packets with the factors that ``seed`` gives; keep the seed from strangers."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self._factor = array("Q", [chance.getrandbits(64) for _ in range(_FACTORS)])

    def of_packet(self, view: bytes | bytearray | memoryview, start: int, length: int) -> int:
        """Return 32 bits for the flow of the packet of ``length`` bytes at byte ``start``.

        Packets with the same addresses, protocol and ports (of ESP: the same SPI) have the
        same hash. Fragments have no ports, the first one included, so that all fragments of a
        packet fall together. 0 if the bytes are not a well-formed IP packet.
        """
        version = is_well_formed(view, start, length)
        if version == 0:
            return 0
        factor = self._factor
        total = factor[0]
        has_ports = True
        if version == 4:
            end = start + (view[start + 2] << 8 | view[start + 3])
            protocol = view[start + 9]
            at = start + (view[start] & 0x0F) * 4
            if (view[start + 6] & 0x3F) | view[start + 7]:
                has_ports = False
            total += factor[1] * _word(view, start + 12)
            total += factor[2] * _word(view, start + 16)
        else:
            end = start + 40 + (view[start + 4] << 8 | view[start + 5])
            protocol = view[start + 6]
            at = start + 40
            for index in range(8):
                total += factor[1 + index] * _word(view, start + 8 + 4 * index)
            extensions = 0
            while protocol in (_HOP_BY_HOP, _ROUTING, _DESTINATION_OPTIONS):
                if extensions == _MOST_EXTENSIONS or at + 8 > end:
                    break
                protocol = view[at]
                at += 8 * (view[at + 1] + 1)
                extensions += 1
            if protocol == _FRAGMENT:
                has_ports = False
                if at + 8 <= end:
                    protocol = view[at]
        total += factor[9] * (version << 8 | protocol)
        if has_ports and at + 4 <= end and _begins_with_ports(protocol):
            total += factor[10] * _word(view, at)
        return (total & _MASK64) >> 32


def _begins_with_ports(protocol: int) -> bool:
    return protocol in (_TCP, _UDP, _SCTP, _UDP_LITE, _DCCP, _ESP)


def _word(view: bytes | bytearray | memoryview, at: int) -> int:
    high = view[at] << 8 | view[at + 1]
    return high << 16 | view[at + 2] << 8 | view[at + 3]
