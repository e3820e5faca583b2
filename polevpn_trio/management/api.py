"""The requests and answers of the control socket, version 1; docs/API.md describes them. No I/O.

::

    -> {"version": 1, "id": 7, "method": "explain", "params": {"source": ..., "destination": ...}}
    <- {"version": 1, "id": 7, "result": {...}}
    <- {"version": 1, "id": 7, "error": {"code": "bad-params", "message": "..."}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import attrs

from polevpn_trio.control.log import printable
from polevpn_trio.forwarding.policy.rules import WITH_PORTS, protocol_number
from polevpn_trio.nursery_tree import NodeSnapshot

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


def answer_pieces(request: Request | None, result: object) -> Iterator[str]:
    """Write an answer bit by bit: between two pieces there is time for others."""
    yield f'{{"version":{VERSION},"id":{json.dumps(request.identifier if request else None)},'
    yield '"result":'
    yield from pieces(result)
    yield "}\n"


def error_line(request: Request | None, error: ApiError) -> str:
    """Write the answer to a request that could not be served."""
    body = {
        "version": VERSION,
        "id": request.identifier if request else None,
        "error": {"code": error.code, "message": printable(str(error))},
    }
    return json.dumps(body) + "\n"


def pieces(value: object) -> Iterator[str]:
    """Write a value as JSON, in pieces of no great length."""
    if isinstance(value, NodeSnapshot):
        yield from _tree_pieces(value)
    elif isinstance(value, tuple | list):
        yield "["
        for index, item in enumerate(value):
            if index:
                yield ","
            yield from pieces(item)
        yield "]"
    elif any(isinstance(member, tuple) for member in _members(value).values()):
        yield "{"
        for index, (name, member) in enumerate(_members(value).items()):
            yield f'{"," if index else ""}"{name}":'
            yield from pieces(member)
        yield "}"
    else:
        yield json.dumps(jsonable(value), separators=(",", ":"))


def _tree_pieces(node: NodeSnapshot) -> Iterator[str]:
    statistics = jsonable(node.statistics()) if node.statistics is not None else None
    head = {"name": node.name, "age": node.age, "statistics": statistics}
    yield json.dumps(head, separators=(",", ":"))[:-1]
    yield ',"children":'
    yield from pieces(node.children)
    yield "}"


def jsonable(value: object) -> Any:
    """What JSON can say of a value: an object's fields, and else its text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    members = _members(value)
    if members:
        return {name: jsonable(member) for name, member in members.items()}
    if isinstance(value, Mapping):
        return {str(name): jsonable(item) for name, item in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [jsonable(item) for item in value]
    return str(value)


def _members(value: object) -> dict[str, object]:
    """The fields of an attrs object, none of any other."""
    kind = type(value)
    if not attrs.has(kind):
        return {}
    return {field.name: getattr(value, field.name) for field in attrs.fields(kind)}
