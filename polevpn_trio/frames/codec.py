"""The PolePacket frame: build it, and find frames in a byte stream.

::

     0        2        4                8
     | len u16| cmd u16|    seq u32     | payload (len - 8 bytes)      all big-endian

``len`` counts the header too, so a frame is 8 to 65,535 bytes long. A link carries a stream
of such frames without gaps, cut anywhere.

The reader works on whole chunks of stream: it walks the headers once and hands out runs of
neighbouring IP packets that belong together, so that later stages pay per run, not per packet.
"""

from __future__ import annotations

import struct

from polevpn_trio.batch import SEQUENCES_FOREIGN, SEQUENCES_OFFLOAD, SEQUENCES_ZERO
from polevpn_trio.errors import BadPacket
from polevpn_trio.frames.ip import is_well_formed
from polevpn_trio.frames.segmentation import segments_in, sequence_of
from polevpn_trio.stream_buffer import StreamBuffer

HEADER_SIZE = 8
MAX_FRAME_SIZE = 65535

AUTH = 0
REGISTER = 1
S2C_IPDATA = 2
C2S_IPDATA = 3
HEART_BEAT = 4
CLIENT_CLOSED = 5
KICK_OUT = 6
BARRIER = 7
BARRIER_PASSED = 8

MOST_RUNS = 1 << 30
"""As many as there are."""

GROUP_ALL = 0
"""Neighbouring IP packets form one run whatever their addresses."""
GROUP_BY_SOURCE = 1
"""A run ends where the source address changes."""
GROUP_BY_DESTINATION = 2
"""A run ends where the destination address changes."""

_HEADER = struct.Struct("!HHI")

# Copies that the compiled build holds as C integers, which other modules cannot import.
_SIZE = HEADER_SIZE
_ALL = GROUP_ALL
_BY_DESTINATION = GROUP_BY_DESTINATION
_ZERO = SEQUENCES_ZERO
_OFFLOAD = SEQUENCES_OFFLOAD
_FOREIGN = SEQUENCES_FOREIGN


def build_frame(command: int, payload: bytes = b"", sequence: int = 0) -> bytes:
    """Build one frame.

    Raises ValueError when the payload does not fit (more than 65,527 bytes).
    """
    size = HEADER_SIZE + len(payload)
    if size > MAX_FRAME_SIZE:
        raise ValueError(f"frame of {size} bytes, at most {MAX_FRAME_SIZE} fit")
    return _HEADER.pack(size, command, sequence) + payload


class FrameRun:
    """One control frame, or a run of neighbouring frames with IP packets.

    ``command`` and ``sequence`` are those of the (first) frame. Of a control frame, ``data``
    is the payload; of IP packets, the whole frames back to back. ``address`` is what the
    packets of a run share: 4 or 16 bytes, empty when the reader does not group.
    ``version`` is 4 or 6, or 0 for a control frame. ``packets`` and ``sequences`` are as in
    `~polevpn_trio.batch.FrameBatch`.
    """

    __slots__ = ("address", "command", "data", "packets", "sequence", "sequences", "version")

    def __init__(
        self,
        command: int,
        sequence: int,
        version: int,
        address: bytes,
        data: memoryview,
        packets: int,
        sequences: int = SEQUENCES_ZERO,
    ) -> None:
        self.command = command
        self.sequence = sequence
        self.version = version
        self.address = address
        self.data = data
        self.packets = packets
        self.sequences = sequences


class FrameReader:
    """Reassembles the byte stream of one link into runs of frames.

    ``ip_command`` is the command under which IP packets arrive, ``forward_command`` the one
    they are to leave under; ``group`` one of the ``GROUP_`` constants. ``malformed`` counts
    the IP packets that were left out because their own length fields do not add up.
    ``sequences`` is what a ``seq`` other than 0 in front of IP packets makes of their run:
    ``SEQUENCES_OFFLOAD`` once super-packets were agreed on with the peer (then what is no sound
    one is malformed, too), else ``SEQUENCES_FOREIGN``.
    """

    def __init__(self, ip_command: int, forward_command: int, group: int = GROUP_ALL) -> None:
        self._ip_command = ip_command
        self._forward_command = forward_command
        self._group = group
        # For what does not come in a buffer of its own.
        self._pending = StreamBuffer()
        self.sequences = SEQUENCES_FOREIGN
        self.malformed = 0

    @property
    def pending_bytes(self) -> int:
        """Bytes of an incomplete frame that wait for the rest of it (under 65,535)."""
        return len(self._pending)

    def receive_data_untrusted(self, data: bytes | bytearray | memoryview) -> list[FrameRun]:
        """Take the next bytes of the stream; return what has become complete, in order.

        A bytearray is left to the reader. Else as `read_untrusted`.
        """
        self._pending.append(data)
        return self.read_untrusted(self._pending)

    def read_untrusted(self, stream: StreamBuffer, most_runs: int = MOST_RUNS) -> list[FrameRun]:
        """Take what is complete in ``stream``, in order, and leave the rest there.

        There is no more if these are less than ``most_runs``. They share a buffer in which nothing
        else refers to them: keep them as long as needed. Raises BadPacket for a frame shorter
        than its own header: nothing after it can be read.
        """
        view = stream.data
        whole = memoryview(stream.data)
        length = stream.end
        position = stream.start
        runs: list[FrameRun] = []
        run_start = 0
        run_packets = 0
        run_version = 0
        run_key = 0
        run_sequences = _ZERO
        key_size = 0
        key_start = 0
        while length - position >= 2:
            size = view[position] << 8 | view[position + 1]
            if size < _SIZE:
                raise BadPacket(f"frame of {size} bytes, expected at least {_SIZE}")
            if length - position < size:
                break
            command = view[position + 2] << 8 | view[position + 3]
            version = 0
            packets = 1
            sequence = 0
            if command == self._ip_command:
                version = is_well_formed(view, position + _SIZE, size - _SIZE)
                sequence = sequence_of(view, position)
                if sequence != 0 and self.sequences == _OFFLOAD:
                    packets = segments_in(view, position + _SIZE, size - _SIZE, sequence)
                    if packets == 0:
                        version = 0
            if version != 0:
                key_size = 4 if version == 4 else 16
                key_start = position + _SIZE + (12 if version == 4 else 8)
                if self._group == _BY_DESTINATION:
                    key_start += key_size
            if run_packets != 0 and (
                version != run_version
                or (self._group != _ALL and not _same(view, run_key, key_start, key_size))
            ):
                runs.append(
                    self._packets(
                        whole,
                        run_start,
                        position,
                        run_version,
                        run_key,
                        run_packets,
                        run_sequences,
                    )
                )
                run_packets = 0
            if run_packets == 0 and len(runs) >= most_runs:
                break
            if version != 0:
                view[position + 2] = self._forward_command >> 8
                view[position + 3] = self._forward_command & 0xFF
                if run_packets == 0:
                    run_start = position
                    run_version = version
                    run_key = key_start
                    run_sequences = _ZERO
                run_packets += packets
                if sequence != 0:
                    run_sequences = self.sequences
            elif command == self._ip_command:
                self.malformed += 1
            else:
                runs.append(self._control(whole, position, size, command))
            position += size
        if run_packets != 0:
            runs.append(
                self._packets(
                    whole, run_start, position, run_version, run_key, run_packets, run_sequences
                )
            )
        stream.advance(position)
        return runs

    def _packets(
        self,
        whole: memoryview,
        start: int,
        end: int,
        version: int,
        key: int,
        packets: int,
        sequences: int,
    ) -> FrameRun:
        address = b""
        if self._group != _ALL:
            address = bytes(whole[key : key + (4 if version == 4 else 16)])
        data = whole[start:end]
        return FrameRun(self._forward_command, 0, version, address, data, packets, sequences)

    def _control(self, whole: memoryview, start: int, size: int, command: int) -> FrameRun:
        sequence = int.from_bytes(whole[start + 4 : start + _SIZE], "big")
        return FrameRun(command, sequence, 0, b"", whole[start + _SIZE : start + size], 1)


def _same(view: bytearray, first: int, second: int, size: int) -> bool:
    index = 0
    while index < size and view[first + index] == view[second + index]:
        index += 1
    return index == size
