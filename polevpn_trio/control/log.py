"""The program's log: one line per event on stderr, fit for people, journald and grep alike.

::

    2026-01-31T12:00:00.123 INFO router: gateway 10.8.0.2 registered

What a peer sent may end up in a message. Nothing in it can start a new line, move a terminal's
cursor or colour it: such characters are written as escapes.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from types import MappingProxyType

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

# C0 and C1 controls, line and paragraph separators, marks that reorder or hide text, surrogates.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)


def printable(text: str) -> str:
    """The text as one line that a terminal shows as it is."""
    return _UNPRINTABLE.sub(_escape, text)


def configure(level: str) -> None:
    """Send the log to stderr, ours from ``level`` on, that of libraries from warnings on.

    May be called again to change the level. Raises KeyError for a level not in LEVELS.
    """
    logging.getLogger(PACKAGE).setLevel(LEVELS[level])
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _StderrHandler):
            root.removeHandler(handler)
    root.addHandler(_StderrHandler())


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created))
        text = record.getMessage()
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            text = " | ".join([text, *(line.strip() for line in trace.splitlines())])
        source = record.name.removeprefix(f"{PACKAGE}.")
        return (
            f"{seconds}.{int(record.msecs):03d} {record.levelname} "
            f"{printable(source)}: {printable(text)}"
        )


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]  # not subscriptable in 3.11
    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(_LineFormatter())


def _escape(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")
