"""The JSON bodies of the AUTH and REGISTER frames, asked and answered.

The dialect is the classic one: members in alphabetical order without blanks, and the characters
that Go's encoder escapes (``<``, ``>``, ``&``, U+2028, U+2029) escaped likewise, so that what
we write cannot be told from the originals. Reading is as lenient as theirs: the first JSON value
counts, whatever follows it and whatever we do not know is ignored, a member of the wrong type
counts as absent.

What is ours travels in members that the originals ignore: ``native`` (which of our own features
a peer offers, and the proof of its key), ``gateway6`` (an IPv6 address beside the IPv4 one) and
``takes_over`` (a new connection of a gateway that is still connected).
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NoReturn

import attrs

from polevpn_trio.errors import BadPacket

Network = IPv4Network | IPv6Network

MAX_BODY = 65535 - 8
"""Bytes of JSON that fit into one frame behind its header."""

MAX_FEATURES = 64
"""Features read from one offer; the rest is ignored, since nobody has that many."""

MAX_FEATURE_LENGTH = 64
"""Longest name of a feature in characters; a longer one is none of ours."""

MAX_PROOF_LENGTH = 128
"""Longest proof in characters; a longer one is none of ours."""

_MAX_INTEGER_DIGITS = 15
"""Longer integers are no number that any member of ours may hold, and cost time to convert."""

_GO_ESCAPES = str.maketrans(
    {character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_PREFIX_LENGTH = re.compile(r"[0-9]{1,3}", re.ASCII)


def _sorted_once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


@attrs.frozen(slots=True)
class NativeOffer:
    """What one of ours can do beyond the classic dialect: a version and sorted feature names.

    At login it also says which site a gateway is (``name``, "" for one with the shared key), and
    holds each side's ``proof`` that it knows the key; b"" if there is none.
    """

    version: int = 1
    features: tuple[str, ...] = attrs.field(default=(), converter=_sorted_once)
    name: str = ""
    proof: bytes = attrs.field(default=b"", repr=False)


@attrs.frozen(slots=True)
class AuthRequest:
    """The first frame of a connection.

    ``key`` is "" if the peer sent none that is a string; who proves that it knows the key does
    not send it.
    """

    key: str = attrs.field(repr=False)
    native: NativeOffer | None = None

    def to_json(self) -> bytes:
        return _encode({"key": self.key, **_native_member(self.native)})

    @classmethod
    def from_json_untrusted(cls, body: bytes) -> AuthRequest:
        """Read a request; raises BadPacket if the body is not JSON."""
        members = _decode_untrusted(body)
        return cls(key=_text(members, "key"), native=_native_untrusted(members))


@attrs.frozen(slots=True)
class AuthAnswer:
    """Accepted if ``error`` is "", else refused for the reason in it."""

    error: str = ""
    native: NativeOffer | None = None

    def to_json(self) -> bytes:
        return _encode({**_error_member(self.error), **_native_member(self.native)})

    @classmethod
    def from_json_untrusted(cls, body: bytes) -> AuthAnswer:
        """Read an answer; raises BadPacket if the body is not JSON."""
        members = _decode_untrusted(body)
        return cls(error=_text(members, "error"), native=_native_untrusted(members))


@attrs.frozen(slots=True)
class RegisterRequest:
    """A gateway's addresses and the networks behind it.

    The originals keep any string as an address or network, and one that cannot be read never
    matches a packet. Here such strings are left out and counted in ``unusable``. With
    ``takes_over`` no packet may be lost on the connection that was registered before.
    """

    gateway: IPv4Address | None
    key: str = attrs.field(repr=False)
    networks: tuple[Network, ...] = ()
    gateway6: IPv6Address | None = None
    unusable: int = 0
    takes_over: bool = False

    def to_json(self) -> bytes:
        members: dict[str, object] = {
            "gateway": str(self.gateway) if self.gateway else "",
            "key": self.key,
            "network": [str(network) for network in self.networks],
        }
        if self.gateway6 is not None:
            members["gateway6"] = str(self.gateway6)
        if self.takes_over:
            members["takes_over"] = True
        return _encode(members)

    @classmethod
    def from_json_untrusted(cls, body: bytes) -> RegisterRequest:
        """Read a request; raises BadPacket if the body is not JSON."""
        members = _decode_untrusted(body)
        unusable = 0
        gateway: IPv4Address | None = None
        gateway6: IPv6Address | None = None
        if text := _text(members, "gateway"):
            try:
                gateway = IPv4Address(text)
            except ValueError:
                unusable += 1
        if text := _text(members, "gateway6"):
            try:
                gateway6 = IPv6Address(text)
            except ValueError:
                unusable += 1
        listed = members.get("network")
        networks: dict[Network, None] = {}
        for entry in listed if isinstance(listed, list) else [listed]:
            if not isinstance(entry, str) or not entry:
                continue
            network = _network_untrusted(entry)
            if network is None:
                unusable += 1
            else:
                networks[network] = None
        return cls(
            gateway,
            _text(members, "key"),
            tuple(networks),
            gateway6,
            unusable,
            members.get("takes_over") is True,
        )


@attrs.frozen(slots=True)
class RegisterAnswer:
    """Registered if ``error`` is "", else the reason why not."""

    error: str = ""

    def to_json(self) -> bytes:
        return _encode(_error_member(self.error))

    @classmethod
    def from_json_untrusted(cls, body: bytes) -> RegisterAnswer:
        """Read an answer; raises BadPacket if the body is not JSON."""
        return cls(error=_text(_decode_untrusted(body), "error"))


def _encode(members: dict[str, object]) -> bytes:
    text = json.dumps(members, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    # All characters of the table can only occur inside strings, where the escape means the same.
    return _LONE_SURROGATE.sub(r"\\ufffd", text.translate(_GO_ESCAPES)).encode()


def _error_member(error: str) -> dict[str, object]:
    return {"error": error} if error else {}


def _native_member(offer: NativeOffer | None) -> dict[str, object]:
    if offer is None:
        return {}
    members: dict[str, object] = {"version": offer.version, "features": list(offer.features)}
    if offer.name:
        members["name"] = offer.name
    if offer.proof:
        members["proof"] = base64.b64encode(offer.proof).decode()
    return {"native": members}


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_INTEGER_DIGITS else math.inf


def _real(digits: str) -> float:
    return float(digits) if len(digits) <= 2 * _MAX_INTEGER_DIGITS else math.inf


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_real, parse_constant=_no_constant)


def _decode_untrusted(body: bytes) -> dict[str, object]:
    """Members of the first JSON value in ``body``; none if that is not an object."""
    # Go replaces broken UTF-8 inside strings; outside of them the replacement is a syntax error.
    text = bytes(body).decode("utf-8", "replace").lstrip(" \t\r\n")
    try:
        value, _ = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        # Only the complaint and its place: the text itself may hold the key.
        raise BadPacket(f"body is not JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError):
        raise BadPacket("body is not JSON, or nested too deeply") from None
    return value if isinstance(value, dict) else {}


def _text(members: dict[str, object], name: str) -> str:
    """A string member, "" if there is none; always fit to be encoded again."""
    value = members.get(name)
    return _LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) else ""


def _native_untrusted(members: dict[str, object]) -> NativeOffer | None:
    native = members.get("native")
    if not isinstance(native, dict):
        return None
    version = native.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        return None
    features = native.get("features")
    names = [
        name
        for name in (features[:MAX_FEATURES] if isinstance(features, list) else [])
        if isinstance(name, str) and name.isascii() and 0 < len(name) <= MAX_FEATURE_LENGTH
    ]
    return NativeOffer(version, tuple(names), _text(native, "name"), _proof_untrusted(native))


def _proof_untrusted(native: dict[str, object]) -> bytes:
    text = _text(native, "proof")
    if len(text) > MAX_PROOF_LENGTH:
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _network_untrusted(text: str) -> Network | None:
    """A CIDR network with host bits ignored, or None.

    The same strings are good as for Go's ParseCIDR: no netmasks, no zones, no bare addresses.
    """
    address, _, length = text.partition("/")
    if not _PREFIX_LENGTH.fullmatch(length) or "%" in address:
        return None
    try:
        if ":" in address:
            return IPv6Network((address, int(length)), strict=False)
        return IPv4Network((address, int(length)), strict=False)
    except ValueError:
        return None
