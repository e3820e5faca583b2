"""Errors of a connection end in its outcome, and keep nothing of the connection alive."""

from __future__ import annotations

import gc
import weakref

import pytest

from polevpn_trio.errors import LinkLost
from polevpn_trio.transport.containment import Outcome, contained


class Buffers:
    """Stands for what a connection holds."""


def lose(holding: Buffers) -> None:
    try:
        raise ConnectionResetError("reset by peer")
    except OSError as error:
        raise LinkLost(f"lost {type(holding).__name__}") from error


def serve(kept: list[Outcome]) -> weakref.ref[Buffers]:
    """Be the nursery of a connection; ``kept`` outlives it."""
    buffers = Buffers()
    with contained("kcp 192.0.2.1:443") as outcome:
        lose(buffers)
    kept.append(outcome)
    return weakref.ref(buffers)


def test_an_outcome_frees_the_connection_without_the_collector() -> None:
    kept: list[Outcome] = []
    gc.disable()
    try:
        buffers = serve(kept)
        assert buffers() is None
    finally:
        gc.enable()
    assert str(kept[0].error) == "lost Buffers"
    assert isinstance(kept[0].error, LinkLost)
    assert isinstance(kept[0].error.__cause__, ConnectionResetError)


def test_a_fault_of_ours_counts_as_a_lost_link(caplog: pytest.LogCaptureFixture) -> None:
    with contained("kcp 192.0.2.1:443") as outcome:
        raise ExceptionGroup("", [ZeroDivisionError("ours")])
    assert str(outcome.error) == "internal error"
    assert "kcp 192.0.2.1:443: internal error: ZeroDivisionError('ours')" in caplog.text
