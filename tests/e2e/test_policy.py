"""A router's policy between real hosts: one way only, one port only, and ping as the rules say."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

from polevpn_trio.lab import probes
from polevpn_trio.lab.namespaces import Host, wait_until
from polevpn_trio.lab.overlay import Overlay, Site, python_path

pytestmark = pytest.mark.needs_root_lab

OPEN, SHUT = 8001, 8002
REFUSED_SECONDS = 1.0
"""How long to try what must not get through: that it was denied is then read off the router."""
PATIENCE = 20.0

MakeSocket = Callable[[int, int], socket.socket]


def ask(router: Host, *words: str) -> tuple[int, Any]:
    """Give a command to the running router; return its status and the JSON it prints."""
    done = router.run(
        [sys.executable, "-m", "polevpn_trio", *words, "--json"],
        timeout=60,
        environment={**python_path(), "RUNTIME_DIRECTORY": ""},
    )
    return done.returncode, json.loads(done.stdout)


def denials(router: Host) -> dict[str, int]:
    _, answer = ask(router, "status", "--over", "0")
    [status] = answer["programs"]
    return {rule["name"]: rule["denied"] for rule in status["policy"]["rules"] if rule["denied"]}


def tcp(host: Host, version: int) -> socket.socket:
    """Make a socket of a host."""
    make: MakeSocket = socket.socket
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return host.call(make, family, socket.SOCK_STREAM)


def listen(site: Site, version: int, port: int) -> socket.socket:
    listener = tcp(site.lan_host, version)
    listener.bind((address(site, version), port))
    listener.listen()
    listener.settimeout(PATIENCE)
    return listener


def address(site: Site, version: int) -> str:
    return site.lan_host_address if version == 4 else site.lan_host_address6


def converse(client: socket.socket, listener: socket.socket) -> None:
    """Send something both ways over a connection that is open already."""
    server, _ = listener.accept()
    with server:
        server.settimeout(PATIENCE)
        client.sendall(b"question")
        assert server.recv(100) == b"question"
        server.sendall(bytes(100_000))
        received = 0
        while received < 100_000:
            received += len(client.recv(65_536))


@pytest.mark.parametrize("transport", ["kcp", "tls"])
def test_hosts_talk_as_the_rules_say(overlay: Overlay, transport: str) -> None:
    a, b = overlay.add_site("a"), overlay.add_site("b")
    rules = [
        {
            "name": "service",
            "action": "allow",
            "from": [a.lan, a.lan6],
            "to": [b.lan, b.lan6],
            "protocol": "tcp",
            "ports": OPEN,
        },
        {"name": "ping", "action": "allow", "from": [a.lan, a.lan6], "protocol": "icmp"},
    ]
    overlay.start_router(overlay.router_config(policy={"default": "deny", "rules": rules}))
    for site in (a, b):
        overlay.start_gateway(site, overlay.gateway_config(site, overlay.url(transport)))
    for version in (4, 6):
        overlay.wait_for_path(a.lan_host, address(b, version))
        there, here = address(b, version), address(a, version)
        with listen(b, version, OPEN) as listener, tcp(a.lan_host, version) as client:
            client.settimeout(PATIENCE)
            client.connect((there, OPEN))
            converse(client, listener)
        before = denials(overlay.router).get("default", 0)
        for site, target, port in ((a, there, SHUT), (b, here, OPEN)):
            owner = b if site is a else a
            with listen(owner, version, port), tcp(site.lan_host, version) as client:
                client.settimeout(REFUSED_SECONDS)
                with pytest.raises(TimeoutError):
                    client.connect((target, port))
        found = b.lan_host.call(probes.ping, here, timeout=REFUSED_SECONDS)
        assert found.received == 0
        counted = denials(overlay.router)["default"] - before
        assert counted >= 3
    log = overlay.programs()[0].log()
    assert "denied by default: " in log
    status, answer = ask(overlay.router, "explain", address(a, 4), address(b, 4), "tcp", str(OPEN))
    assert (status, answer["policy"].partition(":")[0]) == (0, 'rule "service"')
    status, answer = ask(overlay.router, "explain", address(b, 4), address(a, 4), "tcp", str(OPEN))
    assert (status, answer["reason"]) == (1, "denied")
    wait_until(lambda: overlay.reaches(a.lan_host, address(b, 4)), PATIENCE, "a ping")
