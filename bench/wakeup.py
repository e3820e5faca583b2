"""What a wake-up costs a Python program that does nothing else: the floor under a round trip.

Three programs in a row, as gateway, router and gateway are, pass a datagram of 84 bytes on over
loopback and back again, six wake-ups in all, with nothing done to it: no TUN device, no encryption,
no retransmission. What passes it on is a blocking call, a bare epoll loop, or a Trio task; what
`polevpn_trio.transport.eager` does in a program comes between the last two. The same with pauses
of different length, for a processor that has rested has lost its caches.

``python bench/wakeup.py [--json] [--rounds N]`` prints microseconds: median and 99th percentile,
each the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.context
import select
import socket
import statistics
import sys
import time
from collections.abc import Callable

import trio

from polevpn_trio.transport.eager import reading_eagerly, while_readable

SIZE = 84
"""Bytes of an IPv4 packet that ping sends unless told otherwise."""
PAUSES = (0.010, 0.001)
"""Seconds between two datagrams."""
DATAGRAMS = 300
PATIENCE = 5.0

Address = tuple[str, int]
Pass = Callable[[], None]


class Station:
    """One program of the row: what comes from one neighbour goes to the other."""

    def __init__(self, sock: socket.socket, before: Address, after: Address) -> None:
        self.socket = sock
        self._before = before
        self._after = after

    def pass_on(self) -> None:
        """Receive one datagram and send it; BlockingIOError if there is none."""
        data, source = self.socket.recvfrom(2048)
        self.socket.sendto(data, self._after if source == self._before else self._before)

    def pass_all(self) -> bool:
        """Pass on all that is there."""
        try:
            while True:
                self.pass_on()
        except BlockingIOError:
            return True


def run_blocking(station: Station) -> None:
    while True:
        station.pass_on()


def run_epoll(station: Station) -> None:
    station.socket.setblocking(False)
    with select.epoll() as epoll:
        epoll.register(station.socket, select.EPOLLIN)
        while True:
            epoll.poll()
            station.pass_all()


def run_eager(station: Station) -> None:
    station.socket.setblocking(False)

    async def main() -> None:
        with reading_eagerly():
            await while_readable(station.socket.fileno(), station.pass_all)

    trio.run(main)


def run_trio(station: Station) -> None:
    station.socket.setblocking(False)

    async def main() -> None:
        while True:
            await trio.lowlevel.wait_readable(station.socket)
            station.pass_all()

    trio.run(main)


WAYS: dict[str, Callable[[Station], None]] = {
    "blocking call": run_blocking,
    "epoll loop": run_epoll,
    "while_readable": run_eager,
    "Trio task": run_trio,
}


def measure(way: Callable[[Station], None], pause: float) -> list[float]:
    """Send datagrams through a row of three; return the round trips in seconds, sorted."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
    programs: list[multiprocessing.context.ForkProcess] = []
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        names: list[Address] = [sock.getsockname() for sock in sockets]
        # The last one answers: both its neighbours are the one before it.
        for place, sock in enumerate(sockets[1:], 1):
            after = names[place + 1] if place + 1 < len(names) else names[place - 1]
            station = Station(sock, names[place - 1], after)
            programs.append(multiprocessing.get_context("fork").Process(target=way, args=[station]))
            programs[-1].start()
        return send_through(sockets[0], names[1], pause)
    finally:
        for program in programs:
            program.kill()
            program.join()
        for sock in sockets:
            sock.close()


def send_through(sock: socket.socket, first: Address, pause: float) -> list[float]:
    """Send and time the datagrams, once the row has answered at all."""
    sock.settimeout(PATIENCE)
    trips = []
    for _ in range(DATAGRAMS):
        begin = time.perf_counter()
        sock.sendto(bytes(SIZE), first)
        sock.recv(SIZE)
        trips.append(time.perf_counter() - begin)
        time.sleep(pause)
    # The first ones find programs that are still starting.
    return sorted(trips[DATAGRAMS // 10 :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=5, help="5 unless told otherwise")
    arguments = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    trips: dict[tuple[str, float], list[list[float]]] = {}
    for _ in range(arguments.rounds):
        for pause in PAUSES:
            for name, way in WAYS.items():
                trips.setdefault((name, pause), []).append(measure(way, pause))
    for (name, pause), rounds in trips.items():
        results[f"{name}, every {pause * 1000:g} ms"] = {
            "median": statistics.median(each[len(each) // 2] for each in rounds) * 1e6,
            "p99": statistics.median(each[len(each) * 99 // 100] for each in rounds) * 1e6,
        }
    if arguments.json:
        json.dump(results, sys.stdout, indent=1)
        print()
        return
    print(f"{'µs for a round trip of three programs':<40}{'median':>8}{'99 %':>8}")
    for name, figures in results.items():
        print(f"{name:<40}{figures['median']:>8.0f}{figures['p99']:>8.0f}")


if __name__ == "__main__":
    main()
