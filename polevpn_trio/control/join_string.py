"""The join string of a site: all that its gateway has to know, in one line to be pasted.

::

    polevpn://v1/BODY

    BODY      base64url (RFC 4648, section 5) without padding of CHECKSUM and PACKED
    CHECKSUM  CRC-32 of PACKED, 4 bytes, most significant first: finds errors of copying
    PACKED    raw deflate (RFC 1951), primed with `_DICTIONARY`, of a JSON object

The object is a part of a gateway's configuration: `MEMBERS` and nothing else, so that a string
from somebody else cannot make the gateway read or write files. The router is always pinned in it.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from pathlib import Path

from polevpn_trio.control.commented_json import parse
from polevpn_trio.control.config import parse_gateway
from polevpn_trio.control.router_trust import Pinned
from polevpn_trio.errors import ConfigError

PREFIX = "polevpn://"
VERSION = "v1"

MEMBERS = (
    "route_server",
    "verify_router",
    "name",
    "key",
    "gateway",
    "gateway6",
    "local_networks",
    "route_networks",
)

MAX_STRING = 1 << 16
"""Characters; a site with a thousand networks takes fewer."""

MAX_OBJECT = 1 << 20
"""Bytes of the JSON: deflate could make a thousand times the string of it."""

_WHAT = "join string"
_DICTIONARY = (
    b'"gateway6":"fd08::","wss://","0.0.0.0/0","::/64","172.16.0.0/12","10.0.0.0/8"'
    b'{"route_server":["kcp://203.0.113.5:443","tls://203.0.113.5:443"],'
    b'"verify_router":"sha256:","name":"","key":"","gateway":"10.8.0.",'
    b'"local_networks":["192.168.0.0/24"],"route_networks":["192.168.1.0/24","10.8.0.0/24"]}'
)
"""Part of the format: with another one, strings that were made before cannot be read."""
_CHECKSUM_BYTES = 4
_RAW_DEFLATE = -15


def write_join_string(values: Mapping[str, object]) -> str:
    """Write these members of a gateway's configuration. Raises ConfigError if it is none."""
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    _check(text)
    deflate = zlib.compressobj(9, zlib.DEFLATED, _RAW_DEFLATE, zdict=_DICTIONARY)
    packed = deflate.compress(text.encode()) + deflate.flush()
    return f"{PREFIX}{VERSION}/{_encode(_checksum(packed) + packed)}"


def read_join_string(text: str) -> dict[str, object]:
    """Read the members of a gateway's configuration: a complete and good one.

    Blanks and line breaks, as mail programs put in, do not matter. Raises ConfigError, which
    quotes nothing of the string: there is a key in it.
    """
    joined = "".join(text.split())
    if not joined:
        raise _error("empty, expected what `keys site` prints")
    if len(joined) > MAX_STRING:
        raise _error(f"longer than {MAX_STRING} characters, expected what `keys site` prints")
    if not joined.startswith(PREFIX):
        raise _error(f"does not start with {PREFIX}, expected all that `keys site` prints")
    version, _, body = joined.removeprefix(PREFIX).partition("/")
    if version != VERSION and version.startswith("v") and version[1:].isdecimal():
        raise _error(
            f"of another release of this program, expected {PREFIX}{VERSION}/... "
            "(install the same release here and on the router)"
        )
    plain = _unpack(body) if version == VERSION else None
    if plain is None:
        raise _error("damaged or incomplete, expected all that `keys site` prints")
    return _check(plain)


def _check(text: str) -> dict[str, object]:
    values = parse(Path(_WHAT), text)
    for name in values:
        if name not in MEMBERS:
            raise _error("holds more than this release knows, expected one of the same release")
    config = parse_gateway(Path(_WHAT), text)
    for name, given in (
        ("name", bool(config.name)),
        ("key", bool(config.key)),
        ("verify_router", isinstance(config.router_trust, Pinned)),
    ):
        if not given:
            raise ConfigError(_WHAT, name, "missing, expected what `keys site` prints")
    return values


def _unpack(body: str) -> str | None:
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    checksum, packed = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    # The last character may have bits that belong to no byte, and no checksum sees.
    if checksum != _checksum(packed) or _encode(data) != body:
        return None
    inflate = zlib.decompressobj(_RAW_DEFLATE, zdict=_DICTIONARY)
    try:
        plain = inflate.decompress(packed, MAX_OBJECT)
        return plain.decode() if inflate.eof and not inflate.unused_data else None
    except (zlib.error, UnicodeDecodeError):
        return None


def _checksum(packed: bytes) -> bytes:
    return zlib.crc32(packed).to_bytes(_CHECKSUM_BYTES)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _error(problem: str) -> ConfigError:
    return ConfigError(_WHAT, "", problem)
