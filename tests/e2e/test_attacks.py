"""Several attackers at once, from the outside: sites keep their links, and a new one gets in.

A short form of ``./run bench attacks``, for what must hold on any machine.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bench.case_by_case import forged_packets
from polevpn_trio.lab.namespaces import Host, Process, wait_until
from polevpn_trio.lab.overlay import PORT, Overlay, Site, python_path
from tests.e2e.conftest import PathCheck

pytestmark = pytest.mark.needs_root_lab

RECORDED = 200
"""Packets to replay; the transfers that are recorded have many more."""

PATIENCE = 60.0
"""Seconds that a whole attack may take on a busy machine."""


def attack(attacker: Host, overlay: Overlay, kind: str, *words: str) -> Process:
    """Start one attack, with bounds, and wait until it is under way."""
    key = attacker.write_file("no-key", "")
    program = [sys.executable, "-m", "bench.case_by_case.attacker", overlay.url("kcp")]
    started = attacker.start(
        [*program, str(key), kind, "--seconds", "4", *words],
        name=kind,
        environment=python_path(),
    )
    started.wait_for_output("began", PATIENCE)
    return started


def what_it_did(attacker: Process) -> Any:
    """Wait for the end of an attack."""
    assert attacker.wait(PATIENCE) == 0
    attacker.stopped = True
    return json.loads(attacker.log().splitlines()[-1])


def start_gateway(overlay: Overlay, site: Site, transport: str) -> Process:
    return overlay.start_gateway(site, overlay.gateway_config(site, overlay.url(transport)))


def test_a_router_under_attack_keeps_its_sites_and_takes_new_ones(
    overlay: Overlay, check_path: PathCheck
) -> None:
    a, b, late = (overlay.add_site(name) for name in ("a", "b", "late"))
    attacker, accomplice = (overlay.lab.host(name) for name in ("attacker", "accomplice"))
    uplink = overlay.attach(attacker)
    overlay.attach(accomplice)
    # Nobody on the way looks at sources; what is answered to forged ones goes to the attacker.
    for interface in ("all", "machine-1", "machine-5", "machine-6"):
        overlay.internet.set_sysctl(f"net.ipv4.conf.{interface}.rp_filter", "0")
    overlay.internet.add_route(str(forged_packets.FORGED), uplink.address)
    overlay.start_router()
    overlay.wait_for_listener("kcp")
    overlay.wait_for_listener("tls")
    gateways = start_gateway(overlay, a, "kcp"), start_gateway(overlay, b, "tls")
    overlay.wait_for_path(a.lan_host, b.lan_host_address)
    with ThreadPoolExecutor(1) as beside:
        recording = beside.submit(
            overlay.router.call, forged_packets.record, "wan", PORT, RECORDED, PATIENCE
        )
        check_path(a.lan_host, b.lan_host, b.lan_host_address)
        recorded = recording.result()
    records = accomplice.write_file("records", "\n".join(packet.hex() for packet in recorded))

    before = attacker.counters("wan")
    hellos = attack(attacker, overlay, "hello", "--rate", "5000", "--most", "20000")
    others = [
        attack(accomplice, overlay, "replay", "--rate", "2000", "--file", str(records)),
        attack(accomplice, overlay, "silent", "--count", "700", "--most", "2000"),
    ]
    start_gateway(overlay, late, "kcp")
    wait_until(
        lambda: overlay.reaches(late.lan_host, a.lan_host_address), PATIENCE, "the late site"
    )

    assert what_it_did(hellos)["sent"] > 0
    after = attacker.counters("wan")
    sent, received = (after[name] - before[name] for name in ("tx_bytes", "rx_bytes"))
    assert 0 < received < sent
    assert all(what_it_did(one)["sent"] for one in others)
    check_path(a.lan_host, b.lan_host, b.lan_host_address)
    check_path(b.lan_host, late.lan_host, late.lan_host_address)
    for gateway in gateways:
        assert gateway.log().count("registered at") == 1
