"""Benchmarks of our router in one case after another: their order, targets, and command lines."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from bench import attacks, fairness, scale
from bench.case_by_case.command import Benchmark, Case, Outcome, Series, in_turns, main, plot_file
from bench.case_by_case.targets import Target, verdicts
from bench.side_by_side.results import Measure, Run, summarise

BENCHMARKS = (scale.BENCHMARK, fairness.BENCHMARK, attacks.BENCHMARK)
SPEED = Measure("speed", "One stream", "Mbit/s", "higher")


def nothing(options: argparse.Namespace) -> Outcome:
    return Outcome({})


def cases(options: argparse.Namespace) -> list[Case]:
    return [Case(name, name, nothing) for name in ("few", "some", "many")]


def no_targets(options: argparse.Namespace) -> list[Target]:
    return []


def series(name: str) -> Series:
    return Series(name, name, [SPEED], cases, "few", no_targets, needs_lab=False)


def options_of(benchmark: Benchmark) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    benchmark.add_options(parser)
    return parser.parse_args([])


def test_every_case_has_its_turn_in_each_round_and_none_always_comes_first() -> None:
    both = [series("one"), series("two")]
    turns = in_turns(both, {each.name: cases(argparse.Namespace()) for each in both}, 3)
    found = [(turn.round, turn.series.name, turn.case.name) for turn in turns]
    assert len(set(found)) == len(found) == 3 * 2 * 3
    assert [case for _, _, case in found[::6]] == ["few", "some", "many"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (Target("speed", "many", "at least", 80.0), "met"),
        (Target("speed", "many", "at least", 81.0), "MISSED"),
        (Target("speed", "many", "at most", 80.0), "met"),
        (Target("speed", "many", "at least", 0.8, "ratio"), "met"),
        (Target("speed", "many", "at least", 0.9, "ratio"), "MISSED"),
        (Target("speed", "some", "at least", 1.0), "NO FIGURE"),
    ],
)
def test_a_target_is_met_or_missed_by_the_median(target: Target, said: str) -> None:
    runs = [Run(1, "one", "few", {"speed": 100.0}), Run(1, "one", "many", {"speed": 80.0})]
    (line,) = verdicts([target], summarise(runs, [SPEED], "few"), [SPEED])
    assert line.startswith(said)
    assert "One stream" in line


def test_several_series_are_plotted_to_files_of_their_own() -> None:
    assert plot_file(Path("a/scale.svg"), "prefixes", 1) == Path("a/scale.svg")
    assert plot_file(Path("a/scale.svg"), "prefixes", 2) == Path("a/scale-prefixes.svg")


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda one: one.name)
def test_a_benchmark_explains_itself(
    benchmark: Benchmark, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(benchmark, ["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"./run bench {benchmark.name}" in said
    for one in benchmark.series:
        assert f"{one.name}:" in said


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda one: one.name)
def test_targets_and_references_name_what_is_measured(benchmark: Benchmark) -> None:
    options = options_of(benchmark)
    for one in benchmark.series:
        names = [case.name for case in one.cases(options)]
        measures = [measure.name for measure in one.measures]
        assert len(set(names)) == len(names)
        assert len(set(measures)) == len(measures)
        assert one.reference in names
        for target in one.targets(options):
            assert target.case in names
            assert target.measure in measures


@pytest.mark.parametrize(
    "words", [["--runs", "0"], ["--gateways", "1"], ["--gateways", "5000"], ["--series", "none"]]
)
def test_a_senseless_option_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(scale.BENCHMARK, words)
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_a_series_without_a_lab_runs_from_start_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def add_options(parser: argparse.ArgumentParser) -> None:
        return None

    def measured(name: str, speed: float) -> Case:
        return Case(
            name, name, lambda options: Outcome({"speed": speed}, {"curve": [(0.0, speed)]})
        )

    def failing(options: argparse.Namespace) -> Outcome:
        raise ValueError("no luck")

    one = Series(
        "one",
        "First",
        [SPEED],
        lambda options: [measured("few", 10.0), measured("many", 5.0), Case("bad", "", failing)],
        "few",
        lambda options: [Target("speed", "many", "at least", 0.9, "ratio")],
        needs_lab=False,
    )
    benchmark = Benchmark("trial", "one: nothing", [one], add_options)
    files = [tmp_path / "figures.json", tmp_path / "table.md", tmp_path / "bars.svg"]
    words = ["--json", str(files[0]), "--markdown", str(files[1]), "--plot", str(files[2])]
    assert main(benchmark, [*words, "--runs", "2"]) == 1
    assert "MISSED" in files[1].read_text()
    assert '"curve"' in files[0].read_text()
    assert files[2].read_text().startswith("<svg")
    assert "no luck" in capsys.readouterr().err
