"""A telephone call's packets, measured one way: the share that arrives while it is of use.

Both ends are sockets of this process, each in the network namespace of its host, so one clock
times both.
"""

from __future__ import annotations

import select
import socket
import struct
import time

import attrs

from bench.side_by_side.network import FIRST, SECOND, Tunnel

RATE = 50.0
"""Packets per second in each direction."""
SIZE = 200
"""Bytes of UDP payload: 20 ms of uncompressed speech with its RTP header, and some."""
GRACE = 2.0
"""Seconds to wait for stragglers."""

_PORT = 6000
_STAMP = struct.Struct("!I")


@attrs.frozen
class Call:
    """One direction of a call; delays are one-way, in seconds, by packet, None if it was lost."""

    delays: tuple[float | None, ...]

    def share_within(self, seconds: float) -> float:
        """Share of the packets that arrived within ``seconds``."""
        in_time = sum(delay is not None and delay <= seconds for delay in self.delays)
        return in_time / len(self.delays) if self.delays else 0.0


def call(tunnel: Tunnel, seconds: float) -> tuple[Call, Call]:
    """Speak in both directions at once; return forward, backward (towards the first gateway)."""
    network = tunnel.network
    count = round(seconds * RATE)
    with (
        network.first.call(_open, FIRST) as first,
        network.second.call(_open, SECOND) as second,
    ):
        first.connect((SECOND, _PORT))
        second.connect((FIRST, _PORT))
        speakers = {second: _Direction(first, count), first: _Direction(second, count)}
        start = time.monotonic()
        sent = 0
        while True:
            now = time.monotonic()
            # The two do not speak in the same moment, as on a real line.
            due = start + sent / (2 * RATE)
            if sent == 2 * count:
                due += GRACE
                if now >= due or all(each.is_complete for each in speakers.values()):
                    break
            elif now >= due:
                tuple(speakers.values())[sent % 2].send(now)
                sent += 1
                continue
            readable, _, _ = select.select([first, second], [], [], due - now)
            for sock in readable:
                speakers[sock].receive(sock, time.monotonic())
        forward, backward = speakers[second].call(), speakers[first].call()
    tunnel.check()
    return forward, backward


class _Direction:
    """Sends by ``source`` and remembers when; what arrives elsewhere is shown to it."""

    def __init__(self, source: socket.socket, count: int) -> None:
        self._source = source
        self._count = count
        self._sent: list[float] = []
        self._delays: list[float | None] = []
        self._arrived = 0

    @property
    def is_complete(self) -> bool:
        return self._arrived == self._count

    def send(self, now: float) -> None:
        number = _STAMP.pack(len(self._sent))
        self._sent.append(now)
        self._delays.append(None)
        try:
            self._source.send(number.ljust(SIZE, b"\0"))
        except OSError:
            # An ICMP error that an earlier packet drew, or no buffer: the packet is lost.
            return

    def receive(self, sock: socket.socket, now: float) -> None:
        try:
            packet = sock.recv(2048)
        except OSError:
            return
        (number,) = _STAMP.unpack_from(packet)
        if self._delays[number] is None:
            self._delays[number] = now - self._sent[number]
            self._arrived += 1

    def call(self) -> Call:
        return Call(tuple(self._delays))


def _open(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((address, _PORT))
    return sock
