"""A router and sites around a small internet, with the real programs: demo and tests build on it.

::

    198.18.N.0/24 and 2001:db8:N::/64 lie between machine N and the host "internet", which
    forwards; machine 1 is the router, machine N+1 the gateway of site N.

      lan host ------- gateway ------- internet ------- router
         192.168.N.0/24       198.18.N+1.0/24   198.18.1.0/24
         fd00:N::/64          2001:db8:N+1::/64 2001:db8:1::/64

Inside the tunnel, the gateway of site N is 10.8.0.N+1 and fd08::N+1. The addresses outside are
of the ranges for benchmarks (RFC 2544) and documentation (RFC 3849).
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

import polevpn_trio
from polevpn_trio.lab import probes
from polevpn_trio.lab.certificate import make_certificate
from polevpn_trio.lab.namespaces import Host, Lab, Process, wait_until

PORT = 443
TRANSPORTS = ("kcp", "tls", "wss")

PATH_TIMEOUT = 20.0
"""Seconds for the programs to start and carry a first packet; they need about one."""

PROBE_TIMEOUT = 0.1
"""Seconds to wait for one reply while a path is awaited."""

_PACKAGE_PARENT = str(Path(polevpn_trio.__file__).parents[1])


@attrs.frozen
class Uplink:
    """The addresses of a machine on the small internet."""

    address: str
    address6: str


@attrs.frozen
class Site:
    """A gateway and one host behind it that runs no software of ours."""

    number: int
    name: str
    gateway: Host
    lan_host: Host
    uplink: Uplink

    @property
    def lan(self) -> str:
        return f"192.168.{self.number}.0/24"

    @property
    def lan6(self) -> str:
        return f"fd00:{self.number}::/64"

    @property
    def gateway_lan_address(self) -> str:
        return f"192.168.{self.number}.1"

    @property
    def lan_host_address(self) -> str:
        return f"192.168.{self.number}.10"

    @property
    def lan_host_address6(self) -> str:
        return f"fd00:{self.number}::10"

    @property
    def tunnel_address(self) -> str:
        return f"10.8.0.{self.number + 1}"

    @property
    def tunnel_address6(self) -> str:
        return f"fd08::{self.number + 1}"


def program(
    host: Host,
    arguments: Sequence[str],
    name: str,
    environment: dict[str, str] | None = None,
) -> Process:
    """Start ``python -m polevpn_trio ARGUMENTS`` on a host."""
    return host.start(
        [sys.executable, "-m", "polevpn_trio", *arguments],
        name=name,
        # Its /run is the host's own.
        environment={**python_path(), "RUNTIME_DIRECTORY": "", **(environment or {})},
    )


def python_path() -> dict[str, str]:
    """Environment with which a Python program finds this package, installed or not."""
    given = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{_PACKAGE_PARENT}{os.pathsep}{given}" if given else _PACKAGE_PARENT}


class Overlay:
    """The hosts of a lab, and the configuration with which the programs join them."""

    INTERFACE = "pole0"
    """Name of the TUN device that the programs are told to make."""

    def __init__(self, lab: Lab, *, mtu: int = 1500) -> None:
        """``mtu`` is that of the cables between machines and the internet."""
        self.lab = lab
        self.mtu = mtu
        self.key = secrets.token_hex(16)
        self.sites: list[Site] = []
        self.internet = lab.host("internet")
        self.internet.forward_packets()
        self._machines = 0
        self.router = lab.host("router")
        self.router_uplink = self.attach(self.router)
        made = make_certificate("router.example")
        self.cert_file = self.router.write_file("router.crt", made.certificate)
        self.key_file = self.router.write_file("router.key", made.key, mode=0o600)

    def attach(self, host: Host, interface: str = "wan") -> Uplink:
        """Connect one more machine to the internet; its default routes lead there."""
        self._machines += 1
        number = self._machines
        far = f"machine-{number}"
        uplink = Uplink(f"198.18.{number}.2", f"2001:db8:{number}::2")
        self.lab.connect(host, interface, self.internet, far, mtu=self.mtu)
        self.internet.add_addresses(far, f"198.18.{number}.1/24", f"2001:db8:{number}::1/64")
        host.add_addresses(interface, f"{uplink.address}/24", f"{uplink.address6}/64")
        host.add_route("0.0.0.0/0", via=f"198.18.{number}.1")
        host.add_route("::/0", via=f"2001:db8:{number}::1")
        return uplink

    def add_site(self, name: str, *, gateway: Host | None = None) -> Site:
        """Add a gateway with a LAN; ``gateway`` may be a host that is there already."""
        number = len(self.sites) + 1
        if gateway is self.router:
            uplink = self.router_uplink
        else:
            gateway = gateway or self.lab.host(f"{name} gateway")
            uplink = self.attach(gateway)
        return self.add_lan(Site(number, name, gateway, self.lab.host(f"{name} host"), uplink))

    def add_lan(self, site: Site) -> Site:
        """Lay the cable of a site's LAN and take the site in."""
        self.lab.connect(site.gateway, "lan", site.lan_host, "eth0")
        gateway6 = f"fd00:{site.number}::1"
        site.gateway.add_addresses("lan", f"{site.gateway_lan_address}/24", f"{gateway6}/64")
        site.lan_host.add_addresses(
            "eth0", f"{site.lan_host_address}/24", f"{site.lan_host_address6}/64"
        )
        site.lan_host.add_route("0.0.0.0/0", via=site.gateway_lan_address)
        site.lan_host.add_route("::/0", via=gateway6)
        self.sites.append(site)
        return site

    # --- Configuration

    def url(self, transport: str, *, ipv6: bool = False) -> str:
        """Where gateways find the router."""
        uplink = self.router_uplink
        return f"{transport}://{f'[{uplink.address6}]' if ipv6 else uplink.address}:{PORT}"

    def router_config(self, **changes: Any) -> dict[str, Any]:
        """A router with both listeners, on all addresses; ``changes`` replace or add keys."""
        listener = {
            "enable": True,
            "listen": f":{PORT}",
            "cert_file": str(self.cert_file),
            "key_file": str(self.key_file),
        }
        return {"kcp": listener, "tls": listener, "key": self.key, **changes}

    def site_config(self, site: Site, **changes: Any) -> dict[str, Any]:
        """What makes a router or gateway join a site: its LAN here, those of all others there."""
        others = [other for other in self.sites if other is not site]
        return {
            "gateway": site.tunnel_address,
            "gateway6": site.tunnel_address6,
            "local_networks": [site.lan, site.lan6],
            "route_networks": [lan for other in others for lan in (other.lan, other.lan6)],
            "interface": self.INTERFACE,
            "forward": True,
            **changes,
        }

    def gateway_config(
        self, site: Site, route_server: str | list[str], **changes: Any
    ) -> dict[str, Any]:
        """A gateway that joins ``site``."""
        return {
            "route_server": route_server,
            "key": self.key,
            **self.site_config(site),
            **changes,
        }

    # --- Programs

    def start_router(self, config: dict[str, Any] | None = None, *arguments: str) -> Process:
        file = self.write_config(self.router, "router.json", config or self.router_config())
        return program(self.router, ["router", "--config", str(file), *arguments], "router")

    def start_gateway(self, site: Site, config: dict[str, Any], *arguments: str) -> Process:
        file = self.write_config(site.gateway, f"gateway-{site.number}.json", config)
        name = f"gateway-{site.number}"
        return program(site.gateway, ["gateway", "--config", str(file), *arguments], name)

    @staticmethod
    def write_config(host: Host, name: str, config: dict[str, Any]) -> Path:
        """Write a configuration file on a host; return its path there."""
        # It holds the key; the programs warn about files that all may read.
        return host.write_file(name, json.dumps(config, indent=2), mode=0o600)

    def programs(self) -> list[Process]:
        """All programs that were started so far."""
        return [process for host in self.lab.hosts for process in host.processes]

    def wait_for_listener(self, transport: str, host: Host | None = None) -> float:
        """Wait until the router's port is open; return the seconds that took."""
        protocol = "udp" if transport == "kcp" else "tcp"

        def open_or_over() -> bool:
            self._check_programs()
            return (host or self.router).listens(protocol, PORT)

        return wait_until(open_or_over, PATH_TIMEOUT, f"the router to listen on {protocol} {PORT}")

    def wait_for_path(self, origin: Host, address: str, timeout: float = PATH_TIMEOUT) -> float:
        """Ping ``address`` from ``origin`` until a reply comes; return the seconds that took.

        Raises TimeoutError, or ChildProcessError as soon as a program has ended by itself.
        """

        def replies() -> bool:
            self._check_programs()
            return self.reaches(origin, address)

        return wait_until(replies, timeout, f"a reply from {address} to {origin.name}")

    @staticmethod
    def reaches(origin: Host, address: str) -> bool:
        """Whether one ping is answered."""
        return origin.call(probes.ping, address, timeout=PROBE_TIMEOUT).received > 0

    def _check_programs(self) -> None:
        for process in self.programs():
            if process.returncode is not None and not process.stopped:
                raise ChildProcessError(
                    f"{process.name} on {process.host.name} ended with status {process.returncode}"
                )
