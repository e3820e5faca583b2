"""The process that is the wide-area network: it carries packets between two TUN devices.

::

    python -m polevpn_trio.lab.wan.emulator ONE_FD OTHER_FD CONTROL_FD SEED

The first two descriptors are TUN devices (no packet information, no offloads, non-blocking), each
in the network namespace of its host: what that host sends into it is read here, travels along a
`Path`, and is written into the other. A TUN device without offloads is what keeps the wire
honest: whatever super-packets a host's programs and kernel work with, here they arrive cut to the
MTU and with finished checksums.

The third descriptor is a Unix datagram socket on which each request is one JSON object and so is
each answer; `polevpn_trio.lab.wan.cable` is what speaks to it. SEED decides which packets are lost.
"""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import random
import select
import socket
import sys
import time
from contextlib import suppress
from typing import Any

import attrs

from polevpn_trio.lab.wan.conditions import Conditions
from polevpn_trio.lab.wan.path import Path

LARGEST_PACKET = 65_536
LARGEST_REQUEST = 65_536

READ_TURN = 64
"""Packets read from one device before those that are due elsewhere get their turn."""

TURN_INTERVAL = 0.00025
"""Seconds between the starts of two turns, at least.

A waking costs as much as carrying three packets. At 100 Mbit/s, where a packet is due each 0.12 ms
in one direction alone, the process would take half a processor without this pause, and a third with
it; and so much is taken from the programs that are measured. One packet after a silence is carried
at once.
"""

_PRIORITY = 1
_PR_SET_TIMERSLACK = 29
"""Value of linux/prctl.h."""


class Direction:
    """Packets from one device to the other."""

    def __init__(self, source: int, target: int, path: Path) -> None:
        self.source = source
        self.path = path
        self._target = target
        self._refused = 0

    def read(self) -> None:
        """Take what the host has sent, but no more than a turn's worth."""
        packets: list[bytes] = []
        with suppress(BlockingIOError):
            while len(packets) < READ_TURN:
                packets.append(os.read(self.source, LARGEST_PACKET))
        self.path.receive_packets(packets, time.monotonic())

    def write(self, now: float) -> None:
        """Hand over what has arrived."""
        for packet in self.path.poll_packets(now):
            try:
                os.write(self._target, packet)
            except OSError:
                self._refused += 1

    def statistics(self) -> dict[str, Any]:
        return {**attrs.asdict(self.path.statistics()), "refused": self._refused}


class Emulator:
    """Two directions, and the socket on which the lab speaks to them."""

    def __init__(self, one: int, other: int, control: socket.socket, seed: int) -> None:
        self._control = control
        perfect, now = Conditions(), time.monotonic()
        chances = random.Random(2 * seed), random.Random(2 * seed + 1)
        self._directions = (
            Direction(one, other, Path(perfect, chances[0], now)),
            Direction(other, one, Path(perfect, chances[1], now)),
        )
        self._realtime = _become_realtime()

    def run(self) -> None:
        """Carry packets until the process is told to end."""
        by_source = {direction.source: direction for direction in self._directions}
        control = self._control.fileno()
        watched = [*by_source, control]
        turn = 0.0
        while True:
            pause = turn + TURN_INTERVAL - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            due = min(direction.path.poll_timeout() for direction in self._directions)
            wait = None if due == math.inf else max(due - time.monotonic(), 0.0)
            # Not poll(): that one counts in milliseconds.
            readable, _, _ = select.select(watched, (), (), wait)
            turn = time.monotonic()
            for descriptor in readable:
                if descriptor == control:
                    self._answer()
                else:
                    by_source[descriptor].read()
            now = time.monotonic()
            for direction in self._directions:
                direction.write(now)

    def _answer(self) -> None:
        text, sender = self._control.recvfrom(LARGEST_REQUEST)
        request = json.loads(text)
        now = time.monotonic()
        match request["do"]:
            case "change":
                for direction, members in zip(self._directions, request["conditions"], strict=True):
                    direction.path.change(Conditions.from_json(members), now)
            case "restart":
                for direction in self._directions:
                    direction.path.restart(now)
        answer = {
            "realtime": self._realtime,
            "processor_seconds": time.process_time(),
            "directions": [direction.statistics() for direction in self._directions],
        }
        # Whoever asked may have given up.
        with suppress(ConnectionError, FileNotFoundError):
            self._control.sendto(json.dumps(answer).encode(), sender)


def _become_realtime() -> bool:
    """Run before ordinary programs whenever something is due, where that is permitted."""
    # The kernel may put off an ordinary process's timers by 50 microseconds; not ours.
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    except PermissionError:
        return False
    return True


def main() -> None:
    one, other, control, seed = (int(word) for word in sys.argv[1:5])
    # A collection would hold packets up, and nothing here makes circles.
    gc.disable()
    with socket.socket(fileno=control) as sock:
        Emulator(one, other, sock, seed).run()


if __name__ == "__main__":
    main()
