"""IPv4 packets with sources that are not the sender's own, sent at a steady rate.

For the inside of a lab: sources are of `FORGED`, a network of RFC 2544's range that only a lab's
router has a route to, or those of a lab's own machines.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network

import attrs
from OpenSSL import SSL

from polevpn_trio.errors import BadPacket
from polevpn_trio.lab.probes import internet_checksum
from polevpn_trio.transport import dtls
from polevpn_trio.transport.handshake import split_records_untrusted

FORGED = IPv4Network("198.19.0.0/16")

SOURCES = 10_000
"""Addresses that forged packets come from."""

TICK = 0.001
"""Seconds between two bursts."""

MOST_BEHIND = 0.02
"""Seconds' worth of packets that are sent at once, by who was kept from sending them in time."""

_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_TCP = struct.Struct("!HHIIBBHHH")
_SYN = 2
_RECORD_BYTES, _MESSAGE_BYTES = 13, 12
_COOKIE_BYTES = 32
_RANDOM_AT = _RECORD_BYTES + _MESSAGE_BYTES + 2


@attrs.frozen
class Way:
    """From where to where a packet goes, or says that it does."""

    source: IPv4Address
    source_port: int
    target: IPv4Address
    target_port: int


def _ip_header(way: Way, protocol: int, size: int) -> bytes:
    def header(checksum: int) -> bytes:
        ends = way.source.packed, way.target.packed
        # RFC 791: version and header length, ..., 64 hops.
        return _IP.pack(0x45, 0, _IP.size + size, 0, 0, 64, protocol, checksum, *ends)

    return header(internet_checksum(header(0)))


def udp_packet(way: Way, payload: bytes) -> bytes:
    """Build a UDP packet without a checksum (RFC 768)."""
    size = _UDP.size + len(payload)
    ports = _UDP.pack(way.source_port, way.target_port, size, 0)
    return _ip_header(way, socket.IPPROTO_UDP, size) + ports + payload


def syn_packet(way: Way) -> bytes:
    """Build the packet that opens a TCP connection (RFC 9293)."""

    def header(checksum: int) -> bytes:
        offset = _TCP.size // 4 << 4
        ports = way.source_port, way.target_port
        return _TCP.pack(*ports, 1, 0, offset, _SYN, 65_535, checksum, 0)

    pseudo = struct.pack("!BBH", 0, socket.IPPROTO_TCP, _TCP.size)
    checked = way.source.packed + way.target.packed + pseudo + header(0)
    segment = header(internet_checksum(checked))
    return _ip_header(way, socket.IPPROTO_TCP, _TCP.size) + segment


def client_hello() -> bytes:
    """Return the datagram with which a gateway opens its DTLS handshake."""
    connection = SSL.Connection(dtls.client_context())
    connection.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(1 << 14)


def with_cookie(hello: bytes, cookie: bytes) -> bytes:
    """Put a cookie into a ClientHello that has none (RFC 6347 section 4.2.2)."""
    body = hello[_RECORD_BYTES + _MESSAGE_BYTES :]
    # Version and random, and then the length of the session's identifier.
    at = 2 + 32 + 1 + body[2 + 32]
    body = body[:at] + bytes((len(cookie),)) + cookie + body[at + 1 :]
    size = len(body).to_bytes(3, "big")
    message = hello[_RECORD_BYTES : _RECORD_BYTES + 1] + size + bytes((0, 1, 0, 0, 0)) + size + body
    return hello[: _RECORD_BYTES - 2] + len(message).to_bytes(2, "big") + message


def flood_of_hellos(target: IPv4Address, port: int, *, cookies: bool) -> list[bytes]:
    """Build ClientHellos of `SOURCES` hosts; with ``cookies``, each with one that is made up."""
    hello = client_hello()
    packets = []
    for way in _ways(target, port):
        random_bytes = os.urandom(32)
        own = hello[:_RANDOM_AT] + random_bytes + hello[_RANDOM_AT + 32 :]
        if cookies:
            own = with_cookie(own, os.urandom(_COOKIE_BYTES))
        packets.append(udp_packet(way, own))
    return packets


def flood_of_syns(target: IPv4Address, port: int) -> list[bytes]:
    """Build the openings of TCP connections of `SOURCES` hosts."""
    return [syn_packet(way) for way in _ways(target, port)]


def _ways(target: IPv4Address, port: int) -> list[Way]:
    chooser = random.Random(1)
    hosts = chooser.sample(range(1, FORGED.num_addresses - 1), SOURCES)
    return [Way(FORGED[host], chooser.randrange(1024, 65_536), target, port) for host in hosts]


def record(interface: str, port: int, most: int, seconds: float) -> list[bytes]:
    """Watch an interface for what UDP brings to ``port``; give the packets, as they could be sent.

    Up to ``most``, or what came within ``seconds``. What the kernel has left joined for its own
    convenience (GSO) comes apart at the ends of DTLS records.
    """
    packets: list[bytes] = []
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as tap:
        tap.bind((interface, 0x0800))
        tap.settimeout(0.1)
        while len(packets) < most and time.monotonic() < end:
            try:
                packet, address = tap.recvfrom(1 << 16)
            except TimeoutError:
                continue
            if address[2] != socket.PACKET_OUTGOING and packet[9] == socket.IPPROTO_UDP:
                packets += _taken_apart(packet, port)
    return packets[:most]


def _taken_apart(packet: bytes, port: int) -> list[bytes]:
    start = (packet[0] & 15) * 4
    source_port, target_port, _, _ = _UDP.unpack_from(packet, start)
    if target_port != port:
        return []
    way = Way(IPv4Address(packet[12:16]), source_port, IPv4Address(packet[16:20]), target_port)
    try:
        return [udp_packet(way, each) for each in split_records_untrusted(packet[start + 8 :])]
    except BadPacket:
        return []


def send_steadily(
    packets: Sequence[bytes], rate: float, most: int, goes_on: Callable[[], bool]
) -> tuple[int, int]:
    """Send packets, over and over, ``rate`` a second, until ``most`` are sent or it is time.

    Returns how many were sent, and how many of these the kernel did not take.
    """
    sent = refused = 0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        # Where a packet goes is the same for all; the kernel takes it from the address given.
        target = (str(IPv4Address(packets[0][16:20])), 0)
        began = time.monotonic()
        skipped = 0.0
        while sent < most and goes_on():
            due = (time.monotonic() - began) * rate - skipped - sent
            if due > rate * MOST_BEHIND:
                skipped += due - rate * MOST_BEHIND
                due = rate * MOST_BEHIND
            for _ in range(min(int(due), most - sent)):
                try:
                    sock.sendto(packets[sent % len(packets)], target)
                except OSError:
                    refused += 1
                sent += 1
            time.sleep(TICK)
    return sent, refused
