"""Heads of HTTP/1.x requests, found in a byte stream and judged (RFC 9112, RFC 9110); sans-IO.

The strict reading throughout: who sends what two servers might understand differently is told
so (400) and not guessed at. Bodies are not read; whether one follows is all that is said of it.
"""

from __future__ import annotations

import re

import attrs

from polevpn_trio.errors import BadPacket

MAX_LINE = 8192
"""Bytes of the request line, its end included."""
MAX_HEAD = 16_384
"""Bytes of a whole head; what browsers send with all their cookies is less."""
MAX_FIELDS = 100
MAX_EMPTY_LINES = 2
"""Forgiven in front of a request (RFC 9112 section 2.2)."""

# RFC 9110 section 5.6.2 and 5.5, RFC 9112 section 2.3 and 3.2.
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")
_ABSOLUTE = re.compile(r"https?://[^/?#]+", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]+", re.ASCII)


class BadRequest(BadPacket):
    """The peer's request is refused with ``status``, an HTTP status code."""

    def __init__(self, status: int, complaint: str) -> None:
        super().__init__(f"HTTP request refused ({status}): {complaint}")
        self.status = status


@attrs.frozen
class HttpRequest:
    """A head. Names of fields are in lower case; values of one name are joined by commas."""

    method: str
    target: str
    minor: int
    """0 for HTTP/1.0, 1 for HTTP/1.1 and whatever compatible follows it."""
    fields: dict[str, str] = attrs.field(repr=False)

    @property
    def path(self) -> str:
        """The target without its query, and without scheme and host if it has those."""
        target = self.target
        if found := _ABSOLUTE.match(target):
            target = target[found.end() :]
            target = target if target.startswith("/") else f"/{target}"
        return target.partition("?")[0]

    def tokens(self, name: str) -> frozenset[str]:
        """The elements of a field that is a list, in lower case."""
        elements = self.fields.get(name, "").split(",")
        return frozenset(element.strip(" \t").lower() for element in elements) - {""}

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head."""
        return "transfer-encoding" in self.fields or self.fields.get("content-length", "0") != "0"

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow this one, which has no body."""
        return self.minor > 0 and not self.has_body and "close" not in self.tokens("connection")


class RequestReader:
    """Reads the heads that one client sends."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._searched = 0
        self._empty_lines = 0

    @property
    def rest(self) -> bytes:
        """What was received and belongs to no head returned so far."""
        return bytes(self._waiting)

    def receive_data_untrusted(self, data: bytes | bytearray | memoryview) -> HttpRequest | None:
        """Take the next bytes; return a request whose head is complete, None if there is none.

        Further ones that came with it are returned by the next calls; these may give ``b""``.
        Raises BadRequest if no request can be made of it; nothing can be read after that.
        """
        waiting = self._waiting
        waiting += data
        while self._empty_lines < MAX_EMPTY_LINES and waiting.startswith((b"\r\n", b"\n")):
            del waiting[: waiting.index(b"\n") + 1]
            self._empty_lines += 1
        end = self._find_end()
        self._check(len(waiting) if end < 0 else end)
        if end < 0:
            return None
        head = bytes(waiting[:end])
        del waiting[:end]
        self._searched = 0
        self._empty_lines = 0
        return _parse(head)

    def _find_end(self) -> int:
        """Return where the head ends, behind its empty line; -1 if it does not."""
        waiting = self._waiting
        # Only what is new, and the end of a line before it, so that a head that comes byte by
        # byte is not searched over and over.
        line = waiting.find(b"\n", self._searched)
        while line >= 0:
            if waiting[line + 1 : line + 2] == b"\n":
                return line + 2
            if waiting[line + 1 : line + 3] == b"\r\n":
                return line + 3
            if len(waiting) < line + 3:
                break
            line = waiting.find(b"\n", line + 1)
        self._searched = len(waiting) if line < 0 else line
        return -1

    def _check(self, size: int) -> None:
        """Refuse what cannot become a request any more, going by its first ``size`` bytes."""
        waiting = self._waiting
        # A client that speaks something else may wait for us to say so. Half an empty line may
        # still become a whole one.
        if waiting and not _TOKEN.match(waiting) and waiting != b"\r":
            raise BadRequest(400, "it does not begin with a method")
        if size > MAX_LINE and waiting.find(b"\n", 0, MAX_LINE) < 0:
            raise BadRequest(414, "its first line is too long")
        if size > MAX_HEAD:
            raise BadRequest(431, "its head is too long")


def _parse(head: bytes) -> HttpRequest:
    first, *lines = [line.removesuffix(b"\r") for line in head.split(b"\n")[:-2]]
    method, target, minor = _parse_first_line(first)
    if len(lines) > MAX_FIELDS:
        raise BadRequest(431, "it has too many fields")
    fields: dict[str, str] = {}
    hosts = 0
    for line in lines:
        name, value = _parse_field(line)
        hosts += name == "host"
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    if hosts > 1 or (hosts == 0 and minor > 0):
        raise BadRequest(400, f"it names {hosts or 'no'} hosts")
    _check_body(fields, minor)
    return HttpRequest(method, target, minor, fields)


def _parse_first_line(line: bytes) -> tuple[str, str, int]:
    parts = line.split(b" ")
    if len(parts) != 3:
        raise BadRequest(400, "its first line has not three parts")
    method, target, version = parts
    found = _VERSION.fullmatch(version)
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target) or found is None:
        raise BadRequest(400, "its first line is malformed")
    if found.group(1) != b"1":
        raise BadRequest(505, "it is of another version of HTTP")
    text = target.decode("ascii")
    if not text.startswith("/") and not _ABSOLUTE.match(text):
        allowed = {b"OPTIONS": text == "*", b"CONNECT": True}
        if not allowed.get(method, False):
            raise BadRequest(400, "its target is malformed")
    return method.decode("ascii"), text, min(int(found.group(2)), 1)


def _parse_field(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    # Also refuses lines folded, and blanks before the colon (RFC 9112 section 5).
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise BadRequest(400, "one of its fields is malformed")
    return name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")


def _check_body(fields: dict[str, str], minor: int) -> None:
    """Refuse what tells the length of a body in more ways than one (RFC 9112 section 6)."""
    length = fields.get("content-length")
    if length is not None and not _DIGITS.fullmatch(length):
        raise BadRequest(400, "its length is malformed")
    if "transfer-encoding" in fields and (length is not None or minor == 0):
        raise BadRequest(400, "the length of its body is ambiguous")
