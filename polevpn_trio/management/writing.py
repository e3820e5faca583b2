"""The answers of the control socket as JSON, version 1; docs/API.md describes them. No I/O."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from polevpn_trio.control.log import printable
from polevpn_trio.management.api import VERSION, ApiError, Request
from polevpn_trio.nursery_tree import NodeSnapshot


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
