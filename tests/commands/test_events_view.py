"""What a person sees of events."""

from __future__ import annotations

import time

import pytest

from polevpn_trio.commands.events_view import event_line, event_summary, render_event
from tests.commands.looks import drawn

EVENT = {
    "number": 7,
    "time": 1_800_000_000.5,
    "level": "warning",
    "source": "router",
    "message": "kcp 198.51.100.7:50412: ended: silence",
    "site": "berlin",
    "connection": "5d1f0c2a",
    "advice": "see whether it runs",
}


@pytest.fixture(autouse=True)
def _at_greenwich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_what_to_do_stands_below_the_event() -> None:
    assert drawn(render_event(EVENT, 100), 100) == [
        "Fri 08:00:00 berlin       ▲ kcp 198.51.100.7:50412: ended: silence  5d1f0c2a",
        "                          → see whether it runs",
    ]


def test_a_long_message_stays_in_its_column_and_a_narrow_terminal_has_it_below() -> None:
    long = EVENT | {"message": "word " * 12}
    lines = drawn(render_event(long, 70), 70)
    assert len(lines) > 2
    assert all(line.startswith(" " * 26) for line in lines[1:])
    assert drawn(render_event(EVENT, 50), 50) == [
        "Fri 08:00:00 berlin",
        "  ▲ kcp 198.51.100.7:50412: ended: silence",
        "  5d1f0c2a",
        "  → see whether it runs",
    ]


def test_in_one_line_it_is_cut_to_fit() -> None:
    assert event_summary(EVENT, 80).plain == (
        "08:00:00 berlin: ▲ kcp 198.51.100.7:50412: ended: silence"
    )
    assert event_summary(EVENT, 20).plain == "08:00:00 berlin: ▲ …"


def test_a_plain_event_looks_like_its_line_in_the_log() -> None:
    assert event_line(EVENT) == (
        "2027-01-15T08:00:00+00:00 WARNING router: kcp 198.51.100.7:50412: ended: silence; "
        "what to do: see whether it runs [site=berlin connection=5d1f0c2a]"
    )
    bare = EVENT | {"site": "", "connection": "", "advice": "", "message": "ready"}
    assert event_line(bare) == "2027-01-15T08:00:00+00:00 WARNING router: ready"
    assert drawn(render_event(bare, 100), 100) == ["Fri 08:00:00 router       ▲ ready"]
