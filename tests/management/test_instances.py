"""Control sockets: a name for each program, and who may open them."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from polevpn_trio.control.control_config import ControlConfig
from polevpn_trio.errors import HostError
from polevpn_trio.management import instances
from polevpn_trio.management.instances import control_socket, folders, sockets

ANY = ControlConfig()


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with TemporaryDirectory(prefix="polevpn-") as made:
        monkeypatch.setenv("RUNTIME_DIRECTORY", f"{made}/run:{made}/other")
        yield Path(made) / "run"


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


@pytest.mark.parametrize(
    ("role", "file", "name"),
    [
        ("router", "router.json", "router"),
        ("router", "config.json", "router"),
        ("gateway", "berlin.json", "gateway-berlin"),
        ("gateway", "gateway-7.json", "gateway-7"),
        ("gateway", "my site/../ö b.json", "gateway---b"),
    ],
)
def test_a_socket_is_named_after_role_and_file(
    folder: Path, role: str, file: str, name: str
) -> None:
    with control_socket(role, Path(file), ANY) as made:
        assert made.path == folder / f"{name}.sock"
        assert made.instance == name
        assert connects(made.path)
        assert sockets() == [made.path]
    assert not made.path.exists()


def test_programs_with_files_of_one_name_get_sockets_of_their_own(folder: Path) -> None:
    with ExitStack() as stack:
        made = [
            stack.enter_context(control_socket("gateway", Path(f"{place}/gateway.json"), ANY))
            for place in ("a", "b", "c")
        ]
        assert [each.instance for each in made] == ["gateway", "gateway-2", "gateway-3"]
        assert all(connects(each.path) for each in made)


def test_the_socket_of_a_killed_program_is_taken_over(folder: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from polevpn_trio.control.control_config import ControlConfig\n"
        "from polevpn_trio.management.instances import control_socket\n"
        "with control_socket('router', Path('router.json'), ControlConfig()):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert done.returncode == -9
    stale = folder / "router.sock"
    assert stale.is_socket()
    assert not connects(stale)
    with control_socket("router", Path("router.json"), ANY) as made:
        assert made.path == stale
        assert connects(stale)


def test_a_socket_in_use_is_left_alone_even_if_it_was_asked_for(folder: Path) -> None:
    path = folder / "mine.sock"
    with control_socket("router", Path("router.json"), ControlConfig(path=path)):
        with (
            pytest.raises(HostError, match="another program") as caught,
            control_socket("router", Path("x.json"), ControlConfig(path=path)),
        ):
            pass
        assert caught.value.advice
        assert connects(path)


def test_only_the_owner_may_open_it_and_a_group_that_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with control_socket("router", Path("router.json"), ANY) as made:
        assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with control_socket("router", Path("router.json"), ANY) as made:
        assert stat.S_IMODE(made.path.stat().st_mode) == 0o660


def test_what_cannot_be_had_is_told_with_what_to_do(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for config, message in (
        (ControlConfig(group="no-such-group"), "no group no-such-group"),
        (ControlConfig(path=tmp_path / "file" / "x.sock"), "not a directory|file exists"),
        (ControlConfig(path=tmp_path / ("x" * 120)), "longer than 107 bytes"),
    ):
        with (
            pytest.raises(HostError, match=message) as caught,
            control_socket("router", Path("router.json"), config),
        ):
            pass
        assert caught.value.advice


def test_names_run_out_at_some_point(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "MOST_INSTANCES", 1)
    with (
        control_socket("router", Path("router.json"), ANY),
        pytest.raises(HostError, match="1 programs"),
        control_socket("router", Path("router.json"), ANY),
    ):
        pass


def test_folders_are_those_of_systemd_of_root_and_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared = Path("/run/polevpn_trio")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    own = Path("/run/user/7/polevpn_trio")
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    assert folders() == [own, shared]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert folders() == [shared, own]
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/other:/run/more")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert folders() == [Path("/run/other"), shared]
