# cython: annotation_typing=False
"""Repair datagrams on the wire, and the coefficients of the code.

The code is a sliding-window random linear code over GF(2^8) in the manner of RFC 8681: a repair
symbol is a sum of source symbols, each times a coefficient that both ends can compute. Its
window is any run of source symbols, so there are no blocks to wait for. Source symbols are the
datagrams with packets of the ``datagram`` conversation, whose numbers serve as their ids; they
travel as they are. All integers are big-endian::

    repair  | 0x30 | first id u24 | span u8 | density u8 | key u16 | sum of symbols ...

    symbol  | length u16 | datagram | as many zeros as it takes |

A window is the ids ``first`` to ``first + span``, counted modulo 2^24. The coefficient of a symbol
depends on the key of the repair and the id; it is 0 for 15 - density of 16 ids. The sum is as long
as the longest symbol in the window. A repair is at most 10 bytes longer than what it repairs.
"""

from __future__ import annotations

from polevpn_trio.kcp.datagram import wire

SOURCE = wire.DATA
"""High bits of the first byte of a datagram that can be repaired; bytes 1 to 3 are its id."""
KIND_BITS = 0xF0
REPAIR = wire.REPAIR

SOURCE_HEADER = wire.HEADER_SIZE
REPAIR_HEADER = 8
LENGTH_PREFIX = 2

OVERHEAD = REPAIR_HEADER + LENGTH_PREFIX
"""Bytes that a datagram must leave free below the size of a record."""

LARGEST_SOURCE = 1500
"""Bytes of the largest datagram that a peer may protect."""

LONGEST_WINDOW = 256
FULL_DENSITY = 15

# Odd numbers that spread the bits of key and id; then an integer hash with full avalanche
# (C. Wellons, "Prospecting for hash functions", 2018: lowbias32).
_SPREAD_KEY = 0x9E3779B1
_SPREAD_ID = 0x85EBCA77
_MIX_1 = 0x7FEB352D
_MIX_2 = 0x846CA68B
_MASK32 = 0xFFFFFFFF

_MASK24 = 0xFFFFFF
_HALF24 = 0x800000
_TURN24 = 0x1000000


def coefficient(key: int, symbol_id: int, density: int) -> int:
    """Return the coefficient (0 to 255) of a symbol in the repair with this key.

    ``density`` is 0 to 15; with 15 no coefficient is 0.
    """
    mixed = (key * _SPREAD_KEY) & _MASK32
    mixed = (mixed + (symbol_id & _MASK24) * _SPREAD_ID) & _MASK32
    mixed ^= mixed >> 16
    mixed = (mixed * _MIX_1) & _MASK32
    mixed ^= mixed >> 15
    mixed = (mixed * _MIX_2) & _MASK32
    mixed ^= mixed >> 16
    if mixed & 15 > density:
        return 0
    return 1 + (mixed >> 8) % 255


def unwrap(symbol_id: int, near: int) -> int:
    """Return the number with these low 24 bits that is closest to ``near``; may be negative."""
    ahead = (symbol_id - near) & _MASK24
    if ahead >= _HALF24:
        ahead -= _TURN24
    return near + ahead
