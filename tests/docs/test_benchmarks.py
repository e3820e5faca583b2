"""Every benchmark, and every run of the fuzzer, that a page names is run as written, but briefly.

It takes many minutes, so that only ``./run test-benchmarks`` does it. What makes a command brief is
added at its end, where it wins over what was said before. Peers that are not installed are left
out, with a word, as they are for everybody.
"""

from __future__ import annotations

import itertools
import shlex
import subprocess
from pathlib import Path

import pytest

from .test_commands import PAGES, ROOT, commands, words_of

pytestmark = [pytest.mark.benchmarks, pytest.mark.needs_root_lab]

LONGEST_SECONDS = 240.0
"""What a brief run may take on a busy machine."""

BRIEF = {
    "attacks": "--runs 1 --seconds 1",
    "cost": "--runs 1 --seconds 1 --idle-seconds 1",
    "fairness": "--runs 1 --seconds 1 --stall-seconds 2",
    "faults": "--kills 1",
    "hub": "--seconds 1 --idle-seconds 1",
    "kcp": "--segments 2000",
    "latency": "--runs 1 --seconds 1",
    "lossy": "--runs 1 --seconds 1",
    "policy": "--rounds 10",
    "profile": "--seconds 2",
    "records": "--batches 50",
    "scale": "--runs 1 --seconds 1 --idle-seconds 1 --gateways 10",
    "soak": "--minutes 1 --every 1 --renew 8",
    "source_check": "--packets 1000",
    "strangers": "--datagrams 1000",
    "throughput": "--runs 1 --seconds 1",
    "wakeup": "--rounds 1",
    "wan": "--seconds 1",
    "websocket": "--messages 100",
}

ONE = {
    "attacks": ("--series kcp", "--attack nothing"),
    "cost": ("--subject kcp",),
    "faults": ("--case kill",),
    "hub": ("--subject kcp",),
    "latency": ("--subject kcp",),
    "lossy": ("--subject kcp", "--profile loss-2", "--part bulk"),
    "throughput": ("--subject kcp", "--part tcp"),
}
"""Of what a command means all of, this is taken."""


def brief(words: list[str]) -> list[str]:
    """Add what makes a command brief."""
    if words[0] == "fuzz":
        if "--inputs" in words:
            return [*words, "--inputs", "1000"]
        # All targets: for each the engine that watches coverage takes ten seconds to begin.
        return [*words, "--seconds", "1", "--engine", "mutation"]
    if "--from" in words:
        return words
    chosen = [each for each in ONE.get(words[1], ()) if each.split()[0] not in words]
    return [*words, *shlex.split(" ".join([BRIEF[words[1]], *chosen]))]


def named() -> list[str]:
    """The commands, each once. To learn from fuzzing changes the project's own files."""
    found = dict.fromkeys(
        shlex.join(words)
        for page in PAGES
        for words in map(words_of, commands(page))
        if len(words) > 1
        and ((words[0] == "bench" and words[1].islower()) or words[0] == "fuzz")
        and "--learn" not in words
    )
    return list(found)


def run(folder: Path, words: list[str]) -> None:
    done = subprocess.run(
        [ROOT / "run", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_SECONDS,
    )
    told = f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    assert "Traceback" not in told


def files(words: list[str], option: str) -> list[str]:
    return [file for name, file in itertools.pairwise(words) if name == option]


@pytest.mark.parametrize("command", named())
def test_a_benchmark_runs_as_it_is_written(command: str, tmp_path: Path) -> None:
    (tmp_path / "docs/benchmarks").mkdir(parents=True)
    words = shlex.split(command)
    for file in files(words, "--from"):
        earlier = brief([*words[:2], "--json", file])
        run(tmp_path, [*earlier, "--without", "gso"] if "gso" in file else earlier)
    run(tmp_path, brief(words))
    for option in ("--plot", "--json"):
        for file in files(words, option):
            # Of several series, each is written to a file of its own.
            written = (tmp_path / file).parent.glob(f"{Path(file).stem}*{Path(file).suffix}")
            sizes = [each.stat().st_size for each in written]
            assert sizes
            assert all(sizes), file
