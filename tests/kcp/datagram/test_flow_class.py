"""What a packet is taken for: its bucket, its order, its deadline, its importance."""

from __future__ import annotations

import struct

import pytest

from polevpn_trio.kcp.datagram import flow_class
from polevpn_trio.kcp.datagram.flow_class import FlowClassifier

TCP, UDP, ICMP, ESP = 6, 17, 1, 50
SYN, FIN, RST, ACK = 0x02, 0x01, 0x04, 0x10


def v4(protocol: int, body: bytes, *, tos: int = 0, fragment: int = 0) -> bytes:
    header = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x45, tos, 20 + len(body), 0, fragment, 64, protocol, 0),
        *(b"\x0a\0\0\1", b"\x0a\0\1\1"),
    )
    return header + body


def v6(protocol: int, body: bytes, *, traffic_class: int = 0) -> bytes:
    first = 6 << 28 | traffic_class << 20
    return struct.pack("!IHBB", first, len(body), protocol, 64) + bytes(32) + body


def tcp(flags: int = ACK, payload: bytes = b"", source: int = 40000, options: int = 12) -> bytes:
    offset = (20 + options) // 4 << 4
    return struct.pack("!HHIIBB6x", source, 443, 1, 1, offset, flags) + bytes(options) + payload


def udp(payload: bytes, source: int = 40000, destination: int = 9) -> bytes:
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


def classify(packet: bytes) -> FlowClassifier:
    flow = FlowClassifier()
    flow.classify(b"xx" + packet, 2, len(packet))
    return flow


@pytest.mark.parametrize("wrap", [v4, v6])
def test_tcp_data_is_kept_in_order_and_tried_for_long(wrap) -> None:  # type: ignore[no-untyped-def] # v4 or v6
    flow = classify(wrap(TCP, tcp(payload=bytes(1000))))
    assert flow.ordered
    assert 0 <= flow.bucket < 128
    assert flow.deadline_class == flow_class.STREAM
    assert not flow.important


@pytest.mark.parametrize("wrap", [v4, v6])
def test_a_bare_acknowledgement_overtakes_and_matters(wrap) -> None:  # type: ignore[no-untyped-def] # v4 or v6
    flow = classify(wrap(TCP, tcp()))
    assert not flow.ordered
    assert flow.important


@pytest.mark.parametrize("flags", [SYN, SYN | ACK, FIN | ACK, RST])
def test_beginnings_and_ends_matter_and_keep_their_place(flags: int) -> None:
    flow = classify(v4(TCP, tcp(flags)))
    assert flow.ordered
    assert flow.important


def test_a_tls_hello_matters() -> None:
    assert classify(v4(TCP, tcp(payload=b"\x16\x03\x01" + bytes(500)))).important
    assert not classify(v4(TCP, tcp(payload=b"\x17\x03\x03" + bytes(500)))).important


@pytest.mark.parametrize(("source", "destination"), [(53, 40000), (40000, 53)])
def test_dns_matters_both_ways(source: int, destination: int) -> None:
    assert classify(v4(UDP, udp(bytes(600), source, destination))).important
    assert not classify(v4(UDP, udp(bytes(600), 53 << 8, 40000))).important


def test_small_packets_matter() -> None:
    assert classify(v4(UDP, udp(bytes(172)))).important
    assert not classify(v4(UDP, udp(bytes(1000)))).important


@pytest.mark.parametrize("packet", [v4(UDP, udp(b"")), v4(ICMP, bytes(64)), v6(58, bytes(64))])
def test_udp_and_icmp_do_not_wait(packet: bytes) -> None:
    flow = classify(packet)
    assert not flow.ordered
    assert flow.deadline_class == flow_class.EXCHANGE


def test_voice_is_given_up_soon() -> None:
    assert classify(v4(UDP, udp(b""), tos=46 << 2)).deadline_class == flow_class.REALTIME
    assert classify(v6(UDP, udp(b""), traffic_class=44 << 2)).deadline_class == flow_class.REALTIME


@pytest.mark.parametrize("fragment", [0x2000, 0x0010, 0x2010])
def test_fragments_have_no_ports_to_go_by(fragment: int) -> None:
    assert not classify(v4(TCP, tcp(payload=bytes(600)), fragment=fragment)).ordered


def test_dont_fragment_is_no_fragment() -> None:
    assert classify(v4(TCP, tcp(payload=bytes(600)), fragment=0x4000)).ordered


@pytest.mark.parametrize("size", [0, 7, 8, 19])
def test_headers_cut_short_are_survived(size: int) -> None:
    flow = classify(v4(TCP, tcp()[:size]))
    assert not flow.ordered


def test_flows_spread_over_the_buckets() -> None:
    buckets = {
        classify(v4(TCP, tcp(payload=b"x", source=port))).bucket for port in range(1024, 2048)
    }
    assert len(buckets) > 100
