"""A machine at a site sends in another one's name, through the real programs."""

from __future__ import annotations

import json
import random
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

from polevpn_trio.lab.namespaces import Host, wait_until
from polevpn_trio.lab.overlay import Overlay, Site, python_path

pytestmark = pytest.mark.needs_root_lab

FORGED, FORGED6 = "203.0.113.9", "2001:db8:f::9"
PORT = 7003
UDP_SEGMENT = 103
SEGMENT = 1000
SEGMENTS = 20
PATIENCE = 10.0
"""Seconds that a datagram may take on a busy machine."""

MakeSocket = Callable[[int, int], socket.socket]
DIALECTS: dict[str, dict[str, Any]] = {"native": {}, "classic": {"native": False, "classic": True}}


def spoofed(router: Host) -> int:
    """Ask the router how many packets it has dropped for their source."""
    answer = router.run(
        [sys.executable, "-m", "polevpn_trio", "status", "--json", "--over", "0"],
        timeout=60,
        environment={**python_path(), "RUNTIME_DIRECTORY": ""},
    )
    [status] = json.loads(answer.stdout)["programs"]
    return sum(site["link"]["drops"].get("spoofed", 0) for site in status["sites"])


def send(origin: Site, source: str, target: str, data: bytes) -> None:
    """Send a super-packet of UDP from an address of the gateway's machine."""
    make: MakeSocket = socket.socket
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with origin.gateway.call(make, family, socket.SOCK_DGRAM) as sender:
        sender.bind((source, 0))
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT)
        sender.sendto(data, (target, PORT))


def receive(receiver: socket.socket) -> bytes:
    return b"".join(receiver.recv(65536) for _ in range(SEGMENTS))


def start(overlay: Overlay, transport: str, dialect: str, **changes: Any) -> tuple[Site, Site]:
    a, b = overlay.add_site("a"), overlay.add_site("b")
    overlay.start_router(overlay.router_config(**changes))
    for site in (a, b):
        config = overlay.gateway_config(site, overlay.url(transport), **DIALECTS[dialect])
        overlay.start_gateway(site, config)
    overlay.wait_for_path(a.lan_host, b.lan_host_address)
    a.gateway.add_addresses("lo", f"{FORGED}/32", f"{FORGED6}/128")
    return a, b


def exchange(a: Site, b: Site, version: int, forged_arrives: bool) -> None:
    """Send in another one's name and then in one's own; compare what arrives."""
    target = b.lan_host_address if version == 4 else b.lan_host_address6
    own, forged = (a.tunnel_address, FORGED) if version == 4 else (a.tunnel_address6, FORGED6)
    chance = random.Random(version)
    lie, truth = (chance.randbytes(SEGMENT * SEGMENTS) for _ in range(2))
    make: MakeSocket = socket.socket
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with b.lan_host.call(make, family, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(PATIENCE)
        receiver.bind((target, PORT))
        send(a, forged, target, lie)
        if forged_arrives:
            assert receive(receiver) == lie
        send(a, own, target, truth)
        assert receive(receiver) == truth


@pytest.mark.parametrize(
    ("transport", "dialect"),
    [("kcp", "native"), ("kcp", "classic"), ("tls", "native"), ("wss", "native")],
)
def test_a_forged_source_never_arrives(overlay: Overlay, transport: str, dialect: str) -> None:
    a, b = start(overlay, transport, dialect)
    versions = (4, 6) if dialect == "native" else (4,)
    for version in versions:
        exchange(a, b, version, forged_arrives=False)
    expected = SEGMENTS * len(versions)
    wait_until(lambda: spoofed(overlay.router) == expected, PATIENCE, "all drops to be counted")
    log = overlay.programs()[0].log()
    assert log.count("is not among its addresses and networks") == 1


def test_it_does_where_sources_are_not_checked(overlay: Overlay) -> None:
    a, b = start(overlay, "kcp", "native", source_check=False)
    for version in (4, 6):
        exchange(a, b, version, forged_arrives=True)
