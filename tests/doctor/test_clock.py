"""The clock of this machine, and that of a router."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import attrs
import pytest

from polevpn_trio.doctor.clock import judge_clock, judge_skew, look_at_clock
from polevpn_trio.doctor.finding import Status

NOW = datetime.datetime(2027, 6, 1, 12, tzinfo=datetime.UTC)


def test_the_clock_of_a_machine_that_runs_tests_is_well() -> None:
    facts = look_at_clock(Path("no such file"))
    assert judge_clock(facts).status is Status.OK
    kept, alone = (judge_clock(attrs.evolve(facts, kept=kept)).text for kept in (True, False))
    assert kept.endswith("kept in time")
    assert "NTP" in alone


def test_a_clock_that_is_behind_the_files_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "gateway.json"
    file.touch()
    written = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=400)
    os.utime(file, (written.timestamp(), written.timestamp()))
    found = judge_clock(look_at_clock(file))
    assert found.status is Status.FAIL
    assert "timedatectl" in found.remedy


@pytest.mark.parametrize(
    ("seconds", "round_trip", "status"),
    [
        (0, 0.01, Status.OK),
        (-25, 0.01, Status.OK),
        (32, 2.0, Status.OK),
        (32, 0.01, Status.WARN),
        (-7200, 0.01, Status.WARN),
    ],
)
def test_a_difference_counts_if_it_is_larger_than_the_doubt(
    seconds: int, round_trip: float, status: Status
) -> None:
    theirs = NOW + datetime.timedelta(seconds=seconds)
    found = judge_skew(NOW, theirs, round_trip, "the router")
    assert found.status is status
    if status is Status.WARN:
        assert f"{abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} this one" in found.text
