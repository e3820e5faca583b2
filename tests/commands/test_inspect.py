"""`status`, `routes`, `events`, `explain`: what they print, and their exit status."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from polevpn_trio.__main__ import main
from polevpn_trio.lab.overlay import python_path
from tests.management.programs import running_router

PATIENCE = 60.0
"""Seconds after which a program counts as stuck."""


@pytest.fixture(scope="module")
def sock() -> Iterator[Path]:
    with TemporaryDirectory(prefix="polevpn-") as folder:
        path = Path(folder) / "router.sock"
        with running_router(path):
            yield path


def run(sock: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main([*words, "--socket", str(sock)])
    return status, capsys.readouterr().out


def test_status_ends_with_one_if_a_site_is_down(
    sock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = run(sock, capsys, "status", "--over", "0")
    assert status == 1
    assert (
        "router: site paris: down: nothing heard for 60 s; what to do: look at \\x1b[31mit" in text
    )
    assert "router: warning: key: easy to guess" in text
    status, text = run(sock, capsys, "status", "--over", "0.1", "--json")
    found = json.loads(text)
    assert (status, found["state"]) == (1, "down")
    assert found["programs"][0]["sites"][0]["link"]["rates"]["seconds"] >= 0.1


def test_status_ends_with_zero_if_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    with TemporaryDirectory(prefix="polevpn-") as folder:
        path = Path(folder) / "x.sock"
        with running_router(path, well=True):
            assert run(path, capsys, "status", "--over", "0")[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["top"],
        ["routes"],
        ["events"],
        ["explain", "10.0.0.1", "10.0.0.2"],
        ["reload", "--confirm", "30"],
    ],
    ids=lambda words: words[0],
)
def test_all_end_with_two_if_nobody_answers(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--socket", str(tmp_path / "x")]) == 2
    assert "no program answers here; what to do: start it" in capsys.readouterr().err
    assert main([*words, "--json", "--socket", str(tmp_path / "x")]) == 2
    assert "error" in json.loads(capsys.readouterr().out)


def test_the_tree_is_that_of_the_program(sock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(sock, capsys, "status", "--tree")
    assert status == 0
    assert text.splitlines()[0].startswith("router ")
    assert "control" in text
    [tree] = json.loads(run(sock, capsys, "status", "--tree", "--json")[1])
    assert tree["name"] == "router"


def test_routes_may_be_searched(sock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(sock, capsys, "routes", "10.99")
    assert (status, len(text.splitlines())) == (0, 1)
    assert "also named by berlin" in text
    found = json.loads(run(sock, capsys, "routes", "--json")[1])
    assert found["total"] == len(found["routes"]) == 5


def test_events_may_be_chosen_by_number_site_and_level(
    sock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = run(sock, capsys, "events", "-n", "1")
    assert (status, len(text.splitlines())) == (0, 1)
    assert "answering questions at" in text
    assert run(sock, capsys, "events", "--site", "nowhere")[1] == ""
    assert run(sock, capsys, "events", "--level", "error")[1] == ""
    event = json.loads(run(sock, capsys, "events", "--json", "-n", "1")[1])
    assert event["level"] == "info"


def test_explain_ends_with_one_if_the_packet_is_dropped(
    sock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = run(sock, capsys, "explain", "192.168.1.1", "192.168.2.1")
    assert status == 0
    assert "192.168.1.1 -> 192.168.2.1: goes to oslo" in text
    status, text = run(sock, capsys, "explain", "192.168.1.1", "203.0.113.1", "--json")
    assert (status, json.loads(text)["reason"]) == (1, "no_route")


@pytest.mark.parametrize(
    "words",
    [
        ["explain", "10.0.0.1"],
        ["explain", "10.0.0.1", "example.org"],
        ["explain", "10.0.0.1", "10.0.0.2", "tcp", "https"],
        ["explain", "10.0.0.1", "10.0.0.2", "tcp", "65536"],
        ["status", "--over", "61"],
        ["events", "-n", "0"],
        ["events", "-n", "5000"],
        ["top", "--every", "0"],
        ["reload", "--confirm", "0"],
        ["reload", "--confirm", "9", "--confirmed"],
    ],
)
def test_a_wrong_command_line_ends_with_two(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


class Terminal:
    """A program on a terminal of 100 columns and 30 lines."""

    def __init__(self, *words: str, **environment: str) -> None:
        self._near, far = pty.openpty()
        self.program = subprocess.Popen(
            [sys.executable, "-m", "polevpn_trio", *words],
            stdin=far,
            stdout=far,
            stderr=far,
            env={
                "PATH": "/usr/bin:/bin",
                "TERM": "xterm-256color",
                "LANG": "C.UTF-8",
                "COLUMNS": "100",
                "LINES": "30",
                **python_path(),
                **environment,
            },
        )
        os.close(far)
        self.shown = ""

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self._near], [], [], 1.0)[0]:
                try:
                    self.shown += os.read(self._near, 65_536).decode(errors="replace")
                except OSError:
                    assert text in self.shown
                    return

    def type(self, text: str) -> None:
        self.shown = ""
        os.write(self._near, text.encode())

    def end(self) -> int:
        # The terminal must be read, or the program waits for that.
        deadline = time.monotonic() + PATIENCE
        while self.program.poll() is None:
            assert time.monotonic() < deadline
            if select.select([self._near], [], [], 0.05)[0]:
                try:
                    self.shown += os.read(self._near, 65_536).decode(errors="replace")
                except OSError:
                    self.program.wait(PATIENCE)
        os.close(self._near)
        return self.program.returncode


def test_a_terminal_gets_colours_unless_they_are_unwanted(sock: Path) -> None:
    for environment, colours in (({}, True), ({"NO_COLOR": "1"}, False)):
        terminal = Terminal("status", "--over", "0", "--socket", str(sock), **environment)
        terminal.wait_for("connections without a login")
        assert terminal.end() == 1
        assert "1 of 3 sites DOWN" in terminal.shown
        assert ("\x1b[32m" in terminal.shown) is colours


def test_a_terminal_without_our_marks_gets_plain_ones(sock: Path) -> None:
    words = ("status", "--over", "0", "--socket", str(sock))
    terminal = Terminal(*words, PYTHONIOENCODING="latin-1", NO_COLOR="1")
    terminal.wait_for("connections without a login")
    assert terminal.end() == 1
    assert " x router " in terminal.shown
    assert "> " in terminal.shown
    assert "Traceback" not in terminal.shown


def test_top_follows_keys_and_leaves_the_terminal_as_it_was(sock: Path) -> None:
    terminal = Terminal("top", "--every", "0.2", "--socket", str(sock))
    terminal.wait_for("1 of 3 sites DOWN")
    terminal.type("/osl\r")
    terminal.wait_for("only: osl")
    terminal.type("?")
    terminal.wait_for("sort by the next column")
    terminal.type("\x1b")
    terminal.wait_for("berlin")
    terminal.type("\x1b[B\r")
    terminal.wait_for("addresses")
    terminal.type("q")
    assert terminal.end() == 0
    # The alternate screen is left, and the cursor is back.
    assert "\x1b[?1049l" in terminal.shown
    assert "\x1b[?25h" in terminal.shown


def test_top_waits_for_a_program_that_ends_to_come_back() -> None:
    with TemporaryDirectory(prefix="polevpn-") as folder:
        path = Path(folder) / "x.sock"
        with running_router(path):
            terminal = Terminal("top", "--every", "0.2", "--socket", str(path))
            terminal.wait_for("1 of 3 sites DOWN")
        terminal.wait_for("trying again")
        terminal.shown = ""
        with running_router(path, well=True):
            terminal.wait_for("all 3 sites up")
            terminal.type("q")
            assert terminal.end() == 0


def next_line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    assert select.select([program.stdout], [], [], PATIENCE)[0]
    return program.stdout.readline()


def follow(sock: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "polevpn_trio", *words, "--socket", str(sock)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/bin:/bin", **python_path()},
    )


def test_pipes_get_a_look_now_and_then_and_may_close(sock: Path) -> None:
    with follow(sock, "top", "--every", "0.2") as program:
        assert next_line(program).startswith("router: down: 1 of 3 sites DOWN")
        assert program.stdout is not None
        program.stdout.close()
        assert program.wait(PATIENCE) == 0
    with follow(sock, "top", "--every", "0.2", "--json") as program:
        looks: list[Any] = [json.loads(next_line(program)) for _ in range(2)]
        assert looks[0]["time"] < looks[1]["time"]
        program.terminate()


def test_events_are_followed_until_the_program_ends() -> None:
    with TemporaryDirectory(prefix="polevpn-") as folder:
        path = Path(folder) / "x.sock"
        with running_router(path):
            program = follow(path, "events", "--follow", "--json")
            assert "answering" in json.loads(next_line(program))["message"]
        with program:
            assert program.wait(PATIENCE) == 2
