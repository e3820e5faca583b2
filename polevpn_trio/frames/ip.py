# cython: annotation_typing=False
"""What the data path needs to know of IP packets: lengths, checksums, the TCP MSS option.

All functions look at a packet of ``length`` bytes that begins at byte ``start`` of a larger
buffer, so that none of them copies. Sources: RFC 791 (IPv4), RFC 8200 (IPv6), RFC 9293 (TCP),
RFC 1071 and 1624 (Internet checksum).
"""

from __future__ import annotations

import array
import sys

# The C build sums in a loop that the C compiler vectorises. Interpreted, that loop would take
# milliseconds per super-packet, where one division of a long integer gives the same number.
_INTERPRETED = __file__.endswith(".py")
_LITTLE_ENDIAN = sys.byteorder == "little"
_BLOCK_SIZE = 2048
_SCRATCH = array.array("Q", bytes(_BLOCK_SIZE))
_WORDS = memoryview(_SCRATCH)
_BLOCK = memoryview(_SCRATCH).cast("B")

_TCP = 6
_SYN = 0x02
_OPTION_END = 0
_OPTION_NOP = 1
_OPTION_MSS = 2


def is_well_formed(view: bytes | bytearray | memoryview, start: int, length: int) -> int:
    """Return 4 or 6 if a kernel would take these bytes as an IP packet, else 0.

    The version is known, the header is whole, and the length it states does not exceed
    ``length`` (bytes after the stated end are allowed). Checksums are not looked at.
    """
    if length < 20:
        return 0
    version = view[start] >> 4
    if version == 4:
        header = (view[start] & 0x0F) * 4
        total = view[start + 2] << 8 | view[start + 3]
        return 4 if 20 <= header <= total <= length else 0
    if version == 6:
        total = 40 + (view[start + 4] << 8 | view[start + 5])
        return 6 if total <= length else 0
    return 0


def fold(total: int) -> int:
    """Reduce a sum of 16-bit words to 16 bits with end-around carry; 0 only if it is 0."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def sum_words(view: bytes | bytearray | memoryview, start: int, end: int) -> int:
    """Return the folded ones' complement sum of the bytes from ``start`` up to ``end``.

    Words are big-endian and count from ``start``, which need not be aligned; an odd last
    byte is padded with zero. The result is 0 only if all bytes are.
    """
    if _INTERPRETED:
        number = int.from_bytes(view[start:end], "big") << 8 * ((end - start) & 1)
        return number % 0xFFFF or (0xFFFF if number else 0)
    # Blocks are copied to where 64-bit words are aligned; both loops become vector code. The
    # halves of the words are summed apart, so that nothing carries out. The mask is a variable
    # because so large a literal is an object to the C build.
    block = _BLOCK
    words = _WORDS
    mask = 0xFFFFFFFF
    low = 0
    high = 0
    while start < end:
        size = min(end - start, _BLOCK_SIZE)
        for at in range(size):
            block[at] = view[start + at]
        whole = (size + 7) & ~7
        for at in range(size, whole):
            block[at] = 0
        for at in range(whole >> 3):
            word = words[at]
            low += word & mask
            high += word >> 32
        start += size
    folded = fold((low & mask) + (low >> 32) + (high & mask) + (high >> 32))
    if _LITTLE_ENDIAN:
        # The sum of swapped words is the swapped sum (RFC 1071, section 2).
        folded = (folded & 0xFF) << 8 | folded >> 8
    return folded


def sum_pseudo_header(
    view: bytes | bytearray | memoryview, start: int, version: int, protocol: int, length: int
) -> int:
    """Return the folded sum of the pseudo-header of a TCP or UDP packet of ``length`` bytes.

    ``version`` is 4 or 6; the addresses are taken from the IP header at ``start``, which must
    be whole. ``length`` counts from the TCP or UDP header on.
    """
    if version == 4:
        addresses = sum_words(view, start + 12, start + 20)
    else:
        addresses = sum_words(view, start + 8, start + 40)
    return fold(addresses + protocol + (length >> 16) + (length & 0xFFFF))


def clamp_mss(
    buffer: bytearray | memoryview, start: int, length: int, mss4: int, mss6: int
) -> bool:
    """Lower the MSS option of a TCP SYN to ``mss4`` or ``mss6`` bytes; tell if it was changed.

    Works in place and corrects the TCP checksum. Everything that is not a whole TCP SYN with
    such an option stays as it is, as does TCP behind IPv6 extension headers. A limit of 0
    means none.
    """
    version = is_well_formed(buffer, start, length)
    if version == 4:
        total = buffer[start + 2] << 8 | buffer[start + 3]
        header = (buffer[start] & 0x0F) * 4
        # Only the first fragment holds the TCP header.
        offset = (buffer[start + 6] & 0x1F) << 8 | buffer[start + 7]
        if buffer[start + 9] != _TCP or offset != 0:
            return False
        limit = mss4
    elif version == 6:
        total = 40 + (buffer[start + 4] << 8 | buffer[start + 5])
        header = 40
        if buffer[start + 6] != _TCP:
            return False
        limit = mss6
    else:
        return False
    tcp = start + header
    if limit <= 0 or total < header + 20 or not buffer[tcp + 13] & _SYN:
        return False
    end = tcp + (buffer[tcp + 12] >> 4) * 4
    if end > start + total:
        return False
    at = tcp + 20
    while at + 4 <= end:
        kind = buffer[at]
        if kind == _OPTION_END:
            return False
        if kind == _OPTION_NOP:
            at += 1
            continue
        size = buffer[at + 1]
        if size < 2:
            return False
        if kind == _OPTION_MSS and size == 4:
            old = buffer[at + 2] << 8 | buffer[at + 3]
            if old <= limit:
                return False
            new = limit
            buffer[at + 2] = new >> 8
            buffer[at + 3] = new & 0xFF
            if (at - tcp) & 1:
                # The option straddles two words of the sum: its bytes count swapped.
                old = (old & 0xFF) << 8 | old >> 8
                new = (new & 0xFF) << 8 | new >> 8
            checksum = buffer[tcp + 16] << 8 | buffer[tcp + 17]
            checksum = fold((checksum ^ 0xFFFF) + (old ^ 0xFFFF) + new) ^ 0xFFFF
            buffer[tcp + 16] = checksum >> 8
            buffer[tcp + 17] = checksum & 0xFF
            return True
        at += size
    return False
