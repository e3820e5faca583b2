"""What the ``datagram`` conversation and repair hear: acknowledgements, items, sums of symbols."""

from __future__ import annotations

import random
from array import array
from typing import Any

import attrs

from tests.fuzz.builds import Build
from tests.fuzz.draw import Draw
from tests.fuzz.packets import sound_packet, walk

COMMAND = 2
LARGEST_FRAME = 1508
KINDS = (0x10, 0x11, 0x12, 0x13, 0x20, 0x10, 0x11, 0x30)


@attrs.define
class Source:
    """Packets to be sent, in batches of one frame."""

    build: Build
    frames: list[bytes] = attrs.field(factory=list)

    def dequeue_batch(self, most_bytes: int, now: float) -> Any:
        """Give the next one, or an empty batch."""
        batch = self.build["batch"].FrameBatch
        return batch(self.frames.pop(0), 1) if self.frames else batch(b"", 0)


def acknowledgement(build: Build, draw: Draw) -> object:
    """What is read is within its bounds, and written again it reads the same."""
    module = build["kcp.datagram.wire"]
    margin = draw.byte() & 15
    data = draw.rest()
    view = b"\xff" * margin + data + b"\xff" * margin
    read = module.Acknowledgement()
    end = read.read_untrusted(view, margin, margin + len(data))
    if end < 0:
        return None
    assert margin + 16 <= end <= margin + len(data)
    runs = read.listed()
    assert 1 <= len(runs) <= module.MOST_RUNS
    before = -2
    for newest, oldest in runs:
        assert before + 2 <= newest <= oldest
        before = oldest
    room = bytearray(module.LARGEST_ACK)
    written = read.write(room, 0)
    again = module.Acknowledgement()
    assert again.read_untrusted(room, 0, written) == written
    assert again.listed() == runs
    return runs, bytes(room[:written]), end


def datagram_hostile(build: Build, draw: Draw) -> object:
    """A conversation with a peer that says anything stays within its bounds."""
    source = Source(build)
    conversation = build["kcp.datagram.conversation"].DatagramConversation(
        source,
        _congestion(build),
        COMMAND,
        mtu=draw.of((300, 1350, 1500)),
        send_window=(send_window := draw.of((1, 8, 64, 8192))),
    )
    now = draw.of((0.0, 1000.0, 4294967.29))
    trace: list[object] = []
    heard = 0
    while not draw.exhausted:
        match draw.byte() % 8:
            case 0 | 1:
                source.frames += [_frame(sound_packet(draw)) for _ in range(1 + draw.byte() % 8)]
            case 2:
                _hear(conversation, draw.take(draw.byte() * 8), now)
                heard += 1
            case 3 | 4:
                _hear(conversation, _datagram(draw), now)
                heard += 1
            case 5:
                now += draw.of((0.0, 0.001, 0.01, 0.2, 7.0, 200.0))
                trace.append(conversation.next_timeout())
            case 6:
                trace.append(_frames(build, bytes(conversation.receive())))
            case _:
                trace += _poll(conversation, now)
        # The window is for packets. What else is sent is little: probes, word of what was given
        # up, and how long acknowledgements may wait, which is told anew as round trips change.
        counts = conversation.statistics()
        assert conversation.in_flight <= send_window + counts.probes + counts.skips_sent + heard
    trace.append(_frames(build, bytes(conversation.receive())))
    statistics = attrs.asdict(conversation.statistics())
    for name, value in statistics.items():
        assert name == "congestion" or value >= 0, name
    assert statistics["peer_arrived"] + statistics["peer_recovered"] <= 1 << 32
    return trace, statistics, conversation.next_timeout(), conversation.all_arrived


def _congestion(build: Build) -> Any:
    return build["kcp.congestion.bbr"].Bbr(1400, random.Random(1))


def _frame(packet: bytes) -> bytes:
    return (len(packet) + 8).to_bytes(2, "big") + bytes((0, COMMAND, 0, 0, 0, 0)) + packet


def _frames(build: Build, data: bytes) -> list[bytes]:
    """Take what came out of a conversation apart: whole frames with whole packets."""
    packets = []
    for command, sequence, packet in walk(data):
        assert (command, sequence) == (COMMAND, 0)
        assert build["frames.ip"].is_well_formed(packet, 0, len(packet))
        assert len(packet) <= LARGEST_FRAME
        packets.append(packet)
    return packets


def _datagram(draw: Draw) -> bytes:
    """Make a datagram of sound parts, with numbers near those that count."""
    kind = draw.of(KINDS)
    near = draw.of((0, 0, 0xFFFFF8, 0x7FFFF8))
    made = bytes((kind,))
    if kind != 0x20:
        made += ((near + draw.byte()) & 0xFFFFFF).to_bytes(3, "big")
    if kind & 1 or kind == 0x20:
        made += _acknowledgement(draw)
    while kind != 0x20 and len(made) < 1500 and draw.flag():
        made += _item(draw)
    return made + draw.take(draw.byte() % 3)


def _acknowledgement(draw: Draw) -> bytes:
    runs = 1 + draw.byte() % 4
    largest = (draw.of((0, 0, 0xFFFFF8)) + draw.byte()) & 0xFFFFFF
    head = largest.to_bytes(3, "big") + draw.take(12).ljust(12, b"\0") + bytes((runs,))
    return head + bytes(draw.byte() & 0x7F for _ in range(2 * runs - 1))


def _item(draw: Draw) -> bytes:
    sequence = (draw.of((0, 0, 0xFFF8)) + draw.byte() & 0xFFFF).to_bytes(2, "big")
    bucket = draw.byte() & 3
    match draw.byte() % 5:
        case 0:
            return bytes((0x80 | bucket,)) + sequence + sound_packet(draw)[:1400]
        case 1:
            return b"\0" + sequence + sound_packet(draw)[:1400]
        case 2:
            return bytes((1, bucket)) + sequence + bytes((draw.byte(),))
        case 3:
            return bytes((2, draw.byte()))
        case _:
            packet = sound_packet(draw)[:1400]
            start = draw.byte() % len(packet)
            piece = packet[start : start + 1 + draw.byte() * 4]
            numbers = (len(packet), start, len(piece))
            head = bytes((3, draw.of((0, 0x80 | bucket))))
            return head + sequence + b"".join(each.to_bytes(2, "big") for each in numbers) + piece


def _hear(conversation: Any, datagram: bytes, now: float) -> None:
    # Back to back in one buffer, so that reading past the end of one is seen in the other.
    other = b"\x10\xff\xff\xff"
    conversation.receive_datagrams_untrusted(
        datagram + other, array("H", [len(datagram), len(other)]), 2, now
    )


def _poll(conversation: Any, now: float) -> list[bytes]:
    count = conversation.poll_datagrams(now)
    sizes = list(conversation.sizes[:count])
    assert all(1 <= size <= conversation.mtu for size in sizes)
    return _split(conversation.datagrams, sizes)


def _split(data: bytes | bytearray, sizes: list[int]) -> list[bytes]:
    assert sum(sizes) <= len(data)
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    return [bytes(data[at : at + size]) for at, size in zip(starts, sizes, strict=True)]


def repair_hostile(build: Build, draw: Draw) -> object:
    """Whatever repairs say, what is computed looks like a datagram, and memory has its limit."""
    decoder = build["fec.decoder"].RepairDecoder(draw.of((100, 1350, 1500)), 0.25)
    now = 0.0
    trace: list[object] = []
    while not draw.exhausted:
        match draw.byte() % 5:
            case 0:
                datagrams = [draw.take(draw.byte() * 6)]
            case 1 | 2:
                datagrams = [_symbol(draw) for _ in range(1 + draw.byte() % 4)]
            case 3:
                now += draw.of((0.001, 0.1, 0.3, 20.0))
                decoder.release_idle(now)
                continue
            case _:
                datagrams = [_repair(draw)]
        sizes = array("H", map(len, datagrams))
        count = decoder.receive_batch_untrusted(b"".join(datagrams), sizes, len(sizes), now)
        found = _split(decoder.datagrams, list(decoder.sizes[:count]))
        assert all(each[0] & 0xF0 == 0x10 and len(each) >= 4 for each in found)
        trace.append((found, decoder.overtaken))
    return trace, attrs.asdict(decoder.statistics())


def _symbol(draw: Draw) -> bytes:
    number = (draw.of((0, 0, 0xFFFFF0)) + draw.byte()) & 0xFFFFFF
    return bytes((0x10,)) + number.to_bytes(3, "big") + draw.take(draw.byte())


def _repair(draw: Draw) -> bytes:
    first = (draw.of((0, 0, 0xFFFFF0)) + draw.byte()) & 0xFFFFFF
    head = first.to_bytes(3, "big") + bytes((draw.byte() % 16, draw.of((15, 15, 3, 0, 255))))
    return b"\x30" + head + draw.word().to_bytes(2, "big") + draw.take(draw.byte() * 2)


def repair_network(build: Build, draw: Draw) -> object:
    """What is computed of lost datagrams is what was sent, whatever is lost, and in what order."""
    mtu = draw.of((100, 400))
    encoder = build["fec.encoder"].RepairEncoder(mtu, window=draw.of((4, 32)), share=1.0)
    plan = build["fec.plan"].RepairPlan
    encoder.set_plan(plan(ratio=draw.of((0.0, 0.2, 1.0)), reach=draw.of((4, 16))))
    decoder = build["fec.decoder"].RepairDecoder(mtu)
    number = draw.of((0, 0xFFFFF0))
    now = 0.0
    sent: dict[bytes, bytes] = {}
    under_way: list[bytes] = []
    recovered: list[bytes] = []
    while not draw.exhausted:
        kind = draw.byte()
        match kind % 4:
            case 0 | 1:
                made = []
                for _ in range(1 + draw.byte() % 6):
                    head = b"\x10" + (number & 0xFFFFFF).to_bytes(3, "big")
                    made.append(sent.setdefault(head, head + bytes(draw.byte() % (mtu - 4))))
                    number += 1
                sizes = array("H", map(len, made))
                marks = bytes(kind >> 4 & 1 for _ in made)
                count = encoder.protect_batch(b"".join(made), sizes, len(made), now, marks)
                under_way += made + _split(encoder.datagrams, list(encoder.sizes[:count]))
            case 2:
                now += draw.of((0.001, 0.01, 0.05))
                count = encoder.poll_repairs(now)
                under_way += _split(encoder.datagrams, list(encoder.sizes[:count]))
            case _ if under_way:
                datagram = under_way.pop(draw.byte() % len(under_way))
                if kind & 0x30:
                    sizes = array("H", [len(datagram)])
                    count = decoder.receive_batch_untrusted(datagram, sizes, 1, now)
                    recovered += _split(decoder.datagrams, list(decoder.sizes[:count]))
    for datagram in recovered:
        assert sent[datagram[:4]] == datagram
    assert len(recovered) == len(set(recovered))
    return recovered, attrs.asdict(decoder.statistics()), attrs.asdict(encoder.statistics())


def flow_class(build: Build, draw: Draw) -> object:
    """What kind of flow a packet is of does not depend on what surrounds it."""
    classifier = build["kcp.datagram.flow_class"].FlowClassifier()
    margin = draw.byte() & 15
    packet = sound_packet(draw) if draw.flag() else draw.rest()
    told = []
    for filler in (b"\0", b"\xff"):
        view = filler * margin + packet + filler * 64
        version = build["frames.ip"].is_well_formed(view, margin, len(packet))
        if not version:
            return None
        length = int.from_bytes(packet[2:4], "big") if version == 4 else 0
        length = length or 40 + int.from_bytes(packet[4:6], "big")
        classifier.classify(view, margin, length)
        assert 0 <= classifier.bucket < 128
        # The bucket of a packet without order means nothing.
        bucket = classifier.bucket if classifier.ordered else -1
        told.append((classifier.ordered, bucket, classifier.important, classifier.deadline_class))
    assert told[0] == told[1]
    return told


def datagram_frames(build: Build, draw: Draw) -> object:
    """Packets of any kind that are to be sent leave, or are counted as what they are."""
    source = Source(build)
    conversation = build["kcp.datagram.conversation"].DatagramConversation(
        source, _congestion(build), COMMAND, mtu=draw.of((300, 1350))
    )
    while not draw.exhausted:
        packet = sound_packet(draw) if draw.flag() else draw.take(draw.byte() * 8)
        source.frames.append(_frame(packet[: draw.of((1400, 2000, 30))]))
    packets = len(source.frames)
    made = _poll(conversation, 0.0)
    statistics = attrs.asdict(conversation.statistics())
    known = ("packets_sent", "malformed", "oversize", "oversize_dropped")
    assert sum(statistics[name] for name in known) <= packets
    return made, statistics, bytes(conversation.take_oversize())
