"""WebSocket frames, against RFC 6455's own examples and against wsproto."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

from polevpn_trio.errors import BadPacket
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport import masking
from polevpn_trio.transport.websocket_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    NO_CODE,
    NORMAL,
    NOT_UTF8,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    UNSUPPORTED_DATA,
    WebSocketFrameBuilder,
    WebSocketFrameReader,
)

FINAL = 0x80
MASKED = 0x80
LIMIT = 300
"""Largest message in the tests with random frames, bytes."""


class FixedKey(random.Random):
    """Always gives the masking key of RFC 6455's examples."""

    def randbytes(self, n: int) -> bytes:
        return bytes.fromhex("37fa213d") * (n // 4)


def builder(masked: bool, seed: int = 1) -> WebSocketFrameBuilder:
    return WebSocketFrameBuilder(masked, random.Random(seed))


def xor(data: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[index % 4] for index, byte in enumerate(data))


def frame(
    first: int, payload: bytes, key: bytes | None = None, form: int = 0, length: int | None = None
) -> bytes:
    """Write a frame as told, be it proper or not: ``form`` is the least size of its length."""
    size = len(payload) if length is None else length
    bit = 0 if key is None else MASKED
    if size < 126 and form < 2:
        head = bytes((first, bit | size))
    elif size < 65536 and form < 8:
        head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    return head + (payload if key is None else key + xor(payload, key))


@attrs.frozen
class Outcome:
    """All that a reader has made of a stream."""

    payload: bytes
    ping: bytes | None
    ended: bool
    close_code: int
    peer_code: int
    violation: str | None


def outcome(masked: bool, pieces: Iterable[bytes], limit: int = LIMIT) -> Outcome:
    reader = WebSocketFrameReader(masked, limit)
    payload = b""
    violation: str | None = None
    try:
        for piece in [*pieces, b""]:
            payload += reader.receive_data_untrusted(piece)
    except BadPacket as error:
        violation = str(error)
    return Outcome(
        payload, reader.ping, reader.ended, reader.close_code, reader.peer_code, violation
    )


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(borders)]


# RFC 6455 section 5.7. Its messages with text are binary here, as we take no others.
HELLO = bytes.fromhex("820548656c6c6f")
MASKED_HELLO = bytes.fromhex("828537fa213d7f9f4d5158")
FRAGMENTED_HELLO = bytes.fromhex("020348656c" + "80026c6f")
PING_HELLO = bytes.fromhex("890548656c6c6f")
PONG_HELLO = bytes.fromhex("8a8537fa213d7f9f4d5158")
MEDIUM = bytes(range(256))
LARGE = bytes(range(256)) * 256
MEDIUM_MESSAGE = bytes.fromhex("827e0100") + MEDIUM
LARGE_MESSAGE = bytes.fromhex("827f0000000000010000") + LARGE


@pytest.mark.parametrize(
    ("masked", "stream", "payload"),
    [
        (False, HELLO, b"Hello"),
        (True, MASKED_HELLO, b"Hello"),
        (False, FRAGMENTED_HELLO, b"Hello"),
        (False, PING_HELLO, b""),
        (True, PONG_HELLO, b""),
        (False, MEDIUM_MESSAGE, MEDIUM),
        (False, LARGE_MESSAGE, LARGE),
    ],
)
def test_the_examples_of_the_rfc_are_read(masked: bool, stream: bytes, payload: bytes) -> None:
    result = outcome(masked, [stream], len(LARGE))
    ping = b"Hello" if stream == PING_HELLO else None
    assert result == Outcome(payload, ping, False, NORMAL, 0, None)


def test_the_examples_of_the_rfc_are_what_is_built() -> None:
    server = WebSocketFrameBuilder(False, FixedKey())
    client = WebSocketFrameBuilder(True, FixedKey())
    assert server.build_message([b"Hello"]) == HELLO
    assert client.build_message([b"Hello"]) == MASKED_HELLO
    assert server.build_control(PING, b"Hello") == PING_HELLO
    assert client.build_control(PONG, b"Hello") == PONG_HELLO
    assert server.build_message([MEDIUM]) == MEDIUM_MESSAGE
    assert server.build_message([LARGE]) == LARGE_MESSAGE


@pytest.mark.parametrize("masked", [True, False], ids=["client", "server"])
@given(sizes=st.lists(st.sampled_from([0, 1, 2, 3, 5, 8, 61, 125, 126, 4096, 65535]), max_size=4))
def test_what_is_built_of_any_buffers_is_what_wsproto_and_we_read(
    masked: bool, sizes: list[int]
) -> None:
    chooser = random.Random(len(sizes))
    buffers: list[Any] = [chooser.randbytes(size) for size in sizes]
    whole = b"".join(buffers)
    if buffers:
        buffers[-1] = memoryview(bytearray(b"xyz" + buffers[-1]))[3:]
    message = bytes(builder(masked).build_message(buffers))
    peer = FrameProtocol(not masked, [])
    peer.receive_bytes(message)
    (received,) = peer.received_frames()
    assert (received.opcode, received.payload) == (Opcode.BINARY, whole)
    assert received.message_finished
    assert outcome(masked, [message], 1 << 20).payload == whole


@pytest.mark.parametrize("masked", [True, False], ids=["client", "server"])
@given(
    payloads=st.lists(st.tuples(st.binary(max_size=200), st.booleans()), max_size=6),
    places=st.lists(st.integers(0), max_size=8),
)
def test_what_wsproto_sends_in_fragments_is_read(
    masked: bool, payloads: list[tuple[bytes, bool]], places: list[int]
) -> None:
    peer = FrameProtocol(masked, [])
    stream = b"".join(
        peer.send_data(payload, fin) + peer.ping(payload[:125]) for payload, fin in payloads
    )
    result = outcome(masked, cut(stream, places), 1 << 20)
    assert result.payload == b"".join(payload for payload, _ in payloads)
    assert result.ping == (payloads[-1][0][:125] if payloads else None)
    assert not result.ended


def test_each_frame_of_a_client_has_a_key_of_its_own_and_a_server_none() -> None:
    client = builder(True)
    keys = {bytes(client.build_message([b"some data"])[2:6]) for _ in range(100)}
    assert len(keys) == 100
    assert bytes(builder(False).build_message([b"some data"])[2:]) == b"some data"


def test_a_message_may_shrink_and_grow_again() -> None:
    ours = builder(True)
    for size in (10, 100_000, 0, 70_000, 200_000):
        payload = random.Random(size).randbytes(size)
        assert outcome(True, [bytes(ours.build_message([payload]))], 1 << 20).payload == payload


def test_what_was_returned_stays_as_it_is() -> None:
    reader = WebSocketFrameReader(False)
    data = bytearray(HELLO)
    first = reader.receive_data_untrusted(data)
    data[:] = frame(FINAL | BINARY, b"other")
    assert bytes(reader.receive_data_untrusted(data)) == b"other"
    assert bytes(first) == b"Hello"


def test_payload_is_handed_on_before_its_message_is_complete() -> None:
    reader = WebSocketFrameReader(True)
    assert bytes(reader.receive_data_untrusted(MASKED_HELLO[:-2])) == b"Hel"
    assert bytes(reader.receive_data_untrusted(MASKED_HELLO[-2:])) == b"lo"


def test_frames_without_payload_hold_no_room_for_any() -> None:
    reader = WebSocketFrameReader(True)
    payload = StreamBuffer()
    for data, count in ((MASKED_HELLO[:6], 0), (MASKED_HELLO[6:], 5)):
        assert payload.capacity == 0
        assert reader.read_into_untrusted(data, payload) == count
    assert payload.take() == b"Hello"


def test_a_control_frame_of_over_125_bytes_is_not_built() -> None:
    assert len(builder(True).build_control(PING, bytes(125))) == 2 + 4 + 125
    with pytest.raises(ValueError, match="126 bytes"):
        builder(True).build_control(PING, bytes(126))


@pytest.mark.parametrize(
    ("stream", "code", "reason"),
    [
        (frame(FINAL | 0x40 | BINARY, b"x"), PROTOCOL_ERROR, "reserved bits"),
        (frame(FINAL | 0x10 | PING, b"x"), PROTOCOL_ERROR, "reserved bits"),
        (frame(FINAL | 3, b"x"), PROTOCOL_ERROR, "unknown type 3"),
        (frame(FINAL | 7, b"x"), PROTOCOL_ERROR, "unknown type 7"),
        (frame(FINAL | 11, b""), PROTOCOL_ERROR, "unknown type 11"),
        (frame(FINAL | 15, b""), PROTOCOL_ERROR, "unknown type 15"),
        (frame(PING, b"x"), PROTOCOL_ERROR, "fragmented or too long"),
        (frame(FINAL | PING, bytes(126)), PROTOCOL_ERROR, "fragmented or too long"),
        (frame(FINAL | CLOSE, b"\3\xe8", form=2), PROTOCOL_ERROR, "fragmented or too long"),
        (frame(FINAL | BINARY, bytes(125), form=2), PROTOCOL_ERROR, "length is written wrongly"),
        (frame(FINAL | BINARY, bytes(126), form=8), PROTOCOL_ERROR, "length is written wrongly"),
        (frame(FINAL | BINARY, b"", length=1 << 63), PROTOCOL_ERROR, "length is written wrongly"),
        (frame(FINAL | CONTINUATION, b"x"), PROTOCOL_ERROR, "does not start or end"),
        (frame(BINARY, b"") + frame(FINAL | BINARY, b""), PROTOCOL_ERROR, "does not start or end"),
        (frame(BINARY, b"") + frame(FINAL | TEXT, b""), PROTOCOL_ERROR, "does not start or end"),
        (frame(FINAL | TEXT, b"x"), UNSUPPORTED_DATA, "text message"),
        (frame(TEXT, b"x"), UNSUPPORTED_DATA, "text message"),
        (frame(FINAL | BINARY, b"", length=LIMIT + 1), TOO_BIG, "more than 300 bytes"),
        (frame(FINAL | BINARY, b"", length=(1 << 63) - 1), TOO_BIG, "more than 300 bytes"),
        (frame(FINAL | CLOSE, b"\3"), PROTOCOL_ERROR, "improper code 3"),
        (frame(FINAL | CLOSE, b"\3\xe7"), PROTOCOL_ERROR, "improper code 999"),
        (frame(FINAL | CLOSE, b"\3\xed"), PROTOCOL_ERROR, "improper code 1005"),
        (frame(FINAL | CLOSE, b"\x13\x88"), PROTOCOL_ERROR, "improper code 5000"),
        (frame(FINAL | CLOSE, b"\3\xe8\xff"), NOT_UTF8, "no text"),
        (frame(FINAL | BINARY, b"x", key=b"mask"), PROTOCOL_ERROR, "server that masks"),
    ],
)
def test_a_breach_of_the_protocol_is_refused_with_its_code_after_what_came_before(
    stream: bytes, code: int, reason: str
) -> None:
    reader = WebSocketFrameReader(False, LIMIT)
    assert bytes(reader.receive_data_untrusted(HELLO + stream + HELLO)) == b"Hello"
    assert reader.ended
    assert reader.close_code == code
    for more in (b"", HELLO):
        with pytest.raises(BadPacket, match=reason):
            reader.receive_data_untrusted(more)


def test_a_client_must_mask() -> None:
    reader = WebSocketFrameReader(True)
    with pytest.raises(BadPacket, match="client that does not mask"):
        reader.receive_data_untrusted(HELLO)
    assert reader.close_code == PROTOCOL_ERROR


def test_the_limit_is_of_the_message_not_of_its_frames() -> None:
    half = frame(BINARY, bytes(LIMIT // 2))
    rest = LIMIT - LIMIT // 2
    fits = half + frame(FINAL | CONTINUATION, bytes(rest))
    assert len(outcome(False, [fits * 3]).payload) == 3 * LIMIT
    result = outcome(False, [half + frame(FINAL | CONTINUATION, bytes(rest + 1))])
    assert result.close_code == TOO_BIG


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", NO_CODE),
        (b"\3\xe8", 1000),
        (b"\3\xe9over and out", 1001),
        (b"\x0f\xa0\xc3\xa9", 4000),
        (b"\3\xf3" + b"x" * 123, 1011),
    ],
)
def test_a_close_frame_ends_the_stream_and_is_answered_in_kind(payload: bytes, code: int) -> None:
    stream = HELLO + frame(FINAL | CLOSE, payload) + HELLO
    assert outcome(False, [stream]) == Outcome(b"Hello", None, True, code, code, None)
    answer = builder(False).build_close(code)
    assert answer == frame(FINAL | CLOSE, payload[:2])


@st.composite
def streams(draw: st.DrawFn, masked: bool) -> bytes:
    """Frames that are mostly proper, and then perhaps not."""
    stream = b""
    in_message = False
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["data", "data", "control", "any"]))
        key = draw(st.binary(min_size=4, max_size=4)) if masked else None
        if kind == "data":
            final = draw(st.booleans())
            first = (FINAL if final else 0) | (CONTINUATION if in_message else BINARY)
            in_message = not final
            stream += frame(first, draw(st.binary(max_size=140)), key)
        elif kind == "control":
            first = FINAL | draw(st.sampled_from([PING, PING, PONG, CLOSE]))
            stream += frame(first, draw(st.binary(max_size=125)), key)
        else:
            if draw(st.booleans()):
                key = b"mask" if key is None else None
            payload = draw(st.binary(max_size=LIMIT + 10))
            stream += frame(
                draw(st.integers(0, 255)), payload, key, draw(st.sampled_from((0, 2, 8)))
            )
    return stream + draw(st.binary(max_size=20))


@pytest.mark.parametrize("masked", [True, False], ids=["client", "server"])
@given(data=st.data(), places=st.lists(st.integers(0), max_size=12))
def test_any_cutting_of_any_stream_gives_the_same(
    masked: bool, data: st.DataObject, places: list[int]
) -> None:
    stream = data.draw(streams(masked))
    whole = outcome(masked, [stream])
    assert outcome(masked, cut(stream, places)) == whole
    assert outcome(masked, cut(stream, range(len(stream)))) == whole
    assert whole.ended or whole.violation is None


@pytest.mark.parametrize("masked", [True, False], ids=["client", "server"])
@given(data=st.binary(max_size=400))
def test_arbitrary_bytes_raise_nothing_but_bad_packet(masked: bool, data: bytes) -> None:
    result = outcome(masked, [data])
    assert len(result.payload) <= len(data)


@given(
    data=st.binary(max_size=70),
    key=st.integers(0, 0xFFFFFFFF),
    phase=st.integers(0, 3),
    before=st.integers(0, 9),
    at=st.integers(0, 9),
)
def test_masking_touches_only_what_it_is_told(
    data: bytes, key: int, phase: int, before: int, at: int
) -> None:
    target = bytearray(b"." * (at + len(data) + 5))
    masking.mask(bytes(before) + data, before, target, at, len(data), key, phase)
    turned = (key.to_bytes(4, "big") * 2)[phase : phase + 4]
    assert target == b"." * at + xor(data, turned) + b"....."
