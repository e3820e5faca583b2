"""The inputs that every run begins with, one text file for each target.

A line is an input in hexadecimal digits. They come from recorded sessions, from the tests, and
from what runs have found to reach code that nothing else reached.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def read(target: str) -> list[bytes]:
    """Give the inputs of a target; none if it has no file yet."""
    file = FOLDER / f"{target}.txt"
    if not file.exists():
        return []
    return [bytes.fromhex(line) for line in file.read_text().splitlines()]


def write(target: str, inputs: Iterable[bytes]) -> int:
    """Replace the inputs of a target; return how many different ones there are."""
    different = sorted(set(inputs), key=lambda data: (len(data), data))
    lines = [data.hex() + "\n" for data in different]
    (FOLDER / f"{target}.txt").write_text("".join(lines))
    return len(different)
