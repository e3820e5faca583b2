"""The ``limits`` section of a router's file: how much strangers, and sites, may ask of it."""

from __future__ import annotations

import attrs

from polevpn_trio.control.members import Members
from polevpn_trio.frames.messages import MAX_BODY


@attrs.frozen
class Limits:
    """A thousand gateways behind one address that come back at once keep to the defaults."""

    unauthenticated: int = 512
    """Connections that are not logged in; each costs memory and a handshake."""
    connections_per_source: int = 4096
    """Of one source address, logged in or not."""
    handshakes_per_second: int = 200
    handshake_burst: int = 2000
    """Handshakes at once after a time without any, of all together."""
    source_handshakes_per_second: int = 20
    source_handshake_burst: int = 1000
    """As above, of one source address."""
    registered: int = 4096
    """Addresses and networks that one connection may register."""
    registration_bytes: int = MAX_BODY
    """Bytes of one registration."""


DEFAULT_LIMITS = Limits()

_BOUNDS = {
    "unauthenticated": (8, 65_536, "connections"),
    "connections_per_source": (1, 65_536, "connections"),
    "handshakes_per_second": (1, 100_000, "handshakes"),
    "handshake_burst": (1, 100_000, "handshakes"),
    "source_handshakes_per_second": (1, 100_000, "handshakes"),
    "source_handshake_burst": (1, 100_000, "handshakes"),
    "registered": (1, 1_000_000, "addresses and networks"),
    "registration_bytes": (256, MAX_BODY, "bytes"),
}
KEYS = tuple(_BOUNDS)


def read_limits(top: Members) -> Limits:
    """Read the section from the members of a file; mistakes are reported there."""
    members = top.section("limits", KEYS) if top.has("limits") else None
    if members is None:
        return DEFAULT_LIMITS
    usual = attrs.asdict(DEFAULT_LIMITS)
    return Limits(
        **{
            name: members.whole(name, usual[name], low, high, unit)
            for name, (low, high, unit) in _BOUNDS.items()
        }
    )
