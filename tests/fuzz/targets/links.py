"""What a link hears: KCP datagrams, DTLS records, WebSocket frames."""

from __future__ import annotations

import random
from array import array
from typing import Any

import attrs

from tests.fuzz.builds import Build
from tests.fuzz.draw import Draw, cut

# KCP


def kcp_hostile(build: Build, draw: Draw) -> object:
    """A conversation with a peer that says anything stays within its windows."""
    conversation = build["kcp.conversation"].Conversation(
        0,
        draw.of((50, 128, 1350, 1500)),
        send_window=(send_window := draw.of((1, 2, 32, 128))),
        receive_window=(receive_window := draw.of((1, 2, 32, 128))),
        initial_sequence=draw.of((0, 0xFFFFFFFE, 0x7FFFFFFF, 0x80000000)),
        ack_delay=draw.of((0.0, 0.005)),
    )
    now = draw.of((0.0, 1000.0, 4294967.29))
    trace: list[object] = []
    offered = received = 0
    while not draw.exhausted:
        match draw.byte() % 8:
            case 0:
                conversation.send(data := draw.take(draw.byte() * 8))
                offered += len(data)
            case 1:
                _hear(conversation, draw.take(draw.byte() * 8), now)
            case 2 | 3 | 4:
                _hear(conversation, _segments(build, draw), now)
            case 5:
                now += draw.of((0.0, 0.001, 0.01, 0.2, 7.0, 200.0))
                trace.append(conversation.next_timeout())
            case 6:
                data = conversation.receive()
                received += len(data)
                trace.append(data)
            case _:
                trace += _poll(conversation, now)
    statistics = attrs.asdict(conversation.statistics())
    assert conversation.in_flight <= send_window
    assert statistics["unread"] <= receive_window
    assert conversation.unsent_bytes <= offered
    # No window's worth of memory more than the windows themselves ask for.
    assert statistics["buffer_bytes"] <= 1 << 20
    return trace, received, statistics, conversation.next_timeout(), conversation.dead_link


def _segments(build: Build, draw: Draw) -> bytes:
    """Make a datagram of segments with numbers near those that count."""
    header = build["kcp.segment"].SegmentHeader()
    datagram = bytearray()
    for _ in range(1 + draw.byte() % 4):
        header.conversation_id = 0 if draw.byte() else 1
        header.command = draw.of((81, 82, 83, 84, 81, 82, 81, 80))
        header.window = draw.of((0, 1, 32, 65535))
        header.timestamp = draw.of((0, 1, 999_990, 0x7FFFFFFF, 0xFFFFFFFF))
        base = draw.of((0, 0xFFFFFFFE, 0x7FFFFFFF, 0x80000000))
        header.sequence = (base + draw.byte() - 8) & 0xFFFFFFFF
        header.acknowledged = (base + draw.byte() - 8) & 0xFFFFFFFF
        payload = draw.take(draw.byte()) if header.command == 81 else b""
        header.length = draw.of((len(payload),) * 7 + (0xFFFFFFFF,))
        room = bytearray(24)
        header.write(room, 0)
        datagram += room + payload
    return bytes(datagram)


def _hear(conversation: Any, datagram: bytes, now: float) -> None:
    # Back to back in one buffer, so that reading past the end of one is seen in the other.
    conversation.receive_datagrams_untrusted(
        datagram + datagram[:7], array("H", [len(datagram), min(7, len(datagram))]), 2, now
    )


def _poll(conversation: Any, now: float) -> list[bytes]:
    """Give the datagrams that are due, once: a hostile peer could make more of them for ever."""
    count = conversation.poll_datagrams(now)
    sizes = list(conversation.sizes[:count])
    assert all(1 <= size <= conversation.mtu for size in sizes)
    assert sum(sizes) <= len(conversation.datagrams)
    data = bytes(conversation.datagrams[: sum(sizes)])
    starts = [sum(sizes[:index]) for index in range(count)]
    return [data[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def kcp_network(build: Build, draw: Draw) -> object:
    """Between two of ours, a network that loses, repeats and reorders loses nothing for good."""
    make = build["kcp.conversation"].Conversation
    options = {
        "mtu": draw.of((50, 200, 1350)),
        "send_window": draw.of((1, 4, 64)),
        "receive_window": draw.of((1, 4, 64)),
        "initial_sequence": draw.of((0, 0xFFFFFFFD)),
    }
    ends = (make(0, **options), make(0, **options))
    sent, arrived = [b"", b""], [b"", b""]
    under_way: list[tuple[int, bytes]] = []
    now = 0.0
    number = 0
    while not draw.exhausted:
        kind = draw.byte()
        side = kind & 1
        match kind >> 1 & 7:
            case 0 | 1:
                data = bytes((number + at) & 0xFF for at in range(draw.byte()))
                number += len(data)
                sent[side] += data
                ends[side].send(data)
            case 2 | 3:
                under_way += [(1 - side, datagram) for datagram in _poll(ends[side], now)]
                del under_way[256:]
            case 4 if under_way:
                to, datagram = under_way.pop(draw.byte() % len(under_way))
                _hear_one(ends[to], datagram, now)
            case 5 if under_way:
                to, datagram = under_way[draw.byte() % len(under_way)]
                _hear_one(ends[to], datagram, now)
            case 6 if under_way:
                under_way.pop(draw.byte() % len(under_way))
            case _:
                now += draw.of((0.001, 0.03, 0.5, 8.0))
        for end in (0, 1):
            arrived[end] += ends[end].receive()
            assert sent[1 - end].startswith(arrived[end])
    # The network is mended; what is still missing comes within a round each, and some timeouts.
    for _ in range(100 + 2 * number // (options["mtu"] - 24)):
        if arrived[0] == sent[1] and arrived[1] == sent[0]:
            break
        now = max(now, min(now + 130.0, *(end.next_timeout() for end in ends)))
        for side in (0, 1):
            while datagrams := _poll(ends[side], now):
                for datagram in datagrams:
                    _hear_one(ends[1 - side], datagram, now)
                arrived[1 - side] += ends[1 - side].receive()
    assert arrived == [sent[1], sent[0]], "something never arrived"
    return [attrs.asdict(end.statistics()) for end in ends], now


def _hear_one(conversation: Any, datagram: bytes, now: float) -> None:
    conversation.receive_datagrams_untrusted(datagram, array("H", [len(datagram)]), 1, now)


# DTLS

_KEY, _IV = bytes(range(16)), b"salt"
_PLAINTEXTS = (b"", b"a", bytes(range(48)), b"\x5a" * 300, b"last")


def records_open(build: Build, draw: Draw) -> object:
    """Only what was sealed is opened, and each record once."""
    module = build["transport.records"]
    genuine = build.kept.setdefault("records", _genuine_records(module))
    assert isinstance(genuine, list)
    opener = module.RecordOpener(_KEY, _IV)
    trace: list[object] = []
    opened: list[bytes] = []
    offered = 0
    while not draw.exhausted:
        segment_size = draw.of((0, 1, 37, 60, 400, 65535))
        data = b""
        for _ in range(1 + draw.byte() % 6):
            record = genuine[draw.byte() % len(genuine)]
            match draw.byte() % 6:
                case 0:
                    at = draw.word() % len(record)
                    record = record[:at] + bytes((record[at] ^ draw.byte(),)) + record[at + 1 :]
                case 1:
                    record = record[: draw.byte()]
                case 2:
                    record = draw.take(draw.byte())
            data += record
        offered += len(data)
        count = opener.open_batch_untrusted(data, segment_size)
        sizes = list(opener.sizes[:count])
        plain = bytes(opener.datagrams[: sum(sizes)])
        trace.append((sizes, plain))
        for size in sizes:
            opened.append(plain[:size])
            plain = plain[size:]
    assert all(text in _PLAINTEXTS for text in opened), "something was opened that nobody sealed"
    assert all(opened.count(text) <= 2 for text in _PLAINTEXTS), "a record was opened twice"
    assert opener.opened == len(opened)
    assert opener.peer_alert in (None, (1, 0))
    return (
        trace,
        opener.peer_alert,
        opener.replayed,
        opener.bad_tag,
        opener.malformed,
        opener.epoch0_ignored,
        opener.other_epoch_ignored,
        opener.handshake_ignored,
        opener.unknown_ignored,
    )


def _genuine_records(module: Any) -> list[bytes]:
    """Seal each plaintext twice, far apart, and an alert."""
    found = []
    for first in (0, 5000, (1 << 48) - 100):
        sealer = module.RecordSealer(_KEY, _IV, first, 1 << 63)
        if first == 5000:
            found.append(sealer.seal_alert(1, 0))
            continue
        for text in _PLAINTEXTS:
            sealer.seal_batch(text, array("H", [len(text)]), 1)
            found.append(bytes(sealer.datagrams[: sealer.sizes[0]]))
    return found


def records_seal(build: Build, draw: Draw) -> object:
    """What is sealed can be opened by its peer, and is as long as it says."""
    module = build["transport.records"]
    first = draw.of((0, 1 << 16, (1 << 48) - 3))
    sealer = module.RecordSealer(_KEY, _IV, first, draw.of((0, (1 << 64) - 1)))
    opener = module.RecordOpener(_KEY, _IV)
    trace: list[object] = []
    while not draw.exhausted:
        sizes = array("H", [draw.word() % 2000 for _ in range(draw.byte() % 8)])
        count = draw.of((len(sizes), 0, len(sizes) + 1))
        data = draw.of((bytes(sum(sizes)), draw.piece()))
        try:
            sealer.seal_batch(data, sizes, count)
        except (ValueError, build["errors"].LinkLost) as error:
            trace.append(str(error))
            continue
        made = list(sealer.sizes[:count])
        output = bytes(sealer.datagrams[: sum(made)])
        trace.append((made, output))
        for size, plain in zip(made, sizes, strict=False):
            record, output = output[:size], output[size:]
            assert opener.open_batch_untrusted(record, size) == 1
            assert bytes(opener.datagrams[:plain]) == data[:plain]
            data = data[plain:]
    assert opener.bad_tag == opener.replayed == 0
    return trace


def handshake(build: Build, draw: Draw) -> object:
    """Datagrams of a handshake are cut where they say; once frozen, nothing new leaves."""
    module = build["transport.handshake"]
    guard = module.FlightGuard()
    trace: list[object] = []
    frozen = False
    seen: set[bytes] = set()
    while not draw.exhausted:
        if draw.byte() == 0:
            guard.freeze()
            frozen = True
        datagram = _handshake_datagram(draw)
        hello = module.is_client_hello_untrusted(datagram)
        verify = module.is_hello_verify_request(datagram)
        assert not (hello and verify)
        try:
            cut_up = module.split_records_untrusted(datagram)
        except build["errors"].BadPacket:
            cut_up = None
        if cut_up is None:
            assert not guard.admits(datagram)
        else:
            assert b"".join(cut_up) == datagram
            sealed = {record for record in cut_up if record[3:5] != b"\0\0"}
            admitted = guard.admits(datagram)
            assert not (frozen and admitted) or sealed <= seen
            if admitted:
                seen |= sealed
        assert len(guard.sealed) <= module.MAX_REMEMBERED_RECORDS
        trace.append((cut_up, hello, verify))
    return trace


def _handshake_datagram(draw: Draw) -> bytes:
    datagram = b""
    for _ in range(draw.byte() % 3):
        body = draw.take(draw.byte())
        head = bytes((draw.of((20, 21, 22, 23)), 0xFE, 0xFD, 0, draw.byte() & 1)) + bytes(6)
        datagram += head + (len(body) + (draw.byte() == 255)).to_bytes(2, "big") + body
    return datagram + draw.take(draw.byte() & 3)


# WebSocket


def websocket_read(build: Build, draw: Draw) -> object:
    """A stream of WebSocket frames is read the same however it is cut."""
    masked, limit = draw.flag(), draw.of((0, 100, 1 << 20))
    places = draw.cuts()
    stream = _websocket_frames(draw, masked)
    at_once = _read_websocket(build, masked, limit, [stream])
    in_pieces = _read_websocket(build, masked, limit, cut(stream, places))
    assert at_once == in_pieces
    return at_once


def _websocket_frames(draw: Draw, masked: bool) -> bytes:
    stream = b""
    for _ in range(draw.byte() % 8):
        size = draw.of((0, 1, 5, 125, 126, 300))
        stream += bytes((draw.of((0x82, 0x02, 0x80, 0x00, 0x89, 0x8A, 0x88, draw.byte())),))
        bit = 0x80 if masked else 0
        if size < 126 and draw.byte() < 250:
            stream += bytes((bit | size,))
        else:
            stream += bytes((bit | 126,)) + size.to_bytes(2, "big")
        stream += draw.take(4).ljust(4, b"\0") if masked else b""
        stream += draw.take(size).ljust(size, b"\x21")
    return stream + draw.rest()


def _read_websocket(
    build: Build, masked: bool, limit: int, pieces: list[bytes]
) -> tuple[object, ...]:
    reader = build["transport.websocket_frames"].WebSocketFrameReader(masked, limit)
    payload = b""
    failure = ""
    for piece in [*pieces, b""]:
        try:
            got = bytes(reader.receive_data_untrusted(piece))
        except build["errors"].BadPacket as error:
            failure = str(error)
            assert reader.ended
        else:
            assert len(got) <= len(piece)
            assert not failure, "the reader went on after an error"
            payload += got
    assert reader.ping is None or len(reader.ping) <= 125
    return payload, failure, reader.ended, reader.close_code, reader.peer_code, reader.ping


def websocket_build(build: Build, draw: Draw) -> object:
    """What one side builds, the other reads."""
    module = build["transport.websocket_frames"]
    masked = draw.flag()
    builder = module.WebSocketFrameBuilder(masked, random.Random(draw.byte()))
    reader = module.WebSocketFrameReader(masked)
    output = payload = b""
    while not draw.exhausted:
        buffers = [draw.take(draw.of((0, 1, 3, 100, 255))) for _ in range(draw.byte() % 4)]
        frame = bytes(builder.build_message(buffers))
        ping = draw.take(draw.byte() & 127)[:125]
        output += frame + builder.build_control(module.PING, ping)
        assert bytes(reader.receive_data_untrusted(frame)) == b"".join(buffers)
        assert not reader.receive_data_untrusted(builder.build_control(module.PING, ping))
        assert reader.ping == ping
        payload += b"".join(buffers)
    reader.receive_data_untrusted(builder.build_close(module.NORMAL))
    assert reader.peer_code == module.NORMAL
    return output, payload
