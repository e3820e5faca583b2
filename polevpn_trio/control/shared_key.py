"""The ``key`` of both roles' files: what is taken for one, and several while one is replaced."""

from __future__ import annotations

from polevpn_trio.control.members import Members

MAX_KEY = 4096
"""Bytes of the shared key; the AUTH frame has to hold it."""

MAX_KEYS = 8
"""Shared keys of a router at a time: each takes a moment to derive, and to compare."""

SHORT_KEY = 8
"""Characters below which a key is called easy to guess."""

EXAMPLE_KEY = "replace-this-by-a-long-secret"
"""The key of the files in conf/, known to everybody."""


def read_router_keys(top: Members, *, sites_known: bool) -> tuple[str, tuple[str, ...]]:
    """Read the shared key of a router, and the others that it takes as well.

    Of "" and () if no such key lets anybody in.
    """
    admits = top.flag("admit_shared_key", not sites_known)
    if not admits and not sites_known:
        top.problem("admit_shared_key", "false, expected true, or gateways that are known")
    if not admits and not top.has("key"):
        # Sites in files of their own leave nothing secret here, but perhaps the way in.
        tls = top.value("tls")
        if top.has("gateways") or (isinstance(tls, dict) and "websocket_path" in tls):
            top.report.note_secret(top.report.file, "this file")
        return "", ()
    if not isinstance(top.value("key"), list):
        key = read_key(top)
        return (key, ()) if admits else ("", ())
    expected = "the shared key as a string, or a list of them"
    given = top.texts("key", expected, one_or_more=True)
    if len(given) > MAX_KEYS:
        top.problem("key", f"{len(given)} keys, expected at most {MAX_KEYS}")
    keys = [_checked_key(top, path, text) for path, text in given[:MAX_KEYS]]
    top.report.note_secret(top.report.file, "this file holds the key and")
    return (keys[0], tuple(keys[1:])) if admits and keys else ("", ())


def read_key(top: Members) -> str:
    """Read the key of a file that has to have one; "" if it cannot be used."""
    if not top.required("key", "the shared key as a string"):
        return ""
    key = top.text("key", "the shared key as a string")
    if key is None:
        return ""
    key = _checked_key(top, "key", key)
    if key:
        top.report.note_secret(top.report.file, "this file holds the key and")
    return key


def _checked_key(top: Members, name: str, key: str) -> str:
    """The key if it can be used, else ""."""
    if not key:
        top.problem(name, "empty, expected a shared key (an empty one would let everybody in)")
        return ""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        top.problem(name, "holds half of a surrogate pair, expected Unicode characters")
        return ""
    if size > MAX_KEY:
        top.problem(name, f"{size} bytes long, expected at most {MAX_KEY}")
    elif len(key) < SHORT_KEY:
        top.warn(name, f"shorter than {SHORT_KEY} characters, which is easy to guess")
    elif key == EXAMPLE_KEY:
        top.warn(name, "still the one of the example file, which everybody knows")
    return key
