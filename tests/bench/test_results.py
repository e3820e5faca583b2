"""Medians, ratios and what is written of them."""

from __future__ import annotations

import json
import math

import attrs
import pytest

from bench.side_by_side.results import (
    Measure,
    Report,
    Run,
    format_figure,
    format_ratio,
    summarise,
)

SPEED = Measure("speed", "One stream", "Mbit/s", "higher")
DELAY = Measure("delay", "Ping", "ms", "lower")


def run(number: int, subject: str, **figures: float) -> Run:
    return Run(number, "part", subject, figures)


def report(*runs: Run) -> Report:
    return Report(
        benchmark="throughput",
        title="Throughput",
        command="./run bench throughput",
        started="2030-01-01T00:00:00+00:00",
        machine={"kernel": "6.1"},
        settings={"rounds": 2},
        subjects={
            "kcp": {"description": "ours over kcp", "ours": True},
            "openvpn": {"description": "OpenVPN 2.6", "ours": False},
        },
        skipped={"tinc": "no program tincd is installed"},
        reference="openvpn",
        measures=[SPEED, DELAY],
        runs=runs,
    )


def test_the_median_and_the_extremes_are_over_the_rounds() -> None:
    runs = [run(number, "kcp", speed=value) for number, value in enumerate((5.0, 1.0, 3.0), 1)]
    one = summarise(runs, [SPEED], "openvpn")["kcp"]["speed"]
    assert (one.median, one.minimum, one.maximum, one.count) == (3.0, 1.0, 5.0, 3)
    assert one.ratio is None


def test_a_ratio_is_taken_within_its_round() -> None:
    # The machine is ten times slower in the second round; the ratio does not notice.
    runs = [
        run(1, "kcp", speed=300.0),
        run(1, "openvpn", speed=100.0),
        run(2, "kcp", speed=30.0),
        run(2, "openvpn", speed=10.0),
    ]
    summary = summarise(runs, [SPEED], "openvpn")
    assert summary["kcp"]["speed"].ratio == pytest.approx(3.0)
    assert summary["openvpn"]["speed"].ratio == pytest.approx(1.0)


def test_a_round_without_the_reference_counts_for_the_median_alone() -> None:
    runs = [
        run(1, "kcp", speed=300.0),
        run(1, "openvpn", speed=100.0),
        run(2, "kcp", speed=500.0),
        Run(2, "part", "openvpn", {}, "it ended"),
    ]
    one = summarise(runs, [SPEED], "openvpn")["kcp"]["speed"]
    assert one.median == 400.0
    assert one.ratio == pytest.approx(3.0)


def test_the_parts_of_a_round_are_put_together() -> None:
    runs = [
        Run(1, "tcp", "kcp", {"speed": 300.0}),
        Run(1, "ping", "kcp", {"delay": 0.5}),
        Run(1, "ping", "openvpn", {"delay": 1.0}),
    ]
    summary = summarise(runs, [SPEED, DELAY], "openvpn")
    assert summary["kcp"]["speed"].ratio is None
    assert summary["kcp"]["delay"].ratio == pytest.approx(0.5)


def test_what_is_no_number_is_left_out() -> None:
    runs = [run(1, "kcp", delay=math.nan), run(2, "kcp", delay=2.0), run(1, "openvpn", delay=0.0)]
    summary = summarise(runs, [SPEED, DELAY], "openvpn")
    assert summary["kcp"]["delay"].count == 1
    assert summary["kcp"]["delay"].ratio is None
    assert "speed" not in summary["kcp"]


def test_a_subject_that_only_failed_is_still_there() -> None:
    assert summarise([Run(1, "part", "kcp", {}, "it ended")], [SPEED], "openvpn") == {"kcp": {}}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1234567.0, "1,234,567"),
        (1234.4, "1,234"),
        (56.74, "56.7"),
        (5.674, "5.67"),
        (0.5674, "0.567"),
        (0.00123, "0.0012"),
        (-5.0, "-5.00"),
        (math.nan, "-"),
    ],
)
def test_a_figure_has_three_digits_that_matter(value: float, text: str) -> None:
    assert format_figure(value) == text


def test_a_ratio_has_two_digits_behind_the_point() -> None:
    assert format_ratio(3.394) == "3.39x"
    assert format_ratio(None) == ""


def test_the_json_holds_everything() -> None:
    made = report(run(1, "kcp", speed=300.0), run(1, "openvpn", speed=100.0))
    read = json.loads(json.dumps(made.as_json(), allow_nan=False))
    assert set(read) == {
        "format",
        "benchmark",
        "command",
        "started",
        "machine",
        "settings",
        "subjects",
        "skipped",
        "reference",
        "measures",
        "runs",
        "summary",
    }
    assert read["measures"][0] == attrs.asdict(SPEED)
    assert read["runs"][0] == {
        "round": 1,
        "part": "part",
        "subject": "kcp",
        "figures": {"speed": 300.0},
        "problem": None,
    }
    assert read["summary"]["kcp"]["speed"] == {
        "median": 300.0,
        "minimum": 300.0,
        "maximum": 300.0,
        "count": 1,
        "ratio": 3.0,
    }


def test_the_markdown_names_figures_ratios_and_what_was_skipped() -> None:
    made = report(run(1, "kcp", speed=300.0), run(1, "openvpn", speed=100.0))
    lines = made.markdown().splitlines()
    assert lines[0] == "| measure | better | kcp | openvpn |"
    assert lines[2] == "| One stream, Mbit/s | more | 300 (3.00x) | 100 (1.00x) |"
    assert "Ping" not in made.markdown()
    assert "* `openvpn`: OpenVPN 2.6" in lines
    assert "* `tinc` was skipped: no program tincd is installed" in lines
