"""What is compared on long paths besides our programs and the peers: no tunnel, and kcptun."""

from __future__ import annotations

import subprocess
from shutil import which

import attrs

from bench.side_by_side.network import (
    FIRST,
    SECOND,
    START_TIMEOUT,
    Network,
    RunFailed,
    Running,
    Subject,
)
from bench.side_by_side.ours import Ours
from bench.side_by_side.peers import OpenVpn, WireGuardGo
from polevpn_trio.lab.namespaces import Process, wait_until
from polevpn_trio.lab.overlay import TRANSPORTS

REFERENCE = "plain"

_CARRIED_PORT = 5201
"""The port that kcptun forwards: where iperf3 listens in these benchmarks."""
_KCPTUN_PORT = 29900
_VERSION_TIMEOUT = 10.0


@attrs.frozen
class Programs:
    """Any number of processes."""

    all: tuple[Process, ...]


def _connect_plainly(network: Network) -> None:
    """Let the router's kernel pass packets between the two sites."""
    network.router.forward_packets()
    network.first.add_route("198.18.2.0/24", via=network.hub_address(1))
    network.second.add_route("198.18.1.0/24", via=network.hub_address(2))


@attrs.frozen
class Plain:
    """No tunnel: the router's kernel forwards."""

    name: str = REFERENCE
    ours: bool = False

    @property
    def description(self) -> str:
        return "no tunnel: what the path itself does to TCP and ping"

    def missing(self) -> str | None:
        return None

    def start(self, network: Network) -> Running:
        _connect_plainly(network)
        for number, (host, address) in enumerate(network.members[1:], 1):
            host.add_addresses("lo", f"{address}/32")
            network.router.add_route(f"{address}/32", via=f"198.18.{number}.2")
        network.first.add_route(f"{SECOND}/32", via=network.hub_address(1))
        network.second.add_route(f"{FIRST}/32", via=network.hub_address(2))
        return Programs(())


@attrs.frozen
class Kcptun:
    """kcptun as people set it up for such paths: one TCP port forwarded, nothing else carried.

    Its client listens at the first gateway under the second one's address.
    """

    name: str = "kcptun"
    ours: bool = False

    @property
    def description(self) -> str:
        said = ""
        if which("kcptun-client"):
            said = subprocess.run(
                ["kcptun-client", "-v"],
                capture_output=True,
                text=True,
                timeout=_VERSION_TIMEOUT,
                check=False,
            ).stdout.strip()
        return (
            f"{said or 'kcptun'}, port forward, aes, fast2, FEC 10+3, windows of 1,024 segments, "
            "no compression"
        )

    def missing(self) -> str | None:
        for name in ("kcptun-client", "kcptun-server"):
            if not which(name):
                return f"no program {name} is installed"
        return None

    def start(self, network: Network) -> Running:
        _connect_plainly(network)
        network.first.add_addresses("lo", f"{SECOND}/32")
        shared = [
            *("--crypt", "aes", "--mode", "fast2", "--datashard", "10", "--parityshard", "3"),
            *("--sndwnd", "1024", "--rcvwnd", "1024", "--nocomp", "--key", "benchmark"),
        ]
        target, here = f"127.0.0.1:{_CARRIED_PORT}", f"{SECOND}:{_CARRIED_PORT}"
        server = network.second.start(
            ["kcptun-server", "--listen", f":{_KCPTUN_PORT}", "--target", target, *shared]
        )
        far = f"198.18.2.2:{_KCPTUN_PORT}"
        client = network.first.start(
            ["kcptun-client", "--localaddr", here, "--remoteaddr", far, *shared]
        )
        programs = Programs((client, server))

        def listen() -> bool:
            for each in programs.all:
                if each.returncode is not None:
                    raise RunFailed(f"{each.name} ended: {each.log_tail(3)}")
            return network.first.listens("tcp", _CARRIED_PORT) and network.second.listens(
                "udp", _KCPTUN_PORT
            )

        wait_until(listen, START_TIMEOUT, "kcptun to listen")
        return programs


def carries_packets(subject: Subject) -> bool:
    """Whether it joins networks, rather than forwarding a port."""
    return not isinstance(subject, Kcptun)


def subjects(*, classic: bool, tuned: bool) -> list[Subject]:
    """The plain path, ours, and the peers that are used on such paths."""
    return [
        Plain(),
        *(Ours(transport) for transport in TRANSPORTS),
        *(Ours(each, native=False) for each in TRANSPORTS if classic or each == "kcp"),
        OpenVpn(),
        *([OpenVpn(tuned=True)] if tuned else []),
        WireGuardGo(),
        Kcptun(),
    ]
