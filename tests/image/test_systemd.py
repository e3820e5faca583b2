"""systemd itself starts the units, as the how-to says, and does with them what they promise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.docs.page import shell_blocks
from tests.image.conftest import ROOT, Image
from tests.image.machine import Machine, machine

pytestmark = pytest.mark.image

ROUTER = "polevpn-trio-router"
SOURCE = "/source"
"""The checkout, as far as the page needs it."""

SHOWN = {"listen": ":443", "cert_file": "server.crt", "key_file": "server.key"}
CONFIGURATION = {"kcp": SHOWN, "gateways_directory": "sites"}
GATEWAY = {
    "route_server": "kcp://127.0.0.1:443",
    "key": "a long secret of your own",
    "gateway": "10.8.0.2",
    "local_networks": ["192.168.1.0/24"],
    "forward": True,
}


@pytest.fixture(scope="module")
def booted(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that systemd has booted, with the how-to followed as far as the services."""
    source = image.files / SOURCE.removeprefix("/")
    shutil.copytree(ROOT / "conf/systemd", source / "conf/systemd")
    (source / "router.json").write_text(json.dumps(CONFIGURATION))
    (source / "gateway.json").write_text(json.dumps(GATEWAY))
    log = tmp_path_factory.mktemp("systemd") / "log"
    words = ["/lib/systemd/systemd", "--log-target=journal", "--show-status=no"]
    with machine(image.files, log, words, {"container": "lab"}) as running:
        running.wait("dbus", lambda: (image.files / "bin/systemctl").exists())
        running.wait(
            "booted", lambda: running.run("systemctl", "is-active", "multi-user.target")[0] == 0
        )
        for keys in (
            ("router", "--directory", SOURCE, "--name", "203.0.113.5"),
            ("site", "office", "--config", f"{SOURCE}/router.json"),
        ):
            status, said = running.run("polevpn-trio", "keys", *keys)
            assert status == 0, said
        yield running


def block_with(text: str) -> str:
    """The block of the how-to that has this text in it, as root gives it."""
    page = (ROOT / "docs/howto/services.md").read_text()
    [block] = [each for each in shell_blocks(page) if text in each]
    return block.replace("sudo ", "")


def follow(running: Machine, text: str) -> None:
    """Follow the block of the how-to that has this text in it."""
    block = block_with(text)
    status, said = running.run("sh", "-euc", f"cd {SOURCE}\n{block}")
    state = running.run("systemctl", "status", "--no-pager", "--full", "polevpn-trio-*")[1]
    assert status == 0, f"{block}\n{said}\n{state}"


def told(running: Machine, unit: str, *properties: str) -> list[str]:
    """What systemd says of a unit."""
    names = [f"--property={name}" for name in properties]
    lines = running.run("systemctl", "show", *names, unit)[1].splitlines()
    values = dict(line.split("=", 1) for line in lines)
    return [values[name] for name in properties]


def test_the_router_is_started_watched_reloaded_and_started_anew(booted: Machine) -> None:
    follow(booted, "systemd-sysusers")
    follow(booted, "cp -r sites")
    follow(booted, "enable --now polevpn-trio-router")
    # Type=notify: it has said by itself that it is ready.
    assert told(booted, ROUTER, "ActiveState", "SubState", "NRestarts") == [
        "active",
        "running",
        "0",
    ]
    booted.wait("a status", lambda: "site" in told(booted, ROUTER, "StatusText")[0])
    # It answers, and its one site has not come yet.
    status, said = booted.run("polevpn-trio", "status")
    assert status == 1, said
    assert "site office: down" in said

    changed = {**CONFIGURATION, "log_level": "debug"}
    booted.run("sh", "-c", f"echo '{json.dumps(changed)}' > /etc/polevpn/router.json")
    [first] = told(booted, ROUTER, "MainPID")
    status, said = booted.run("systemctl", "reload", ROUTER)
    assert status == 0, said
    booted.wait("reloaded", lambda: "log_level at once" in journal(booted))
    assert told(booted, ROUTER, "MainPID", "ActiveState") == [first, "active"]

    # What root's `keys` writes can be read by the user that the router runs as.
    follow(booted, "keys site cloud")
    booted.wait("a new site", lambda: "gateways at once (added cloud)" in journal(booted))

    booted.run("kill", "-KILL", first)
    booted.wait(
        "started anew", lambda: told(booted, ROUTER, "NRestarts", "SubState") == ["1", "running"]
    )
    [second] = told(booted, ROUTER, "MainPID")
    assert second != first

    # Shorter than the unit has it, so that nobody waits for half a minute.
    short = "[Service]\nWatchdogSec=2\n"
    folder = f"/run/systemd/system/{ROUTER}.service.d"
    booted.run("sh", "-c", f"mkdir -p {folder}; printf '{short}' > {folder}/watchdog.conf")
    booted.run("systemctl", "daemon-reload")
    booted.run("systemctl", "restart", ROUTER)
    [third] = told(booted, ROUTER, "MainPID")
    booted.run("kill", "-STOP", third)
    booted.wait("the watchdog", lambda: f"{ROUTER}.service: Watchdog timeout" in journal(booted))
    booted.wait("running again", lambda: told(booted, ROUTER, "SubState") == ["running"])
    assert told(booted, ROUTER, "MainPID") != [third]

    # A mistake does not go away by starting again.
    booted.run("sh", "-c", "echo '{\"kpc\": 1}' > /etc/polevpn/router.json")
    assert booted.run("systemctl", "restart", ROUTER)[0] != 0
    assert told(booted, ROUTER, "ActiveState", "ExecMainStatus") == ["failed", "2"]
    assert "kpc" in journal(booted)


def test_a_gateway_runs_without_root_and_takes_back_what_it_changed(booted: Machine) -> None:
    follow(booted, "polevpn-trio-gateway@berlin")
    unit = "polevpn-trio-gateway@berlin"
    assert told(booted, unit, "ActiveState", "User") == ["active", "polevpn"]
    assert "10.8.0.2" in booted.run("ip", "address")[1]
    assert booted.run("cat", "/proc/sys/net/ipv4/ip_forward")[1] == "1"
    assert booted.run("systemctl", "stop", unit)[0] == 0
    assert "10.8.0.2" not in booted.run("ip", "address")[1]
    assert booted.run("cat", "/proc/sys/net/ipv4/ip_forward")[1] == "0"


def test_a_router_with_a_site_of_its_own_gets_a_device_and_no_more(booted: Machine) -> None:
    with_site = {**CONFIGURATION, "site": {"gateway": "10.8.0.1"}}
    booted.run("sh", "-c", f"echo '{json.dumps(with_site)}' > /etc/polevpn/router.json")
    follow(booted, "router-site.conf")
    assert booted.run("systemctl", "restart", ROUTER)[0] == 0, journal(booted)
    assert "10.8.0.1" in booted.run("ip", "address")[1]
    assert booted.run("systemctl", "stop", ROUTER)[0] == 0
    assert "10.8.0.1" not in booted.run("ip", "address")[1]


def test_larger_buffers_stand_where_a_boot_finds_them(booted: Machine) -> None:
    write, load = block_with("net.core.rmem_max").splitlines()
    assert booted.run("sh", "-euc", write)[0] == 0
    # This machine's kernel is the tests' own, whose settings stay as they are.
    assert load == "sysctl --system"
    said = booted.run("sysctl", "--dry-run", "--system")[1]
    assert "Applying /etc/sysctl.d/50-polevpn.conf" in said
    assert "net.core.rmem_max" in said


def test_without_systemd_root_starts_it_and_it_becomes_the_user(booted: Machine) -> None:
    own = json.dumps({"kcp": SHOWN, "key": GATEWAY["key"], "user": "polevpn"})
    booted.run(
        "sh", "-c", f"userdel polevpn; rm -r /etc/polevpn; echo '{own}' > {SOURCE}/router.json"
    )
    *prepare, start = block_with("useradd").splitlines()
    status, said = booted.run("sh", "-euc", "\n".join([f"cd {SOURCE}", *prepare]))
    assert status == 0, said
    assert start.startswith("polevpn-trio router --config ")
    status, said = booted.run("timeout", "--preserve-status", "10", *start.split())
    assert "polevpn" in said, said
    assert " ready" in said, said
    assert status == 0, said


def journal(running: Machine) -> str:
    return running.run("journalctl", "--no-pager", "--output=cat")[1]
