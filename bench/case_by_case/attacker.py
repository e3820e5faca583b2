"""A program that attacks a router from the inside of a lab, with bounds in number and time.

It says in a line of JSON that it begins, and at SIGTERM, or when ``--most`` or ``--seconds`` is
reached, how much it did.

``syn``: openings of TCP connections from forged addresses, which are never finished. ``hello``:
ClientHellos from forged addresses. ``cookie``: the same with cookies made up. ``replay``: packets
from a file. ``silent``: TCP connections that say nothing. ``slow-tls``: TLS handshakes, a byte at a
time. ``slow-upgrade``: requests for a WebSocket, a byte at a time. ``guess``: logins with a wrong
key. ``nothing``: it only burns its processor time.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import resource
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import attrs
import trio
from OpenSSL import SSL

from bench.case_by_case import forged_packets
from bench.case_by_case.gateways import (
    Member,
    SimulatedGateway,
    be_idle_class,
    nth_address,
    server_url,
)
from polevpn_trio.control.config import ServerUrl
from polevpn_trio.errors import LinkLost, Refused
from polevpn_trio.transport import tls

FORGING = ("syn", "hello", "cookie", "replay")
CONNECTING = ("silent", "slow-tls", "slow-upgrade")
KINDS = (*FORGING, *CONNECTING, "guess", "nothing")

WRONG_KEY = "anything but the key"

SLOWLY = 0.5
"""Seconds between two bytes of those who are slow."""

AT_ONCE = 32
"""Guesses under way at the same time."""

CONNECTING_AT_ONCE = 64

PAUSE_AFTER_FAILURE = 0.01

_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: router.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nX-Rest: " + b"a" * 4096
)

_READ_BYTES = 1 << 14


@attrs.define
class Done:
    """How much an attacker did: of what it is that it does, and of that what failed."""

    tried: int = 0
    failed: int = 0


class Attack:
    """What those attacks share that keep connections."""

    def __init__(self, server: ServerUrl, sources: list[str], done: Done, most: int) -> None:
        self._server = server
        self._sources = sources
        self._done = done
        self._most = most
        self._turns = trio.CapacityLimiter(CONNECTING_AT_ONCE)

    async def keep_connecting(self, number: int, behave: Callable[..., Awaitable[None]]) -> None:
        """Have a connection at all times, within bounds, and ``behave`` on it."""
        while self._done.tried < self._most:
            self._done.tried += 1
            try:
                sock = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                with sock:
                    async with self._turns:
                        await sock.bind((self._sources[number % len(self._sources)], 0))
                        await sock.connect((self._server.host, self._server.port))
                    await behave(sock)
            except (OSError, LinkLost, trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            self._done.failed += 1
            await trio.sleep(PAUSE_AFTER_FAILURE)

    async def say_nothing(self, sock: trio.socket.SocketType) -> None:
        """Wait for the router to end it."""
        await sock.recv(1)

    async def shake_hands_slowly(self, sock: trio.socket.SocketType) -> None:
        """Send a ClientHello a byte at a time."""
        connection = SSL.Connection(tls.client_context())
        connection.set_connect_state()
        with contextlib.suppress(SSL.WantReadError):
            connection.do_handshake()
        await self._send_slowly(connection.bio_read(_READ_BYTES), sock.send, sock.recv)

    async def ask_slowly(self, sock: trio.socket.SocketType) -> None:
        """Finish the TLS handshake, and send a request for a WebSocket a byte at a time."""
        plain = socket.socket(fileno=sock.detach())
        stream = await tls.TlsStream.handshake(plain, tls.client_context(), server_name="x")
        try:
            await self._send_slowly(_REQUEST, stream.send_all, stream.receive_some)
        finally:
            stream.close()

    async def _send_slowly(
        self,
        data: bytes,
        send: Callable[[bytes], Awaitable[object]],
        receive: Callable[[int], Awaitable[bytes]],
    ) -> None:
        for at in range(len(data)):
            await send(data[at : at + 1])
            with trio.move_on_after(SLOWLY):
                await receive(_READ_BYTES)
                return

    async def keep_guessing(self) -> None:
        """Log in with a wrong key, again and again."""
        while self._done.tried < self._most:
            self._done.tried += 1
            gateway = SimulatedGateway(self._server, Member(WRONG_KEY, nth_address(1)))
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(gateway.serve)
            except* Refused:
                pass
            except* LinkLost:
                self._done.failed += 1
                await trio.sleep(PAUSE_AFTER_FAILURE)


async def attack_by_connections(
    kind: str, attack: Attack, count: int, seconds: float, began: Callable[[], None]
) -> None:
    """Attack until SIGTERM, or for so many seconds."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals, trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            began()
            behaviours: dict[str, Callable[..., Awaitable[None]]] = {
                "silent": attack.say_nothing,
                "slow-tls": attack.shake_hands_slowly,
                "slow-upgrade": attack.ask_slowly,
            }
            for number in range(AT_ONCE if kind == "guess" else count):
                if kind == "guess":
                    nursery.start_soon(attack.keep_guessing)
                else:
                    nursery.start_soon(attack.keep_connecting, number, behaviours[kind])
            async for _ in signals:
                break
            nursery.cancel_scope.cancel()


def burn(goes_on: Callable[[], bool]) -> None:
    """Keep the processor busy."""
    data = bytes(1 << 20)
    while goes_on():
        hashlib.sha256(data).digest()


def main(argv: list[str]) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m bench.case_by_case.attacker")
    parser.add_argument("server", type=server_url)
    parser.add_argument("key_file", type=Path, help="not used: an attacker has no key")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--rate", type=float, default=20_000, help="packets a second (20,000)")
    parser.add_argument("--count", type=int, default=10_000, help="connections kept (10,000)")
    parser.add_argument("--most", type=int, default=1_000_000, help="packets or tries in all")
    parser.add_argument("--seconds", type=float, default=60, help="at most (60)")
    parser.add_argument("--file", type=Path, help="of recorded packets, for replay")
    parser.add_argument("--port", type=int, help="another port than that of the router")
    parser.add_argument("--source", action="append", default=[], help="own address to call from")
    parser.add_argument("--idle-class", action="store_true", help="take what others leave")
    options = parser.parse_args(argv)
    if options.kind == "replay" and options.file is None:
        parser.error("replay needs a --file")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    done, times = Done(), [math.nan]

    def began() -> None:
        # Not before: to get ready takes nothing from anybody who is measured.
        if options.idle_class:
            be_idle_class()
        times[0] = time.monotonic()
        print(json.dumps({"began": 1}), flush=True)

    if options.kind in (*FORGING, "nothing"):
        _forge(options, done, began)
    else:
        attack = Attack(options.server, options.source or ["0.0.0.0"], done, options.most)
        trio.run(
            partial(
                attack_by_connections, options.kind, attack, options.count, options.seconds, began
            )
        )
    seconds = time.monotonic() - times[0]
    used = time.process_time()
    said = {"sent": done.tried, "failed": done.failed, "seconds": seconds, "used": used}
    print(json.dumps(said), flush=True)
    return 0


def _forge(options: argparse.Namespace, done: Done, began: Callable[[], None]) -> None:
    """Send packets until SIGTERM, or for so many seconds."""
    target, port = IPv4Address(options.server.host), options.port or options.server.port
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    packets: list[bytes] = []
    match options.kind:
        case "syn":
            packets = forged_packets.flood_of_syns(target, port)
        case "hello" | "cookie":
            cookies = options.kind == "cookie"
            packets = forged_packets.flood_of_hellos(target, port, cookies=cookies)
        case "replay":
            packets = [bytes.fromhex(line) for line in options.file.read_text().split()]
    began()
    end = time.monotonic() + options.seconds

    def goes_on() -> bool:
        return not ended and time.monotonic() < end

    if options.kind == "nothing":
        burn(goes_on)
    else:
        done.tried, done.failed = forged_packets.send_steadily(
            packets, options.rate, options.most, goes_on
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
