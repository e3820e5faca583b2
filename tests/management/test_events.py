"""Recent events: what the log says, kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from polevpn_trio.control.log import ContextLogger
from polevpn_trio.management.events import Event, EventLog, recording_events

log = ContextLogger(logging.getLogger("polevpn_trio.router"))


@pytest.fixture(autouse=True)
def _all_levels() -> Iterator[None]:
    package = logging.getLogger("polevpn_trio")
    level = package.level
    package.setLevel(logging.DEBUG)
    yield
    package.setLevel(level)


def test_what_is_logged_while_recording_is_an_event_with_its_context() -> None:
    with recording_events() as events:
        its = log.bind(connection="1f", site="berlin")
        its.warning("ended: %s", "silence", advice="look at it")
        log.debug("not worth it")
    log.info("too late")
    [event] = events.after(0, 10)
    assert event == Event(
        1, event.time, "warning", "router", "ended: silence", "berlin", "1f", "look at it"
    )


def test_only_the_last_events_are_kept_and_their_numbers_go_on() -> None:
    events = EventLog(kept=3)
    for number in range(5):
        events.add(logging.makeLogRecord({"name": "polevpn_trio.x", "msg": str(number)}))
    assert events.last == 5
    assert [event.number for event in events.after(0, 10)] == [3, 4, 5]
    assert [event.message for event in events.after(3, 1)] == ["3"]
    assert events.after(5, 10) == []
    assert events.after(99, 10) == []


def test_followers_hear_of_each_event_until_they_leave() -> None:
    heard = []
    with recording_events() as events:
        with events.followed(lambda: heard.append(events.last)):
            log.info("one")
            log.info("two")
        log.info("three")
    assert heard == [1, 2]


def test_a_peer_cannot_drive_the_terminal_or_fill_the_memory() -> None:
    with recording_events() as events:
        log.info("peer says %s", "\x1b[2J" + "x" * 100_000, advice="\n")
    [event] = events.after(0, 10)
    assert event.message.startswith("peer says \\x1b[2Jxxx")
    assert len(event.message) == 1000
    assert event.advice == "\\n"
