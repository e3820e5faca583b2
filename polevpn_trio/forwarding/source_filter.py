# cython: annotation_typing=False
"""Which packets of a sender bear a source that is its own (BCP 38, RFC 2827).

The table decides, address by address; what it said is remembered here, so that a packet costs a
comparison or two. Packets that may not pass are taken out of a run in place.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from polevpn_trio.batch import SEQUENCES_OFFLOAD
from polevpn_trio.frames.ip import is_well_formed
from polevpn_trio.frames.segmentation import segments_in, sequence_of

OWN = 0
"""The sender may use this source."""
SPOOFED = 1
"""It is somebody else's, or nobody's."""
MARTIAN = 2
"""It is no host's address: a router must not pass it on (RFC 1812, section 5.3.7)."""

# Copies that the compiled build holds as C integers, which other modules cannot import.
_OWN = OWN
_MARTIAN = MARTIAN
_OFFLOAD = SEQUENCES_OFFLOAD
_FRAME_HEADER = 8
_SLOTS = 256
_NEVER = -1

_BROADCAST = b"\xff\xff\xff\xff"
_UNSPECIFIED = bytes(16)
_LOOPBACK = bytes(15) + b"\x01"

_INTERPRETED = __file__.endswith(".py")


class SourceFilter:
    """Sifts the packets of one sender by source.

    ``judge`` says of a source address (4 or 16 bytes) whether it is `OWN`, `SPOOFED` or `MARTIAN`.
    After each `sift_untrusted`, ``spoofed`` and ``martian`` tell how many packets it took out
    (those in super-packets each), and ``refused`` is the first source among the spoofed ones.
    """

    def __init__(self, judge: Callable[[bytes], int]) -> None:
        self._judge = judge
        # Of the address in each slot: 4 or 6 (0: none), what the judge said, and its words.
        self._version = array("B", bytes(_SLOTS))
        self._verdict = array("B", bytes(_SLOTS))
        self._high = array("Q", bytes(8 * _SLOTS))
        self._low = array("Q", bytes(8 * _SLOTS))
        self._generation = _NEVER
        self.spoofed = 0
        self.martian = 0
        self.refused = b""

    def sift_untrusted(self, data: bytearray | memoryview, sequences: int, generation: int) -> int:
        """Move the frames that may pass to the front of ``data``; return how many bytes they take.

        ``data`` is whole frames back to back with an IP packet in each, ``sequences`` one of the
        ``SEQUENCES_`` constants; what is neither is left out. Another ``generation`` (a number from
        0 on) than at the last call says that the table has changed since.
        """
        view = memoryview(data) if _INTERPRETED else data
        if generation != self._generation:
            self._generation = generation
            for slot in range(_SLOTS):
                self._version[slot] = 0
        self.spoofed = 0
        self.martian = 0
        total = len(view)
        at = 0
        kept = 0
        last_version = 0
        last_high = 0
        last_low = 0
        verdict = _OWN
        while total - at >= _FRAME_HEADER:
            size = view[at] << 8 | view[at + 1]
            if size < _FRAME_HEADER or size > total - at:
                break
            start = at + _FRAME_HEADER
            version = is_well_formed(view, start, size - _FRAME_HEADER)
            if version == 0:
                at += size
                continue
            if version == 4:
                source = start + 12
                high = 0
                low = _word(view, source)
            else:
                source = start + 8
                high = _word(view, source) << 32 | _word(view, source + 4)
                low = _word(view, source + 8) << 32 | _word(view, source + 12)
            # Neighbours mostly come from the same host.
            if version != last_version or low != last_low or high != last_high:
                verdict = self._verdict_on(view, source, version, high, low)
                last_version = version
                last_high = high
                last_low = low
            if verdict == _OWN:
                if kept != at:
                    _move(view, at, kept, size)
                kept += size
            else:
                self._refuse(view, at, size, sequences, verdict)
            at += size
        return kept

    def _verdict_on(
        self, view: bytearray | memoryview, source: int, version: int, high: int, low: int
    ) -> int:
        """Return what the judge says of the address at byte ``source``, whose words these are."""
        mixed = high ^ low
        mixed ^= mixed >> 32
        mixed ^= mixed >> 16
        slot = (mixed ^ mixed >> 8) & (_SLOTS - 1)
        if self._version[slot] != version or self._low[slot] != low or self._high[slot] != high:
            self._verdict[slot] = self._judge(_address(view, source, version))
            self._version[slot] = version
            self._low[slot] = low
            self._high[slot] = high
        return self._verdict[slot]

    def _refuse(
        self, view: bytearray | memoryview, at: int, size: int, sequences: int, verdict: int
    ) -> None:
        """Count the frame of ``size`` bytes at byte ``at``."""
        start = at + _FRAME_HEADER
        packets = 1
        sequence = sequence_of(view, at)
        if sequence != 0 and sequences == _OFFLOAD:
            packets = segments_in(view, start, size - _FRAME_HEADER, sequence)
        if verdict == _MARTIAN:
            self.martian += packets
        else:
            if self.spoofed == 0:
                version = view[start] >> 4
                self.refused = _address(view, start + (12 if version == 4 else 8), version)
            self.spoofed += packets


def is_martian(address: bytes) -> bool:
    """Whether an address (4 or 16 bytes) can be no source of a packet between sites.

    That is "this host" (0.0.0.0/8, ::), loopback, multicast, the broadcast address, and what is
    of one link only (RFC 3927, section 2.7; RFC 4291, section 2.5.6).
    """
    first = address[0]
    if len(address) == 4:
        return (
            first in (0, 127)
            or 224 <= first <= 239
            or (first == 169 and address[1] == 254)
            or address == _BROADCAST
        )
    return (
        first == 0xFF
        or (first == 0xFE and address[1] & 0xC0 == 0x80)
        or address in (_UNSPECIFIED, _LOOPBACK)
    )


def _address(view: bytearray | memoryview, at: int, version: int) -> bytes:
    size = 4 if version == 4 else 16
    return bytes([view[at + index] for index in range(size)])


def _move(view: bytearray | memoryview, source: int, target: int, size: int) -> None:
    """Copy bytes towards the front; the two places may overlap."""
    if _INTERPRETED:
        view[target : target + size] = view[source : source + size]
    else:
        for index in range(size):
            view[target + index] = view[source + index]


def _word(view: bytearray | memoryview, at: int) -> int:
    high = view[at] << 8 | view[at + 1]
    return high << 16 | view[at + 2] << 8 | view[at + 3]
