"""What a datagram from a stranger costs at a router's UDP port.

Run ``./run bench strangers [--json] [--datagrams N]``. Datagrams wait in the receive buffer of a
real socket on loopback; what it takes to receive, judge and answer them counts, as processor time
of that thread, system calls included. The best of several passes counts. What 20,000 of them a
second take of a core is beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.case_by_case.forged_packets import client_hello, with_cookie
from polevpn_trio.transport.dtls import DtlsEndpoint
from polevpn_trio.transport.hello_cookies import COOKIE_BYTES, HelloCookies
from polevpn_trio.transport.udp import UdpSocket

PASSES = 9
AT_ONCE = 100
"""Datagrams that wait: any receive buffer has room for them."""

RATE = 20_000


@attrs.frozen
class Kind:
    """Datagrams of one kind; ``bounded``: more of them come than are answered."""

    name: str
    datagram: bytes
    bounded: bool = False


@attrs.frozen
class Result:
    """Microseconds of processor time per datagram."""

    kind: str
    microseconds: float

    @property
    def share(self) -> float:
        """Per cent of a core, at `RATE`."""
        return self.microseconds * RATE / 1e4


def kinds() -> Sequence[Kind]:
    """Make one datagram of each kind."""
    hello = client_hello()
    made_up = with_cookie(hello, os.urandom(COOKIE_BYTES))
    record = b"\x17\xfe\xfd\0\1" + bytes(6) + (1200).to_bytes(2, "big") + os.urandom(1200)
    return (
        Kind("ClientHello, answered", hello),
        Kind("ClientHello, one too many", hello, bounded=True),
        Kind("ClientHello with a cookie made up, one too many", made_up, bounded=True),
        Kind("record of no session", record),
        Kind("junk", os.urandom(1) + bytes(99)),
    )


class Listener(DtlsEndpoint):
    """An endpoint that serves, as far as strangers can see, and receives when it is told to."""

    def __init__(self, udp: UdpSocket, challenges: int) -> None:
        """Answer no more than so many ``challenges``."""
        super().__init__(udp)
        self._serving = True
        self._cookies = HelloCookies(trio.current_time(), per_second=0, burst=challenges)

    def receive(self) -> int:
        """Take in what waits; return the nanoseconds of processor time."""
        began = time.thread_time_ns()
        while self._receive_turn(self._udp):
            pass
        return time.thread_time_ns() - began


async def measure(kind: Kind, datagrams: int) -> Result:
    """Receive ``datagrams`` of one kind in each pass, `AT_ONCE` at a time."""
    best = float("inf")
    for _ in range(PASSES):
        listener = Listener(UdpSocket.bind("127.0.0.1", 0), 0 if kind.bounded else datagrams)
        spent = received = 0
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.connect(listener._udp.getsockname())
                while received < datagrams:
                    for _ in range(AT_ONCE):
                        stranger.send(kind.datagram)
                    spent += listener.receive()
                    received += AT_ONCE
        finally:
            listener.close()
        best = min(best, spent / received / 1000)
    return Result(kind.name, round(best, 2))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--datagrams", type=int, default=5000, help="in each pass (5000)")
    options = parser.parse_args(arguments)
    results = [trio.run(measure, kind, options.datagrams) for kind in kinds()]
    if options.json:
        print(json.dumps({"results": [attrs.asdict(result) for result in results]}))
        return
    print(f"{'':<50} us each   % of a core at {RATE:,} a second")
    for result in results:
        print(f"{result.kind:<50} {result.microseconds:7.2f}   {result.share:5.1f}")


if __name__ == "__main__":
    main()
