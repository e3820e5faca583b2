"""The loops over bytes that erasure codes spend their time in, in the field GF(2^8).

Compiled kernels call C instead, which is in ``gf256_loops.pxd``; this file does the same for
the plain Python build, with the few operations of Python that work on whole buffers.

No function here checks that buffers have the room. A factor is 0 to 255.
"""

from __future__ import annotations

Bytes = bytes | bytearray | memoryview
Buffer = bytearray | memoryview


def _products() -> tuple[bytes, ...]:
    """Tabulate what each factor makes of each byte: twice the half of it, and the byte if odd."""
    double = bytes((byte << 1 & 0xFF) ^ (0x1D if byte & 0x80 else 0) for byte in range(256))
    ones = int.from_bytes(bytes(range(256)), "little")
    rows = [bytes(256)]
    for factor in range(1, 256):
        row = rows[factor >> 1].translate(double)
        if factor & 1:
            row = (int.from_bytes(row, "little") ^ ones).to_bytes(256, "little")
        rows.append(row)
    return tuple(rows)


_PRODUCTS = _products()


def add_scaled(target: Buffer, at: int, source: Bytes, start: int, size: int, factor: int) -> None:
    """Add ``factor`` times ``size`` bytes of ``source`` to as many of ``target``, byte by byte."""
    product = bytes(source[start : start + size]).translate(_PRODUCTS[factor])
    total = int.from_bytes(target[at : at + size], "little") ^ int.from_bytes(product, "little")
    target[at : at + size] = total.to_bytes(size, "little")


def scale(target: Buffer, at: int, size: int, factor: int) -> None:
    """Multiply ``size`` bytes by ``factor``, in place."""
    target[at : at + size] = bytes(target[at : at + size]).translate(_PRODUCTS[factor])


def copy(target: Buffer, at: int, source: Bytes, start: int, size: int) -> None:
    """Copy ``size`` bytes between buffers that do not overlap."""
    target[at : at + size] = source[start : start + size]


def clear(target: Buffer, at: int, size: int) -> None:
    """Set ``size`` bytes to zero."""
    target[at : at + size] = bytes(size)


def choose_level(level: int) -> int:
    """Limit the C build to instructions of a level (2 AVX2, 1 SSSE3, 0 any); -1 is no limit.

    Returns the level in use, which is -1 for plain Python. For tests and benchmarks; each
    compiled kernel has its own choice.
    """
    del level
    return -1
