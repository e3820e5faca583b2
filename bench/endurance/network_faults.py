"""Faults of the network: cuts, a NAT that forgets, a name server that does not answer."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack
from shutil import which

from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

from bench.endurance.outcome import Outcome
from bench.endurance.scene import FIRST, PROGRAMS, RESTARTED_WITHIN, ROUTER, SECOND, Scene
from polevpn_trio.lab.namespaces import Host, Process
from polevpn_trio.lab.overlay import PORT, Site, python_path

FALLEN_SILENT, REGISTERED = "has fallen silent, trying anew", "registered at "

OUTAGE_SHARE, SHORTEST_LIMIT = 0.05, 4.0
"""A cut of some time is over for the traffic within this share of it, or the shortest limit more:
attempts become rarer the longer an outage lasts (`transport/dial.py`)."""


def cut_limit(seconds: float) -> float:
    """Seconds from the end of a cut within which traffic must flow."""
    return SHORTEST_LIMIT + seconds * OUTAGE_SHARE


def cut(scene: Scene, case: str, seconds: float) -> Outcome:
    """Have everything that crosses the internet vanish for a while, without a word."""
    scene.start()
    with ExitStack() as stack:
        for protocol in ("udp", "tcp"):
            stack.enter_context(scene.overlay.internet.dropping(protocol))
        began = time.monotonic()
        scene.breaks()
        time.sleep(max(began + seconds - time.monotonic(), 0))
    scene.recover(f"end of {seconds:g} s of silence", cut_limit(seconds))
    return scene.outcome(case)


def unplug(scene: Scene, case: str, seconds: float) -> Outcome:
    """Take a gateway's cable out for a while: its routes are gone, every send is an error."""
    scene.start()
    site = scene.sites[0]
    gateway, outside = site.gateway, site.uplink
    router4 = outside.address.rpartition(".")[0] + ".1"
    router6 = outside.address6.rpartition(":")[0] + ":1"
    gateway.set_link("wan", up=False)
    began = time.monotonic()
    scene.breaks()
    time.sleep(max(began + seconds - time.monotonic(), 0))
    gateway.set_link("wan", up=True)
    # What the kernel drops with a link that goes down, and a network manager brings back.
    gateway.add_addresses("wan", f"{outside.address6}/64")
    gateway.add_route("0.0.0.0/0", via=router4)
    gateway.add_route("::/0", via=router6)
    scene.recover(f"cable in again after {seconds:g} s", cut_limit(seconds))
    return scene.outcome(case)


# --- NAT

_PAUSES = (3.0, 12.0)
"""Seconds between two: a link that is lost within ten seconds counts as a failed attempt."""

RECOVERY_SECONDS = 2.0
"""Within which a link is back whose address, as the router sees it, has changed."""

_RULES = """
table ip lab {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname "wan" masquerade random,fully-random
    }
}
"""


def missing_nft() -> str:
    """Say why no NAT can be had here; "" if it can."""
    return "" if which("nft") else "nftables' program nft is not installed"


def rebind(scene: Scene, case: str, times: int) -> Outcome:
    """Put a gateway behind a NAT that forgets its connections: its port changes in use."""
    overlay = scene.overlay
    nat, gateway = overlay.lab.host("nat"), overlay.lab.host("first gateway")
    nat.forward_packets()
    uplink = overlay.attach(nat)
    overlay.lab.connect(gateway, "wan", nat, "inside")
    nat.add_addresses("inside", "198.19.0.1/24")
    gateway.add_addresses("wan", "198.19.0.2/24")
    gateway.add_route("0.0.0.0/0", via="198.19.0.1")
    rules = nat.write_file("rules.nft", _RULES)
    done = nat.run(["nft", "-f", str(rules)], timeout=10)
    if done.returncode:
        return Outcome(case, scene.transport, skipped=f"nft: {done.stderr.strip()[:200]}")
    first = Site(1, FIRST, gateway, overlay.lab.host("first host"), uplink)
    scene.sites = [overlay.add_lan(first), overlay.add_site(SECOND)]
    scene.start()
    for number in range(times):
        if number:
            time.sleep(_PAUSES[number % len(_PAUSES)])
        before = scene.log(FIRST).count(REGISTERED)
        nat.call(forget_connections)
        scene.recover(f"port changed, {number + 1}", RECOVERY_SECONDS)
        scene.expect(
            scene.log(FIRST).count(REGISTERED) > before, "the NAT kept the port: nothing was tested"
        )
    return scene.outcome(case)


def forget_connections() -> None:
    """Have this host's NAT forget all connections."""
    with NFCTSocket() as connections:
        connections.flush()


# --- Names

NAME = "router.example"


def break_names(scene: Scene, case: str) -> Outcome:
    """Have the name server fall silent, or refuse, while links are up and when they are made."""
    overlay = scene.overlay
    scene.add_sites()
    names = overlay.lab.host("names")
    server_address = overlay.attach(names).address
    server = _serve_names(names, overlay.router_uplink.address)
    for name in PROGRAMS:
        host = scene.host(name)
        file = host.write_file("resolv.conf", f"nameserver {server_address}\n")
        done = host.run(["mount", "--bind", str(file), "/etc/resolv.conf"], timeout=10)
        if done.returncode:
            return Outcome(case, scene.transport, skipped=f"mount: {done.stderr.strip()[:200]}")
    scene.start(server=f"{scene.transport}://{NAME}:{PORT}")
    server.send_signal(signal.SIGSTOP)
    scene.programs[ROUTER].kill()
    scene.recover("router killed while names get no answer", RESTARTED_WITHIN)
    server.kill()
    scene.programs[ROUTER].kill()
    scene.recover("router killed while names are refused", RESTARTED_WITHIN)
    scene.programs[FIRST].stop()
    scene.launch(FIRST)
    scene.programs[FIRST].wait_for_output(f"cannot look {NAME} up", 20)
    scene.expect(not scene.flows(), "traffic without a name")
    _serve_names(names, overlay.router_uplink.address)
    scene.recover("names are back for a gateway that started without", 10)
    return scene.outcome(case, scene.said(f"cannot look {NAME} up"))


def _serve_names(host: Host, address: str) -> Process:
    server = host.start(
        [sys.executable, "-m", "bench.endurance.name_server", NAME, address],
        name="names",
        environment=python_path(),
    )
    server.wait_for_output("listening", 10)
    return server
