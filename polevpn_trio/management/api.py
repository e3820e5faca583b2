"""The requests of the control socket, version 1; docs/API.md describes them. No I/O.

`polevpn_trio.management.writing` writes the answers.

::

    -> {"version": 1, "id": 7, "method": "explain", "params": {"source": ..., "destination": ...}}
    <- {"version": 1, "id": 7, "result": {...}}
    <- {"version": 1, "id": 7, "error": {"code": "bad-params", "message": "..."}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

import attrs

from polevpn_trio.control.log import printable
from polevpn_trio.forwarding.policy.rules import WITH_PORTS, protocol_number

VERSION = 1

LONGEST_REQUEST = 8192
"""Bytes of a line."""

LONGEST_OVER = 60.0
"""Seconds that rates may be measured over."""

MOST_ROUTES = 1000
"""Lines of the route table in one answer."""

MOST_EVENTS = 1000

LONGEST_CONFIRM = 3600.0
"""Seconds that may be asked for to confirm a reload."""

PROTOCOLS = "tcp, udp, icmp, or a number from 0 to 255"

# Codes of errors.
BAD_REQUEST = "bad-request"
BAD_VERSION = "bad-version"
UNKNOWN_METHOD = "unknown-method"
BAD_PARAMS = "bad-params"
BUSY = "busy"
FORBIDDEN = "forbidden"


class ApiError(Exception):
    """A request that cannot be served: ends in the answer to it. ``code`` is for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@attrs.frozen
class Request:
    """What a client wants; ``identifier`` comes back with the answer."""

    method: str
    params: Mapping[str, object] = attrs.field(factory=dict)
    identifier: int | str | None = None

    def to_json(self) -> bytes:
        """Write it as the line that a client sends."""
        body = {
            "version": VERSION,
            "id": self.identifier,
            "method": self.method,
            "params": dict(self.params),
        }
        return json.dumps(body).encode() + b"\n"


def parse_request_untrusted(line: bytes) -> Request:
    """Read a line. Raises ApiError."""
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        raise ApiError(BAD_REQUEST, "not a line of JSON, expected an object") from None
    if not isinstance(body, dict):
        raise ApiError(BAD_REQUEST, "expected an object with version, method, and params")
    if body.get("version") != VERSION:
        raise ApiError(BAD_VERSION, f"this program speaks version {VERSION} of the API")
    method, params, identifier = body.get("method"), body.get("params", {}), body.get("id")
    if not isinstance(method, str):
        raise ApiError(BAD_REQUEST, "expected method to be a string")
    if not isinstance(params, dict):
        raise ApiError(BAD_REQUEST, "expected params to be an object")
    if isinstance(identifier, bool) or not isinstance(identifier, int | str | None):
        raise ApiError(BAD_REQUEST, "expected id to be a number or a string")
    return Request(method, params, identifier)


class Params:
    """The parameters of one request, taken out by type. Raises ApiError."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = dict(values)

    def whole(self, name: str, default: int, most: int) -> int:
        """A whole number from 0 on; more than ``most`` counts as that."""
        value = self._values.pop(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ApiError(BAD_PARAMS, f"{name}: expected a whole number from 0 on")
        return min(value, most)

    def seconds(self, name: str, default: float, most: float) -> float:
        """A number from 0 to ``most``."""
        value = self._values.pop(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise ApiError(BAD_PARAMS, f"{name}: expected a number from 0 to {most:g}")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false, which is what is not there."""
        value = self._values.pop(name, False)
        if not isinstance(value, bool):
            raise ApiError(BAD_PARAMS, f"{name}: expected true or false")
        return value

    def address(self, name: str) -> IPv4Address | IPv6Address:
        """An IP address, which must be there."""
        value = self._values.pop(name, None)
        try:
            if isinstance(value, str) and "%" not in value:
                return ip_address(value)
        except ValueError:
            pass
        raise ApiError(BAD_PARAMS, f"{name}: expected an IP address")

    def traffic(self, version: int) -> tuple[int | None, int | None]:
        """``protocol`` (of IP ``version``, by name or number) and ``port``; None if not given."""
        given, port = self._values.pop("protocol", None), self._values.pop("port", None)
        protocol = None
        if given is not None:
            if isinstance(given, str | int) and not isinstance(given, bool):
                protocol = protocol_number(str(given), version)
            if protocol is None:
                raise ApiError(BAD_PARAMS, f"protocol: expected {PROTOCOLS}")
        if port is None:
            return protocol, None
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
            raise ApiError(BAD_PARAMS, "port: expected a number from 0 to 65535")
        if protocol not in WITH_PORTS:
            raise ApiError(BAD_PARAMS, "port: expected a protocol that has ports, such as tcp")
        return protocol, port

    def finish(self) -> None:
        """Refuse what nobody took: a misspelt name would silently do nothing."""
        if self._values:
            names = ", ".join(sorted(map(printable, self._values)))[:200]
            raise ApiError(BAD_PARAMS, f"unknown parameter: {names}")


@attrs.frozen
class Question:
    """What `explain` is asked: a packet, and the flow that it opens as far as that is said."""

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    protocol: int | None
    port: int | None


def parse_question_untrusted(params: Params) -> Question:
    """Read the parameters of `explain`, and no others. Raises ApiError."""
    source, destination = params.address("source"), params.address("destination")
    if source.version != destination.version:
        raise ApiError(BAD_PARAMS, "source and destination: expected the same IP version")
    protocol, port = params.traffic(source.version)
    params.finish()
    return Question(source, destination, protocol, port)
