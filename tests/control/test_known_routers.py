"""The file of known routers: what is written, and that it survives."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from polevpn_trio.control import known_routers
from polevpn_trio.control.known_routers import KnownRouter, Unreadable

ONE, OTHER = bytes(32), bytes([7]) * 32


def test_without_a_file_nobody_is_known(tmp_path: Path) -> None:
    assert known_routers.read(tmp_path / "none") == []


def test_what_is_added_is_read_back_with_its_line_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / "quite" / "new" / "known"
    known_routers.add(file, "kcp://a:1", ONE)
    known_routers.add(file, "tls://a:1", OTHER)
    assert known_routers.read(file) == [
        KnownRouter(2, "kcp://a:1", ONE),
        KnownRouter(3, "tls://a:1", OTHER),
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert os.listdir(file.parent) == [file.name]


def test_what_people_wrote_stays(tmp_path: Path) -> None:
    file = tmp_path / "known"
    # In an encoding of their own.
    file.write_bytes(b"# \xfcber uns\n\nkcp://b:2 sha256:" + b"00" * 32)
    known_routers.add(file, "kcp://a:1", OTHER)
    assert "ber uns\n\nkcp://b:2 sha256:00" in file.read_text()
    assert [known.url for known in known_routers.read(file)] == ["kcp://b:2", "kcp://a:1"]


def test_a_router_that_is_known_is_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / "known"
    known_routers.add(file, "kcp://a:1", ONE)
    known_routers.add(file, "kcp://a:1", OTHER)
    assert known_routers.read(file) == [KnownRouter(2, "kcp://a:1", ONE)]


@pytest.mark.parametrize("line", ["kcp://a:1", "kcp://a:1 sha256:12", "\xff", "a b c"])
def test_a_line_that_says_nothing_is_named(line: str, tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_bytes(b"# one\n" + line.encode("latin-1") + b"\n")
    with pytest.raises(Unreadable, match=r"known, line 2: "):
        known_routers.read(file)
    with pytest.raises(OSError, match="line 2"):
        known_routers.add(file, "kcp://b:1", ONE)


def test_a_file_that_cannot_be_one_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="cannot be read"):
        known_routers.read(tmp_path)
    large = tmp_path / "large"
    large.write_bytes(bytes(known_routers.MAX_FILE + 1))
    with pytest.raises(Unreadable, match="larger"):
        known_routers.read(large)
    large.write_bytes(b"#" * known_routers.MAX_FILE)
    assert known_routers.read(large) == []


def test_while_another_program_writes_nothing_is_written(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(BlockingIOError):
            known_routers.add(tmp_path / "known", "kcp://a:1", ONE)
    finally:
        os.close(descriptor)
    assert not (tmp_path / "known").exists()


def test_the_usual_place_is_the_services_the_systems_or_the_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/srv/one:/srv/two")
    assert known_routers.usual_file() == Path("/srv/one/known_routers")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert known_routers.usual_file() == Path("/var/lib/polevpn_trio/known_routers")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/x/state")
    assert known_routers.usual_file() == Path("/home/x/state/polevpn_trio/known_routers")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/x")
    assert known_routers.usual_file() == Path("/home/x/.local/state/polevpn_trio/known_routers")


def test_spaces_and_tabs_stand_between_and_around_what_a_line_says(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text(f"  # no router\n\tkcp://a:1\t sha256:{ONE.hex()} \n")
    assert known_routers.read(file) == [KnownRouter(2, "kcp://a:1", ONE)]
