"""New keys while packets flow: real programs, every few seconds, and nothing is lost."""

from __future__ import annotations

import select
import socket
import sys
import time
from itertools import pairwise

import pytest

from polevpn_trio.lab.overlay import TRANSPORTS, Overlay, python_path

from .conftest import START_TIMEOUT

pytestmark = pytest.mark.needs_root_lab

PORT = 7002
RENEW_SECONDS = 2
COUNT = 4500
INTERVAL = 0.002
LONGEST_DELAY = 20.0
"""Seconds that all of it may take longer on a busy machine."""
UNANSWERED = 6
"""Datagrams under way at most: no more than a quantum of the flow queue, of which CoDel drops
nothing however long a busy machine lets them wait."""


def numbered_echoes(address: str, port: int, count: int, interval: float) -> list[int]:
    """Send numbered datagrams to an echo server; return the numbers as they come back.

    One that is lost counts as under way ever after.
    """
    came: list[int] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((address, port))
        sock.setblocking(False)
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        start, sent = time.monotonic(), 0
        until = start + count * interval + LONGEST_DELAY
        while len(came) < count and (now := time.monotonic()) < until:
            while sent < min(count, len(came) + UNANSWERED) and start + sent * interval <= now:
                sock.send(sent.to_bytes(4, "big") + bytes(200))
                sent += 1
            if poll.poll(interval * 1000):
                came.append(int.from_bytes(sock.recv(2048)[:4], "big"))
    return came


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_renewals_lose_and_reorder_nothing(overlay: Overlay, transport: str) -> None:
    a, b = overlay.add_site("a"), overlay.add_site("b")
    overlay.start_router()
    url = overlay.url(transport)
    gateways = [
        overlay.start_gateway(site, overlay.gateway_config(site, url, renew_seconds=RENEW_SECONDS))
        for site in (a, b)
    ]
    server = b.lan_host.start(
        [sys.executable, "-m", "polevpn_trio.lab.probes", "udp-server", str(PORT)],
        environment=python_path(),
    )
    overlay.wait_for_path(a.lan_host, b.lan_host_address)
    server.wait_for_output("listening", START_TIMEOUT)
    came = a.lan_host.call(numbered_echoes, b.lan_host_address, PORT, COUNT, INTERVAL)
    lost = sorted(set(range(COUNT)).difference(came))
    overtaken = [(number, before) for before, number in pairwise(came) if number < before]
    assert (lost, overtaken) == ([], []), "numbers lost, and such as came after a later one"
    assert len(came) == COUNT
    for gateway in gateways:
        assert gateway.log().count("takes over") >= COUNT * INTERVAL // RENEW_SECONDS - 2
