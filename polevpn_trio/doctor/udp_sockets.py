"""What the kernel offers to UDP sockets: many datagrams in a call, and large buffers."""

from __future__ import annotations

from pathlib import Path

import attrs

from polevpn_trio.doctor.finding import Finding, ok, warn
from polevpn_trio.doctor.tunnel_device import NET_ADMIN, Rights
from polevpn_trio.transport.udp import SOCKET_BUFFER_BYTES, UdpSocket


@attrs.frozen
class UdpFacts:
    segmentation: bool
    """UDP_SEGMENT: many datagrams in one sendmsg (Linux 4.18)."""
    grouping: bool
    """UDP_GRO: many datagrams in one recvmsg (Linux 5.0)."""
    largest_buffer: int
    """net.core.rmem_max and wmem_max, bytes, the smaller one."""


def look_at_udp() -> UdpFacts:
    """Open a socket on loopback and ask it. Raises HostError, OSError."""
    sock = UdpSocket.bind("127.0.0.1", 0)
    try:
        segmentation, grouping = sock.gso, sock.gro
    finally:
        sock.close()
    # Only the first network namespace has these two.
    limits = [Path(f"/proc/sys/net/core/{name}_max") for name in ("rmem", "wmem")]
    sizes = [int(limit.read_text()) for limit in limits if limit.exists()]
    return UdpFacts(segmentation, grouping, min(sizes, default=0))


def judge_udp_offload(facts: UdpFacts) -> Finding:
    if facts.segmentation and facts.grouping:
        return ok("udp-offload", "UDP_SEGMENT and UDP_GRO are there")
    missing = [
        name
        for name, there in (("UDP_SEGMENT", facts.segmentation), ("UDP_GRO", facts.grouping))
        if not there
    ]
    return warn(
        "udp-offload",
        f"{' and '.join(missing)} cannot be used",
        "kcp:// makes a system call for each datagram: about half as fast",
        "use Linux 5.0 or later; until then tls:// may be the faster one",
    )


def judge_socket_buffers(facts: UdpFacts, rights: Rights) -> Finding | None:
    """None where the limit cannot be read, as in a network namespace."""
    if rights.has(NET_ADMIN):
        return ok("socket-buffers", f"{SOCKET_BUFFER_BYTES} bytes can be had")
    if not facts.largest_buffer:
        return None
    if facts.largest_buffer >= SOCKET_BUFFER_BYTES // 4:
        return ok("socket-buffers", f"{facts.largest_buffer} bytes can be had")
    return warn(
        "socket-buffers",
        f"at most {facts.largest_buffer} bytes can be had without CAP_NET_ADMIN",
        "bursts of datagrams that come while the program waits for its CPU are lost",
        f"sysctl -w net.core.rmem_max={SOCKET_BUFFER_BYTES} "
        f"net.core.wmem_max={SOCKET_BUFFER_BYTES} (and in /etc/sysctl.d to keep it)",
    )
