"""The file of routers that a gateway has met: which certificate each of them showed.

A line is ``URL sha256:FINGERPRINT``; empty lines and those that start with ``#`` are ignored. A
router may have several lines, and then any of them will do. The file is replaced as a whole, so
that whoever reads it, or loses power, has the old one or the new one.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from polevpn_trio.control.fingerprint import format_fingerprint, parse_fingerprint
from polevpn_trio.control.secret_file import locked, write_file
from polevpn_trio.control.state_directory import state_file

FILE_NAME = "known_routers"
MAX_FILE = 1 << 20
"""Bytes; ten thousand routers."""

_HEADER = "# Routers that this gateway has met, and the certificates by which it knows them.\n"


def usual_file() -> Path:
    """Where the file is unless the configuration says otherwise."""
    return state_file(FILE_NAME)


@attrs.frozen
class KnownRouter:
    """One line of the file: ``line`` counts from 1."""

    line: int
    url: str
    fingerprint: bytes


class Unreadable(Exception):
    """The file is there, but does not say whom we know; the text says why."""


def read(file: Path) -> list[KnownRouter]:
    """Return all lines; none if there is no file. Raises Unreadable."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Unreadable(f"{file} cannot be read: {_reason(error)}") from None
    if len(data) > MAX_FILE:
        raise Unreadable(f"{file} is larger than {MAX_FILE} bytes")
    return parse(file, data.decode("utf-8", "replace"))


def parse(file: Path, text: str) -> list[KnownRouter]:
    """Return all lines of what ``file`` holds. Raises Unreadable."""
    known = []
    for number, whole in enumerate(text.splitlines(), 1):
        line = whole.strip()
        if not line or line.startswith("#"):
            continue
        url, *rest = line.split(maxsplit=1)
        try:
            known.append(KnownRouter(number, url, parse_fingerprint("".join(rest))))
        except ValueError:
            raise Unreadable(
                f"{file}, line {number}: not a line of a known router, "
                "expected a URL and sha256:..., or delete it"
            ) from None
    return known


def add(file: Path, url: str, fingerprint: bytes) -> None:
    """Write down a router. Raises OSError.

    Does nothing if one of this URL has been written down meanwhile.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # BlockingIOError if another gateway on this machine is at it.
    with locked(file.parent, wait=False):
        if any(known.url == url for known in _read_or_none(file)):
            return
        old = file.read_text("utf-8", "replace") if file.exists() else _HEADER
        if old and not old.endswith("\n"):
            old += "\n"
        write_file(file, f"{old}{url} {format_fingerprint(fingerprint)}\n", replace=True)


def _read_or_none(file: Path) -> list[KnownRouter]:
    try:
        return read(file)
    except Unreadable as error:
        raise OSError(str(error)) from None


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
