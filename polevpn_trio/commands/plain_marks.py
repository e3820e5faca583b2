"""What stands for our marks where a terminal's encoding has no such characters, as Latin-1."""

from __future__ import annotations

import codecs
import io
import sys

PLAIN = {
    "●": "*",
    "▲": "!",
    "✗": "x",
    "✓": "+",
    "→": ">",
    "↑": "^",
    "↓": "v",
    "▼": "v",
    "±": "~",
    "…": "~",
}

_HANDLER = "polevpn_trio.plain"


def use_plain_marks() -> None:
    """Have stdout and stderr write in ASCII, instead of failing, what they cannot encode."""
    codecs.register_error(_HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        # Where it is UTF-8, nothing is missing.
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors=_HANDLER)


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    escaped = (PLAIN.get(each) or ascii(each)[1:-1] for each in text)
    return "".join(escaped), error.end
