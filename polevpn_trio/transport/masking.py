"""The masking of WebSocket payloads (RFC 6455 section 5.3): XOR with a repeated 4-byte key.

Compiled kernels take the C functions in ``masking.pxd``, which work on 8 bytes at a time and
which the C compiler makes vector instructions of. This file does the same to the plain Python
build, where one `bytes.translate` for each byte of the key is the fastest way.
"""

from __future__ import annotations

from functools import cache

Bytes = bytes | bytearray | memoryview


def mask(
    source: Bytes, start: int, target: bytearray, at: int, count: int, key: int, phase: int
) -> None:
    """Write ``count`` bytes of ``source``, masked or unmasked, to ``target``.

    ``key`` holds its first byte in the highest bits; 0 copies. ``phase`` (0 to 3) tells which
    byte of the key comes first. The two buffers must have the room, which is not checked, and
    must not overlap.
    """
    if key == 0:
        target[at : at + count] = source[start : start + count]
        return
    # In a bytearray of its own: every fourth byte of anything else takes half as long again.
    piece = bytearray(source[start : start + count])
    for place in range(min(4, count)):
        byte = (key >> (24 - 8 * ((phase + place) & 3))) & 0xFF
        piece[place::4] = piece[place::4].translate(_table(byte))
    target[at : at + count] = piece


@cache
def _table(byte: int) -> bytes:
    """Give the translation of all byte values by one byte of a key."""
    return bytes(value ^ byte for value in range(256))
