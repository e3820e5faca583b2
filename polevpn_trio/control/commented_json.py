"""JSON with ``//`` comments, read so that a mistake can be found again in the original text."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from polevpn_trio.control.log import printable
from polevpn_trio.errors import ConfigError

MAX_FILE = 1 << 20
"""Bytes; keeps a wrong path such as a device file from filling the memory."""

_STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\\r\n])*"|//[^\r\n]*')
_BLANKS = " \t\r\n"
_NAMED_WHEN_FOUND = "{}[],:'\"/#*"
"""Only punctuation is quoted in a message: a letter may belong to a secret without quotes."""

_STRING_END = "'\"' at the end of the string, on the same line"
_EXPECTED = {
    "Expecting value": "a value",
    "Expecting property name enclosed in double quotes": "a key in double quotes, or '}'",
    "Expecting ':' delimiter": "':' after the key",
    "Expecting ',' delimiter": "',' or a closing bracket after the value",
    "Invalid control character at": _STRING_END,
    "Unterminated string starting at": _STRING_END,
    "Invalid \\escape": 'one of \\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX after a backslash',
    "Invalid \\escape: ": 'one of \\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX after a backslash',
    "Invalid \\uXXXX escape": "four hexadecimal digits after \\u",
    "Extra data": "nothing after the closing '}'",
}
_LONGEST_NUMBER = 30
"""Digits; a longer one is out of every range, and would only take time to convert."""


class _Members(dict[str, object]):
    """A JSON object that remembers the first key given twice."""

    repeated: str | None = None


def read(path: Path) -> dict[str, object]:
    """The members of the object in a file. Raises ConfigError."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            printable(str(path)), "", f"cannot be read: {reason}, expected a JSON file"
        ) from None
    except ValueError:
        raise ConfigError(
            printable(str(path)), "", "not a file name, expected the path of a JSON file"
        ) from None
    if len(data) > MAX_FILE:
        raise ConfigError(path, "", f"larger than {MAX_FILE} bytes, expected a configuration file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, "", f"line {line}: not UTF-8, expected text in UTF-8") from None
    return parse(path, text)


def parse(file: Path, text: str) -> dict[str, object]:
    """The members of the object that ``text`` holds; ``file`` only serves the messages.

    Raises ConfigError with line and column (both from 1) if it is not such an object.
    """
    plain = _STRING_OR_COMMENT.sub(_blank_out, text)
    if not plain.strip(_BLANKS):
        raise ConfigError(file, "", "the file is empty, expected a JSON object { ... }")
    try:
        value = json.loads(plain, object_pairs_hook=_members, parse_int=_integer, parse_float=_real)
    except json.JSONDecodeError as error:
        raise ConfigError(file, "", _explain(plain, error)) from None
    except RecursionError:
        raise ConfigError(file, "", "nested too deeply, expected a JSON object { ... }") from None
    if not isinstance(value, _Members):
        raise ConfigError(file, "", f"holds {kind(value)}, expected a JSON object {{ ... }}")
    _refuse_repeated(file, value)
    return value


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"


def _blank_out(found: re.Match[str]) -> str:
    # As many blanks as the comment had characters: every position stays what it was.
    return found.group() if found.group().startswith('"') else " " * len(found.group())


def _members(pairs: list[tuple[str, object]]) -> _Members:
    members = _Members()
    for name, value in pairs:
        if name in members and members.repeated is None:
            members.repeated = name
        members[name] = value
    return members


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else math.inf


def _real(digits: str) -> float:
    return float(digits) if len(digits) <= _LONGEST_NUMBER else math.inf


def _explain(text: str, error: json.JSONDecodeError) -> str:
    position = error.pos
    if error.msg.startswith("Expecting"):
        # Python's releases differ in whether they stop before or behind the blanks.
        position += len(text[position:]) - len(text[position:].lstrip(_BLANKS))
    before = text[:position].rstrip(_BLANKS)
    at = text[position : position + 1]
    if at and at in "}]" and before.endswith(","):
        return f"{_place(text, len(before) - 1)}: found ',' before '{at}', expected no comma there"
    if at == "," and "trailing comma" in error.msg:
        # Python 3.13 and later stop at the comma.
        bracket = text[position + 1 :].lstrip(_BLANKS)[:1]
        return f"{_place(text, position)}: found ',' before '{bracket}', expected no comma there"
    expected = _EXPECTED.get(error.msg, error.msg)
    if not at:
        found = "the file ends here, "
    elif at in _NAMED_WHEN_FOUND and expected is not _STRING_END:
        found = f"found {at!r}, "
    else:
        found = ""
    hint = " (comments start with //)" if at == "#" or text.startswith("/", position) else ""
    return f"{_place(text, position)}: {found}expected {expected}{hint}"


def _place(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f"line {line}, column {position - text.rfind(chr(10), 0, position)}"


def _refuse_repeated(file: Path, root: _Members) -> None:
    waiting: list[tuple[str, object]] = [("", root)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, _Members):
            prefix = f"{path}." if path else ""
            if value.repeated is not None:
                key = printable(prefix + value.repeated)
                raise ConfigError(file, key, "given twice, expected each key once")
            waiting.extend((prefix + name, member) for name, member in value.items())
        elif isinstance(value, list):
            waiting.extend((f"{path}[{index}]", entry) for index, entry in enumerate(value))
