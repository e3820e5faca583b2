# cython: annotation_typing=False
"""Super-packets in frames: what makes one sound, and the cutting of it into packets.

A super-packet is up to `MAX_SEGMENTS` packets of one TCP or UDP flow in one frame, as the
sender's kernel put them together: one IP and one TCP or UDP header, then the payload of all. The
``seq`` of its frame says how many bytes of payload each packet is to have (the last may have
less); in a frame with an ordinary packet it is 0. The TCP or UDP checksum of a super-packet
means nothing: who cuts it, or gives it to a kernel that will, writes it anew.

The cutting is that of a network card (Linux, Documentation/networking/segmentation-offloads).
"""

from __future__ import annotations

from polevpn_trio import raw_copy
from polevpn_trio.batch import SEQUENCES_FOREIGN, SEQUENCES_OFFLOAD, FrameBatch
from polevpn_trio.frames.ip import fold, is_well_formed, sum_pseudo_header, sum_words

MAX_SEGMENTS = 128
"""Packets that a super-packet may stand for: 64 KiB for the smallest MTU of a tunnel, and no
more than the kernel takes in one of UDP. Segments of a few bytes would blow up what a router
has to queue."""

# Copies that the compiled build holds as C integers, which other modules cannot import.
_MAX_SEGMENTS = MAX_SEGMENTS
_FRAME_HEADER = 8
_LARGEST_FRAME = 65535

_TCP = 6
_UDP = 17
_TCP_CHECKSUM = 16
_UDP_CHECKSUM = 6
_FIN = 0x01
_PSH = 0x08
_CWR = 0x80
# SYN, RST, URG: what the kernel never joins to anything.
_FLAGS_OF_LONERS = 0x26
_LAST_OF_RUN = _FIN | _PSH
_MASK32 = 0xFFFFFFFF

# Tuning.
# Frames of one batch: a TUN reader's budget and one super-packet more; grows if not enough.
_CAPACITY = 256 * 1024
# Bytes of them from which on whoever takes them gets the memory that they are in, not a copy.
_WORTH_HANDING_OVER = 32 * 1024


def segments_in(
    view: bytes | bytearray | memoryview, start: int, length: int, segment_size: int
) -> int:
    """Return how many packets a super-packet of ``length`` bytes at ``start`` stands for.

    ``segment_size`` is the payload of each in bytes. 0 if these bytes are no sound super-packet:
    IP whose stated length is exactly ``length``, no fragment; TCP (without SYN, RST, URG) or UDP
    right behind the IPv4 header with its options, or the IPv6 header; of 2 to `MAX_SEGMENTS`
    segments. Checksums are not looked at.
    """
    version = is_well_formed(view, start, length)
    if version == 4:
        transport = (view[start] & 0x0F) * 4
        protocol = view[start + 9]
        if view[start + 2] << 8 | view[start + 3] != length:
            return 0
        # MF and the fragment's offset.
        if view[start + 6] & 0x3F or view[start + 7]:
            return 0
    elif version == 6:
        transport = 40
        protocol = view[start + 6]
        if 40 + (view[start + 4] << 8 | view[start + 5]) != length:
            return 0
    else:
        return 0
    l4 = start + transport
    if protocol == _TCP:
        if length < transport + 20 or view[l4 + 13] & _FLAGS_OF_LONERS:
            return 0
        header = (view[l4 + 12] >> 4) * 4
        if header < 20:
            return 0
    elif protocol == _UDP:
        header = 8
        if length < transport + 8 or view[l4 + 4] << 8 | view[l4 + 5] != length - transport:
            return 0
    else:
        return 0
    payload = length - transport - header
    if segment_size == 0 or payload <= 0 or payload <= segment_size:
        return 0
    segments = (payload + segment_size - 1) // segment_size
    return segments if segments <= _MAX_SEGMENTS else 0


def sequence_of(view: bytes | bytearray | memoryview, frame: int) -> int:
    """Return the ``seq`` of the frame that begins there, whose header must be whole."""
    sequence = view[frame + 4] << 8 | view[frame + 5]
    return sequence << 16 | view[frame + 6] << 8 | view[frame + 7]


def holds_super_packets(data: bytes | bytearray | memoryview, tcp: bool, udp: bool) -> bool:
    """Tell whether one of the whole frames in ``data`` bears the mark of a super-packet.

    Only those of TCP or of UDP count, if one of these is false.
    """
    view = memoryview(data)
    total = len(view)
    at = 0
    while total - at >= _FRAME_HEADER:
        length = view[at] << 8 | view[at + 1]
        if length < _FRAME_HEADER or length > total - at:
            return False
        if sequence_of(view, at) and length >= _FRAME_HEADER + 20:
            start = at + _FRAME_HEADER
            protocol = view[start + (9 if view[start] >> 4 == 4 else 6)]
            if (tcp and protocol == _TCP) or (udp and protocol == _UDP):
                return True
        at += length
    return False


def clear_sequences(data: bytearray | memoryview) -> None:
    """Set ``seq`` of the whole frames in ``data`` to 0, in place."""
    view = memoryview(data)
    total = len(view)
    at = 0
    while total - at >= _FRAME_HEADER:
        length = view[at] << 8 | view[at + 1]
        if length < _FRAME_HEADER:
            return
        view[at + 4] = view[at + 5] = view[at + 6] = view[at + 7] = 0
        at += length


class Segmenter:
    """Makes ordinary frames, with one packet of at most one segment in each, of super-packets.

    ``end`` and ``frames`` tell how many bytes and frames wait to be taken, ``packets`` how many
    packets these stand for.
    """

    def __init__(self) -> None:
        self._reserve(_CAPACITY)
        self.end = 0
        self.frames = 0
        self.packets = 0
        self.super_packets = 0
        self.malformed = 0

    def to_ordinary(self, batch: FrameBatch) -> FrameBatch:
        """Return the batch with ``seq`` 0 in all frames: super-packets cut, foreign ones cleared.

        Foreign ones are cleared in place, in the buffer of the reader that found them.
        """
        if batch.sequences == SEQUENCES_OFFLOAD:
            return FrameBatch(self.segment_batch_untrusted(batch.data), batch.packets)
        if batch.sequences == SEQUENCES_FOREIGN:
            clear_sequences(memoryview(batch.data))
        return FrameBatch(batch.data, batch.packets)

    def segment_batch_untrusted(
        self, data: bytes | bytearray | memoryview, tcp: bool = True, udp: bool = True
    ) -> bytes | memoryview:
        """Return the whole frames of ``data`` with all super-packets cut, in the same order.

        Super-packets of TCP or of UDP are left whole if one of these is false. What claims to be
        a super-packet and is none is dropped, as is the rest behind a frame of impossible
        length; ``malformed`` counts both.
        """
        view = memoryview(data)
        total = len(view)
        at = 0
        while at < total:
            length = view[at] << 8 | view[at + 1] if total - at >= _FRAME_HEADER else 0
            if length < _FRAME_HEADER or length > total - at:
                self.malformed += 1
                break
            start = at + _FRAME_HEADER
            size = length - _FRAME_HEADER
            command = view[at + 2] << 8 | view[at + 3]
            segment_size = sequence_of(view, at)
            at += length
            if segment_size == 0:
                self._append_packet(view, start, size, command, 0, 1)
                continue
            segments = segments_in(view, start, size, segment_size)
            if segments == 0:
                self.malformed += 1
                continue
            version = view[start] >> 4
            transport = (view[start] & 0x0F) * 4 if version == 4 else 40
            protocol = view[start + (9 if version == 4 else 6)]
            if not (tcp if protocol == _TCP else udp):
                self._append_packet(view, start, size, command, segment_size, segments)
                continue
            pseudo = sum_pseudo_header(view, start, version, protocol, 0)
            self._cut(
                view, start, size, version, protocol, transport, segment_size, pseudo, command
            )
        return self.take()

    def take(self) -> bytes | memoryview:
        """Return the frames appended since the last time, back to back, and forget them."""
        taken: bytes | memoryview
        if self.end < _WORTH_HANDING_OVER:
            taken = self._storage_view[: self.end].tobytes()
        else:
            taken = self._storage_view[: self.end]
            # Room for twice as much; more is made where it is needed.
            self._reserve(2 * self.end)
        self.end = 0
        self.frames = 0
        self.packets = 0
        return taken

    def _reserve(self, capacity: int) -> None:
        self._capacity = capacity
        self._storage_view = memoryview(raw_copy.new_buffer(capacity))
        self._out = self._storage_view

    def _grow(self, needed: int) -> None:
        kept = self._storage_view[: self.end].tobytes()
        self._reserve(max(needed, 2 * self._capacity))
        self._storage_view[: self.end] = kept

    def _begin_frame(self, length: int, command: int, sequence: int) -> int:
        """Write a frame's header at the end; return where its packet goes."""
        out = self._out
        at = self.end
        out[at] = length >> 8
        out[at + 1] = length & 0xFF
        out[at + 2] = command >> 8
        out[at + 3] = command & 0xFF
        out[at + 4] = 0
        out[at + 5] = 0
        out[at + 6] = sequence >> 8
        out[at + 7] = sequence & 0xFF
        self.end = at + length
        self.frames += 1
        return at + _FRAME_HEADER

    def _append_packet(
        self,
        data: bytes | bytearray | memoryview,
        start: int,
        size: int,
        command: int,
        sequence: int,
        packets: int,
    ) -> None:
        """Append a frame with these bytes as they are; they must fit one."""
        if self.end + _FRAME_HEADER + size > self._capacity:
            self._grow(self.end + _FRAME_HEADER + size)
        at = self._begin_frame(_FRAME_HEADER + size, command, sequence)
        self._out[at : at + size] = data[start : start + size]
        self.packets += packets

    def _cut(
        self,
        data: bytes | bytearray | memoryview,
        ip: int,
        size: int,
        version: int,
        protocol: int,
        transport: int,
        segment_size: int,
        pseudo: int,
        command: int,
    ) -> int:
        """Cut a TCP or UDP super-packet; return the number of frames, 0 if it is inconsistent.

        The packet of ``size`` bytes begins at ``ip``; it is well-formed, and ``size`` is the
        length that it states. ``transport`` is where its TCP or UDP header begins in it, at least
        behind the fixed IP header. ``pseudo`` is the sum of the pseudo-header without the length.
        """
        tcp = protocol == _TCP
        ip_header = transport
        if version == 4:
            ip_header = (data[ip] & 0x0F) * 4
        if segment_size == 0 or transport + (20 if tcp else 8) > size:
            return 0
        l4 = ip + transport
        header = transport + ((data[l4 + 12] >> 4) * 4 if tcp else 8)
        payload = size - header
        if payload <= 0 or (tcp and header < transport + 20):
            return 0
        segments = (payload + segment_size - 1) // segment_size
        longest = _FRAME_HEADER + header + min(segment_size, payload)
        if longest > _LARGEST_FRAME:
            return 0
        needed = self.end + segments * (_FRAME_HEADER + header) + payload
        if needed > self._capacity:
            self._grow(needed)

        # What differs from segment to segment is taken out of the sums of the headers (adding
        # the complement subtracts, RFC 1624), so that the rest is summed once.
        ip_sum = 0
        identification = 0
        if version == 4:
            identification = data[ip + 4] << 8 | data[ip + 5]
            ip_sum = sum_words(data, ip, ip + ip_header) + (identification ^ 0xFFFF)
            ip_sum += ((data[ip + 2] << 8 | data[ip + 3]) ^ 0xFFFF) + (
                (data[ip + 10] << 8 | data[ip + 11]) ^ 0xFFFF
            )
        field = l4 + (_TCP_CHECKSUM if tcp else _UDP_CHECKSUM)
        l4_sum = pseudo + sum_words(data, l4, ip + header)
        l4_sum += (data[field] << 8 | data[field + 1]) ^ 0xFFFF
        sequence = 0
        flags = 0
        if tcp:
            sequence = data[l4 + 4] << 8 | data[l4 + 5]
            sequence = sequence << 16 | data[l4 + 6] << 8 | data[l4 + 7]
            flags = data[l4 + 13]
            l4_sum += ((sequence >> 16) ^ 0xFFFF) + ((sequence & 0xFFFF) ^ 0xFFFF)
            l4_sum += flags ^ 0xFFFF
        else:
            l4_sum += (data[l4 + 4] << 8 | data[l4 + 5]) ^ 0xFFFF

        out = self._out
        source = ip + header
        for segment in range(segments):
            piece = min(segment_size, ip + size - source)
            length = header + piece
            at = self._begin_frame(_FRAME_HEADER + length, command, 0)
            out[at : at + header] = data[ip : ip + header]
            out[at + header : at + length] = data[source : source + piece]
            if version == 4:
                self._put16(at + 2, length)
                self._put16(at + 4, identification)
                self._put16(at + 10, fold(ip_sum + length + identification) ^ 0xFFFF)
                identification = (identification + 1) & 0xFFFF
            else:
                self._put16(at + 4, length - 40)
            l4 = at + transport
            total = l4_sum + (length - transport) + sum_words(data, source, source + piece)
            if tcp:
                mine = flags
                if segment > 0:
                    mine &= 0xFF ^ _CWR
                if segment < segments - 1:
                    mine &= 0xFF ^ _LAST_OF_RUN
                self._put16(l4 + 4, sequence >> 16)
                self._put16(l4 + 6, sequence & 0xFFFF)
                out[l4 + 13] = mine
                total += (sequence >> 16) + (sequence & 0xFFFF) + mine
                self._put16(l4 + _TCP_CHECKSUM, fold(total) ^ 0xFFFF)
                sequence = (sequence + piece) & _MASK32
            else:
                self._put16(l4 + 4, length - transport)
                checksum = fold(total + (length - transport)) ^ 0xFFFF
                self._put16(l4 + _UDP_CHECKSUM, checksum or 0xFFFF)
            source += piece
        self.packets += segments
        self.super_packets += 1
        return segments

    def _put16(self, at: int, value: int) -> None:
        self._out[at] = value >> 8
        self._out[at + 1] = value & 0xFF
