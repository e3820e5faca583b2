"""Completion of the command line, asked of the shells themselves where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from polevpn_trio.__main__ import main
from polevpn_trio.completion import PROGRAM, SHELLS

PATIENCE = 60
"""Seconds after which a shell counts as stuck."""

BASH = """
source "$1"
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
[[ $(complete -p {program}) =~ -F\\ ([^ ]+) ]]
"${{BASH_REMATCH[1]}}" {program} "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""

CASES = [
    ("ro", {"router"}),
    ("router --", {"--config", "--log-level", "--help"}),
    ("gateway --log-level w", {"warning"}),
    ("demo --transport ", {"kcp", "tls", "wss"}),
    ("check sit", {"site.json"}),
    ("router --config sit", {"site.json"}),
    ("status --socket sit", {"site.json"}),
    ("completion ", {"bash", "zsh", "fish"}),
]


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture
def scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Path]:
    made = {}
    for name in SHELLS:
        assert main(["completion", name]) == 0
        made[name] = tmp_path / f"completion.{name}"
        made[name].write_text(capsys.readouterr().out)
    (tmp_path / "site.json").touch()
    return made


def run(folder: Path, *argv: str | Path) -> str:
    done = subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_bash_completes(
    line: str, expected: set[str], scripts: dict[str, Path], tmp_path: Path
) -> None:
    words = " ".join([PROGRAM, *(word or "''" for word in line.split(" "))])
    code = BASH.format(words=words, program=PROGRAM)
    said = run(tmp_path, shell("bash"), "--norc", "-c", code, "bash", scripts["bash"])
    assert expected <= set(said.splitlines())


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_fish_completes(
    line: str, expected: set[str], scripts: dict[str, Path], tmp_path: Path
) -> None:
    code = f"source $argv[1]; complete --do-complete '{PROGRAM} {line}'"
    said = run(tmp_path, shell("fish"), "--no-config", "-c", code, scripts["fish"])
    assert expected <= {line.partition("\t")[0] for line in said.splitlines()}


def test_zsh_finds_the_script(scripts: dict[str, Path], tmp_path: Path) -> None:
    scripts["zsh"].rename(tmp_path / f"_{PROGRAM}")
    code = f"fpath=($PWD $fpath); autoload -U compinit; compinit -D -u; print $_comps[{PROGRAM}]"
    assert run(tmp_path, shell("zsh"), "-f", "-c", code) == f"_{PROGRAM}\n"
    run(tmp_path, shell("zsh"), "-f", "-n", tmp_path / f"_{PROGRAM}")


@pytest.mark.parametrize("name", SHELLS)
def test_the_originals_flags_are_not_offered(name: str, scripts: dict[str, Path]) -> None:
    text = scripts[name].read_text()
    assert "configPath" not in text
    assert "log-level" in text
