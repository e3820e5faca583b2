"""What the kernel knows about a TCP connection: its TCP_INFO, tcp(7), linux/tcp.h."""

from __future__ import annotations

import socket
import struct
from typing import Protocol

import attrs

from polevpn_trio.transport.path_governor import PathSample

# Where in struct tcp_info the numbers are that we read, of 32 bits each. It only ever grows at its
# end; before Linux 4.6 it has no tcpi_data_segs_out, before 4.18 no tcpi_delivered.
_SEND_MSS, _PMTU, _RTT, _RTT_VARIATION, _TOTAL_RETRANS = 16, 60, 68, 72, 100
_MIN_RTT, _DATA_SEGMENTS_OUT, _DELIVERED = 148, 156, 192
_NUMBER = struct.Struct("=I")
_STATISTICS_SIZE = _DATA_SEGMENTS_OUT + _NUMBER.size
_PATH_SIZE = _DELIVERED + _NUMBER.size


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
    info = _read(connection, _STATISTICS_SIZE)
    if info is None:
        return None
    return TcpStatistics(
        rtt=_number(info, _RTT) / 1e6,
        rtt_variation=_number(info, _RTT_VARIATION) / 1e6,
        segments_sent=_number(info, _DATA_SEGMENTS_OUT),
        resent=_number(info, _TOTAL_RETRANS),
        path_mtu=_number(info, _PMTU),
    )


def read_path(connection: HasSocketOptions) -> PathSample | None:
    """Ask the kernel what TCP has measured of the path; None as `read_tcp_info`."""
    info = _read(connection, _PATH_SIZE)
    if info is None:
        return None
    return PathSample(
        rtt=_number(info, _RTT) / 1e6,
        min_rtt=_number(info, _MIN_RTT) / 1e6,
        segment=_number(info, _SEND_MSS),
        delivered=_number(info, _DELIVERED),
        sent=_number(info, _DATA_SEGMENTS_OUT),
        resent=_number(info, _TOTAL_RETRANS),
    )


def _read(connection: HasSocketOptions, size: int) -> bytes | None:
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
    except OSError:
        return None
    return info if len(info) == size else None


def _number(info: bytes, offset: int) -> int:
    number: int = _NUMBER.unpack_from(info, offset)[0]
    return number
