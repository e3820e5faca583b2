"""Measuring tools for inside a network: echo by ICMP and UDP, bulk transfer by TCP.

They stand in for ping and iperf3, which need not be installed, and check what they carry: every
reply against its request, every transfer by SHA-256. As a program, each prints one JSON object::

    python -m polevpn_trio.lab.probes ping 192.0.2.1 --count 20 --interval 0.02
    python -m polevpn_trio.lab.probes udp-server 7000
    python -m polevpn_trio.lab.probes udp 192.0.2.1 7000 --size 1200
    python -m polevpn_trio.lab.probes tcp-server 7001
    python -m polevpn_trio.lab.probes tcp 192.0.2.1 7001 --seconds 3 --direction down

Sockets and the standard library only; blocking, so that nothing but the network is measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

_ECHO = struct.Struct("!BBHHH")
"""ICMP echo (RFC 792, RFC 4443): type, code, checksum, identifier, sequence number."""

_ECHO_REQUEST, _ECHO_REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}

# Values of linux/in.h, linux/icmp.h and their kin that the socket module does not name.
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER = 10, 23
_PMTUDISC_WANT, _PMTUDISC_DO = 1, 2
_SOL_RAW, _ICMP_FILTER, _ICMPV6_FILTER = 255, 1, 1

CHUNK = 256 * 1024
"""Bytes of a bulk transfer that are sent and hashed at a time: few calls, still in the cache."""

_CHUNK_HEADER = struct.Struct("!I")
_DIGEST_SIZE = hashlib.sha256().digest_size

CONNECT_TIMEOUT = 5.0
"""Seconds for a TCP connection to be made."""

STALL_TIMEOUT = 20.0
"""Seconds without progress after which a transfer is given up."""


@attrs.frozen
class EchoResult:
    """What came of a series of echo requests; times in milliseconds."""

    sent: int
    received: int
    duplicates: int
    corrupted: int
    """Replies whose content was not that of the request."""
    refused: int
    """Requests that the local network stack would not send, such as one too big for the path."""
    round_trips: tuple[float, ...]
    """In the order of sending."""

    @property
    def lost(self) -> int:
        return self.sent - self.received

    @property
    def minimum(self) -> float:
        return min(self.round_trips, default=math.nan)

    @property
    def average(self) -> float:
        return sum(self.round_trips) / len(self.round_trips) if self.round_trips else math.nan

    @property
    def maximum(self) -> float:
        return max(self.round_trips, default=math.nan)

    def percentile(self, percent: float) -> float:
        """The smallest round trip that is not exceeded by ``percent`` of all (nearest rank)."""
        if not self.round_trips:
            return math.nan
        rank = math.ceil(percent / 100 * len(self.round_trips))
        return sorted(self.round_trips)[max(rank, 1) - 1]

    def as_json(self) -> dict[str, object]:
        """All members and the figures derived from them."""
        answer: dict[str, object] = attrs.asdict(self)
        answer["round_trips"] = [round(one, 4) for one in self.round_trips]
        answer["lost"] = self.lost
        if self.round_trips:
            answer["min_ms"] = round(self.minimum, 4)
            answer["avg_ms"] = round(self.average, 4)
            answer["p99_ms"] = round(self.percentile(99), 4)
            answer["max_ms"] = round(self.maximum, 4)
        return answer

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> EchoResult:
        """Read what `as_json` wrote."""
        members = {name: answer[name] for name in attrs.fields_dict(cls)}
        return cls(**{**members, "round_trips": tuple(answer["round_trips"])})


@attrs.frozen
class TransferResult:
    """What came of one TCP transfer, as its receiver saw it."""

    transferred: int
    """Bytes."""
    seconds: float
    """From the first byte to the last."""
    intact: bool
    """Whether both ends computed the same SHA-256 over all bytes."""

    @property
    def megabits_per_second(self) -> float:
        return self.transferred * 8 / 1e6 / self.seconds if self.seconds > 0 else 0.0

    def as_json(self) -> dict[str, object]:
        return {**attrs.asdict(self), "mbit_per_s": round(self.megabits_per_second, 1)}

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> TransferResult:
        """Read what `as_json` wrote."""
        return cls(**{name: answer[name] for name in attrs.fields_dict(cls)})


# --- Echo


def ping(
    address: str,
    *,
    count: int = 1,
    interval: float = 0.02,
    size: int = 56,
    timeout: float = 1.0,
    dont_fragment: bool = False,
) -> EchoResult:
    """Send ICMP echo requests to an IPv4 or IPv6 address.

    ``size`` is the payload in bytes (the packet is 28 bytes longer, by IPv6 48); ``timeout``
    is how long to wait for replies after the last request. Raises OSError if no socket for
    ICMP can be had.
    """
    version = 6 if ":" in address else 4
    with _echo_socket(version) as sock:
        _set_dont_fragment(sock, version, dont_fragment)
        sock.connect((address, 0))
        raw = sock.type == socket.SOCK_RAW
        # A ping socket has the kernel fill in the identifier and see only its own replies.
        identifier = int.from_bytes(os.urandom(2)) if raw else 0

        def request(sequence: int, payload: bytes) -> bytes:
            header = _ECHO.pack(_ECHO_REQUEST[version], 0, 0, identifier, sequence)
            if version == 6:
                # The kernel computes the checksum of ICMPv6, which covers the addresses too.
                return header + payload
            checksum = internet_checksum(header + payload)
            return _ECHO.pack(_ECHO_REQUEST[version], 0, checksum, identifier, sequence) + payload

        def reply(packet: bytes) -> tuple[int, bytes] | None:
            if raw and version == 4:
                packet = packet[(packet[0] & 15) * 4 :]
            if len(packet) < _ECHO.size:
                return None
            kind, _, _, theirs, sequence = _ECHO.unpack_from(packet)
            if kind != _ECHO_REPLY[version] or (raw and theirs != identifier):
                return None
            return sequence, packet[_ECHO.size :]

        return _echo(sock, request, reply, count, interval, size, timeout)


def _echo_socket(version: int) -> socket.socket:
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if version == 6 else socket.IPPROTO_ICMP
    try:
        return socket.socket(family, socket.SOCK_DGRAM, protocol)
    except PermissionError:
        # Ping sockets are for the groups in net.ipv4.ping_group_range, which starts empty.
        sock = socket.socket(family, socket.SOCK_RAW, protocol)
    # A raw socket gets a copy of all ICMP unless it names what it wants: one bit for a type.
    blocked = bytearray(b"\xff" * 32)
    if version == 6:
        blocked[_ECHO_REPLY[6] // 8] ^= 1 << _ECHO_REPLY[6] % 8
        sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, blocked)
    else:
        blocked[_ECHO_REPLY[4] // 8] ^= 1 << _ECHO_REPLY[4] % 8
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, blocked[:4])
    return sock


def _set_dont_fragment(sock: socket.socket, version: int, forbid: bool) -> None:
    mode = _PMTUDISC_DO if forbid else _PMTUDISC_WANT
    if version == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, mode)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DONTFRAG, int(forbid))
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, mode)


def internet_checksum(data: bytes) -> int:
    """Compute the checksum of RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp_echo(
    address: str,
    port: int,
    *,
    count: int = 1,
    interval: float = 0.02,
    size: int = 56,
    timeout: float = 1.0,
) -> EchoResult:
    """Send UDP datagrams with ``size`` bytes of payload (at least 2) to an `echo_udp` server."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sequence_number = struct.Struct("!H")

    def request(sequence: int, payload: bytes) -> bytes:
        return sequence_number.pack(sequence) + payload

    def reply(packet: bytes) -> tuple[int, bytes] | None:
        if len(packet) < sequence_number.size:
            return None
        (sequence,) = sequence_number.unpack_from(packet)
        return sequence, packet[sequence_number.size :]

    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((address, port))
        payload_size = max(size - sequence_number.size, 0)
        return _echo(sock, request, reply, count, interval, payload_size, timeout)


def _echo(
    sock: socket.socket,
    request: Callable[[int, bytes], bytes],
    reply: Callable[[bytes], tuple[int, bytes] | None],
    count: int,
    interval: float,
    size: int,
    timeout: float,
) -> EchoResult:
    """Send requests at their times and take replies whenever they come, in one thread."""
    pattern = os.urandom(size)
    sent_at: list[float] = []
    round_trips: dict[int, float] = {}
    duplicates = corrupted = refused = 0
    sock.setblocking(False)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    start = time.perf_counter()
    while True:
        now = time.perf_counter()
        wake = now
        if len(sent_at) < count:
            due = start + len(sent_at) * interval
            if now < due:
                wake = due
            else:
                sent_at.append(now)
                try:
                    sock.send(request((len(sent_at) - 1) & 0xFFFF, pattern))
                except OSError:
                    # Too big, or an ICMP error that an earlier request drew.
                    refused += 1
        elif len(round_trips) + refused >= count:
            break
        else:
            wake = sent_at[-1] + timeout if sent_at else start
            if now >= wake:
                break
        if not poll.poll(max(wake - now, 0) * 1000):
            continue
        try:
            packet = sock.recv(0x10000)
        except OSError:
            continue
        arrived = time.perf_counter()
        answer = reply(packet)
        if answer is None:
            continue
        sequence, content = answer
        # Of the requests so far, the last one with these sixteen bits.
        number = sequence + ((len(sent_at) - 1 - sequence) // 0x10000) * 0x10000
        if number < 0:
            continue
        if content != pattern:
            corrupted += 1
        elif number in round_trips:
            duplicates += 1
        else:
            round_trips[number] = (arrived - sent_at[number]) * 1000
    return EchoResult(
        sent=len(sent_at),
        received=len(round_trips),
        duplicates=duplicates,
        corrupted=corrupted,
        refused=refused,
        round_trips=tuple(round_trips[number] for number in sorted(round_trips)),
    )


def echo_udp(port: int, *, ready: Callable[[], None]) -> None:
    """Send every datagram that arrives back to where it came from, for ever."""
    with _bound_socket(socket.SOCK_DGRAM, port) as sock:
        ready()
        while True:
            data, address = sock.recvfrom(0x10000)
            sock.sendto(data, address)


def _bound_socket(kind: socket.SocketKind, port: int) -> socket.socket:
    """Make a socket that answers IPv4 and, where the machine has it, IPv6."""
    both = socket.has_dualstack_ipv6()
    sock = socket.socket(socket.AF_INET6 if both else socket.AF_INET, kind)
    try:
        if both:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("::" if both else "0.0.0.0", port))
    except OSError:
        sock.close()
        raise
    return sock


# --- Bulk transfer
#
# The client sends one line of JSON, {"direction": "up"|"down", "bytes": n, "seconds": s}; then
# the sending end sends chunks, each behind its length in four bytes; a length of zero ends them
# and is followed by the digest. After "up" the server answers with one line, its TransferResult.


def transfer(
    address: str,
    port: int,
    *,
    seconds: float = 0.0,
    size: int = 0,
    direction: str = "up",
) -> TransferResult:
    """Move ``size`` bytes, or as many as go in ``seconds``, to (``up``) or from a `serve_tcp`.

    Raises OSError when the connection cannot be made, breaks, or stalls.
    """
    with socket.create_connection((address, port), timeout=CONNECT_TIMEOUT) as sock:
        sock.settimeout(STALL_TIMEOUT)
        order = {"direction": direction, "bytes": size, "seconds": seconds}
        sock.sendall(json.dumps(order).encode() + b"\n")
        if direction == "down":
            return _receive_bulk(sock)
        _send_bulk(sock, size, seconds)
        with sock.makefile("r") as lines:
            return TransferResult.from_json(json.loads(lines.readline()))


def serve_tcp(port: int, *, ready: Callable[[], None], connections: int = 0) -> None:
    """Serve transfers, one at a time; ``connections`` of them (0: for ever)."""
    with _bound_socket(socket.SOCK_STREAM, port) as server:
        server.listen()
        ready()
        served = 0
        while not connections or served < connections:
            sock, _ = server.accept()
            with sock:
                sock.settimeout(STALL_TIMEOUT)
                try:
                    _serve_one(sock)
                except (OSError, ValueError) as error:
                    print(f"transfer failed: {error}", file=sys.stderr, flush=True)
            served += 1


def _serve_one(sock: socket.socket) -> None:
    # Byte by byte up to the line's end: what follows belongs to the transfer.
    line = bytearray()
    while not line.endswith(b"\n"):
        line += _receive_exactly(sock, memoryview(bytearray(1)))
    order = json.loads(line)
    if order["direction"] == "down":
        _send_bulk(sock, order["bytes"], order["seconds"])
        sock.shutdown(socket.SHUT_WR)
        # The client closes when it has everything.
        sock.recv(1)
    else:
        result = _receive_bulk(sock)
        sock.sendall(json.dumps(result.as_json()).encode() + b"\n")


def _send_bulk(sock: socket.socket, size: int, seconds: float) -> None:
    digest = hashlib.sha256()
    content = bytearray(_CHUNK_HEADER.pack(CHUNK) + os.urandom(CHUNK))
    view = memoryview(content)
    deadline = time.perf_counter() + seconds
    left = size
    number = 0
    while left > 0 if size else time.perf_counter() < deadline:
        # Each chunk differs, so that chunks that change places change the digest.
        length = min(CHUNK, left) if size else CHUNK
        _CHUNK_HEADER.pack_into(content, 0, length)
        if length >= 4:
            _CHUNK_HEADER.pack_into(content, _CHUNK_HEADER.size, number & 0xFFFFFFFF)
        chunk = view[: _CHUNK_HEADER.size + length]
        digest.update(chunk[_CHUNK_HEADER.size :])
        sock.sendall(chunk)
        left -= length
        number += 1
    sock.sendall(_CHUNK_HEADER.pack(0) + digest.digest())


def _receive_bulk(sock: socket.socket) -> TransferResult:
    digest = hashlib.sha256()
    view = memoryview(bytearray(CHUNK))
    header = memoryview(bytearray(_CHUNK_HEADER.size))
    total = 0
    started = finished = math.nan
    while True:
        (length,) = _CHUNK_HEADER.unpack(_receive_exactly(sock, header))
        if math.isnan(started):
            started = finished = time.perf_counter()
        if length == 0:
            break
        if length > CHUNK:
            raise ValueError(f"a chunk of {length} bytes")
        digest.update(_receive_exactly(sock, view[:length]))
        total += length
        finished = time.perf_counter()
    expected = bytes(_receive_exactly(sock, memoryview(bytearray(_DIGEST_SIZE))))
    return TransferResult(total, finished - started, digest.digest() == expected)


def _receive_exactly(sock: socket.socket, view: memoryview) -> memoryview:
    got = 0
    while got < len(view):
        count = sock.recv_into(view[got:])
        if count == 0:
            raise ConnectionError("the connection ended in the middle of a transfer")
        got += count
    return view


# --- Command line


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m polevpn_trio.lab.probes")
    commands = parser.add_subparsers(dest="command", required=True)
    echo = argparse.ArgumentParser(add_help=False)
    echo.add_argument("--count", type=int, default=10)
    echo.add_argument("--interval", type=float, default=0.02, help="seconds")
    echo.add_argument("--size", type=int, default=56, help="payload bytes")
    echo.add_argument("--timeout", type=float, default=1.0, help="seconds for the last reply")
    one = commands.add_parser("ping", parents=[echo], help="ICMP echo")
    one.add_argument("address")
    one.add_argument("--dont-fragment", action="store_true")
    one = commands.add_parser("udp", parents=[echo], help="UDP echo")
    one.add_argument("address")
    one.add_argument("port", type=int)
    one = commands.add_parser("udp-server", help="answer udp, for ever")
    one.add_argument("port", type=int)
    one = commands.add_parser("tcp", help="bulk transfer")
    one.add_argument("address")
    one.add_argument("port", type=int)
    one.add_argument("--direction", choices=("up", "down"), default="up")
    amount = one.add_mutually_exclusive_group(required=True)
    amount.add_argument("--seconds", type=float, default=0.0)
    amount.add_argument("--bytes", type=int, default=0)
    one = commands.add_parser("tcp-server", help="answer tcp, one transfer at a time")
    one.add_argument("port", type=int)
    one.add_argument("--connections", type=int, default=0, help="how many to serve (0: for ever)")
    return parser


def _say_listening() -> None:
    print("listening", flush=True)


def main(argv: list[str]) -> int:
    """Run one probe; exit status 0 if all that was sent arrived intact."""
    options = _arguments().parse_args(argv)
    result: EchoResult | TransferResult
    try:
        if options.command == "udp-server":
            echo_udp(options.port, ready=_say_listening)
            return 0
        if options.command == "tcp-server":
            serve_tcp(options.port, ready=_say_listening, connections=options.connections)
            return 0
        if options.command == "tcp":
            result = transfer(
                options.address,
                options.port,
                seconds=options.seconds,
                size=options.bytes,
                direction=options.direction,
            )
            good = result.intact and result.transferred > 0
        else:
            echo = {
                "count": options.count,
                "interval": options.interval,
                "size": options.size,
                "timeout": options.timeout,
            }
            if options.command == "udp":
                result = udp_echo(options.address, options.port, **echo)
            else:
                result = ping(options.address, dont_fragment=options.dont_fragment, **echo)
            good = result.received == result.sent
    except (OSError, ValueError) as error:
        print(json.dumps({"error": str(error)}))
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(result.as_json()))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
