"""Our own router and gateways as subjects: three transports, two dialects."""

from __future__ import annotations

import json
from typing import Any

import attrs

import polevpn_trio
from bench.side_by_side.network import START_TIMEOUT, TUNNEL_NETWORK, Network, Programs
from polevpn_trio.lab.certificate import make_certificate
from polevpn_trio.lab.namespaces import Host, Process, wait_until
from polevpn_trio.lab.overlay import PORT, TRANSPORTS, program

KEY = "benchmark"


@attrs.frozen
class Ours:
    """The programs of this package over one transport.

    Without ``native`` both ends are told to offer nothing, so they speak to each other exactly
    as either speaks to a Go original.
    """

    transport: str
    native: bool = True
    ours: bool = True

    @property
    def name(self) -> str:
        return self.transport if self.native else f"{self.transport}-classic"

    @property
    def description(self) -> str:
        dialect = "native" if self.native else "classic"
        return f"polevpn_trio {polevpn_trio.__version__}, {self.transport}, {dialect} dialect"

    def missing(self) -> str | None:
        return None

    def start(self, network: Network) -> Programs:
        made = make_certificate("router.example")
        listener = {
            "listen": f"0.0.0.0:{PORT}",
            "cert_file": str(network.router.write_file("router.crt", made.certificate)),
            "key_file": str(network.router.write_file("router.key", made.key, mode=0o600)),
        }
        router = self._start(network.router, "router", {"kcp": listener, "tls": listener})
        protocol = "udp" if self.transport == "kcp" else "tcp"
        wait_until(
            lambda: router.returncode is not None or network.router.listens(protocol, PORT),
            START_TIMEOUT,
            "the router to listen",
        )
        first, second = (
            self._start(
                host,
                "gateway",
                {
                    "route_server": f"{self.transport}://{network.hub_address(number)}:{PORT}",
                    "gateway": address,
                    "route_networks": [TUNNEL_NETWORK],
                },
            )
            for number, (host, address) in enumerate(network.members[1:], 1)
        )
        return Programs(router, first, second)

    def _start(self, host: Host, role: str, config: dict[str, Any]) -> Process:
        config = {**config, "key": KEY, **({} if self.native else {"native": False})}
        file = host.write_file(f"{role}.json", json.dumps(config), mode=0o600)
        return program(host, [role, "--config", str(file)], role)


def our_subjects(*, classic: bool) -> list[Ours]:
    """All transports in the native dialect and, if asked for, in the classic one too."""
    subjects = [Ours(transport) for transport in TRANSPORTS]
    if classic:
        subjects += [Ours(transport, native=False) for transport in TRANSPORTS]
    return subjects
