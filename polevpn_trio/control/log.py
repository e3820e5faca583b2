"""The program's log: one line per event on stderr, fit for people, journald and programs.

::

    2026-01-31T12:00:00.123 INFO router: kcp 198.51.100.7:50412: logged in [connection=5d1f0c2a]

What a peer sent may end up in a message. Nothing in it can start a new line, move a terminal's
cursor or colour it: such characters are written as escapes.

A line may say more than its message (`ContextLogger`): ``site`` and ``connection`` tie the lines
of one site and of one connection together, ``advice`` says what an operator can do about it.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

PACKAGE = "polevpn_trio"

LEVELS = MappingProxyType(
    {
        "debug": logging.DEBUG,
        "info": logging.INFO,
        "warning": logging.WARNING,
        "error": logging.ERROR,
    }
)
"""The levels that a configuration may name."""

FORMATS = ("text", "json")

CONTEXT = ("site", "connection", "advice")
"""What a line may say beside its message."""

_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""syslog's numbers (RFC 5424 section 6.2.1) for our levels; debug is 7."""

# C0 and C1 controls, line and paragraph separators, marks that reorder or hide text, surrogates.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)


def printable(text: str) -> str:
    """The text as one line that a terminal shows as it is."""
    return _UNPRINTABLE.sub(_escape, text)


def new_connection_id() -> str:
    """A name for a connection that no other one has, in this run or in those before."""
    return secrets.token_hex(4)


class ContextLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines carry a context; more of it may be given with each line.

    ``log.warning("...", advice="...")`` adds to that line alone; `bind` makes a logger that adds
    to all of its lines.
    """

    def __init__(self, logger: logging.Logger, **context: str) -> None:
        super().__init__(logger, None)
        self._context = context

    def bind(self, **context: str) -> ContextLogger:
        """Make a logger whose lines say this as well."""
        return ContextLogger(self.logger, **{**self._context, **context})

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Move what belongs to the context from the arguments into the record."""
        given = {name: kwargs.pop(name) for name in CONTEXT if name in kwargs}
        kwargs["extra"] = {"context": {**self._context, **given}}
        return msg, kwargs


def context_of(record: logging.LogRecord) -> Mapping[str, str]:
    """What a record says beside its message: members of `CONTEXT`, those that are empty left out.

    The text is `printable`.
    """
    context: Mapping[str, str] = getattr(record, "context", {})
    return {name: printable(context[name]) for name in CONTEXT if context.get(name)}


def configure(level: str, format: str = "text") -> None:
    """Send the log to stderr, ours from ``level`` on, that of libraries from warnings on.

    ``format`` is one of `FORMATS`. May be called again to change them. Raises KeyError for a
    level not in LEVELS.
    """
    least = LEVELS[level]
    # Recent events are kept from INFO on, whatever is written.
    logging.getLogger(PACKAGE).setLevel(min(least, logging.INFO))
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _StderrHandler):
            root.removeHandler(handler)
    root.addHandler(_StderrHandler(least, format))


def set_level(level: str) -> None:
    """Change the level that `configure` has set. Raises KeyError for a level not in LEVELS."""
    least = LEVELS[level]
    logging.getLogger(PACKAGE).setLevel(min(least, logging.INFO))
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _StderrHandler):
            handler.least = least


def _for_journal() -> bool:
    """Whether stderr is a stream to journald, which says so (systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


class _TextFormatter(logging.Formatter):
    """A line for people. The journal has the time and the level without us."""

    def __init__(self, *, bare: bool) -> None:
        super().__init__()
        self._bare = bare

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            text = " | ".join([text, *(line.strip() for line in trace.splitlines())])
        line = f"{printable(_source(record))}: {printable(text)}{''.join(_suffix(record))}"
        if self._bare:
            return line
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created))
        return f"{seconds}.{int(record.msecs):03d} {record.levelname} {line}"


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        created = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line = {
            "time": created.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "source": printable(_source(record)),
            "message": printable(record.getMessage()),
            **context_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def _source(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{PACKAGE}.")


def _suffix(record: logging.LogRecord) -> Iterator[str]:
    context = context_of(record)
    if "advice" in context:
        yield f"; what to do: {context['advice']}"
    names = [f"{name}={context[name]}" for name in CONTEXT if name in context and name != "advice"]
    if names:
        yield f" [{' '.join(names)}]"


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]  # not subscriptable in 3.11
    def __init__(self, least: int, format: str) -> None:
        super().__init__(sys.stderr)
        self.least = least
        self._journal = _for_journal()
        self.setFormatter(
            _JsonFormatter() if format == "json" else _TextFormatter(bare=self._journal)
        )

    def filter(self, record: logging.LogRecord) -> bool:
        ours = record.name.partition(".")[0] == PACKAGE
        return record.levelno >= self.least or not ours

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if not self._journal:
            return line
        priority = next((number for least, number in _PRIORITIES if record.levelno >= least), 7)
        return f"<{priority}>{line}"


def _escape(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")
