"""The units in conf/systemd: they name what there is, and are as confined as can be."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import polevpn_trio
from polevpn_trio.__main__ import _parser
from polevpn_trio.control.known_routers import usual_file

UNITS = Path(polevpn_trio.__file__).parents[1] / "conf/systemd"
SERVICES = sorted(UNITS.glob("*.service"))
SITE = UNITS / "router-site.conf"

LARGEST_EXPOSURE = 4.9
"""Up to here `systemd-analyze security` calls a service OK."""


def settings(file: Path) -> dict[str, list[str]]:
    """The values of each key, in order."""
    found: dict[str, list[str]] = {}
    for line in file.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_that_there_is(unit: Path) -> None:
    [command] = settings(unit)["ExecStart"]
    program, role, *options = command.replace("%i", "berlin").split()
    assert Path(program).name == "polevpn-trio"
    assert f"trio-{role}" in unit.name
    assert _parser().parse_args([role, *options]).config.startswith("/etc/polevpn/")


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_unit_is_notified_and_watched_and_gives_up_only_at_a_mistake(unit: Path) -> None:
    found = settings(unit)
    assert found["Type"] == ["notify"]
    assert int(found["WatchdogSec"][0]) >= 10
    assert found["Restart"] == ["on-failure"]
    assert found["RestartPreventExitStatus"] == ["2"]
    assert found["StartLimitIntervalSec"] == ["0"]


def test_only_who_has_a_tun_device_may_change_the_network() -> None:
    router, gateway = (settings(UNITS / f"polevpn-trio-{role}.service") for role in ROLES)
    for key in ("AmbientCapabilities", "CapabilityBoundingSet"):
        assert router[key] == ["CAP_NET_BIND_SERVICE"]
        assert gateway[key] == ["CAP_NET_ADMIN"]
        assert settings(SITE)[key] == ["CAP_NET_ADMIN"]
    assert router["PrivateDevices"] == ["yes"]
    for found in (gateway, settings(SITE)):
        assert found["DeviceAllow"] == ["/dev/net/tun rw"]
        assert found["DevicePolicy"] == ["closed"]


ROLES = ("router", "gateway@")


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_sockets_and_known_routers_lie_where_the_unit_makes_room(
    unit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = settings(unit)
    assert found["User"] == ["polevpn"]
    assert "u polevpn " in (UNITS / "polevpn-trio.sysusers").read_text()
    assert found["RuntimeDirectory"] == found["StateDirectory"] == ["polevpn_trio"]
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/polevpn_trio")
    assert usual_file().parent == Path("/var/lib/polevpn_trio")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_systemd_rates_a_unit_ok_or_better(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    rated = re.search(r"exposure level for .*: ([\d.]+) ", done.stdout)
    assert rated is not None, done.stdout + done.stderr
    assert float(rated[1]) <= LARGEST_EXPOSURE
