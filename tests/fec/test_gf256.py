"""fec/gf256: a field, at any length and alignment, with each set of instructions."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.fec.gf256 import add_scaled, instructions, inverse, multiply, scale

ELEMENT = st.integers(0, 255)


def slow_multiply(a: int, b: int) -> int:
    """Multiply as polynomials, then take the remainder."""
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11D << bit - 8
    return product


@pytest.fixture(params=[-1, 1, 0], ids=["best", "ssse3", "portable"])
def level(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run with each set of instructions that there is, and leave the best behind."""
    instructions(request.param)
    yield request.param
    instructions()


def test_products_are_those_of_the_field() -> None:
    for a in range(256):
        for b in range(256):
            assert multiply(a, b) == slow_multiply(a, b)


def test_each_element_but_zero_has_an_inverse() -> None:
    assert inverse(0) == 0
    assert all(multiply(a, inverse(a)) == 1 for a in range(1, 256))


def test_every_factor_and_byte(level: int) -> None:
    source = bytes(range(256))
    for factor in range(256):
        target = bytearray(range(255, -1, -1))
        add_scaled(target, source, factor)
        assert target == bytes(255 - byte ^ slow_multiply(factor, byte) for byte in range(256))
        whole = bytearray(source)
        scale(whole, factor)
        assert whole == bytes(slow_multiply(factor, byte) for byte in range(256))


def test_every_length_and_alignment(level: int) -> None:
    chance = random.Random(1)
    for size in [*range(100), 1350]:
        offset = chance.randrange(16)
        source = memoryview(chance.randbytes(size + 16))[offset : offset + size]
        buffer = bytearray(chance.randbytes(size + 40))
        before = bytes(buffer)
        factor = chance.randrange(256)
        add_scaled(memoryview(buffer)[7:], source, factor)
        end = 7 + size
        expected = bytes(
            a ^ slow_multiply(factor, b) for a, b in zip(before[7:end], source, strict=True)
        )
        assert buffer == before[:7] + expected + before[end:]
        scale(memoryview(buffer)[7:end], factor)
        assert buffer[7:end] == bytes(slow_multiply(factor, byte) for byte in expected)
        assert buffer[:7] + buffer[end:] == before[:7] + before[end:]


@given(st.binary(max_size=80), ELEMENT, ELEMENT)
def test_factors_add_and_multiply(data: bytes, a: int, b: int) -> None:
    one = bytearray(len(data))
    add_scaled(one, data, a)
    add_scaled(one, data, b)
    other = bytearray(len(data))
    add_scaled(other, data, a ^ b)
    assert one == other
    scale(one, b)
    third = bytearray(len(data))
    add_scaled(third, data, multiply(a ^ b, b))
    assert one == third


@given(st.binary(min_size=1, max_size=80), st.integers(1, 255))
def test_scaling_back_gives_the_same(data: bytes, factor: int) -> None:
    buffer = bytearray(data)
    scale(buffer, factor)
    scale(buffer, inverse(factor))
    assert buffer == data


@pytest.mark.parametrize("factor", [-1, 256])
def test_no_byte_is_no_factor(factor: int) -> None:
    with pytest.raises(ValueError, match="factor"):
        add_scaled(bytearray(4), b"four", factor)
    with pytest.raises(ValueError, match="factor"):
        scale(bytearray(4), factor)


def test_more_than_there_is_room_for_is_refused() -> None:
    with pytest.raises(ValueError, match="5 bytes onto 4"):
        add_scaled(bytearray(4), b"fives", 1)


def test_it_tells_what_it_runs_on(kernel_build: str) -> None:
    assert (instructions() == "plain Python") == (kernel_build == "pure")
