"""The files that a browser loads: the page, its modules and styles, and the chart library."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable

import attrs

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@attrs.frozen
class Page:
    """A file as it is sent; ``tag`` changes with what is in it."""

    body: bytes
    media_type: str
    tag: str


def load() -> dict[str, Page]:
    """Read all files, by the path under which a browser asks for them."""
    pages: dict[str, Page] = {}
    _load(files("polevpn_trio.dashboard") / "static", "/", pages)
    pages["/"] = pages.pop("/index.html")
    return pages


def _load(folder: Traversable, path: str, pages: dict[str, Page]) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            _load(entry, f"{path}{entry.name}/", pages)
            continue
        media_type = _TYPES.get(entry.name[entry.name.rfind(".") :])
        if media_type is not None:
            body = entry.read_bytes()
            pages[path + entry.name] = Page(
                body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            )
