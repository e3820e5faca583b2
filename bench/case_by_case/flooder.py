"""A program that is a gateway gone wild: it sends as fast as the router takes it.

It logs in like any other, says so in a line of JSON, and then floods until SIGTERM, when it says
how much it has sent. What a real gateway spends on its TUN device it saves, so it floods harder.

``packets``: UDP packets of ``--size`` bytes to ``--to``. ``scan``: the same, each to another one
from there on. ``forged``: records that open with no key, straight from its session's socket;
``tiny``: small ones of these, without segmentation offload, so that each is an event of its own.
``frames``: frames of 64 KB that hold nothing but zeros, which is no IP packet.
``nothing``: it only burns its processor time, which is what the others are compared with.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import signal
import struct
import sys
from array import array
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import trio

from bench.case_by_case.gateways import (
    Member,
    SimulatedGateway,
    be_idle_class,
    key_from,
    server_url,
)
from polevpn_trio.control.config import ServerUrl
from polevpn_trio.errors import LinkLost
from polevpn_trio.frames import codec
from polevpn_trio.frames.messages import MAX_BODY
from polevpn_trio.lab.probes import internet_checksum
from polevpn_trio.transport.base import SEND_BATCH_BYTES
from polevpn_trio.transport.kcp import KcpLink

KINDS = ("packets", "scan", "forged", "tiny", "frames", "nothing")

SMALL, LARGE = 28 + 32, 1400
"""Bytes of IP packets that flooders send: with 32 bytes of payload, and nearly full."""

FORGED_SIZE, FORGED_COUNT = 1387, 46
"""Bytes of a forged record, and how many go into one send: what a real sender makes."""

TINY_SIZE = 50
"""Bytes of a record with nothing in it but what a record must have."""

FRAME_OF_NOTHING = codec.build_frame(codec.C2S_IPDATA, bytes(MAX_BODY))
"""The largest frame that there is, with zeros in it."""

SCANNED = 1 << 16
"""Addresses that a scan goes through before it begins anew."""

BURN_BYTES = 1 << 20

_IP_UDP = struct.Struct("!BBHHHBBH4s4sHHHH")
_UDP = 17


def udp_packet(source: IPv4Address, destination: IPv4Address, size: int) -> bytes:
    """Build a UDP packet of ``size`` bytes (at least 28), as one host would send to another."""

    def header(checksum: int) -> bytes:
        addresses = source.packed, destination.packed
        ports = 40000, 9
        # RFC 791: version and header length, ..., 64 hops; RFC 768, without a checksum.
        return _IP_UDP.pack(
            0x45, 0, size, 0, 0, 64, _UDP, checksum, *addresses, *ports, size - 20, 0
        )

    return header(internet_checksum(header(0)[:20])) + bytes(size - 28)


def batch_of(packet: bytes) -> tuple[bytes, int]:
    """Frame as many copies of a packet as one send takes; return them and their number."""
    frame = codec.build_frame(codec.C2S_IPDATA, packet)
    count = max(SEND_BATCH_BYTES // len(frame), 1)
    return frame * count, count


def scanning_batches(source: IPv4Address, first: IPv4Address, size: int) -> list[bytes]:
    """Frame packets to `SCANNED` addresses from ``first`` on, one to each, in sends."""
    per_batch = batch_of(udp_packet(source, first, size))[1]
    numbers = range(SCANNED)
    return [
        b"".join(
            codec.build_frame(codec.C2S_IPDATA, udp_packet(source, first + number, size))
            for number in numbers[start : start + per_batch]
        )
        for start in range(0, SCANNED, per_batch)
    ]


def forged_records(first: int, size: int = FORGED_SIZE) -> bytes:
    """Make a batch of DTLS records of application data that nobody sealed."""
    body = size - 13
    return b"".join(
        bytes((23, 0xFE, 0xFD, 0, 1))
        + (first + number).to_bytes(6, "big")
        + body.to_bytes(2, "big")
        + bytes(body)
        for number in range(FORGED_COUNT)
    )


class Flooder:
    """What is sent, and how much of it there was."""

    def __init__(self, gateway: SimulatedGateway) -> None:
        self._gateway = gateway
        self.sent = 0

    async def send_packets(self, packet: bytes) -> None:
        """Send copies of a packet, for ever."""
        data, count = batch_of(packet)
        while True:
            await self._gateway.link.send_batch([data])
            self.sent += count
            await trio.lowlevel.checkpoint()

    async def scan(self, batches: Sequence[bytes]) -> None:
        """Send packets to many addresses, for ever."""
        for data in itertools.cycle(batches):
            await self._gateway.link.send_batch([data])
            self.sent += SCANNED // len(batches)
            await trio.lowlevel.checkpoint()

    async def send_frames(self) -> None:
        """Send frames of nothing, for ever."""
        while True:
            await self._gateway.link.send_batch([FRAME_OF_NOTHING])
            self.sent += 1
            await trio.lowlevel.checkpoint()

    async def send_forged(self, size: int, at_once: int) -> None:
        """Send forged records, ``at_once`` in each system call, for ever."""
        link = self._gateway.link
        assert isinstance(link, KcpLink)
        udp = link._session._udp
        # Far ahead of all that the session may send, so that none is taken for a replay.
        records = forged_records(1 << 40, size)
        sizes = array("H", [size] * at_once)
        calls = FORGED_COUNT // at_once
        while True:
            for _ in range(calls):
                sent = udp.send_batch_nowait(records, sizes, at_once, link._session.peer_address)
                self.sent += sent
                if sent < at_once:
                    await udp.wait_writable()
            await trio.lowlevel.checkpoint()

    async def burn(self) -> None:
        """Keep the processor busy, for ever."""
        data = bytes(BURN_BYTES)
        while True:
            hashlib.sha256(data).digest()
            await trio.lowlevel.checkpoint()


async def flood(
    server: ServerUrl, member: Member, start: Callable[[Flooder], Awaitable[None]]
) -> None:
    """Log in, flood until SIGTERM, and say what was sent."""
    gateway = SimulatedGateway(server, member)
    flooder = Flooder(gateway)
    seconds = 0.0
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(gateway.serve)
                print(json.dumps({"registered": 1}), flush=True)
                began = trio.current_time()
                nursery.start_soon(start, flooder)
                async for _ in signals:
                    break
                seconds = trio.current_time() - began
                nursery.cancel_scope.cancel()
        except* LinkLost:
            # Who was about to send when the link took leave finds it closed.
            if not seconds:
                raise
    print(json.dumps({"sent": flooder.sent, "seconds": seconds}), flush=True)


def main(argv: list[str]) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m bench.case_by_case.flooder")
    parser.add_argument("server", type=server_url)
    parser.add_argument("key_file", type=Path)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--own", type=IPv4Address, required=True, help="address that it registers")
    parser.add_argument("--to", type=IPv4Address, help="destination of its packets")
    parser.add_argument("--size", type=int, default=LARGE, help="of a packet, bytes")
    parser.add_argument("--idle-class", action="store_true", help="take what others leave")
    options = parser.parse_args(argv)
    if options.kind in ("forged", "tiny") and options.server.scheme != "kcp":
        parser.error("only kcp has records that can be forged by whoever does not hold the keys")
    if options.idle_class:
        be_idle_class()
    to = options.to or options.own
    packet = udp_packet(options.own, to, options.size)
    starts: dict[str, Callable[[Flooder], Awaitable[None]]] = {
        "packets": lambda flooder: flooder.send_packets(packet),
        "scan": lambda flooder: flooder.scan(scanning_batches(options.own, to, options.size)),
        "forged": lambda flooder: flooder.send_forged(FORGED_SIZE, FORGED_COUNT),
        "tiny": lambda flooder: flooder.send_forged(TINY_SIZE, 1),
        "frames": lambda flooder: flooder.send_frames(),
        "nothing": lambda flooder: flooder.burn(),
    }
    member = Member(key_from(options.key_file), options.own)
    status = 0
    try:
        trio.run(flood, options.server, member, starts[options.kind])
    except* LinkLost as lost:
        print(f"the link was lost: {lost.exceptions[0]}", file=sys.stderr)
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
