"""Frames, super-packets in them, and the headers of the IP packets they hold."""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

from tests.fuzz.builds import Build
from tests.fuzz.draw import Draw, cut
from tests.fuzz.packets import FRAME_HEADER, checksum, draw_frames, l4_sum, sound_packet, walk

IP_COMMAND, FORWARD_COMMAND = 3, 2
LARGEST_FRAME = 65535


def codec(build: Build, draw: Draw) -> object:
    """A stream of frames is read the same however it is cut."""
    group, sequences = draw.of((0, 1, 2)), draw.of((1, 2))
    places = draw.cuts()
    stream = draw_frames(draw, IP_COMMAND) + draw.rest()
    at_once = _read_frames(build, group, sequences, [stream])
    in_pieces = _read_frames(build, group, sequences, cut(stream, places))
    if at_once[-1] or in_pieces[-1]:
        assert at_once[-1] == in_pieces[-1], "whether the stream is good depends on its cutting"
    else:
        assert _joined(at_once[0]) == _joined(in_pieces[0])
        assert at_once[1:] == in_pieces[1:]
    return at_once, in_pieces


Run = tuple[int, int, int, bytes, bytes, int, int]


def _read_frames(
    build: Build, group: int, sequences: int, pieces: list[bytes]
) -> tuple[list[Run], int, int, str]:
    codec = build["frames.codec"]
    reader = codec.FrameReader(IP_COMMAND, FORWARD_COMMAND, group)
    reader.sequences = sequences
    runs: list[Run] = []
    failure = ""
    for piece in pieces:
        try:
            found = reader.receive_data_untrusted(piece)
        except build["errors"].BadPacket as error:
            failure = str(error)
            break
        for run in found:
            data = bytes(run.data)
            runs.append(
                (
                    run.command,
                    run.sequence,
                    run.version,
                    run.address,
                    data,
                    run.packets,
                    run.sequences,
                )
            )
            if run.version:
                _check_packets(build, group, runs[-1])
        assert reader.pending_bytes < LARGEST_FRAME
    if not failure:
        seen = sum(len(run[4]) + (0 if run[2] else FRAME_HEADER) for run in runs)
        total = sum(map(len, pieces))
        assert seen + reader.pending_bytes <= total
        assert reader.malformed or seen + reader.pending_bytes == total
    return runs, reader.malformed, reader.pending_bytes, failure


def _check_packets(build: Build, group: int, run: Run) -> None:
    command, _, version, address, data, packets, _ = run
    found = 0
    for own_command, _, packet in walk(data):
        assert own_command == command == FORWARD_COMMAND
        assert build["frames.ip"].is_well_formed(packet, 0, len(packet)) == version
        size, start = (4, 12) if version == 4 else (16, 8)
        start += size if group == 2 else 0
        assert address == (packet[start : start + size] if group else b"")
        found += 1
    assert 1 <= found <= packets


def _joined(runs: list[Run]) -> list[tuple[object, ...]]:
    """Runs of packets that belong together, put together: a cut of the stream divides them."""
    joined: list[tuple[object, ...]] = []
    for command, sequence, version, address, data, packets, _ in runs:
        key = (command, sequence, version, address)
        if version and joined and joined[-1][0] == key:
            _, before, count = joined.pop()
            assert isinstance(before, bytes)
            assert isinstance(count, int)
            data, packets = before + data, count + packets
        joined.append((key, data, packets))
    return joined


def segmentation(build: Build, draw: Draw) -> object:
    """Cutting a super-packet makes sound packets with the payload that it had."""
    module = build["frames.segmentation"]
    tcp, udp = draw.flag(), draw.flag()
    frames = draw_frames(draw, IP_COMMAND) + draw.rest()
    segmenter = module.Segmenter()
    output = bytes(segmenter.segment_batch_untrusted(frames, tcp, udp))
    made = list(walk(output))
    malformed = 0
    at = 0
    while at < len(frames):
        size = int.from_bytes(frames[at : at + 2], "big") if len(frames) - at >= 8 else 0
        if not FRAME_HEADER <= size <= len(frames) - at:
            malformed += 1
            break
        ((command, sequence, packet),) = walk(frames[at : at + size])
        at += size
        segments = module.segments_in(packet, 0, len(packet), sequence) if sequence else 1
        if not segments:
            malformed += 1
        elif segments == 1 or not (tcp if _protocol(packet) == 6 else udp):
            assert made.pop(0) == (command, sequence, packet)
        else:
            assert segments <= module.MAX_SEGMENTS
            pieces, made = made[:segments], made[segments:]
            _check_cut(packet, sequence, command, pieces)
    assert not made, "there are more frames than there ought to be"
    assert segmenter.malformed == malformed
    cleared = bytearray(output)
    module.clear_sequences(cleared)
    assert [entry[::2] for entry in walk(bytes(cleared))] == [entry[::2] for entry in walk(output)]
    assert not module.holds_super_packets(output, tcp, udp)
    return output, bytes(cleared), module.holds_super_packets(frames, tcp, udp)


def _protocol(packet: bytes) -> int:
    return packet[9] if packet[0] >> 4 == 4 else packet[6]


def _headers(packet: bytes) -> int:
    """Give the size of the headers of a TCP or UDP packet without extension headers."""
    ip = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
    return ip + ((packet[ip + 12] >> 4) * 4 if _protocol(packet) == 6 else 8)


def _check_cut(
    whole: bytes, segment_size: int, command: int, pieces: list[tuple[int, int, bytes]]
) -> None:
    payload = b""
    for own_command, sequence, packet in pieces:
        assert (own_command, sequence) == (command, 0)
        header = _headers(packet)
        assert header == _headers(whole)
        if packet[0] >> 4 == 4:
            assert checksum(packet[: (packet[0] & 15) * 4]) == 0xFFFF
            assert int.from_bytes(packet[2:4], "big") == len(packet)
        assert l4_sum(packet) == 0xFFFF
        assert 0 < len(packet) - header <= segment_size
        payload += packet[header:]
    assert payload == whole[_headers(whole) :]


def ip(build: Build, draw: Draw) -> object:
    """Headers are read within their bounds, and clamping the MSS is all that it does."""
    module = build["frames.ip"]
    margin, mss4, mss6 = draw.byte() & 15, draw.word(), draw.word()
    packet = sound_packet(draw) if draw.flag() else b""
    packet += draw.rest()
    buffer = bytearray(b"\xff" * margin + packet)
    size = len(packet)
    version = module.is_well_formed(buffer, margin, size)
    total = module.sum_words(buffer, margin, margin + size)
    assert total == checksum(packet)
    hasher: Any = build.kept.setdefault("flow hash", build["frames.flow_hash"].FlowHash(1))
    flow = hasher.of_packet(buffer, margin, size)
    before = bytes(buffer)
    changed = module.clamp_mss(buffer, margin, size, mss4, mss6)
    after = bytes(buffer)
    assert len(after) == len(before)
    differing = [at for at, pair in enumerate(zip(before, after, strict=True)) if len({*pair}) > 1]
    if not changed:
        assert not differing
    else:
        assert version
        assert len(differing) <= 4
        assert all(at >= margin + 20 for at in differing)
        assert not module.clamp_mss(buffer, margin, size, mss4, mss6), "clamping twice differs"
    if version:
        stated = _stated_length(packet)
        assert 20 <= stated <= size
        alone = packet[:stated]
        assert hasher.of_packet(alone, 0, stated) == flow
        if changed and version == 4 and l4_sum(alone) == 0xFFFF:
            assert l4_sum(after[margin : margin + stated]) == 0xFFFF
    return version, total, flow, changed, after


def _stated_length(packet: bytes) -> int:
    if packet[0] >> 4 == 4:
        return int.from_bytes(packet[2:4], "big")
    return 40 + int.from_bytes(packet[4:6], "big")


def splitter(build: Build, draw: Draw) -> object:
    """Whatever the kernel's TUN header says, only whole frames with whole packets come out."""
    module = build["tun.offload"]
    cutter = module.Splitter(draw.of((576, 1280, 1500, 9000)), draw.flag())
    cutter.keep_whole = draw.flag()
    counts = []
    output = b""
    while not draw.exhausted:
        header = _vnet_header(draw)
        packet = (sound_packet(draw) if draw.flag() else b"") + draw.piece()
        packet = packet[:65535]
        length = len(header + packet)
        cutter.packet[:length] = header + packet
        made = cutter.split(length, IP_COMMAND)
        counts.append(made)
        if draw.flag():
            output += cutter.take()
    output += cutter.take()
    frames = list(walk(output))
    assert len(frames) == sum(counts)
    for command, sequence, packet in frames:
        assert command == IP_COMMAND
        assert build["frames.ip"].is_well_formed(packet, 0, len(packet))
        assert not sequence or (
            cutter.keep_whole
            and build["frames.segmentation"].segments_in(packet, 0, len(packet), sequence)
        )
    return counts, output, cutter.malformed, cutter.bad_offload, cutter.oversize, cutter.clamped


def _vnet_header(draw: Draw) -> bytes:
    """Make the ten bytes in front of a packet, sound or any."""
    kind = draw.byte()
    if kind & 1:
        return bytes(10)
    if kind & 2:
        return draw.take(10).ljust(10, b"\0")
    gso = (0, 1, 4, 5, 0x81)[kind >> 2 & 7] if kind >> 2 & 7 < 5 else 0
    ip_header = 40 if kind & 32 else 20
    offset = 6 if kind & 64 else 16
    return struct.pack("<BBHHHH", 1, gso, 0, draw.byte() * 4, ip_header, offset)


def coalescer(build: Build, draw: Draw) -> object:
    """What is joined can be cut again into the packets that it was made of."""
    module = build["tun.offload"]
    merge_tcp, merge_udp, clamp = draw.flag(), draw.flag(), draw.flag()
    joiner = module.Coalescer(1500, merge_tcp, merge_udp, clamp)
    results: list[object] = []
    for _ in range(1 + draw.byte() % 2):
        frames = draw_frames(draw, IP_COMMAND) + draw.piece()
        units = joiner.coalesce_batch_untrusted(frames)
        made = []
        packets = 0
        for index in range(units):
            size = joiner.assemble(index)
            assert 10 + 20 <= size <= 10 + 65535
            made.append(bytes(joiner.unit[:size]))
            packets += joiner.packets_in(index)
        if not clamp:
            _check_joined(build, frames, made)
        results.append((made, packets))
    return (
        results,
        joiner.packets,
        joiner.super_packets,
        joiner.malformed,
        joiner.bad_checksum,
        joiner.clamped,
    )


def _check_joined(build: Build, frames: bytes, units: list[bytes]) -> None:
    """Compare what the units become when the kernel cuts them with what was put in."""
    segmenter = build["frames.segmentation"].Segmenter()
    wanted = Counter(
        _without_identification(packet)
        for _, _, packet in walk(bytes(segmenter.segment_batch_untrusted(frames)))
        if build["frames.ip"].is_well_formed(packet, 0, len(packet))
    )
    cutter = build["tun.offload"].Splitter(9000, False)
    for unit in units:
        cutter.packet[: len(unit)] = unit
        # One that fits no frame would not have come in a frame.
        assert cutter.split(len(unit), IP_COMMAND)
    frames = bytes(cutter.take())
    assert wanted == Counter(_without_identification(packet) for _, _, packet in walk(frames))


def _without_identification(packet: bytes) -> bytes:
    """Blank what means nothing in a packet that may not be fragmented (RFC 6864)."""
    if packet[0] >> 4 == 4 and packet[6] & 0x40:
        return packet[:4] + bytes(2) + packet[6:10] + bytes(2) + packet[12:]
    return packet
