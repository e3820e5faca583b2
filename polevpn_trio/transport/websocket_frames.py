"""WebSocket frames (RFC 6455 section 5): built, and found in a byte stream; sans-IO.

::

     | FIN 1 | RSV 3 | opcode 4 | MASK 1 | length 7 | length u16 or u64 | key u32 | payload
                                               126 and 127 announce the longer ones

All big-endian. The client masks every frame with a key of its own, the server none. A library
does the opening handshake; the frames are ours, because moving the bulk of the payload through
one costs more than encrypting it.

Messages are one stream to us: their borders mean nothing, so their bytes are handed on as they
come, and nothing waits in memory for the end of a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from polevpn_trio.errors import BadPacket
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport import masking

# RFC 6455 section 5.2.
CONTINUATION = 0
TEXT = 1
BINARY = 2
CLOSE = 8
PING = 9
PONG = 10
MAX_CONTROL_PAYLOAD = 125

# RFC 6455 section 7.4.1.
NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
UNSUPPORTED_DATA = 1003
NO_CODE = 1005
"""Stands for a Close frame without a code; never sent."""
NOT_UTF8 = 1007
TOO_BIG = 1009

MAX_MESSAGE_SIZE = 1024 * 1024
"""Largest message accepted: ours are about 64 KiB, others may join more frames into one."""

MAX_HEADER_BYTES = 14

# The kernel's random numbers cost a system call, as much as masking 64 KiB does.
_KEYS_AT_A_TIME = 64

# Copies that the compiled build holds as C integers, which other modules cannot import.
_CONTINUATION = CONTINUATION
_TEXT = TEXT
_BINARY = BINARY
_CLOSE = CLOSE
_PING = PING
_PONG = PONG
_MAX_CONTROL = MAX_CONTROL_PAYLOAD
_MAX_HEADER = MAX_HEADER_BYTES
_FIN = 0x80
_RSV = 0x70
_OPCODE = 0x0F
_CONTROL_BIT = 0x08
_MASK_BIT = 0x80


class WebSocketFrameBuilder:
    """Builds the frames of one side of a connection.

    The client's are ``masked``. Their keys come from ``random``, and must be unpredictable
    where the peer could be attacked through what a proxy takes our payload for (RFC 6455
    section 10.3): give it a `random.SystemRandom`.
    """

    def __init__(self, masked: bool, random: Random) -> None:
        self._masked = masked
        self._random = random
        self._keys = b""

    def build_message(self, buffers: Sequence[bytes | bytearray | memoryview]) -> memoryview:
        """Build a binary message of one frame, which holds all of ``buffers``.

        The result belongs to the caller: a stream keeps what it cannot send at once.
        """
        size = 0
        for buffer in buffers:
            size += len(buffer)
        frame = bytearray(_MAX_HEADER + size)
        out = frame
        key = self._next_key() if self._masked else 0
        start = self._write_header(out, _BINARY, size, key)
        at = start
        for buffer in buffers:
            source = buffer
            count = len(source)
            masking.mask(source, 0, out, at, count, key, (at - start) & 3)
            at += count
        return memoryview(frame)[:at]

    def build_control(self, opcode: int, payload: bytes) -> bytes:
        """Build a control frame.

        Raises ValueError when the payload has more than 125 bytes.
        """
        size = len(payload)
        if size > _MAX_CONTROL:
            raise ValueError(f"control frame of {size} bytes, at most {_MAX_CONTROL} fit")
        out = bytearray(_MAX_HEADER + size)
        key = self._next_key() if self._masked else 0
        start = self._write_header(out, opcode, size, key)
        masking.mask(payload, 0, out, start, size, key, 0)
        return bytes(memoryview(out)[: start + size])

    def build_close(self, code: int) -> bytes:
        """Build a Close frame, with ``code`` unless that is ``NO_CODE``."""
        return self.build_control(_CLOSE, b"" if code == NO_CODE else code.to_bytes(2, "big"))

    def _next_key(self) -> int:
        if not self._keys:
            self._keys = self._random.randbytes(4 * _KEYS_AT_A_TIME)
        key = int.from_bytes(self._keys[:4], "big")
        self._keys = self._keys[4:]
        return key

    def _write_header(self, out: bytearray, opcode: int, size: int, key: int) -> int:
        """Write the header of a final frame; return its length."""
        out[0] = _FIN | opcode
        bit = _MASK_BIT if self._masked else 0
        if size < 126:
            out[1] = bit | size
            at = 2
        elif size < 65536:
            out[1] = bit | 126
            out[2] = size >> 8
            out[3] = size & 0xFF
            at = 4
        else:
            out[1] = bit | 127
            for place in range(8):
                out[2 + place] = (size >> (56 - 8 * place)) & 0xFF
            at = 10
        if self._masked:
            for place in range(4):
                out[at + place] = (key >> (24 - 8 * place)) & 0xFF
            at += 4
        return at


class WebSocketFrameReader:
    """Reads the frames of the peer, however they are cut.

    The peer's must be ``masked`` if it is the client, and must not be if it is the server.

    ``ping`` is the payload of the last ping that is not answered yet, or None; whoever answers
    it sets it to None. Earlier ones need no answer (RFC 6455 section 5.5.3).
    ``ended`` tells that the peer has sent a Close frame or broken the protocol: what follows is
    ignored. ``close_code`` is what our own Close frame is to say, ``peer_code`` what the
    peer's said, 0 before it has sent one.
    """

    def __init__(self, masked: bool, max_message_size: int = MAX_MESSAGE_SIZE) -> None:
        self.ping: bytes | None = None
        self.ended = False
        self.close_code = NORMAL
        self.peer_code = 0
        self._masked = masked
        self._max_message_size = max_message_size
        self._violation: str | None = None
        self._head = bytearray(_MAX_HEADER)
        self._head_size = 0
        self._head_needed = 2
        self._opcode = 0
        self._final = True
        self._key = 0
        self._phase = 0
        self._remaining = 0
        self._in_message = False
        self._message_size = 0
        self._control = bytearray(_MAX_CONTROL)
        self._control_size = 0

    def receive_data_untrusted(self, data: bytes | bytearray | memoryview) -> memoryview:
        """Take the next bytes of the stream; return what payload of messages is in them.

        The result may be empty, and belongs to the caller. Raises as `read_into_untrusted`.
        """
        payload = StreamBuffer()
        count = self.read_into_untrusted(data, payload)
        return memoryview(payload.data)[:count]

    def read_into_untrusted(
        self, data: bytes | bytearray | memoryview, payload: StreamBuffer
    ) -> int:
        """Take the next bytes of the stream; append what payload of messages is in them.

        Returns how many bytes that are. Raises BadPacket when the peer broke the protocol, after
        the payload that came before was returned; then, and ever after, the call raises whatever
        it is given.
        """
        source = data
        total = len(source)
        payload.reserve(total)
        out = payload.data
        control = self._control
        began = payload.end
        filled = began
        position = 0
        while position < total and not self.ended:
            if self._head_size < self._head_needed:
                self._head[self._head_size] = source[position]
                self._head_size += 1
                position += 1
                if self._head_size == 2:
                    self._check_start()
                if self._head_size == self._head_needed and not self.ended:
                    self._begin_payload()
                continue
            count = total - position
            if count > self._remaining:
                count = self._remaining
            if self._opcode & _CONTROL_BIT:
                masking.mask(
                    source, position, control, self._control_size, count, self._key, self._phase
                )
                self._control_size += count
            else:
                masking.mask(source, position, out, filled, count, self._key, self._phase)
                filled += count
            position += count
            self._phase = (self._phase + count) & 3
            self._remaining -= count
            if self._remaining == 0:
                self._end_frame()
        if self._violation is not None and filled == began:
            raise BadPacket(self._violation)
        payload.end = filled
        if filled == began:
            # Where nothing waits, the room was for nothing.
            payload.advance(payload.start)
        return filled - began

    def _check_start(self) -> None:
        """Judge the first two bytes of a frame, and see how long its header is."""
        first = self._head[0]
        second = self._head[1]
        opcode = first & _OPCODE
        length = second & 0x7F
        self._opcode = opcode
        self._final = first & _FIN != 0
        if first & _RSV:
            self._fail(PROTOCOL_ERROR, "WebSocket frame with reserved bits")
        elif (second & _MASK_BIT != 0) != self._masked:
            self._fail(
                PROTOCOL_ERROR,
                "WebSocket client that does not mask"
                if self._masked
                else "WebSocket server that masks",
            )
        elif opcode & _CONTROL_BIT:
            if opcode > _PONG:
                self._fail(PROTOCOL_ERROR, f"WebSocket frame of unknown type {opcode}")
            elif not self._final or length > _MAX_CONTROL:
                self._fail(PROTOCOL_ERROR, "WebSocket control frame that is fragmented or too long")
        elif opcode > _BINARY:
            self._fail(PROTOCOL_ERROR, f"WebSocket frame of unknown type {opcode}")
        elif (opcode == _CONTINUATION) != self._in_message:
            self._fail(PROTOCOL_ERROR, "WebSocket message that does not start or end")
        elif opcode == _TEXT:
            self._fail(UNSUPPORTED_DATA, "text message on a WebSocket, expected a binary one")
        extra = 0
        if length == 126:
            extra = 2
        elif length == 127:
            extra = 8
        self._head_needed = 2 + extra + (4 if self._masked else 0)

    def _begin_payload(self) -> None:
        """Read length and key of a frame whose header is complete."""
        head = self._head
        length = head[1] & 0x7F
        at = 2
        shortest = 0
        if length == 126:
            length = (head[2] << 8) | head[3]
            at = 4
            shortest = 126
        elif length == 127:
            length = 0
            for place in range(8):
                length = (length << 8) | head[2 + place]
            at = 10
            shortest = 65536
        if length < shortest or length >> 63:
            self._fail(PROTOCOL_ERROR, "WebSocket frame whose length is written wrongly")
            return
        if self._opcode & _CONTROL_BIT:
            self._control_size = 0
        else:
            if length > self._max_message_size - self._message_size:
                self._fail(
                    TOO_BIG, f"WebSocket message of more than {self._max_message_size} bytes"
                )
                return
            self._message_size += length
            self._in_message = not self._final
        self._key = 0
        if self._masked:
            for place in range(4):
                self._key = (self._key << 8) | head[at + place]
        self._phase = 0
        self._remaining = length
        if length == 0:
            self._end_frame()

    def _end_frame(self) -> None:
        self._head_size = 0
        self._head_needed = 2
        if self._opcode & _CONTROL_BIT == 0:
            if self._final:
                self._message_size = 0
        elif self._opcode == _PING:
            self.ping = bytes(memoryview(self._control)[: self._control_size])
        elif self._opcode == _CLOSE:
            self._take_close(bytes(memoryview(self._control)[: self._control_size]))

    def _take_close(self, payload: bytes) -> None:
        """Note what a Close frame says (RFC 6455 sections 5.5.1 and 7.4)."""
        code = int.from_bytes(payload[:2], "big") if payload else NO_CODE
        self.peer_code = code
        if payload and not _is_code_of_peer(code):
            self._fail(PROTOCOL_ERROR, f"WebSocket closed with the improper code {code}")
            return
        try:
            payload[2:].decode()
        except UnicodeDecodeError:
            self._fail(NOT_UTF8, "WebSocket closed with a reason that is no text")
            return
        self.ended = True
        self.close_code = code

    def _fail(self, code: int, violation: str) -> None:
        self.ended = True
        self.close_code = code
        self._violation = violation


def _is_code_of_peer(code: int) -> bool:
    """Whether a Close frame may carry this code: others are reserved, or never sent."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
