"""Our own router and gateways as subjects: three transports, two dialects."""

from __future__ import annotations

import json
from typing import Any

import attrs

import polevpn_trio
from bench.side_by_side.network import START_TIMEOUT, TUNNEL_NETWORK, Network, Programs
from polevpn_trio.control.registration import FEATURES
from polevpn_trio.lab.certificate import make_certificate
from polevpn_trio.lab.namespaces import Host, Process, wait_until
from polevpn_trio.lab.overlay import PORT, TRANSPORTS, program

KEY = "benchmark"

WITHOUT = "-no-"
"""What stands in a subject's name before each feature that it does without."""

RULES = 100
"""Of a policy, of which only the last one matches."""


@attrs.frozen
class Ours:
    """The programs of this package over one transport.

    Without ``native`` both ends are told to offer nothing, so they speak to each other exactly
    as either speaks to a Go original.
    """

    transport: str
    native: bool = True
    without: tuple[str, ...] = ()
    """Native features that both ends are told not to offer; unknown ones are ignored."""
    rules: int = 0
    """Of a policy that the router checks; 0: it has none."""
    ours: bool = True

    @property
    def name(self) -> str:
        name = self.transport if self.native else f"{self.transport}-classic"
        if self.rules:
            name += f"-{self.rules}-rules"
        return WITHOUT.join([name, *self.without])

    @property
    def description(self) -> str:
        dialect = "native" if self.native else "classic"
        without = f" without {', '.join(self.without)}" if self.without else ""
        rules = f", {self.rules} rules of a policy" if self.rules else ""
        version = polevpn_trio.__version__
        return f"polevpn_trio {version}, {self.transport}, {dialect} dialect{without}{rules}"

    def missing(self) -> str | None:
        return None

    def start(self, network: Network) -> Programs:
        made = make_certificate("router.example")
        listener = {
            "listen": f"0.0.0.0:{PORT}",
            "cert_file": str(network.router.write_file("router.crt", made.certificate)),
            "key_file": str(network.router.write_file("router.key", made.key, mode=0o600)),
        }
        router = self._start(
            network.router, "router", {"kcp": listener, "tls": listener} | self.policy()
        )
        protocol = "udp" if self.transport == "kcp" else "tcp"
        wait_until(
            lambda: router.returncode is not None or network.router.listens(protocol, PORT),
            START_TIMEOUT,
            "the router to listen",
        )
        first, second = (
            self.start_gateway(host, address, network.hub_address(number))
            for number, (host, address) in enumerate(network.members[1:], 1)
        )
        return Programs(router, first, second)

    def start_gateway(self, host: Host, address: str, router: str) -> Process:
        """Start a gateway with an address inside the tunnel that finds the router at ``router``."""
        config = {
            "route_server": f"{self.transport}://{router}:{PORT}",
            "gateway": address,
            "route_networks": [TUNNEL_NETWORK],
        }
        return self._start(host, "gateway", config)

    def _start(self, host: Host, role: str, config: dict[str, Any]) -> Process:
        config = {**config, "key": KEY, "native": self.native_key()}
        file = host.write_file(f"{role}.json", json.dumps(config), mode=0o600)
        return program(host, [role, "--config", str(file)], role)

    def policy(self) -> dict[str, Any]:
        """Give the part of the router's configuration that says who may talk to whom."""
        if not self.rules:
            return {}
        others = [
            {"name": f"rule {n}", "action": "deny", "protocol": "tcp", "ports": [20_000 + n]}
            for n in range(self.rules - 1)
        ]
        last = {"name": "last", "action": "allow", "from": TUNNEL_NETWORK, "to": TUNNEL_NETWORK}
        return {"policy": {"default": "deny", "rules": [*others, last]}}

    def native_key(self) -> bool | dict[str, bool]:
        """Give the value of ``native`` in the configuration of either end."""
        off = {feature: False for feature in self.without if feature in FEATURES}
        return self.native and (off or True)


def our_subjects(*, classic: bool) -> list[Ours]:
    """All transports in the native dialect.

    If asked for, in the classic one too, and beside a router that has a policy.
    """
    subjects = [Ours(transport) for transport in TRANSPORTS]
    if classic:
        subjects += [Ours(transport, native=False) for transport in TRANSPORTS]
        subjects += [Ours(transport, rules=RULES) for transport in TRANSPORTS]
    return subjects
