"""Frames found in a stream, however it is cut."""

from __future__ import annotations

import itertools
import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.batch import SEQUENCES_FOREIGN, SEQUENCES_OFFLOAD, SEQUENCES_ZERO
from polevpn_trio.errors import BadPacket
from polevpn_trio.frames.codec import (
    AUTH,
    C2S_IPDATA,
    GROUP_ALL,
    GROUP_BY_DESTINATION,
    GROUP_BY_SOURCE,
    HEART_BEAT,
    S2C_IPDATA,
    FrameReader,
    FrameRun,
    build_frame,
)
from polevpn_trio.stream_buffer import StreamBuffer
from tests.tun.super_packets import Headers, make_packet


def ipv4(source: str, destination: str, payload: bytes = b"") -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, 17, 0)
    return header + ip_address(source).packed + ip_address(destination).packed + payload


def ipv6(source: str, destination: str, payload: bytes = b"") -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(payload), 17, 64)
    return header + ip_address(source).packed + ip_address(destination).packed + payload


def ip_frame(packet: bytes, command: int = C2S_IPDATA) -> bytes:
    return build_frame(command, packet)


def summary(run: FrameRun) -> tuple[int, int, int, bytes, bytes, int]:
    return run.command, run.sequence, run.version, run.address, bytes(run.data), run.packets


def test_header_is_big_endian_and_counts_itself() -> None:
    assert build_frame(HEART_BEAT, sequence=0x01020304).hex() == "0008000401020304"
    assert build_frame(AUTH, b"{}").hex() == "000a0000000000007b7d"


def test_largest_frame_fits_and_the_next_does_not() -> None:
    assert len(build_frame(AUTH, bytes(65527))) == 65535
    with pytest.raises(ValueError, match="65536"):
        build_frame(AUTH, bytes(65528))


def test_largest_frame_is_read() -> None:
    reader = FrameReader(C2S_IPDATA, S2C_IPDATA)
    (run,) = reader.receive_data_untrusted(build_frame(AUTH, bytes(65527)))
    assert len(run.data) == 65527


@pytest.mark.parametrize("length", range(8))
def test_frame_shorter_than_its_header_ends_the_connection(length: int) -> None:
    reader = FrameReader(C2S_IPDATA, S2C_IPDATA)
    with pytest.raises(BadPacket, match=f"frame of {length} bytes"):
        reader.receive_data_untrusted(length.to_bytes(2, "big"))


def test_runs_end_where_the_destination_changes() -> None:
    a, b, c = (
        ip_frame(ipv4("10.1.0.1", destination, payload))
        for destination, payload in (("10.2.0.1", b"x"), ("10.2.0.1", b"yy"), ("10.3.0.1", b"z"))
    )
    runs = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION).receive_data_untrusted(
        a + b + c
    )
    assert [(run.address, run.packets) for run in runs] == [
        (ip_address("10.2.0.1").packed, 2),
        (ip_address("10.3.0.1").packed, 1),
    ]
    assert bytes(runs[0].data) == (a + b).replace(b"\0\3\0\0\0\0", b"\0\2\0\0\0\0")


def test_runs_end_where_the_source_changes() -> None:
    stream = b"".join(
        ip_frame(ipv4(source, "10.2.0.1")) for source in ("10.1.0.1", "10.1.0.1", "10.1.0.2")
    )
    runs = FrameReader(C2S_IPDATA, C2S_IPDATA, GROUP_BY_SOURCE).receive_data_untrusted(stream)
    assert [(run.address[-1], run.packets) for run in runs] == [(1, 2), (2, 1)]


def test_ungrouped_runs_hold_all_packets_of_one_ip_version() -> None:
    stream = (
        ip_frame(ipv4("10.1.0.1", "10.2.0.1"))
        + ip_frame(ipv4("10.1.0.2", "10.2.0.9"))
        + ip_frame(ipv6("fd00::1", "fd00::2"))
    )
    runs = FrameReader(C2S_IPDATA, C2S_IPDATA, GROUP_ALL).receive_data_untrusted(stream)
    assert [(run.version, run.packets, run.address) for run in runs] == [(4, 2, b""), (6, 1, b"")]


def test_ipv6_destination_is_grouped_by_its_sixteen_bytes() -> None:
    stream = b"".join(
        ip_frame(ipv6("fd00::1", destination)) for destination in ("fd00::2", "fd00::2", "fd00::3")
    )
    runs = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION).receive_data_untrusted(stream)
    assert [(run.address, run.packets) for run in runs] == [
        (ip_address("fd00::2").packed, 2),
        (ip_address("fd00::3").packed, 1),
    ]


def test_control_frame_splits_a_run_and_keeps_its_place() -> None:
    packet = ip_frame(ipv4("10.1.0.1", "10.2.0.1"))
    stream = packet + build_frame(HEART_BEAT, b"ignored", 7) + packet
    runs = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION).receive_data_untrusted(stream)
    assert [(run.command, run.sequence, run.packets) for run in runs] == [
        (S2C_IPDATA, 0, 1),
        (HEART_BEAT, 7, 1),
        (S2C_IPDATA, 0, 1),
    ]
    assert bytes(runs[1].data) == b"ignored"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x45" + bytes(18),
        bytes(20),
        b"\x55" + bytes(30),
        ipv4("1.1.1.1", "2.2.2.2")[:-1],
        ipv6("::1", "::2")[:39],
    ],
)
def test_malformed_packets_are_left_out_and_counted(payload: bytes) -> None:
    good = ip_frame(ipv4("10.1.0.1", "10.2.0.1"))
    reader = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
    runs = reader.receive_data_untrusted(good + ip_frame(payload) + good)
    assert [(run.version, run.packets) for run in runs] == [(4, 1), (4, 1)]
    assert reader.malformed == 1


def marked(payload: bytes, sequence: int) -> bytes:
    return build_frame(C2S_IPDATA, payload, sequence)


WHOLE = make_packet(Headers(), bytes(300), partial=True)


def test_sequences_without_meaning_are_left_alone_and_noted() -> None:
    reader = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
    packet, other = ipv4("10.1.0.1", "10.2.0.1"), ipv4("10.1.0.1", "10.3.0.1")
    stream = marked(packet, 0) + marked(packet, 7) + marked(other, 0) + marked(WHOLE, 100)
    runs = reader.receive_data_untrusted(stream)
    assert [(run.packets, run.sequences) for run in runs] == [
        (2, SEQUENCES_FOREIGN),
        (1, SEQUENCES_ZERO),
        (1, SEQUENCES_FOREIGN),
    ]
    assert bytes(runs[0].data) == build_frame(S2C_IPDATA, packet) + build_frame(
        S2C_IPDATA, packet, 7
    )


def test_super_packets_count_for_all_they_hold_where_they_were_agreed_on() -> None:
    reader = FrameReader(C2S_IPDATA, C2S_IPDATA, GROUP_ALL)
    reader.sequences = SEQUENCES_OFFLOAD
    stream = marked(WHOLE, 0) + marked(WHOLE, 100) + marked(WHOLE, 0)
    (run,) = reader.receive_data_untrusted(stream)
    assert (run.packets, run.sequences, bytes(run.data)) == (5, SEQUENCES_OFFLOAD, stream)
    (run,) = reader.receive_data_untrusted(marked(WHOLE, 0))
    assert (run.packets, run.sequences) == (1, SEQUENCES_ZERO)


@pytest.mark.parametrize("sequence", [1, 300, 0x10064, 0x80000064, 0xFFFFFFFF])
def test_a_bad_mark_of_a_super_packet_drops_the_packet(sequence: int) -> None:
    reader = FrameReader(C2S_IPDATA, C2S_IPDATA, GROUP_ALL)
    reader.sequences = SEQUENCES_OFFLOAD
    runs = reader.receive_data_untrusted(
        marked(WHOLE, 100) + marked(WHOLE, sequence) + marked(WHOLE, 0)
    )
    assert [(run.packets, run.sequences) for run in runs] == [
        (3, SEQUENCES_OFFLOAD),
        (1, SEQUENCES_ZERO),
    ]
    assert reader.malformed == 1


FRAMES = st.lists(
    st.one_of(
        st.builds(build_frame, st.sampled_from([0, 1, 4, 5, 9, 65535]), st.binary(max_size=40)),
        st.builds(
            lambda d, p: ip_frame(ipv4("10.0.0.1", f"10.0.0.{d}", p)),
            st.integers(1, 3),
            st.binary(max_size=30),
        ),
    ),
    max_size=12,
)


@given(frames=FRAMES, cuts=st.lists(st.integers(0, 700), max_size=8))
def test_cutting_the_stream_changes_nothing_but_the_runs(
    frames: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(frames)
    whole = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
    expected = [summary(run) for run in whole.receive_data_untrusted(stream)]
    pieces = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
    merged: list[tuple[int, int, int, bytes, bytes, int]] = []
    borders = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(borders):
        for run in pieces.receive_data_untrusted(stream[start:end]):
            got = summary(run)
            if run.version and merged and merged[-1][:4] == got[:4] and merged[-1][2]:
                last = merged.pop()
                got = (*got[:4], last[4] + got[4], last[5] + got[5])
            merged.append(got)
    assert merged == expected
    assert pieces.pending_bytes == 0


@given(
    frames=st.lists(st.one_of(FRAMES.map(b"".join), st.just(ip_frame(b"bad"))), max_size=4),
    most=st.integers(1, 5),
    group=st.sampled_from([GROUP_ALL, GROUP_BY_SOURCE, GROUP_BY_DESTINATION]),
)
def test_reading_a_few_runs_at_a_time_gives_the_same_ones(
    frames: list[bytes], most: int, group: int
) -> None:
    data = b"".join(frames) + b"\0\x09"
    whole = FrameReader(C2S_IPDATA, S2C_IPDATA, group)
    expected = [summary(run) for run in whole.receive_data_untrusted(data)]
    reader = FrameReader(C2S_IPDATA, S2C_IPDATA, group)
    stream = StreamBuffer()
    stream.append(data)
    kept: list[FrameRun] = []
    while True:
        runs = reader.read_untrusted(stream, most)
        assert len(runs) <= most
        kept += runs
        if len(runs) < most:
            break
    assert [summary(run) for run in kept] == expected
    assert reader.malformed == whole.malformed
    assert stream.take() == b"\0\x09"


@given(stream=st.binary(max_size=400))
def test_junk_raises_nothing_but_bad_packet(stream: bytes) -> None:
    reader = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
    try:
        runs = reader.receive_data_untrusted(stream)
    except BadPacket:
        return
    read = sum(len(run.data) + (0 if run.version else 8) for run in runs)
    assert read + reader.pending_bytes <= len(stream)
