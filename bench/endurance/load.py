"""Steady traffic of a bounded rate towards one peer, for as long as it is let run.

``python -m bench.endurance.load PEER --tcp MBIT --udp MBIT --ping SECONDS`` runs on each of two
hosts. TCP comes in short bursts over connections that are replaced every few seconds, so that
flows come and go. What breaks is made anew: the load outlives every fault. Every second it prints
a line of JSON, a `Count` of all that happened so far.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from functools import partial

import attrs
import trio

from polevpn_trio.lab import probes

TCP_PORT, UDP_PORT = 7101, 7102

TURN = 0.1
"""Seconds between two bursts."""

CONNECTION_SECONDS = 10.0
"""After which a TCP connection is replaced by another one."""

STALL_SECONDS = 3.0
"""Without progress, after which a TCP connection is given up and made anew."""

PAUSE = 0.2
"""Seconds from a failure to the next attempt."""

DATAGRAM = 1000
"""Bytes of payload."""

RECEIVE_BYTES = 65536


@attrs.define
class Count:
    """What happened so far at one end, by both directions where that is not said."""

    seconds: float = 0.0
    """Since the start."""
    tcp_received: int = 0
    """Bytes."""
    tcp_connections: int = 0
    """That were made by this end and had no trouble."""
    tcp_failures: int = 0
    """Connections of this end that could not be made, stalled, or broke."""
    udp_sent: int = 0
    """Datagrams."""
    udp_received: int = 0
    pings_sent: int = 0
    pings_answered: int = 0
    ping_ms: float = 0.0
    """The longest round trip since the line before."""


class Load:
    """The traffic of one end."""

    def __init__(self, peer: str, tcp: float, udp: float, ping: float) -> None:
        """``tcp`` and ``udp`` in Mbit/s of payload, ``ping`` in seconds between two."""
        self.count = Count()
        self._peer = peer
        self._burst = bytes(max(round(tcp * 1e6 / 8 * TURN), 1))
        self._datagrams = udp * 1e6 / 8 / DATAGRAM * TURN
        self._ping = ping

    async def run(self) -> None:
        """Send, receive and report until cancelled."""
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(TCP_PORT, host="0.0.0.0")
            nursery.start_soon(partial(trio.serve_listeners, self._take_stream, listeners))
            nursery.start_soon(self._take_datagrams)
            nursery.start_soon(self._send_streams)
            nursery.start_soon(self._send_datagrams)
            nursery.start_soon(self._send_pings)
            await self._report()

    # --- TCP

    async def _take_stream(self, stream: trio.SocketStream) -> None:
        # A connection whose other end has gone without a word must not stay for ever.
        with trio.CancelScope() as scope:
            try:
                while True:
                    scope.deadline = trio.current_time() + 2 * STALL_SECONDS
                    data = await stream.receive_some(RECEIVE_BYTES)
                    if not data:
                        break
                    self.count.tcp_received += len(data)
            except trio.BrokenResourceError:
                pass
        await trio.aclose_forcefully(stream)

    async def _send_streams(self) -> None:
        while True:
            try:
                await self._send_stream()
                self.count.tcp_connections += 1
            except (OSError, trio.BrokenResourceError, trio.TooSlowError):
                self.count.tcp_failures += 1
                await trio.sleep(PAUSE)

    async def _send_stream(self) -> None:
        with trio.fail_after(STALL_SECONDS):
            stream = await trio.open_tcp_stream(self._peer, TCP_PORT)
        try:
            start = trio.current_time()
            for turn in range(round(CONNECTION_SECONDS / TURN)):
                await trio.sleep_until(start + turn * TURN)
                with trio.fail_after(STALL_SECONDS):
                    await stream.send_all(self._burst)
        finally:
            await trio.aclose_forcefully(stream)

    # --- UDP

    async def _take_datagrams(self) -> None:
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            await sock.bind(("0.0.0.0", UDP_PORT))
            while True:
                await sock.recv(DATAGRAM)
                self.count.udp_received += 1

    async def _send_datagrams(self) -> None:
        payload = bytes(DATAGRAM)
        due, start, turn = 0.0, trio.current_time(), 0
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while True:
                due += self._datagrams
                while due >= 1:
                    due -= 1
                    self.count.udp_sent += 1
                    try:
                        await sock.sendto(payload, (self._peer, UDP_PORT))
                    except OSError:
                        # No route: the gateway is away. It counts as sent, and so as lost.
                        await trio.lowlevel.checkpoint()
                turn += 1
                await trio.sleep_until(start + turn * TURN)

    # --- Pings

    async def _send_pings(self) -> None:
        while True:
            started = trio.current_time()
            self.count.pings_sent += 1
            try:
                reply = await trio.to_thread.run_sync(partial(probes.ping, self._peer))
            except OSError:
                pass
            else:
                self.count.pings_answered += reply.received
                self.count.ping_ms = max(self.count.ping_ms, *reply.round_trips, 0.0)
            await trio.sleep_until(started + self._ping)

    async def _report(self) -> None:
        start = time.monotonic()
        while True:
            await trio.sleep(1)
            self.count.seconds = time.monotonic() - start
            print(json.dumps(attrs.asdict(self.count)), flush=True)
            self.count.ping_ms = 0.0


def main(argv: list[str]) -> int:
    """Run until a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m bench.endurance.load")
    parser.add_argument("peer", help="address of the other end")
    parser.add_argument("--tcp", type=float, required=True, help="Mbit/s")
    parser.add_argument("--udp", type=float, required=True, help="Mbit/s")
    parser.add_argument("--ping", type=float, required=True, help="seconds between two")
    options = parser.parse_args(argv)
    trio.run(Load(options.peer, options.tcp, options.udp, options.ping).run)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
