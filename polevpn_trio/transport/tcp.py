"""What we ask of the kernel's TCP: a congestion control, and little data in wait.

TCP keeps two kinds of data: on its way, as much as the congestion control says, and not sent yet.
The first is where BBR keeps the queues of the path short, and does not take random loss for a
full path; of the second we allow no more than a few milliseconds' worth. Where the congestion
control does not see a queue, a limit on its rate keeps it short (``path_governor.py``).
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct

import trio

BBR = "bbr"

NOT_SENT_SECONDS = 0.004
"""What may wait in the kernel, in seconds at the connection's rate: enough for us to come round
again in time, with programs beside us on the same processor."""

FIRST_LIMIT = 65_536
SMALLEST_LIMIT = 4_096
LARGEST_LIMIT = 131_072
"""Bytes that may wait in the kernel: before the rate is known, about two packets, and what brings
system calls of full size where the connection is fast."""

MEASURE_SECONDS = 0.05
LONGEST_MEASURE_SECONDS = 0.5
"""A rate is taken over at least the one, and over no more than the other: a connection that had
nothing to send in between would seem slow."""

SHORT_PATH = 0.0005
"""Seconds of round trip below which BBR is left aside. What fits such a path is less than programs
leave lying while they wait for the processor, so BBR has too little under way, and now and then
nothing leaves for tens of milliseconds. Any other control makes good a loss at once there."""

_FOR_SHORT_PATHS = ("cubic", "reno")
"""Of these the first that the kernel lets us have: reno is there and allowed everywhere."""

_LONGEST_NAME = 16
"""Bytes: TCP_CA_NAME_MAX of linux/tcp.h."""

_SO_MAX_PACING_RATE = 47
"""linux/asm-generic/socket.h; Python has no name for it."""
_PACING_RATE = struct.Struct("@L")
_UNLIMITED = (1 << 8 * _PACING_RATE.size) - 1


class NotSentLimit:
    """How many ``bytes`` may wait in the kernel (TCP_NOTSENT_LOWAT) by the rate that they leave at.

    Sans-IO: times are in seconds of a clock that goes forward.
    """

    def __init__(self) -> None:
        self.bytes = FIRST_LIMIT
        self._measured_at = -math.inf
        self._measured = 0

    def note_waited(self, sent: int, now: float) -> bool:
        """Note that all ``sent`` bytes so far were too much until now; True for a new limit."""
        elapsed = now - self._measured_at
        if elapsed < MEASURE_SECONDS:
            return False
        count = sent - self._measured
        self._measured_at = now
        self._measured = sent
        if elapsed > LONGEST_MEASURE_SECONDS:
            return False
        wanted = int(count / elapsed * NOT_SENT_SECONDS)
        # One slow moment, such as that of a lost packet, does not make a slow connection.
        limit = max(wanted, self.bytes // 2, SMALLEST_LIMIT)
        limit = min(limit, LARGEST_LIMIT)
        changed = abs(limit - self.bytes) * 8 > self.bytes
        if changed:
            self.bytes = limit
        return changed


def choose_congestion_control(
    connection: trio.socket.SocketType | socket.socket, name: str
) -> bool:
    """Use the congestion control ``name`` on a TCP socket, and on those that it accepts.

    False if the kernel does not have it, or does not let us: it loads what is missing for
    privileged programs only. The kernel's own choice stays in use then.
    """
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
    except OSError:
        return False
    return True


def limit_rate(connection: socket.socket, rate: float) -> None:
    """Let TCP send at most ``rate`` bytes per second (SO_MAX_PACING_RATE); inf for no limit.

    A kernel that does not know how goes on without.
    """
    value = _UNLIMITED if rate == math.inf else min(max(int(rate), 1), _UNLIMITED - 1)
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, _PACING_RATE.pack(value))


def restart_bbr(connection: socket.socket) -> None:
    """Let BBR forget what it knows of the path, and begin anew; another one goes on as it is."""
    if congestion_control(connection) == BBR:
        # The same name again would change nothing.
        choose_congestion_control(connection, "reno")
        choose_congestion_control(connection, BBR)


class BbrOnLongPaths:
    """Leaves BBR aside on one TCP socket while its path is shorter than `SHORT_PATH`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._short = False
        # Whether BBR was in use, and is not any more.
        self._aside = False

    def follow_path(self, min_rtt: float) -> None:
        """Take the least round trip in seconds. Another control than BBR stays in use."""
        short = min_rtt < SHORT_PATH
        if short == self._short:
            return
        self._short = short
        if self._aside:
            self._aside = not choose_congestion_control(self._connection, BBR)
        elif short and congestion_control(self._connection) == BBR:
            self._aside = any(
                choose_congestion_control(self._connection, name) for name in _FOR_SHORT_PATHS
            )


def congestion_control(connection: socket.socket) -> str:
    """Give the name of the congestion control in use, "" if the kernel does not tell."""
    try:
        name = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _LONGEST_NAME)
    except OSError:
        return ""
    return name.rstrip(b"\0").decode(errors="replace")
