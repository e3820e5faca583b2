"""The ports that a program wants to listen on: free, permitted, and on an address that is here."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import attrs

from polevpn_trio.control.config import ListenerConfig
from polevpn_trio.control.dashboard_config import DashboardConfig
from polevpn_trio.control.log import printable
from polevpn_trio.control.metrics_config import MetricsConfig
from polevpn_trio.doctor.finding import Finding, fail, ok

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_OURS = ("polevpn_trio", "polevpn-trio")

Listener = ListenerConfig | MetricsConfig | DashboardConfig


@attrs.frozen
class PortFacts:
    """What came of binding a socket."""

    error: int = 0
    """The errno; 0 if it went well."""
    holder: str = ""
    """The program that has the port, "" if there is none or it cannot be seen."""


def look_at_port(protocol: str, listener: Listener) -> PortFacts:
    """Bind a socket as the program does (``protocol``: tcp, udp), and close it again.

    Raises OSError if the host name to listen on is not known.
    """
    host = listener.host or ("::" if socket.has_dualstack_ipv6() else "0.0.0.0")
    kind = _KINDS[protocol]
    for family, _, _, _, address in socket.getaddrinfo(host, listener.port, type=kind):
        with socket.socket(family, kind) as sock:
            if protocol == "tcp":
                # Without it, connections that ended a minute ago would seem to hold the port.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
            try:
                sock.bind(address)
            except OSError as error:
                number = error.errno or errno.EIO
                taken = number == errno.EADDRINUSE
                return PortFacts(number, find_holder(protocol, listener.port) if taken else "")
    return PortFacts()


def judge_port(
    protocol: str, listener: Listener, facts: PortFacts, role: str = "router"
) -> Finding:
    what = f"{protocol} port {listener.port}" + (f" of {listener.host}" if listener.host else "")
    if not facts.error:
        return ok("port", f"{what} is free")
    meaning = f"the {role} cannot listen, and will end"
    if facts.error == errno.EADDRINUSE:
        holder = facts.holder or "a program that this user cannot see"
        if any(name in facts.holder for name in _OURS):
            return ok("port", f"{what} is in use by {holder}: the {role} seems to be running")
        return fail(
            "port",
            f"{what} is in use by {holder}",
            meaning,
            f'stop it, or "listen": another port; to see it: ss -lp{protocol[0]}n sport = '
            f":{listener.port}",
        )
    if facts.error == errno.EACCES:
        return fail(
            "port",
            f"{what} needs a privilege",
            meaning,
            "run it as root, or with AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, "
            f"or: sysctl -w net.ipv4.ip_unprivileged_port_start={listener.port}",
        )
    if facts.error == errno.EADDRNOTAVAIL:
        return fail(
            "port",
            f"no interface of this machine has the address {listener.host}",
            meaning,
            f'"listen": ":{listener.port}" for every address, or: ip address add '
            f"{listener.host}/32 dev lo",
        )
    return fail("port", f"{what} cannot be had: {os.strerror(facts.error)}", meaning)


def judge_unknown_host(listener: Listener, role: str = "router") -> Finding:
    """For a host to listen on that has no address."""
    return fail(
        "port",
        f'"listen": the name {listener.host} cannot be looked up',
        f"the {role} cannot listen, and will end",
        f'"listen": an address of this machine, or ":{listener.port}" for all of them',
    )


def find_holder(protocol: str, port: int) -> str:
    """Name the process that has a port bound, "" if none can be seen."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(protocol, port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(fd) in sockets for fd in (process / "fd").iterdir()):
                words = (process / "cmdline").read_bytes().split(b"\0")
                command = b" ".join(words).decode(errors="replace").strip()
                return printable(f"{command[:120]} (pid {process.name})")
        except OSError:
            # Gone meanwhile, or another user's.
            continue
    return ""


def _inodes(protocol: str, port: int) -> Iterator[str]:
    # proc(5): slot, local address:port in hexadecimal, remote, state, ..., the tenth is the inode.
    for table in (protocol, f"{protocol}6"):
        file = Path("/proc/thread-self/net", table)
        if not file.exists():
            continue
        for line in file.read_text().splitlines()[1:]:
            fields = line.split()
            listening = protocol == "udp" or fields[3] == "0A"
            if listening and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]
