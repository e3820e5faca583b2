"""A machine to be examined, configurations to examine it for, and what may be wrong with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from polevpn_trio.control.config import GatewayConfig, RouterConfig, parse_gateway, parse_router
from polevpn_trio.doctor.finding import Finding, Status
from polevpn_trio.lab.namespaces import Host, Lab

GATEWAY = {
    "route_server": ["kcp://198.18.1.2:443", "tls://198.18.1.2:443"],
    "key": "a long secret of the test",
    "gateway": "10.8.0.2",
    "local_networks": ["192.168.1.0/24"],
    "route_networks": ["10.8.0.0/24", "192.168.2.0/24"],
    "interface": "pole0",
    "forward": True,
}


def gateway(**changes: Any) -> GatewayConfig:
    """A gateway whose LAN is that of `site_machine`."""
    return parse_gateway(Path("gateway.json"), json.dumps({**GATEWAY, **changes}))


def router(cert_file: Path, key_file: Path, **changes: Any) -> RouterConfig:
    """A router with both listeners on port 4443 of all addresses."""
    listener = {"listen": ":4443", "cert_file": str(cert_file), "key_file": str(key_file)}
    values = {"kcp": listener, "tls": listener, "key": GATEWAY["key"], **changes}
    return parse_router(Path("router.json"), json.dumps(values))


def site_machine(lab: Lab) -> Host:
    """A machine with an uplink (wan, default route) and a LAN (lan, 192.168.1.0/24)."""
    machine, computer, internet = (lab.host(name) for name in ("machine", "computer", "internet"))
    lab.connect(machine, "lan", computer, "eth0")
    lab.connect(machine, "wan", internet, "eth0")
    machine.add_addresses("lan", "192.168.1.1/24", "fd00:1::1/64")
    machine.add_addresses("wan", "198.18.2.2/24")
    machine.add_route("0.0.0.0/0", via="198.18.2.1")
    return machine


def ills(findings: Iterator[Finding] | tuple[Finding, ...] | list[Finding]) -> list[Finding]:
    """Those that are not well; what could not be found out is not well, either."""
    return [finding for finding in findings if finding.status is not Status.OK]


@contextmanager
def rules(machine: Host, text: str) -> Iterator[None]:
    """Within the block, the machine has these nftables rules, and no others."""
    if shutil.which("nft") is None:
        pytest.skip("nft is not installed")
    file = machine.write_file("rules.nft", text)
    done = machine.run(["nft", "-f", str(file)], timeout=30)
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        machine.run(["nft", "flush", "ruleset"], timeout=30)


@contextmanager
def settings_locked(machine: Host) -> Iterator[None]:
    """Within the block, the kernel's settings cannot be changed, as in a container."""
    for command in (
        ["mount", "--bind", "/proc/sys", "/proc/sys"],
        ["mount", "-o", "remount,bind,ro", "/proc/sys"],
    ):
        done = machine.run(command, timeout=30)
        assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        machine.run(["umount", "/proc/sys"], timeout=30)
