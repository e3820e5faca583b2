"""The log: one line per event, whatever is in the message."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.control.log import LEVELS, PACKAGE, configure, printable


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger(PACKAGE)
    handlers, level = root.handlers[:], own.level
    yield
    root.handlers[:] = handlers
    own.setLevel(level)


LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} ([A-Z]+) (\S+): (.*)\n")


def logged(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, ...]]:
    lines = capsys.readouterr().err.splitlines(keepends=True)
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found)
    return [match.groups() for match in found if match]


def test_a_line_has_time_level_module_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    logging.getLogger("polevpn_trio.transport.kcp").info("gateway %s registered", "10.8.0.2")
    assert logged(capsys) == [("INFO", "transport.kcp", "gateway 10.8.0.2 registered")]


@pytest.mark.parametrize("level", LEVELS)
def test_the_level_decides_what_is_written(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure(level)
    for name in LEVELS:
        logging.getLogger("polevpn_trio.router").log(LEVELS[name], "x")
    names = [found[0].lower() for found in logged(capsys)]
    assert names == list(LEVELS)[list(LEVELS).index(level) :]


def test_configuring_again_changes_the_level_and_doubles_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("error")
    configure("debug")
    logging.getLogger("polevpn_trio.router").debug("once")
    assert logged(capsys) == [("DEBUG", "router", "once")]


def test_libraries_are_heard_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    configure("debug")
    logging.getLogger("pyroute2.netlink").info("unheard")
    logging.getLogger("pyroute2.netlink").warning("heard")
    assert logged(capsys) == [("WARNING", "pyroute2.netlink", "heard")]


def test_a_peer_cannot_forge_lines_or_drive_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("info")
    forged = "x\n2026-01-31T12:00:00.000 INFO router: all well\r\x1b[2J\x00\x85\u2028\u202e"
    logging.getLogger("polevpn_trio.router").info("peer says %s", forged)
    [(_, _, text)] = logged(capsys)
    assert text == (
        "peer says x\\n2026-01-31T12:00:00.000 INFO router: all well"
        "\\r\\x1b[2J\\x00\\x85\\u2028\\u202e"
    )


def test_a_traceback_stays_on_the_line_of_its_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("polevpn_trio.router").exception("went wrong")
    [(level, _, text)] = logged(capsys)
    assert level == "ERROR"
    assert text.startswith("went wrong | Traceback (most recent call last): | File ")
    assert text.endswith(" | ValueError: first | second")


def test_ordinary_text_is_left_as_it_is() -> None:
    for text in ("10.8.0.2", "Zweigstelle Köln", "密钥", 'C:\\path "quoted"', "😀"):
        assert printable(text) == text


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_becomes_one_line_that_can_be_written(text: str) -> None:
    line = printable(text)
    assert line.splitlines() == ([line] if line else [])
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)
    assert line.encode().decode() == line
