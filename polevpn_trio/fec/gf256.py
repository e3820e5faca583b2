# cython: annotation_typing=False
"""Arithmetic in GF(2^8) over whole buffers, as erasure codes need it.

The field is that of RFC 8681, section 3.7.1: polynomials over bits modulo
x^8 + x^4 + x^3 + x^2 + 1. Addition is XOR.
"""

from __future__ import annotations

from array import array

from polevpn_trio.fec import gf256_loops

_POLYNOMIAL = 0x11D
_LEVELS = ("plain Python", "portable C", "SSSE3", "AVX2")

_EXPONENT_OF = array("B", bytes(256))
_POWER = array("B", bytes(512))


def _fill_tables() -> None:
    power = 1
    for exponent in range(255):
        _POWER[exponent] = power
        _POWER[exponent + 255] = power
        _EXPONENT_OF[power] = exponent
        power <<= 1
        if power & 0x100:
            power ^= _POLYNOMIAL


_fill_tables()
_exponents = memoryview(_EXPONENT_OF)
_powers = memoryview(_POWER)


def multiply(a: int, b: int) -> int:
    """Return the product of two elements, 0 to 255."""
    if a == 0 or b == 0:
        return 0
    return _powers[_exponents[a & 0xFF] + _exponents[b & 0xFF]]


def inverse(a: int) -> int:
    """Return the element whose product with ``a`` (1 to 255) is 1; 0 for 0."""
    if a == 0:
        return 0
    return _powers[255 - _exponents[a & 0xFF]]


def add_scaled(
    target: bytearray | memoryview, source: bytes | bytearray | memoryview, factor: int
) -> None:
    """Add ``factor`` (0 to 255) times ``source`` to the beginning of ``target``, byte by byte.

    Raises ValueError when ``target`` is the shorter one, or the factor out of range.
    """
    size = len(source)
    if size > len(target) or not 0 <= factor <= 255:
        raise ValueError(f"factor {factor}, {size} bytes onto {len(target)}")
    gf256_loops.add_scaled(target, 0, source, 0, size, factor)


def scale(target: bytearray | memoryview, factor: int) -> None:
    """Multiply all bytes by ``factor``, in place. Raises ValueError if not 0 to 255."""
    if not 0 <= factor <= 255:
        raise ValueError(f"factor {factor} is no byte")
    gf256_loops.scale(target, 0, len(target), factor)


def instructions(level: int = -1) -> str:
    """Tell how buffers are multiplied in this module: "AVX2", "SSSE3", ...

    A ``level`` below the machine's (0 portable, 1 SSSE3) is used from now on, -1 is the best.
    """
    return _LEVELS[gf256_loops.choose_level(level) + 1]
