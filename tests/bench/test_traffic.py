"""The search for the highest rate that a path carries."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.side_by_side import traffic
from bench.side_by_side.traffic import (
    LOSS_LIMIT,
    SEARCH_PRECISION,
    SEARCH_TRIES,
    Datagrams,
    search_rate,
)


@given(limit=st.floats(1e3, 1e6), factor=st.floats(0.25, 2.5))
def test_the_search_comes_close_to_the_limit(limit: float, factor: float) -> None:
    tried: list[float] = []

    def attempt(rate: float) -> float | None:
        tried.append(rate)
        return rate if rate <= limit else None

    found = search_rate(attempt, limit * factor)
    assert limit / SEARCH_PRECISION <= found <= limit
    assert len(tried) <= SEARCH_TRIES


def test_nothing_carried_is_zero() -> None:
    tried: list[float] = []
    assert search_rate(tried.append, 1e5) == 0.0
    assert len(tried) == SEARCH_TRIES


def test_a_sender_at_its_limit_ends_the_search() -> None:
    tried: list[float] = []

    def attempt(rate: float) -> float:
        tried.append(rate)
        return min(rate, 1000.0)

    assert search_rate(attempt, 900.0) == 1000.0
    assert len(tried) == 3


@pytest.mark.parametrize(
    ("received", "loss", "carried"),
    [
        (1000.0, 0.0, True),
        (1000.0, LOSS_LIMIT, False),
        (1000.0, LOSS_LIMIT / 2, True),
        # Nothing lost, but a part still stood in a queue when the time was over.
        (900.0, 0.0, False),
    ],
)
def test_a_rate_is_carried_without_loss_and_without_hoarding(
    received: float, loss: float, carried: bool
) -> None:
    assert Datagrams(1000.0, received, loss).carried is carried


@pytest.mark.parametrize(
    ("options", "expected"),
    [([], ["-C", "reno"]), (["-R"], ["-R", "-C", "reno"]), (["-u"], ["-u"]), (["-C", "bbr"],) * 2],
)
def test_streams_have_the_congestion_control_that_was_asked_for(
    options: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "has_iperf3", lambda: True)
    tunnel = SimpleNamespace(network=SimpleNamespace(congestion="reno"))
    words = traffic._client_words(tunnel, 3, options)  # type: ignore[arg-type]  # no programs
    assert words[words.index("-J") + 1 :] == expected
