"""The ``dashboard`` section of a router's file: what of it is shown in a browser, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs

from polevpn_trio.control import addresses
from polevpn_trio.control.members import Members, shown
from polevpn_trio.control.state_directory import state_file

KEYS = ("enable", "listen", "token_file", "history", "cert_file", "key_file")

DEFAULT_LISTEN = "127.0.0.1:8443"
HISTORY_NAME = "history.sqlite"

SHORTEST_TOKEN = 16
MAX_TOKEN_FILE = 4096
"""Characters of a token, and bytes of its file."""


@attrs.frozen
class DashboardConfig:
    """A dashboard for whoever knows the token."""

    host: str
    """Address that it listens on."""
    port: int
    token: str = attrs.field(repr=False)
    history: Path
    """The SQLite file."""
    cert_file: Path | None = None
    """PEM; None: plain HTTP, which is for this machine alone."""
    key_file: Path | None = None
    pair_digest: bytes = attrs.field(default=b"", repr=False)
    """Of what is in the two files."""


class _Pair(Protocol):
    @property
    def cert_file(self) -> Path: ...
    @property
    def key_file(self) -> Path: ...
    @property
    def digest(self) -> bytes: ...


def dashboard_config(
    top: Members, certificate: Callable[[Members], _Pair | None]
) -> DashboardConfig | None:
    """Read the section, if there is one; ``certificate`` reads a pair of files."""
    members = top.section("dashboard", KEYS) if top.has("dashboard") else None
    if members is None:
        return None
    host, port = _listen(members)
    pair = None
    if members.has("cert_file") or members.has("key_file"):
        pair = certificate(members)
    elif not addresses.is_loopback(host):
        members.problem(
            "listen",
            f'"{shown(host)}" is seen by others, expected 127.0.0.1, or a cert_file and a key_file '
            "by which the token is protected",
        )
    token = _token(members)
    history = _history(members)
    if not members.flag("enable", True):
        return None
    config = DashboardConfig(host, port, token, history)
    if pair is None:
        return config
    return attrs.evolve(
        config, cert_file=pair.cert_file, key_file=pair.key_file, pair_digest=pair.digest
    )


def _listen(members: Members) -> tuple[str, int]:
    expected = f'an address such as "{DEFAULT_LISTEN}"'
    text = members.text("listen", expected) if members.has("listen") else DEFAULT_LISTEN
    try:
        host, port = addresses.parse_listen(text or DEFAULT_LISTEN)
    except addresses.AddressMistake as mistake:
        members.problem("listen", str(mistake))
        return "127.0.0.1", 0
    return host, port


def _token(members: Members) -> str:
    expected = "the path of a file with a token, made by `openssl rand -hex 24`"
    if not members.required("token_file", expected):
        return ""
    text = members.text("token_file", expected)
    if not text:
        if text == "":
            members.problem("token_file", f"empty, expected {expected}")
        return ""
    file = members.report.locate(text)
    try:
        with file.open("rb") as stream:
            token = stream.read(MAX_TOKEN_FILE + 1).decode().strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        members.problem("token_file", f'"{shown(text)}" cannot be read: {reason}')
        return ""
    if not SHORTEST_TOKEN <= len(token) <= MAX_TOKEN_FILE // 2:
        members.problem(
            "token_file",
            f"a token of {len(token)} characters, expected {SHORTEST_TOKEN} at least "
            "(`openssl rand -hex 24` makes a good one)",
        )
    members.report.note_secret(file, f"the dashboard's token {file}")
    return token


def _history(members: Members) -> Path:
    expected = "the path of a file, which is made if it is not there"
    text = members.text("history", expected) if members.has("history") else None
    if text == "":
        members.problem("history", f"empty, expected {expected}")
    return members.report.file.parent / text if text else state_file(HISTORY_NAME)
