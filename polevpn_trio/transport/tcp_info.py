"""What the kernel knows about a TCP connection: its TCP_INFO, tcp(7), linux/tcp.h."""

from __future__ import annotations

import socket
import struct
from typing import Protocol

import attrs

# Where in struct tcp_info the numbers are that we read. It only ever grows at its end; a kernel
# without tcpi_data_segs_out, the last of ours, is older than Linux 4.6.
_RTT, _RTT_VARIATION, _PMTU, _TOTAL_RETRANS = 68, 72, 60, 100
_DATA_SEGMENTS_OUT = 156
_SIZE = 160


class HasSocketOptions(Protocol):
    """Any socket: one of the standard library, or one that OpenSSL works on."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


@attrs.frozen
class TcpStatistics:
    """A connection as its kernel sees it; times in seconds, segments those with data."""

    rtt: float
    """Smoothed."""
    rtt_variation: float
    segments_sent: int
    """Those sent again included."""
    resent: int
    path_mtu: int
    """Bytes of an IP packet."""


def read_tcp_info(connection: HasSocketOptions) -> TcpStatistics | None:
    """Ask the kernel; None if the connection is gone, or the kernel tells too little."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except OSError:
        return None
    if len(info) < _SIZE:
        return None

    def number(offset: int) -> int:
        found: int = struct.unpack_from("=I", info, offset)[0]
        return found

    return TcpStatistics(
        rtt=number(_RTT) / 1e6,
        rtt_variation=number(_RTT_VARIATION) / 1e6,
        segments_sent=number(_DATA_SEGMENTS_OUT),
        resent=number(_TOTAL_RETRANS),
        path_mtu=number(_PMTU),
    )
