"""The recent events of a program: its log from INFO on, kept in memory for who asks later.

What is an event is decided where it is logged, so that log and events never disagree.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

import attrs

from polevpn_trio.control.log import PACKAGE, context_of, printable

KEPT_EVENTS = 1000
"""A stormy night; some 400 bytes each."""

LONGEST_MESSAGE = 1000
"""Characters of a message that are kept: internal errors may quote much."""


@attrs.frozen
class Event:
    """Something that happened. ``number`` counts from 1, ``time`` is in seconds since 1970.

    ``site``, ``connection`` and ``advice`` are "" where there is none.
    """

    number: int
    time: float
    level: str
    source: str
    message: str
    site: str = ""
    connection: str = ""
    advice: str = ""


class EventLog:
    """The last events, in order."""

    def __init__(self, kept: int = KEPT_EVENTS) -> None:
        self._events: deque[Event] = deque(maxlen=kept)
        self._last = 0
        self._followers: dict[Callable[[], None], None] = {}

    @property
    def last(self) -> int:
        """Number of the newest event, 0 before the first."""
        return self._last

    def add(self, record: logging.LogRecord) -> None:
        """Keep a record of the log, and tell those who follow."""
        self._last += 1
        self._events.append(
            Event(
                number=self._last,
                time=record.created,
                level=record.levelname.lower(),
                source=printable(record.name.removeprefix(f"{PACKAGE}.")),
                message=printable(record.getMessage())[:LONGEST_MESSAGE],
                **context_of(record),
            )
        )
        for follower in list(self._followers):
            follower()

    def after(self, number: int, most: int) -> list[Event]:
        """Return events newer than the one with this number, the oldest ``most`` of them."""
        skipped = max(0, number - (self._last - len(self._events)))
        return list(islice(self._events, skipped, skipped + most))

    @contextmanager
    def followed(self, follower: Callable[[], None]) -> Iterator[None]:
        """Have ``follower`` called after each event, from whatever thread logs it.

        It must neither log nor wait.
        """
        self._followers[follower] = None
        try:
            yield
        finally:
            del self._followers[follower]


class _Handler(logging.Handler):
    def __init__(self, events: EventLog) -> None:
        super().__init__(logging.INFO)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._events.add(record)
        except Exception:
            self.handleError(record)


@contextmanager
def recording_events() -> Iterator[EventLog]:
    """Keep what this program logs, as long as the block lasts."""
    events = EventLog()
    handler = _Handler(events)
    logger = logging.getLogger(PACKAGE)
    logger.addHandler(handler)
    try:
        yield events
    finally:
        logger.removeHandler(handler)
