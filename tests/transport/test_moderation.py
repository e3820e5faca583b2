"""How often a program looks for what has arrived, by the clock of the tests."""

from __future__ import annotations

import random

import pytest

from polevpn_trio.transport.moderation import BURST, LONGEST, MEMORY, SHARE, Moderation

LONG = 0.05
"""Seconds: a path on which looks are a millisecond apart."""


def looks(moderation: Moderation, gap: float, seconds: float, start: float = 0.0) -> list[float]:
    """When a program looks to which something comes every ``gap`` seconds."""
    now, found = start, list[float]()
    arrival = start
    while arrival < start + seconds:
        now = max(now, arrival)
        now += moderation.look(now)
        found.append(now)
        # All that has come meanwhile is taken at once.
        arrival += gap * (1 + max(0, int((now - arrival) / gap)))
    return found


def test_bulk_on_a_long_path_is_looked_for_once_in_a_millisecond() -> None:
    moderation = Moderation()
    moderation.note_path(LONG, 0.0)
    found = looks(moderation, 0.00012, 0.5)
    assert len(found) == pytest.approx(0.5 / LONGEST + BURST, rel=0.05)


@pytest.mark.parametrize("gap", [0.0011, 0.01])
def test_what_comes_seldom_is_never_held_back(gap: float) -> None:
    moderation = Moderation()
    moderation.note_path(LONG, 0.0)
    assert [moderation.look(number * gap) for number in range(1000)] == [0.0] * 1000


def test_a_request_and_its_answer_are_not_held_back() -> None:
    moderation = Moderation()
    moderation.note_path(LONG, 0.0)
    for number in range(1000):
        for soon in (0.0, 0.0001, 0.0002, 0.0003):
            assert moderation.look(number * 0.01 + soon) == 0.0


@pytest.mark.parametrize("rtt", [0.0, 0.0003, 0.009])
def test_nothing_is_held_back_on_short_paths(rtt: float) -> None:
    moderation = Moderation()
    moderation.note_path(rtt, 0.0)
    assert len(looks(moderation, 0.0001, 0.1)) == pytest.approx(1000, abs=1)


def test_the_shortest_path_in_use_counts() -> None:
    moderation = Moderation()
    moderation.note_path(LONG, 0.0)
    moderation.note_path(0.0003, 0.1)
    moderation.note_path(LONG, 0.2)
    assert len(looks(moderation, 0.0001, 0.1, 0.2)) == pytest.approx(1000, abs=1)
    # And no longer than it is in use.
    moderation.note_path(LONG, 0.1 + MEMORY)
    assert len(looks(moderation, 0.0001, 0.1, 0.1 + MEMORY)) < 150


def test_no_wait_is_longer_than_the_share_of_the_round_trip() -> None:
    chance = random.Random(1)
    for _ in range(300):
        moderation, now = Moderation(), 0.0
        rtt = chance.uniform(0.0, 0.3)
        for _ in range(300):
            moderation.note_path(rtt, now)
            wait = moderation.look(now)
            assert 0.0 <= wait <= min(SHARE * rtt, LONGEST) + 1e-12
            now += wait + chance.expovariate(1 / 0.0003)
