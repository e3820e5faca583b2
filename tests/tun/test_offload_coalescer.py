"""tun/offload, the coalescer: what joins, what does not, and that nothing is lost or reordered."""

from __future__ import annotations

import random
import struct
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polevpn_trio.tun.offload import VNET_HEADER, Coalescer
from tests.tun.super_packets import (
    ACK,
    CWR,
    ECE,
    ECN,
    FIN,
    LONE,
    MTU,
    PSH,
    RST,
    SYN,
    TCP,
    TCPV4,
    TCPV6,
    TIMESTAMPS,
    UDP,
    UDP_L4,
    URG,
    Headers,
    bend,
    coalesce,
    frame,
    headers_strategy,
    make_packet,
    make_super_packet,
    pieces,
    slow_sum,
    split,
    super_frame,
)

# --- Coalescing


@given(headers_strategy, st.integers(0, 2**32), st.integers(1, 20_000), st.integers(400, 9000))
@settings(max_examples=200)
def test_joining_what_was_split_gives_the_super_packet(
    headers: Headers, seed: int, length: int, segment_size: int
) -> None:
    payload = random.Random(seed).randbytes(length)
    raw = make_super_packet(headers, payload, segment_size)
    alone = LONE + make_packet(headers, payload)
    expected = alone if length <= segment_size else raw
    assert coalesce(split(raw)) == [expected]


def test_super_packets_stop_at_the_limit_of_ip() -> None:
    payload = bytes(100 * 1448)
    units = coalesce(pieces(Headers(), payload, 1448))
    assert [len(unit) for unit in units] == [
        10 + 52 + 45 * 1448,
        10 + 52 + 45 * 1448,
        10 + 52 + 10 * 1448,
    ]
    assert units[1] == make_super_packet(
        Headers(sequence=1000 + 45 * 1448, identification=46), bytes(45 * 1448), 1448
    )


def test_udp_super_packets_stop_at_64_datagrams() -> None:
    packets = pieces(Headers(protocol=UDP), bytes(100 * 100), 100)
    assert [len(unit) for unit in coalesce(packets)] == [10 + 28 + 6400, 10 + 28 + 3600]


def joins(first: bytes, second: bytes) -> bool:
    units = coalesce([first, second])
    if len(units) == 1:
        return True
    assert units == [LONE + first, LONE + second]
    return False


BASE = Headers()
NEXT = Headers(sequence=1100, identification=2)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"flags": ACK | PSH}, True),
        ({"sequence": 1101}, False),
        ({"sequence": 1099}, False),
        ({"sequence": 1000}, False),
        ({"acknowledgement": 78}, False),
        ({"window": 501}, False),
        ({"options": b""}, False),
        ({"options": TIMESTAMPS[:-1] + b"!"}, False),
        ({"flags": ACK | FIN}, False),
        ({"flags": ACK | RST}, False),
        ({"flags": ACK | SYN}, False),
        ({"flags": ACK | URG}, False),
        ({"flags": ACK | CWR}, False),
        ({"flags": ACK | ECE}, False),
        ({"flags": 0}, False),
        ({"source_port": 4001}, False),
        ({"host": 2}, False),
        ({"traffic_class": 3}, False),
        ({"hop_limit": 63}, False),
        ({"protocol": UDP}, False),
    ],
)
def test_only_the_very_next_segment_joins(
    version: int, change: dict[str, Any], expected: bool
) -> None:
    first = make_packet(attrs.evolve(BASE, version=version), bytes(100))
    second = make_packet(attrs.evolve(NEXT, version=version, **change), bytes(100))
    assert joins(first, second) is expected


def test_neither_version_joins_the_other() -> None:
    assert not joins(
        make_packet(BASE, bytes(100)), make_packet(attrs.evolve(NEXT, version=6), bytes(100))
    )


@pytest.mark.parametrize(
    ("dont_fragment", "step", "expected"),
    [(True, 0, True), (True, 1, True), (True, 7, True), (False, 1, True), (False, 0, False)],
)
def test_identification_counts_unless_df_makes_it_meaningless(
    dont_fragment: bool, step: int, expected: bool
) -> None:
    first = attrs.evolve(BASE, dont_fragment=dont_fragment, identification=65535)
    second = attrs.evolve(NEXT, dont_fragment=dont_fragment, identification=(65535 + step) & 0xFFFF)
    assert joins(make_packet(first, bytes(100)), make_packet(second, bytes(100))) is expected


def test_df_must_agree() -> None:
    other = attrs.evolve(NEXT, dont_fragment=False)
    assert not joins(make_packet(BASE, bytes(100)), make_packet(other, bytes(100)))


def test_a_shorter_segment_ends_the_run_and_a_longer_one_begins_another() -> None:
    sizes = [100, 100, 60, 100, 100, 120]
    packets = []
    sequence = 0
    for number, size in enumerate(sizes):
        headers = attrs.evolve(BASE, sequence=sequence, identification=number)
        packets.append(make_packet(headers, bytes([number]) * size))
        sequence += size
    units = coalesce(packets)
    assert [len(unit) - 62 for unit in units] == [260, 200, 120]
    assert [unit[4] for unit in units] == [100, 100, 0]


def test_push_ends_the_run() -> None:
    packets = pieces(attrs.evolve(BASE, flags=ACK | PSH), bytes(300), 100)
    packets += pieces(attrs.evolve(BASE, sequence=1300, identification=4), bytes(200), 100)
    units = coalesce(packets)
    assert units == [
        make_super_packet(attrs.evolve(BASE, flags=ACK | PSH), bytes(300), 100),
        make_super_packet(attrs.evolve(BASE, sequence=1300, identification=4), bytes(200), 100),
    ]
    # A first segment that is pushed is a run of its own.
    pushed = make_packet(attrs.evolve(BASE, flags=ACK | PSH), bytes(100))
    assert not joins(pushed, make_packet(NEXT, bytes(100)))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("at", [10, 36, 80])
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_wrong_checksum_is_passed_on_unjoined(which: int, at: int, protocol: int) -> None:
    """Joined, the kernel would take it for right: it computes no checksum of a super-packet."""
    packets = pieces(attrs.evolve(BASE, protocol=protocol), bytes(300), 100)
    if protocol == UDP and at == 36:
        at = 26
    bad = bytearray(packets[which])
    bad[at] ^= 0x10
    packets[which] = bytes(bad)
    coalescer = Coalescer(MTU, merge_tcp=True, merge_udp=True)
    units = coalesce(packets, coalescer)
    assert LONE + bytes(bad) in units
    assert coalescer.bad_checksum == 1
    assert coalescer.malformed == 0
    assert sum(len(split(unit)) for unit in units) == 3


def test_udp_without_checksum_stays_alone() -> None:
    packets = [bend(packet, 26, 0, 0) for packet in pieces(Headers(protocol=UDP), bytes(200), 100)]
    assert coalesce(packets) == [LONE + packet for packet in packets]


def test_each_protocol_is_joined_only_if_wanted() -> None:
    tcp = pieces(Headers(), bytes(200), 100)
    udp = pieces(Headers(protocol=UDP), bytes(200), 100)
    for merge_tcp in (False, True):
        for merge_udp in (False, True):
            coalescer = Coalescer(MTU, merge_tcp=merge_tcp, merge_udp=merge_udp)
            units = coalesce(tcp + udp, coalescer)
            assert len(units) == 4 - merge_tcp - merge_udp
            assert coalescer.super_packets == merge_tcp + merge_udp
            assert coalescer.packets == 4


def test_interleaved_flows_are_joined_in_the_order_of_their_first_packets() -> None:
    flows = [
        pieces(Headers(source_port=4000 + number, version=4 + 2 * (number % 2)), bytes(500), 100)
        for number in range(8)
    ]
    units = coalesce([packet for turn in zip(*flows, strict=True) for packet in turn])
    assert [struct.unpack_from("!H", unit, 10 + unit[6])[0] for unit in units] == list(
        range(4000, 4008)
    )
    assert [split(unit) for unit in units] == flows


def test_more_flows_than_the_table_holds_lose_nothing() -> None:
    flows = [pieces(Headers(source_port=4000 + number), bytes(500), 100) for number in range(30)]
    packets = [packet for turn in zip(*flows, strict=True) for packet in turn]
    cut = [packet for unit in coalesce(packets) for packet in split(unit)]
    assert sorted(cut) == sorted(packets)
    for flow in flows:
        assert [packet for packet in cut if packet in flow] == flow


def fragment(packet: bytes) -> bytes:
    packet = bend(packet, 6, 0x20, 0x05, packet[8], packet[9], 0, 0)
    return bend(packet, 10, *struct.pack("!H", slow_sum(packet[:20]) ^ 0xFFFF))


@pytest.mark.parametrize(
    "between",
    [
        make_packet(attrs.evolve(BASE, sequence=900), b""),
        make_packet(attrs.evolve(BASE, flags=ACK | FIN), b"end"),
        fragment(make_packet(BASE, bytes(64))),
        make_packet(BASE, b"trailing") + b"!",
        b"\x46" + make_packet(BASE, b"read as options, which tells no port")[1:],
    ],
)
def test_a_packet_that_cannot_be_joined_is_not_overtaken(between: bytes) -> None:
    first, second = pieces(BASE, bytes(200), 100)
    assert coalesce([first, between, second]) == [LONE + p for p in (first, between, second)]


def test_strangers_in_between_do_not_matter() -> None:
    first, second = pieces(BASE, bytes(200), 100)
    strangers = [
        make_packet(attrs.evolve(BASE, source_port=1), b""),
        make_packet(attrs.evolve(BASE, protocol=UDP), b""),
        fragment(make_packet(attrs.evolve(BASE, host=9), bytes(64))),
    ]
    units = coalesce([first, *strangers, second])
    assert units == [make_super_packet(BASE, bytes(200), 100)] + [LONE + s for s in strangers]


def test_malformed_frames_are_dropped_and_counted() -> None:
    good = make_packet(BASE, b"data")
    coalescer = Coalescer(MTU)
    assert (
        coalesce([b"", good, b"\x45", bytes(60), good[:-1], good], coalescer) == [LONE + good] * 2
    )
    assert coalescer.malformed == 4


@pytest.mark.parametrize(
    "rest", [b"\0", b"\0\x09\0\0\0\0\0", b"\0\x07" + bytes(60), b"\x40\0" + bytes(60)]
)
def test_nothing_is_read_behind_a_frame_of_impossible_length(rest: bytes) -> None:
    good = make_packet(BASE, b"data")
    coalescer = Coalescer(MTU)
    assert coalescer.coalesce_batch_untrusted(frame(good) + rest) == 1
    assert coalescer.malformed == 1
    assert coalescer.packets_in(0) == 1


def test_an_empty_batch_makes_no_units() -> None:
    assert Coalescer(MTU).coalesce_batch_untrusted(b"") == 0


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_kind_of_buffer_will_do(kind: type[bytes] | type[bytearray] | type[memoryview]) -> None:
    frames = b"".join(frame(packet) for packet in pieces(BASE, bytes(300), 100))
    coalescer = Coalescer(MTU)
    assert coalescer.coalesce_batch_untrusted(kind(frames)) == 1
    assert coalescer.packets_in(0) == 3
    length = coalescer.assemble(0)
    assert coalescer.unit[:length] == make_super_packet(BASE, bytes(300), 100)


@given(st.lists(st.binary(max_size=90), max_size=12), st.integers(0, 2**32))
@settings(max_examples=300)
def test_junk_passes_unchanged_or_is_counted(contents: list[bytes], seed: int) -> None:
    source = random.Random(seed)
    packets = []
    for junk in contents:
        if source.random() < 0.5 and len(junk) >= 20:
            protocol = source.choice([TCP, UDP])
            junk = (
                b"\x45\0" + struct.pack("!H", len(junk)) + junk[4:9] + bytes([protocol]) + junk[10:]
            )
        packets.append(junk)
    coalescer = Coalescer(MTU, merge_tcp=True, merge_udp=True, clamp=False)
    units = coalesce(packets, coalescer)
    assert all(unit[10:] in packets for unit in units)
    assert len(units) + coalescer.malformed == len(packets)


@given(st.binary(max_size=400))
def test_junk_frames_never_harm(data: bytes) -> None:
    coalescer = Coalescer(MTU, merge_tcp=True, merge_udp=True)
    for index in range(coalescer.coalesce_batch_untrusted(data)):
        assert VNET_HEADER + 20 <= coalescer.assemble(index) <= VNET_HEADER + len(data)


def without_idle_identification(packet: bytes) -> bytes:
    if packet[0] >> 4 == 6 or not packet[6] & 0x40:
        return packet
    return bend(bend(packet, 4, 0, 0), 10, 0, 0)


@given(st.integers(0, 2**32))
@settings(max_examples=60)
def test_any_traffic_comes_through_whole_and_in_order(seed: int) -> None:
    """Cut again, the units give each flow's packets, unchanged and in the order sent.

    But for the identification of packets that must not be fragmented, which nobody reads.
    """
    source = random.Random(seed)
    flows = [
        Headers(
            version=source.choice([4, 6]),
            protocol=source.choice([TCP, TCP, UDP]),
            source_port=4000 + number,
            dont_fragment=source.random() < 0.5,
        )
        for number in range(source.randint(1, 12))
    ]
    place = [0] * len(flows)
    count = [0] * len(flows)
    packets: list[bytes] = []
    for _ in range(source.randint(1, 150)):
        flow = source.randrange(len(flows))
        size = source.choice([1000, 1000, 1000, 1000, 300, 0])
        headers = attrs.evolve(
            flows[flow],
            sequence=place[flow],
            identification=count[flow],
            flags=source.choice([ACK] * 8 + [ACK | PSH, ACK | FIN]),
        )
        if source.random() < 0.9:
            packets.append(make_packet(headers, source.randbytes(size)))
        place[flow] += size
        count[flow] += 1
    units = coalesce(packets)
    assert len(units) <= len(packets)
    cut = [without_idle_identification(packet) for unit in units for packet in split(unit)]
    packets = [without_idle_identification(packet) for packet in packets]

    def flow_of(packet: bytes) -> tuple[int, bytes]:
        version = packet[0] >> 4
        at = 20 if version == 4 else 40
        return version, packet[at : at + 2]

    assert sorted(cut) == sorted(packets)
    for flow_key in {flow_of(packet) for packet in packets}:
        assert [p for p in cut if flow_of(p) == flow_key] == [
            p for p in packets if flow_of(p) == flow_key
        ]


# --- Super-packets that come whole


def units_of(frames: bytes, coalescer: Coalescer | None = None) -> list[bytes]:
    coalescer = coalescer or Coalescer(MTU, merge_tcp=True, merge_udp=True)
    count = coalescer.coalesce_batch_untrusted(frames)
    return [bytes(coalescer.unit[: coalescer.assemble(index)]) for index in range(count)]


@given(headers_strategy, st.integers(1, 20_000), st.integers(200, 9000))
def test_a_whole_super_packet_reaches_the_kernel_as_the_other_kernel_made_it(
    headers: Headers, length: int, segment_size: int
) -> None:
    payload = random.Random(length).randbytes(segment_size + length)
    data = super_frame(headers, payload, segment_size)
    coalescer = Coalescer(MTU, merge_tcp=True, merge_udp=True)
    assert units_of(data, coalescer) == [make_super_packet(headers, payload, segment_size)]
    segments = -(-len(payload) // segment_size)
    assert coalescer.packets == coalescer.packets_in(0) == segments
    assert coalescer.super_packets == 1


@given(headers_strategy, st.integers(0, 65535))
def test_the_checksum_on_the_wire_does_not_reach_the_kernel(headers: Headers, junk: int) -> None:
    at = 8 + headers.ip_length + (6 if headers.protocol == UDP else 16)
    data = bend(super_frame(headers, bytes(250), 100), at, junk >> 8, junk & 0xFF)
    assert units_of(data) == [make_super_packet(headers, bytes(250), 100)]


@pytest.mark.parametrize("version", [4, 6])
def test_the_kernel_is_told_of_cwr(version: int) -> None:
    headers = Headers(version=version, flags=ACK | CWR)
    (unit,) = units_of(super_frame(headers, bytes(250), 100))
    kind = TCPV4 if version == 4 else TCPV6
    assert unit == bend(make_super_packet(headers, bytes(250), 100), 1, kind | ECN)


def test_ip_options_are_allowed_for() -> None:
    plain = make_packet(Headers(), bytes(250), partial=True)
    packet = b"\x46" + plain[1:2] + struct.pack("!H", len(plain) + 4) + plain[4:20]
    packet += bytes([1, 1, 1, 0]) + plain[20:]
    (unit,) = units_of(frame(packet, sequence=100))
    assert struct.unpack_from("<BBHHHH", unit) == (1, TCPV4, 24 + 32, 100, 24, 16)
    assert unit[10:] == packet


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("version", [4, 6])
def test_no_packet_of_a_flow_passes_a_whole_super_packet(version: int, protocol: int) -> None:
    headers = Headers(version=version, protocol=protocol)
    singles = pieces(headers, bytes(400), 100)
    later = attrs.evolve(headers, sequence=1200, identification=3)
    whole = super_frame(later, bytes(300), 100)
    end = attrs.evolve(headers, sequence=1500, identification=6)
    last = pieces(end, bytes(200), 100)
    data = b"".join(map(frame, singles[:2])) + whole + b"".join(map(frame, last))
    assert units_of(data) == [
        make_super_packet(headers, bytes(200), 100),
        make_super_packet(later, bytes(300), 100),
        make_super_packet(end, bytes(200), 100),
    ]


@pytest.mark.parametrize(("tcp", "udp"), [(True, False), (False, True), (False, False)])
def test_a_tun_without_offload_gets_the_packets(tcp: bool, udp: bool) -> None:
    of_tcp, of_udp = Headers(), Headers(version=6, protocol=UDP)
    data = super_frame(of_tcp, bytes(300), 100) + super_frame(of_udp, bytes(300), 100)
    data += frame(b"malformed", sequence=7)
    coalescer = Coalescer(MTU, merge_tcp=tcp, merge_udp=udp)
    expected = []
    for headers, whole in ((of_tcp, tcp), (of_udp, udp)):
        if whole:
            expected.append(make_super_packet(headers, bytes(300), 100))
        else:
            expected += [LONE + packet for packet in pieces(headers, bytes(300), 100)]
    assert units_of(data, coalescer) == expected
    assert (coalescer.packets, coalescer.malformed) == (6, 1)


def test_unsound_super_packets_are_dropped_and_counted() -> None:
    good = make_packet(Headers(), bytes(250))
    coalescer = Coalescer(MTU, merge_tcp=True, merge_udp=True)
    for packet, sequence in ((good, 250), (good, 1), (good, 0x10064), (good[:-1], 100), (b"", 1)):
        assert units_of(frame(packet, sequence=sequence), coalescer) == []
    assert coalescer.malformed == 5


@given(headers_strategy, st.data(), st.booleans(), st.booleans())
@settings(max_examples=300)
def test_hostile_super_packets_are_sound_or_dropped(
    headers: Headers, data: st.DataObject, tcp: bool, udp: bool
) -> None:
    raw = super_frame(
        headers, bytes(data.draw(st.integers(0, 300))), data.draw(st.integers(1, 400))
    )
    for _ in range(data.draw(st.integers(0, 3))):
        raw = bend(raw, data.draw(st.integers(2, len(raw) - 1)), data.draw(st.integers(0, 255)))
    coalescer = Coalescer(MTU, merge_tcp=tcp, merge_udp=udp)
    units = units_of(raw, coalescer)
    assert bool(units) is (coalescer.malformed == 0)
    for unit in units:
        flags, kind, header, size, start, offset = struct.unpack_from("<BBHHHH", unit)
        if kind == 0:
            continue
        assert flags == 1
        assert tcp if kind & 7 in (TCPV4, TCPV6) and kind != UDP_L4 else udp
        assert (unit[10] >> 4, offset) in {(4, 16), (6, 16), (4, 6), (6, 6)}
        assert start < header < header + size < len(unit) - 10
