"""The engine that needs nothing: changes known inputs at random, without looking at the code.

Fast, repeatable by its seed, and blind. Runs of a few seconds and machines without Atheris use
it; new ways through the code are found by the other one (coverage.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

MOST_CHANGES = 6
EDGES = (0, 1, 2, 7, 8, 20, 40, 127, 128, 255, 256, 1500, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1)


def mutations(seeds: Sequence[bytes], longest: int, random: Random) -> Iterator[bytes]:
    """Give ever new inputs of at most ``longest`` bytes."""
    while True:
        data = bytearray(random.choice(seeds)) if seeds else bytearray()
        for _ in range(random.randint(1, MOST_CHANGES)):
            _change(data, seeds, random)
        yield bytes(data[:longest])


def _change(data: bytearray, seeds: Sequence[bytes], random: Random) -> None:
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((1, 2, 4, 8, 16, 64)))
    match random.randrange(8):
        case 0 if at < len(data):
            data[at] ^= 1 << random.randrange(8)
        case 1 if at < len(data):
            data[at] = random.randrange(256)
        case 2:
            del data[at:end]
        case 3:
            data[at:at] = random.randbytes(random.choice((1, 2, 4, 13, 40)))
        case 4:
            data[at:at] = data[at:end] * random.randint(1, 3)
        case 5:
            size = random.choice((1, 2, 4))
            value = random.choice(EDGES) & ((1 << 8 * size) - 1)
            data[at : at + size] = value.to_bytes(size, random.choice(("big", "little")))
        case 6 if seeds:
            other = random.choice(seeds)
            start = random.randrange(len(other) + 1)
            data[at:end] = other[start : start + random.choice((4, 16, 64, 256))]
        case _:
            data += random.randbytes(random.choice((1, 4, 32)))
