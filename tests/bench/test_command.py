"""The order of a benchmark's runs, and its command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import cost, hub, latency, lossy, throughput
from bench.side_by_side.command import Benchmark, Part, Settings, in_order, in_turns, main
from bench.side_by_side.network import Tunnel
from bench.side_by_side.ours import Ours
from bench.side_by_side.results import Run

BENCHMARKS = (
    throughput.BENCHMARK,
    latency.BENCHMARK,
    cost.BENCHMARK,
    hub.BENCHMARK,
    lossy.BENCHMARK,
)


def nothing(tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    return {}


SUBJECTS = [Ours("kcp"), Ours("tls"), Ours("tls", native=False)]
PARTS = [Part("one", nothing), Part("two", nothing)]


def test_every_subject_has_its_turn_in_each_part_of_each_round() -> None:
    turns = in_turns(SUBJECTS, PARTS, 4)
    found = {(turn.round, turn.part.name, turn.subject.name) for turn in turns}
    assert len(turns) == len(found) == 4 * 2 * 3
    assert {name for _, _, name in found} == {"kcp", "tls", "tls-classic"}


def test_a_subject_has_no_turn_in_a_part_that_does_not_suit_it() -> None:
    parts = [PARTS[0], Part("two", nothing, suits=lambda subject: subject.name != "tls")]
    turns = in_turns(SUBJECTS, parts, 1)
    assert sum(turn.part.name == "one" for turn in turns) == 3
    assert {turn.subject.name for turn in turns if turn.part.name == "two"} == {
        "kcp",
        "tls-classic",
    }


def test_a_part_is_called_after_its_profile_too() -> None:
    assert Part("bulk", nothing).title == "bulk"
    assert Part("bulk", nothing, profile="loss-2").title == "loss-2 bulk"


def test_no_subject_always_comes_first() -> None:
    turns = in_turns(SUBJECTS, PARTS, 3)
    assert [turn.subject.name for turn in turns[::3]] == ["kcp", "tls", "tls-classic"] * 2


def test_the_subjects_of_a_part_run_one_behind_the_other() -> None:
    turns = in_turns(SUBJECTS, PARTS, 2)
    blocks = [turns[start : start + 3] for start in range(0, len(turns), 3)]
    for block in blocks:
        assert len({(turn.round, turn.part.name) for turn in block}) == 1


def test_runs_are_reported_by_subject_and_round() -> None:
    runs = [Run(1, "p", "b", {}), Run(1, "p", "a", {}), Run(2, "p", "a", {}), Run(2, "p", "b", {})]
    ordered = [(run.subject, run.round) for run in in_order(runs, ["a", "b"])]
    assert ordered == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda one: one.name)
def test_a_benchmark_explains_itself(
    benchmark: Benchmark, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(benchmark, ["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"./run bench {benchmark.name}" in said
    for part in benchmark.parts:
        assert part.name in said
        assert part.profile in said


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda one: one.name)
def test_no_two_measures_share_a_name(benchmark: Benchmark) -> None:
    names = [measure.name for measure in benchmark.measures]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("words", [["--runs", "0"], ["--seconds", "x"], ["--subject", "nobody"]])
def test_a_senseless_option_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(latency.BENCHMARK, words)
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err


def written(file: Path, number: int, subject: str, speed: float) -> list[str]:
    """Write what a run with one figure would have written; give the option to read it."""
    measure = latency.BENCHMARK.measures[0].name
    run = {"round": number, "part": "idle", "subject": subject, "figures": {measure: speed}}
    report = {
        "format": 1,
        "benchmark": "latency",
        "command": "./run bench latency",
        "started": "2030-01-01T00:00:00+00:00",
        "machine": {},
        "settings": {"seconds": 10},
        "subjects": {subject: {"description": subject, "ours": False}},
        "skipped": {},
        "reference": "openvpn",
        "runs": [{**run, "problem": None}],
    }
    file.write_text(json.dumps(report))
    return ["--from", str(file)]


def test_earlier_reports_are_put_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *written(tmp_path / "a", 1, "tinc", 4.0),
        *written(tmp_path / "b", 1, "openvpn", 2.0),
        *written(tmp_path / "c", 1, "tinc", 8.0),
    ]
    assert main(latency.BENCHMARK, [*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [run["round"] for run in said["runs"]] == [2, 1, 3]
    measure = latency.BENCHMARK.measures[0].name
    assert said["summary"]["tinc"][measure]["median"] == 6.0
    assert said["summary"]["openvpn"][measure]["median"] == 2.0


def test_a_file_that_is_no_report_is_named_as_the_trouble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_text("no JSON")
    assert main(latency.BENCHMARK, ["--from", str(tmp_path / "a")]) == 1
    assert "--from" in capsys.readouterr().err
