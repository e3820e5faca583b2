"""The programs as a service manager runs them: told of, and with no right that they do not need."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from polevpn_trio.lab.namespaces import Host, Process, wait_until
from polevpn_trio.lab.overlay import Overlay, python_path

PATIENCE = 20.0


@pytest.fixture
def notified() -> Iterator[socket.socket]:
    with (
        TemporaryDirectory(prefix="polevpn-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening,
    ):
        listening.bind(f"{folder}/notify")
        listening.settimeout(PATIENCE)
        yield listening


def start(
    host: Host,
    role: str,
    config: dict[str, Any],
    *,
    wrapper: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
) -> Process:
    file = host.write_file(f"{role}.json", json.dumps(config), mode=0o600)
    command = [*wrapper, sys.executable, "-m", "polevpn_trio", role, "--config", str(file)]
    wanted = {**python_path(), "RUNTIME_DIRECTORY": "", **(environment or {})}
    return host.start(command, name=role, environment=wanted)


def only(capability: str) -> tuple[str, ...]:
    """Run what follows as root that has nothing but one capability."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv is missing")
    return (setpriv, f"--bounding-set=-all,+{capability}", f"--inh-caps=-all,+{capability}")


def capabilities(process: Process) -> int:
    """The effective ones of a running program, as bits."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("CapEff:")[2].split()[0], 16)


@pytest.mark.needs_root_lab
def test_a_service_manager_hears_when_a_program_is_ready_reloads_and_ends_and_how_it_is(
    overlay: Overlay, notified: socket.socket
) -> None:
    environment = {"NOTIFY_SOCKET": notified.getsockname(), "WATCHDOG_USEC": "1000000"}
    site = overlay.add_site("site")
    router = start(overlay.router, "router", overlay.router_config(), environment=environment)
    assert notified.recv(4096) == b"READY=1"
    assert overlay.router.listens("udp", 443)
    overlay.start_gateway(site, overlay.gateway_config(site, overlay.url("kcp")))
    wait_until(
        lambda: notified.recv(4096) == b"WATCHDOG=1\nSTATUS=sites: 1 up", PATIENCE, "the site"
    )
    os.kill(router.pid, signal.SIGHUP)
    heard = b""
    while not heard.startswith(b"RELOADING=1\nMONOTONIC_USEC="):
        heard = notified.recv(4096)
    while heard != b"READY=1":
        heard = notified.recv(4096)
    assert router.stop() == 0
    last = b""
    while b"STOPPING=1" not in last:
        last = notified.recv(4096)


@pytest.mark.needs_root_lab
def test_programs_need_no_more_than_the_capability_that_their_unit_gives_them(
    overlay: Overlay,
) -> None:
    sites = [overlay.add_site("first"), overlay.add_site("second")]
    relay = start(
        overlay.router, "router", overlay.router_config(), wrapper=only("net_bind_service")
    )
    overlay.wait_for_listener("kcp")
    gateways = [
        start(
            site.gateway,
            "gateway",
            overlay.gateway_config(site, overlay.url("kcp"), masquerade=True),
            wrapper=only("net_admin"),
        )
        for site in sites
    ]
    overlay.wait_for_path(sites[0].lan_host, sites[1].lan_host_address)
    # linux/capability.h
    assert capabilities(relay) == 1 << 10
    assert capabilities(gateways[0]) == 1 << 12
    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    assert sites[0].gateway.call(forwarding.read_text).strip() == "1"
    assert gateways[0].stop() == 0
    assert sites[0].gateway.call(forwarding.read_text).strip() == "0"
    assert "WARNING" not in gateways[0].log()
