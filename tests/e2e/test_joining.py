"""A new site is two commands: what `keys` and `join` write is run by the real programs."""

from __future__ import annotations

import json
import shlex
import sys

import pytest

from polevpn_trio.lab.namespaces import Host, Process
from polevpn_trio.lab.overlay import Overlay, Site, program, python_path

pytestmark = pytest.mark.needs_root_lab

PATIENCE = 20.0
"""Seconds for a command that only writes files, on a busy machine."""

ROUTER = {
    "kcp": {"listen": ":443", "cert_file": "server.crt", "key_file": "server.key"},
    "tls": {"listen": ":443", "cert_file": "server.crt", "key_file": "server.key"},
    "gateways_directory": "sites",
}
GATEWAY_FILE = str(Host.FILES / "gateway.json")
ROUTER_FILE = str(Host.FILES / "router.json")


def give(host: Host, *words: str, stdin: str = "") -> str:
    """Give a command on a host, and return its stdout."""
    command = shlex.join([sys.executable, "-m", "polevpn_trio", *words])
    line = f"cd {Host.FILES} && printf %s {shlex.quote(stdin)} | {command}"
    done = host.run(["sh", "-c", line], timeout=PATIENCE, environment=python_path())
    assert done.returncode == 0, done.stderr
    return done.stdout


def join(overlay: Overlay, site: Site) -> None:
    """The two commands."""
    told = give(overlay.router, "keys", "site", site.name, "--network", site.lan)
    give(site.gateway, "join", "-", "--force", stdin=told)


def start_router(overlay: Overlay) -> Process:
    return program(overlay.router, ["router", "--config", ROUTER_FILE], "router")


def start_gateway(site: Site) -> Process:
    return program(site.gateway, ["gateway", "--config", GATEWAY_FILE], f"gateway-{site.number}")


def prepare(overlay: Overlay) -> tuple[Site, Site]:
    sites = overlay.add_site("office"), overlay.add_site("branch")
    give(overlay.router, "keys", "router", "--name", overlay.router_uplink.address)
    overlay.router.write_file("router.json", json.dumps(ROUTER), mode=0o600)
    return sites


def test_sites_that_joined_reach_each_other_and_a_revoked_one_is_refused(
    overlay: Overlay,
) -> None:
    office, branch = prepare(overlay)
    join(overlay, office)
    join(overlay, branch)
    # The office was told before the branch was known: it gets a new key and the way there.
    told = give(overlay.router, "keys", "renew", "office")
    give(office.gateway, "join", "-", "--force", stdin=told)

    router = start_router(overlay)
    gateways = start_gateway(office), start_gateway(branch)
    overlay.wait_for_path(office.lan_host, branch.lan_host_address)
    overlay.wait_for_path(branch.lan_host, office.lan_host_address)
    overlay.wait_for_path(office.gateway, branch.tunnel_address)

    give(overlay.router, "keys", "revoke", "branch")
    router.stop()
    router = start_router(overlay)
    gateways[1].wait_for_output("refused our login: site branch is disabled", PATIENCE)
    router.wait_for_output("branch is disabled", PATIENCE)
    router.wait_for_output(f"registered {office.tunnel_address} for {office.lan}", PATIENCE)
    assert all(gateway.returncode is None for gateway in gateways)
    assert "every user of this machine" not in router.log() + gateways[0].log()


def test_a_router_that_shows_another_certificate_is_told_nothing(overlay: Overlay) -> None:
    office, _ = prepare(overlay)
    join(overlay, office)
    give(overlay.router, "keys", "router", "--force", "--name", "localhost")
    start_router(overlay)
    start_gateway(office).wait_for_output("but verify_router expects sha256:", PATIENCE)
