"""``join``: the file that it writes, and what it refuses."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polevpn_trio.__main__ import main
from polevpn_trio.control.config import load_gateway
from polevpn_trio.control.join_string import write_join_string
from polevpn_trio.lab.overlay import python_path

Capture = pytest.CaptureFixture[str]
PATIENCE = 60
"""Seconds after which a child process counts as stuck."""

KEY = "tuMiayuNNTAk5ii8xa8eFE_Gx53HEv3u"
SITE: dict[str, Any] = {
    "route_server": ["kcp://203.0.113.5:443"],
    "verify_router": "sha256:" + "0f" * 32,
    "name": "berlin",
    "key": KEY,
    "gateway": "10.8.0.2",
    "local_networks": ["192.168.0.0/16"],
    "route_networks": ["10.8.0.0/24"],
}
STRING = write_join_string(SITE)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(file: str = "gateway.json") -> dict[str, Any]:
    values = json.loads(Path(file).read_text())
    assert isinstance(values, dict)
    return values


def refused(capsys: Capture, *words: str, status: int = 2) -> str:
    assert main(["join", *words]) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert KEY not in said.err
    return said.err.strip()


def test_it_writes_a_good_configuration_for_its_owner_only(capsys: Capture) -> None:
    assert main(["join", STRING]) == 0
    assert written() == {**SITE, "forward": True}
    assert stat.S_IMODE(Path("gateway.json").stat().st_mode) == 0o600
    assert load_gateway("gateway.json").warnings == ()
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines() == [
        "wrote gateway.json for site berlin (10.8.0.2, 192.168.0.0/16)",
        "next: sudo polevpn-trio gateway --config gateway.json",
    ]


def test_a_site_without_networks_forwards_nothing() -> None:
    values = {name: value for name, value in SITE.items() if name != "local_networks"}
    assert main(["join", write_join_string(values)]) == 0
    assert written() == values


@pytest.mark.parametrize("words", [(), ("-",)])
def test_the_string_may_come_from_stdin(words: tuple[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{STRING[:80]}\n{STRING[80:]}\n"))
    assert main(["join", *words, "--output", "other.json"]) == 0
    assert written("other.json")["key"] == KEY


def test_a_terminal_is_asked_without_showing_the_answer() -> None:
    ours, terminal = pty.openpty()
    with (
        open(ours, "r+b", buffering=0) as console,
        subprocess.Popen(
            [sys.executable, "-m", "polevpn_trio", "join"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, **python_path()},
            # Else it would ask on the terminal of who runs the tests.
            start_new_session=True,
        ) as process,
    ):
        os.close(terminal)
        shown = b""
        while not shown.endswith(b"join string (not shown): "):
            shown += console.read(1)
        console.write(STRING.encode() + b"\n")
        assert process.wait(PATIENCE) == 0
        # An error says that nobody has the terminal open any more.
        with contextlib.suppress(OSError):
            while piece := console.read(1 << 16):
                shown += piece
    assert b"polevpn://" not in shown
    assert b"wrote gateway.json for site berlin" in shown
    assert written()["key"] == KEY


def test_a_part_of_the_sites_networks_may_be_registered() -> None:
    words = ["--local-network", "192.168.7.0/24", "--local-network", "192.168.8.0/24"]
    assert main(["join", STRING, *words, "--masquerade"]) == 0
    values = written()
    assert values["local_networks"] == ["192.168.7.0/24", "192.168.8.0/24"]
    assert values["masquerade"] is True


@pytest.mark.parametrize("network", ["10.0.0.0/8", "192.0.0.0/8", "fd00::/64"])
def test_other_networks_are_refused(capsys: Capture, network: str) -> None:
    line = refused(capsys, STRING, "--local-network", network)
    assert line == (
        f"--local-network: {network} is not the site's, expected one of: 192.168.0.0/16"
    )
    assert "--local-network: " in refused(capsys, STRING, "--local-network", "here")
    assert not Path("gateway.json").exists()


def test_a_damaged_string_is_refused(capsys: Capture) -> None:
    assert refused(capsys, STRING[:-1]).startswith("join string: damaged")
    assert not Path("gateway.json").exists()


def test_a_file_that_is_there_stays_unless_it_is_forced(capsys: Capture) -> None:
    Path("gateway.json").write_text("{}")
    assert refused(capsys, STRING).startswith("gateway.json: is there already, expected --force")
    assert Path("gateway.json").read_text() == "{}"
    assert main(["join", STRING, "--force"]) == 0
    assert written()["key"] == KEY


def test_a_renewed_site_keeps_what_its_operator_added() -> None:
    assert main(["join", STRING]) == 0
    own = {"masquerade": True, "forward": False, "interface": "pole0"}
    Path("gateway.json").write_text(json.dumps({**written(), **own, "connect_timeout": 9}))
    renewed = {**SITE, "key": "another key of this site", "route_networks": ["10.9.0.0/24"]}
    assert main(["join", write_join_string(renewed), "--force"]) == 0
    assert written() == {**renewed, **own, "connect_timeout": 9}
    own["masquerade"] = False
    Path("gateway.json").write_text(json.dumps({**written(), **own}))
    assert main(["join", STRING, "--force", "--masquerade"]) == 0
    assert written()["masquerade"] is True


def test_another_sites_file_is_replaced_as_a_whole() -> None:
    assert main(["join", STRING, "--masquerade"]) == 0
    other = {**SITE, "name": "paris"}
    assert main(["join", write_join_string(other), "--force"]) == 0
    assert written() == {**other, "forward": True}


def test_a_folder_that_is_not_there_is_named(capsys: Capture) -> None:
    line = refused(capsys, STRING, "--output", "none/gateway.json", status=1)
    assert line == (
        "polevpn-trio: none/gateway.json cannot be written: No such file or directory; "
        "what to do: make its folder, or let this user write there"
    )
