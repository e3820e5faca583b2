"""What the configuration of a router says of its TCP port as a web server."""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path

import attrs

from polevpn_trio.control.members import Members, shown

MAX_PAGE = 1 << 20
"""Bytes of the page: it is kept in memory."""

SCHEMES = ("tls", "wss")
"""What a TCP port may take, besides browsers: frames straight in TLS, and in a WebSocket."""

WEB_KEYS = ("page_file", "websocket_path", "schemes")

_HTML = "text/html; charset=utf-8"
_PATH = re.compile(r"/[!$-.0-;=@-Z_a-z~/]{0,199}", re.ASCII)


@attrs.frozen
class WebSite:
    """What there is to be seen of a TCP port, and to be had."""

    page: bytes | None = attrs.field(default=None, repr=False)
    """What is at ``/``; None: nothing."""
    page_type: str = _HTML
    """Its media type."""
    websocket_path: str | None = attrs.field(default=None, repr=False)
    """Where a WebSocket may be asked for; None: anywhere. As good as a secret."""
    schemes: tuple[str, ...] = SCHEMES


DEFAULT_SITE = WebSite()
"""Nothing to be seen, and a WebSocket for everybody who asks."""


def web_site(members: Members, locate: Path) -> WebSite:
    """Read the keys of a web server among those of a listener; ``locate`` is the file's folder."""
    page, page_type = _page(members, locate)
    return WebSite(page, page_type, _websocket_path(members), _schemes(members))


def _page(members: Members, folder: Path) -> tuple[bytes | None, str]:
    expected = "the path of a file with the page to be shown"
    text = members.text("page_file", expected) if members.has("page_file") else None
    if text is None:
        return None, _HTML
    file = folder / text
    try:
        with file.open("rb") as stream:
            page = stream.read(MAX_PAGE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no file name"
        members.problem("page_file", f'"{shown(text)}" cannot be read: {reason}')
        return None, _HTML
    if len(page) > MAX_PAGE:
        members.problem("page_file", f"larger than {MAX_PAGE} bytes, expected a small page")
    guessed = mimetypes.guess_type(file.name)[0]
    return page, _HTML if guessed in (None, "text/html") else str(guessed)


def _websocket_path(members: Members) -> str | None:
    expected = 'a path such as "/chat/3f9a1c" (as in wss://host/chat/3f9a1c)'
    text = members.text("websocket_path", expected) if members.has("websocket_path") else None
    if text is not None and not _PATH.fullmatch(text):
        # Not quoted: it may be meant to be secret.
        members.problem("websocket_path", f"not a path of a URL, expected {expected}")
        return None
    return text


def _schemes(members: Members) -> tuple[str, ...]:
    expected = 'a list of "tls", "wss", or both'
    if not members.has("schemes"):
        return SCHEMES
    given = members.texts("schemes", expected)
    for path, text in given:
        if text not in SCHEMES:
            members.problem(path, f'"{shown(text)}", expected "tls" or "wss"')
    if members.value("schemes") == []:
        members.problem("schemes", f"empty, expected {expected}")
    chosen = {text for _, text in given}
    return tuple(scheme for scheme in SCHEMES if scheme in chosen)
