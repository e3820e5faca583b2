"""What is needed, what is given up, and what is handed over before."""

from __future__ import annotations

import logging
import os
import pwd
import socket
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import attrs
import pytest

import polevpn_trio
from polevpn_trio.control.config import GatewayConfig, ListenerConfig, RouterConfig, SiteConfig
from polevpn_trio.control.dashboard_config import DashboardConfig
from polevpn_trio.control.metrics_config import MetricsConfig
from polevpn_trio.control.router_trust import FirstUse, Insecure
from polevpn_trio.control.run_as import RunAs
from polevpn_trio.errors import HostError
from polevpn_trio.privileges import rights
from polevpn_trio.privileges.account import find_account
from polevpn_trio.privileges.capabilities import Capability
from polevpn_trio.privileges.handing_over import hand_over

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

PATIENCE = 60
NOBODY = pwd.getpwnam("nobody")
SITE = SiteConfig(gateway=IPv4Address("10.8.0.2"))
ROUTER = RouterConfig(Path("router.json"), "secret")
GATEWAY = GatewayConfig(Path("gateway.json"), (), "secret", SITE, Insecure())


def listening(port: int) -> ListenerConfig:
    return ListenerConfig("", port, Path("server.crt"), Path("server.key"))


BIND, ADMIN = Capability.NET_BIND_SERVICE, Capability.NET_ADMIN


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (attrs.evolve(ROUTER, kcp=listening(8443), tls=listening(443)), set()),
        (attrs.evolve(ROUTER, kcp=listening(443)), {BIND}),
        (attrs.evolve(ROUTER, kcp=listening(1024), site=SITE), {ADMIN}),
        (attrs.evolve(ROUTER, kcp=listening(1023), site=SITE), {ADMIN, BIND}),
        (attrs.evolve(ROUTER, metrics=MetricsConfig("127.0.0.1", 80)), {BIND}),
        (
            attrs.evolve(
                ROUTER, dashboard=DashboardConfig("127.0.0.1", 80, "token", Path("history"))
            ),
            {BIND},
        ),
        (GATEWAY, {ADMIN}),
        (attrs.evolve(GATEWAY, metrics=MetricsConfig("127.0.0.1", 80)), {ADMIN, BIND}),
    ],
)
def test_only_what_is_used_later_is_kept(
    config: Any, expected: set[Capability], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rights, "first_free_port", lambda: 1024)
    assert rights.needed(config) == expected
    # Where the kernel lets everybody have any port, as docker does.
    monkeypatch.setattr(rights, "first_free_port", lambda: 0)
    assert rights.needed(config) == expected - {BIND}


CHILD = """
import os, pwd, sys
from polevpn_trio.control.run_as import RunAs
from polevpn_trio.privileges import rights
from polevpn_trio.privileges.account import find_account
from polevpn_trio.privileges.capabilities import Capability

rights._become(find_account(RunAs("nobody")), frozenset(map(Capability, map(int, sys.argv[1:]))))
print(open("/proc/self/status").read())
try:
    os.setresuid(0, 0, 0)
except PermissionError:
    print("Back:\\tno")
"""


def run_child(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(Path(polevpn_trio.__file__).parents[1])},
        check=False,
    )


@needs_root
@pytest.mark.parametrize("kept", [(), (ADMIN,), (BIND, ADMIN)])
def test_nothing_is_left_but_what_is_kept_and_there_is_no_way_back(
    kept: tuple[Capability, ...],
) -> None:
    done = run_child(CHILD, *map(str, map(int, kept)))
    assert done.returncode == 0, done.stderr
    told = dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
    assert set(told["Uid"].split()) == {str(NOBODY.pw_uid)}
    assert set(told["Gid"].split()) == {str(NOBODY.pw_gid)}
    assert set(told["Groups"].split()) == {str(NOBODY.pw_gid)}
    bits = sum(1 << each for each in kept)
    sets = {name: int(told[f"Cap{name}"], 16) for name in ("Eff", "Prm", "Inh", "Amb", "Bnd")}
    assert sets == {"Eff": bits, "Prm": bits, "Inh": 0, "Amb": 0, "Bnd": 0}
    assert (told["NoNewPrivs"].strip(), told["Back"].strip()) == ("1", "no")


@needs_root
def test_a_second_thread_would_keep_its_rights_so_there_must_be_none() -> None:
    done = run_child(
        f"import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        f"{CHILD}"
    )
    assert done.returncode == 1
    assert "RuntimeError: another thread would keep its rights" in done.stderr
    assert done.stdout == ""


@needs_root
def test_a_container_that_does_not_let_root_change_says_what_it_takes() -> None:
    without = (
        "from polevpn_trio.privileges import capabilities\n"
        "capabilities.keep_only([capabilities.Capability.NET_ADMIN])\n"
    )
    done = run_child(without + CHILD)
    assert done.returncode == 1
    assert "HostError: cannot become the user nobody: operation not permitted" in done.stderr
    assert done.stdout == ""


def test_root_without_a_user_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with caplog.at_level(logging.INFO):
        rights.give_up(ROUTER, None, lambda: None)
    [record] = caplog.records
    assert record.getMessage() == "running as root"
    assert getattr(record, "context")["advice"] == rights.ADVICE  # noqa: B009 - not of all records


def test_who_is_not_root_stays_who_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.pw_uid)
    with caplog.at_level(logging.INFO):
        rights.give_up(attrs.evolve(ROUTER, run_as=RunAs("nobody")), None, lambda: None)
        rights.give_up(ROUTER, None, lambda: None)
        assert not caplog.records
        rights.give_up(attrs.evolve(ROUTER, run_as=RunAs("no-such")), None, lambda: None)
    assert caplog.messages == [
        f'"user" is for programs that root starts: going on as user {NOBODY.pw_uid}'
    ]


def test_an_unknown_user_is_an_error_and_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(HostError, match="no user no-such"):
        rights.give_up(attrs.evolve(ROUTER, run_as=RunAs("no-such")), None, lambda: None)


def test_what_a_program_writes() -> None:
    dashboard = DashboardConfig("127.0.0.1", 80, "token", Path("/srv/history"))
    assert rights.written_files(ROUTER) == []
    assert rights.written_files(attrs.evolve(ROUTER, dashboard=dashboard)) == [Path("/srv/history")]
    assert rights.written_files(GATEWAY) == []
    trust = FirstUse(Path("/srv/known"))
    assert rights.written_files(attrs.evolve(GATEWAY, router_trust=trust)) == [Path("/srv/known")]


@needs_root
def test_only_plain_files_of_root_are_handed_over(tmp_path: Path) -> None:
    account = find_account(RunAs("nobody"))
    folder = tmp_path / "run"
    hand_over(folder, ["*.lock"], account)
    assert folder.stat().st_uid == account.uid
    secret = tmp_path / "secret"
    secret.write_text("of root")
    (folder / "link.lock").symlink_to(secret)
    os.link(secret, folder / "second-name.lock")
    os.mkfifo(folder / "pipe.lock")
    (folder / "folder.lock").mkdir()
    (folder / "good.lock").touch()
    (folder / "other.json").touch()
    (folder / "theirs.lock").touch()
    os.chown(folder / "theirs.lock", 12345, 12345)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket.lock"))
        hand_over(folder, ["*.lock"], account)
    owners = {file.name: file.lstat().st_uid for file in folder.iterdir()}
    assert owners.pop("good.lock") == account.uid
    assert owners.pop("theirs.lock") == 12345
    assert set(owners.values()) == {0}
    assert secret.stat().st_uid == 0


@needs_root
def test_a_folder_of_somebody_else_or_behind_a_link_is_left_alone(tmp_path: Path) -> None:
    account = find_account(RunAs("nobody"))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "a.lock").touch()
    os.chown(theirs, 12345, 12345)
    hand_over(theirs, ["*.lock"], account)
    assert (theirs.stat().st_uid, (theirs / "a.lock").stat().st_uid) == (12345, 0)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(HostError, match=r"cannot leave .*/link to the user nobody"):
        hand_over(tmp_path / "link", ["*.lock"], account)
    assert (tmp_path / "real").stat().st_uid == 0
