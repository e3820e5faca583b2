"""Where results are written: to a file, or to standard output."""

from __future__ import annotations

import sys
from pathlib import Path

STDOUT = "-"
"""In place of the name of a file."""


def write(text: str, file: str) -> None:
    """Write a text to ``file``, making its folder if need be, or print it if that is `STDOUT`."""
    if file == STDOUT:
        sys.stdout.write(text)
    else:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(text, encoding="utf-8")
