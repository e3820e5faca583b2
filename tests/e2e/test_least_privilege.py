"""Programs that root starts and that become somebody else: what is left to them is enough."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import polevpn_trio
from polevpn_trio.lab.namespaces import Host, Process
from polevpn_trio.lab.overlay import Overlay, python_path
from polevpn_trio.tun.netlink import ROUTE_PROTOCOL

from .test_dashboard import client_on
from .test_operation import ask

pytestmark = pytest.mark.needs_root_lab

PATIENCE = 20.0
USER = pwd.getpwnam("nobody")

CHECKOUT = Path(polevpn_trio.__file__).parents[1]

NET_BIND_SERVICE, NET_ADMIN = 1 << 10, 1 << 12
"""linux/capability.h"""

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


@attrs.frozen
class Rights:
    """What /proc/PID/status says of one thread; capabilities as bits."""

    users: set[int]
    groups: set[int]
    capabilities: tuple[int, int, int, int, int]
    """Effective, permitted, inheritable, ambient, and the bounding set."""
    gains_no_more: bool


def rights(process: Process) -> dict[str, Rights]:
    """Those of each thread of a running program."""
    found = {}
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        try:
            lines = (thread / "status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        told = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        found[thread.name] = Rights(
            set(map(int, told["Uid"])),
            set(map(int, (*told["Gid"], *told["Groups"]))),
            tuple(int(told[f"Cap{name}"][0], 16) for name in ("Eff", "Prm", "Inh", "Amb", "Bnd")),  # type: ignore[arg-type]
            told["NoNewPrivs"] == ["1"],
        )
    return found


def check_rights(process: Process, capabilities: int) -> None:
    """All threads are the user's, with these capabilities and no way to others."""
    threads = rights(process)
    assert threads
    for thread in threads.values():
        assert thread.users == {USER.pw_uid}
        assert thread.groups == {USER.pw_gid}
        assert thread.capabilities == (capabilities, capabilities, 0, 0, 0)
        assert thread.gains_no_more


def show_programs(host: Host) -> None:
    """Let all users of a host read Python and this package, wherever they are installed."""
    needed = {Path(place).resolve() for place in (sys.base_prefix, sys.prefix, CHECKOUT)}
    for folder in sorted(needed):
        closed = [each for each in folder.parents if not each.stat().st_mode & 0o001]
        if closed:
            # An empty folder over the one that is closed, and in there the one that is needed.
            script = """
                set -e; kept=$(mktemp -d /run/lab/XXXXXX); mount --bind "$1" "$kept"
                mount -t tmpfs -o mode=755 none "$2"; mkdir -p "$1"; mount --bind "$kept" "$1"
            """
            words = ["sh", "-c", script, "sh", str(folder), str(closed[-1])]
            assert host.run(words, timeout=PATIENCE).returncode == 0


def start(host: Host, role: str, config: dict[str, Any], *wrapper: str) -> Process:
    """Start a program that becomes the user, from a file that this user can read."""
    file = host.write_file(f"{role}.json", json.dumps({**config, "user": USER.pw_name}))
    show_to_user(host, file)
    command = [*wrapper, sys.executable, "-m", "polevpn_trio", role, "--config", str(file)]
    return host.start(command, name=role, environment={**python_path(), "RUNTIME_DIRECTORY": ""})


def show_to_user(host: Host, file: Path) -> None:
    host.call(os.chown, file, 0, USER.pw_gid)
    host.call(os.chmod, file, 0o640)


def as_in_a_container(*more: str) -> tuple[str, ...]:
    """Run what follows as root that may become another user, and else as little as it may."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv is missing")
    given = ",".join(f"+{each}" for each in ("setuid", "setgid", "setpcap", "chown", *more))
    return (setpriv, f"--bounding-set=-all,{given}", f"--inh-caps=-all,{given}", "--no-new-privs")


def files_of(host: Host) -> set[str]:
    """The names of what is in the folder of sockets and journals, its locks left out."""
    return {
        file.name
        for file in host.call(lambda: list(Path("/run/polevpn_trio").iterdir()))
        if file.suffix != ".lock"
    }


def routes(host: Host) -> str:
    """The routes that programs have made on a host."""
    shown = host.run(["ip", "route", "show", "proto", str(ROUTE_PROTOCOL)], timeout=PATIENCE)
    return shown.stdout


@pytest.fixture
def overlay(overlay: Overlay) -> Overlay:
    """A lab with two sites, whose programs and whose router's certificate the user can read."""
    for name in ("first", "second"):
        show_programs(overlay.add_site(name).gateway)
    show_programs(overlay.router)
    for file in (overlay.cert_file, overlay.key_file):
        show_to_user(overlay.router, file)
    return overlay


@pytest.mark.parametrize(("disabled", "kept"), [("tls", NET_BIND_SERVICE), ("kcp", 0)])
def test_a_router_keeps_no_capability_but_that_to_use_its_port(
    overlay: Overlay, disabled: str, kept: int
) -> None:
    container = as_in_a_container("net_bind_service")
    config = overlay.router_config()
    config[disabled] = config[disabled] | {"enable": False}
    router = start(overlay.router, "router", config, *container)
    router.wait_for_output("ready", PATIENCE)
    check_rights(router, kept)
    assert overlay.router.listens("udp" if disabled == "tls" else "tcp", 443)
    asking = [*container, sys.executable, "-m", "polevpn_trio", "reload"]
    done = overlay.router.run(
        asking, timeout=PATIENCE, environment={**python_path(), "RUNTIME_DIRECTORY": ""}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert router.stop() == 0
    assert "WARNING" not in router.log()
    assert files_of(overlay.router) == set()


def test_all_goes_on_without_root(overlay: Overlay) -> None:
    first, second = overlay.sites
    router = start(overlay.router, "router", overlay.router_config())
    overlay.wait_for_listener("kcp")
    # All that it sends goes into the tunnel but what carries the tunnel, which takes a route for
    # each connection.
    everywhere = overlay.gateway_config(
        first, overlay.url("kcp"), route_networks=["0.0.0.0/0"], masquerade=True
    )
    gateway = start(first.gateway, "gateway", everywhere)
    other = start(second.gateway, "gateway", overlay.gateway_config(second, overlay.url("tls")))
    overlay.wait_for_path(first.lan_host, second.lan_host_address)
    for process in (gateway, other):
        check_rights(process, NET_ADMIN)
    assert first.gateway.call(FORWARDING.read_text).strip() == "1"

    # Another way to the router, and the router anew.
    router.kill()
    router = start(overlay.router, "router", overlay.router_config())
    overlay.wait_for_path(first.lan_host, second.lan_host_address, PATIENCE)

    # Routes and forwarding change.
    changed = overlay.gateway_config(
        second, overlay.url("tls"), route_networks=[first.lan, "10.99.0.0/16"], forward=False
    )
    second.gateway.write_file("gateway.json", json.dumps(changed | {"user": USER.pw_name}))
    assert ask(second.gateway, "reload").returncode == 0
    assert "10.99.0.0/16" in routes(second.gateway)
    assert second.gateway.call(FORWARDING.read_text).strip() == "0"
    overlay.wait_for_path(second.gateway, first.gateway_lan_address)
    check_rights(other, NET_ADMIN)

    # What a killed one leaves, the next one takes back.
    gateway.kill()
    assert first.gateway.call(FORWARDING.read_text).strip() == "1"
    gateway = start(first.gateway, "gateway", everywhere)
    overlay.wait_for_path(second.gateway, first.gateway_lan_address)
    assert "changes that an earlier run had left" in gateway.log()
    for process in (gateway, other, router):
        assert process.stop() == 0
    for site in (first, second):
        assert files_of(site.gateway) == set()
        assert site.gateway.call(FORWARDING.read_text).strip() == "0"
    assert not routes(first.gateway)


def test_a_dashboard_changes_without_root(overlay: Overlay) -> None:
    def config(listen: str, token: str) -> dict[str, Any]:
        show_to_user(overlay.router, overlay.router.write_file("token", token))
        told = {"token_file": "token", "listen": listen}
        found = overlay.router_config(dashboard=told)
        found["kcp"] = found["kcp"] | {"enable": False}
        return found

    def reload(listen: str, token: str) -> tuple[int, str]:
        changed = {**config(listen, token), "user": USER.pw_name}
        overlay.router.write_file("router.json", json.dumps(changed))
        done = ask(overlay.router, "reload")
        return done.returncode, done.stdout + done.stderr

    def opens(port: int, token: str) -> bool:
        """Whether a browser with this token gets in there."""

        async def look() -> int:
            client = client_on(overlay.router, f"http://127.0.0.1:{port}/")
            return (await client.login(token)).status

        return trio.run(look) == 204

    old, new = "the first token of this test", "the second token of this test"
    router = start(overlay.router, "router", config("127.0.0.1:8443", old))
    router.wait_for_output("dashboard at http://127.0.0.1:8443/", PATIENCE)
    check_rights(router, 0)
    assert opens(8443, old)

    status, said = reload("127.0.0.1:8444", new)
    assert status == 0, said
    assert "dashboard: applied at once" in said
    router.wait_for_output("dashboard at http://127.0.0.1:8444/", PATIENCE)
    assert opens(8444, new)
    assert not opens(8444, old)
    assert not overlay.router.listens("tcp", 8443)

    # A port that takes a right which is gone is refused, with what to do, and all goes on.
    status, said = reload("127.0.0.1:80", new)
    assert status == 1
    [problem] = [line for line in said.splitlines() if "127.0.0.1:80" in line]
    assert "gets that by a restart" in problem
    assert opens(8444, new)
    check_rights(router, 0)
    assert router.stop() == 0
