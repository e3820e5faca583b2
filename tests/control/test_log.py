"""The log: one line per event, whatever is in the message."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.control.log import (
    LEVELS,
    PACKAGE,
    ContextLogger,
    configure,
    new_connection_id,
    printable,
)


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


def test_a_context_follows_the_message_and_advice_comes_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("info")
    log = ContextLogger(logging.getLogger("polevpn_trio.router"), connection="5d1f0c2a")
    log.info("logged in")
    log.bind(site="berlin").warning("ended: %s", "silence", advice="see whether\nit runs")
    log.bind(connection="").info("bare")
    assert [text for _, _, text in logged(capsys)] == [
        "logged in [connection=5d1f0c2a]",
        "ended: silence; what to do: see whether\\nit runs [site=berlin connection=5d1f0c2a]",
        "bare",
    ]


def test_json_has_a_member_for_everything(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    log = ContextLogger(logging.getLogger("polevpn_trio.router"), connection="5d1f0c2a")
    log.warning("peer says %s", "\x1b[2J", advice="nothing")
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        log.exception("went wrong")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    moment = first.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", moment)
    assert first == {
        "level": "warning",
        "source": "router",
        "message": "peer says \\x1b[2J",
        "connection": "5d1f0c2a",
        "advice": "nothing",
    }
    assert second["exception"].endswith("ValueError: first\nsecond")


@pytest.mark.parametrize("format", ["text", "json"])
def test_the_journal_gets_priorities_and_has_the_time_itself(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        configure("debug", format)
        log = logging.getLogger("polevpn_trio.router")
        for level in LEVELS.values():
            log.log(level, "hello")
        stream.seek(0)
        lines = stream.read().splitlines()
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>"]
    if format == "text":
        assert lines[0] == "<7>router: hello"
    else:
        assert all(json.loads(line[3:])["message"] == "hello" for line in lines)


def test_a_journal_that_stderr_does_not_lead_to_gets_no_priorities(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in ("1:2", "nonsense", ""):
        monkeypatch.setenv("JOURNAL_STREAM", stream)
        configure("info")
        logging.getLogger("polevpn_trio.router").info("hello")
        assert logged(capsys) == [("INFO", "router", "hello")]


def test_connections_have_names_of_their_own() -> None:
    names = {new_connection_id() for _ in range(100)}
    assert len(names) == 100
    assert all(re.fullmatch("[0-9a-f]{8}", name) for name in names)
