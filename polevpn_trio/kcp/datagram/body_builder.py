# cython: annotation_typing=False
"""Makes bodies of datagrams: of packets that wait to be sent, and of words to the peer.

A body is a run of items (``wire``). Several small packets share one, as long as they are there;
nothing waits for company.
"""

from __future__ import annotations

import math
from array import array

from polevpn_trio.frames.ip import is_well_formed
from polevpn_trio.kcp.datagram import flow_class, flow_order, wire
from polevpn_trio.kcp.datagram.body_pool import BodyPool
from polevpn_trio.kcp.datagram.flow_class import FlowClassifier
from polevpn_trio.kcp.datagram.source import PacketSource
from polevpn_trio.kcp.datagram.wire import read16, write16

SKIPS = 1024
"""Words to the peer about packets given up that may wait to be sent."""

OVERSIZE_LIMIT = 65_536
"""Bytes of frames put aside at most; further ones are dropped."""

_SKIPS = SKIPS
_ORDERED = wire.ORDERED
_UNORDERED = wire.UNORDERED
_SKIP = wire.SKIP
_ACK_DELAY = wire.ACK_DELAY
_PART = wire.PART
_ITEM = wire.ITEM_SIZE
_SKIP_SIZE = wire.SKIP_SIZE
_ACK_DELAY_SIZE = wire.ACK_DELAY_SIZE
_PART_SIZE = wire.PART_SIZE
_LARGEST_PACKET = wire.LARGEST_PACKET
_OVERSIZE_LIMIT = OVERSIZE_LIMIT
_REACH = flow_order.REACH
_REMEMBERED = flow_order.REMEMBERED
_FRAME_HEADER = flow_order.FRAME_HEADER
_NEVER = math.inf


class BodyBuilder:
    """Takes frames from ``source`` and makes bodies in ``bodies``; numbers the packets.

    ``dry`` tells whether the source had nothing when it was last asked.
    """

    def __init__(self, source: PacketSource, bodies: BodyPool) -> None:
        self.dry = True
        self.packets = 0
        self.packet_bytes = 0
        self.expired = 0
        self.oversize = 0
        self.oversize_dropped = 0
        self.malformed = 0
        self.skips_sent = 0
        self.skips_dropped = 0
        self._source = source
        self._bodies = bodies
        self._flow = FlowClassifier()
        self._staged: bytes | bytearray | memoryview = b""
        self._is_offered = False
        self._oversize = bytearray()
        self._staged_at = 0
        self._staged_end = 0
        # Of the packet that is being put into bodies in parts: bytes done, and how it is known.
        self._part_offset = 0
        self._part_item = 0
        self._part_sequence = 0
        self._sequences = array("H", bytes(2 * wire.BUCKETS))
        self._unordered = 0
        self._deadlines = array("d", flow_class.DEADLINES)
        self._skip_bucket = array("B", bytes(SKIPS))
        self._skip_sequence = array("H", bytes(2 * SKIPS))
        self._skip_count = array("B", bytes(SKIPS))
        self._skips = 0
        self._ack_delay = 0

    # --- Packets -------------------------------------------------------------------------

    def has_staged(self) -> bool:
        """Tell whether something that was fetched is not in a body yet."""
        return self._staged_at < self._staged_end

    def fetch(self, most: int, now: float) -> bool:
        """Take about ``most`` bytes from the source; tells whether it had any."""
        self._staged = memoryview(self._source.dequeue_batch(most, now).data)
        self._staged_at = 0
        self._staged_end = len(self._staged)
        self._is_offered = False
        self.dry = self._staged_end == 0
        return not self.dry

    def offer(self, frames: bytes | bytearray | memoryview) -> None:
        """Take frames that need not wait in the source; only while nothing is staged."""
        self._staged = memoryview(frames)
        self._staged_at = 0
        self._staged_end = len(self._staged)
        self._is_offered = True
        self.dry = False

    def take_back(self) -> bytes:
        """Give the offered frames that are not in a body yet, but for one begun in parts.

        What came from the source is kept: put back there, it would be behind its successors.
        """
        if not self._is_offered:
            return b""
        self._is_offered = False
        begin = self._staged_at
        end = begin
        if self._part_offset:
            begin += read16(self._staged, begin)
            end = begin
        rest = bytes(self._staged[begin : self._staged_end])
        self._staged_end = end
        return rest

    def build(self, now: float) -> int:
        """Fill a body with packets that were fetched; returns its slot, -1 if none would do."""
        bodies = self._bodies
        flow = self._flow
        staged = self._staged
        room = bodies.stride
        slot = -1
        at = 0
        begin = 0
        while self._staged_at < self._staged_end:
            if self._staged_end - self._staged_at < _FRAME_HEADER:
                raise ValueError("the source gave a frame that is not whole")
            size = read16(staged, self._staged_at)
            packet = self._staged_at + _FRAME_HEADER
            if size < _FRAME_HEADER or self._staged_at + size > self._staged_end:
                raise ValueError("the source gave a frame that is not whole")
            version = is_well_formed(staged, packet, size - _FRAME_HEADER)
            if version == 4:
                length = read16(staged, packet + 2)
            else:
                length = 40 + read16(staged, packet + 4) if version else 0
            if length == 0 or length > _LARGEST_PACKET:
                if length:
                    self._put_aside(size)
                else:
                    self.malformed += 1
                self._staged_at += size
                continue
            split = _ITEM + length > room
            if slot < 0:
                slot = bodies.acquire()
                begin = slot * room
                at = begin
            elif split or at + _ITEM + length > begin + room:
                break
            flow.classify(staged, packet, length)
            data = bodies.data
            if split and self._part_offset:
                item = self._part_item
                sequence = self._part_sequence
            elif flow.ordered:
                item = _ORDERED | flow.bucket
                sequence = self._sequences[flow.bucket]
                self._sequences[flow.bucket] = (sequence + 1) & 0xFFFF
            else:
                item = _UNORDERED
                sequence = self._unordered
                self._unordered = (sequence + 1) & 0xFFFF
            deadline = now + self._deadlines[flow.deadline_class]
            if deadline > bodies.deadline[slot]:
                bodies.deadline[slot] = deadline
            if flow.important:
                bodies.important[slot] = 1
            if split:
                offset = self._part_offset
                part = length - offset
                if part > room - _PART_SIZE:
                    part = room - _PART_SIZE
                data[at] = _PART
                data[at + 1] = item
                write16(data, at + 2, sequence)
                write16(data, at + 4, length)
                write16(data, at + 6, offset)
                write16(data, at + 8, part)
                at += _PART_SIZE
                data[at : at + part] = staged[packet + offset : packet + offset + part]
                at += part
                if offset + part < length:
                    self._part_offset = offset + part
                    self._part_item = item
                    self._part_sequence = sequence
                    break
                self._part_offset = 0
            else:
                data[at] = item
                write16(data, at + 1, sequence)
                data[at + _ITEM : at + _ITEM + length] = staged[packet : packet + length]
                at += _ITEM + length
            self._staged_at += size
            self.packets += 1
            self.packet_bytes += length
        if slot >= 0:
            bodies.length[slot] = at - begin
        return slot

    def _put_aside(self, size: int) -> None:
        """Keep the frame that comes next, of ``size`` bytes, for whom it is not too large."""
        self.oversize += 1
        if len(self._oversize) + size <= _OVERSIZE_LIMIT:
            self._oversize += bytes(self._staged[self._staged_at : self._staged_at + size])
        else:
            self.oversize_dropped += 1

    def take_oversize(self) -> bytes:
        """Give the frames whose packets are too large for any body, and forget them."""
        if not self._oversize:
            return b""
        taken = bytes(self._oversize)
        self._oversize.clear()
        return taken

    # --- Packets given up ----------------------------------------------------------------

    def is_stale(self, slot: int) -> bool:
        """Tell whether the peer has gone on without a packet, and might misread its number."""
        data = self._bodies.data
        at = slot * self._bodies.stride
        end = at + self._bodies.length[slot]
        while at < end:
            # A part says it one byte later.
            known = at + 1 if data[at] == _PART else at
            item = data[known]
            if item >= _ORDERED:
                newest = self._sequences[item - _ORDERED]
                if (newest - read16(data, known + 1)) & 0xFFFF >= _REACH:
                    return True
            elif item == _UNORDERED:
                if (self._unordered - read16(data, known + 1)) & 0xFFFF >= _REMEMBERED:
                    return True
            else:
                return False
            at += self._item_size(data, at)
        return False

    def _item_size(self, data: memoryview, at: int) -> int:
        """Give the size of an item with a packet or part; it is one that we made."""
        if data[at] == _PART:
            return _PART_SIZE + read16(data, at + 8)
        if data[at + _ITEM] >> 4 == 4:
            return _ITEM + read16(data, at + _ITEM + 2)
        return _ITEM + 40 + read16(data, at + _ITEM + 4)

    def give_up(self, slot: int) -> None:
        """Let go of a body, and tell the peer not to wait for what it holds."""
        data = self._bodies.data
        at = slot * self._bodies.stride
        end = at + self._bodies.length[slot]
        while at < end:
            known = at + 1 if data[at] == _PART else at
            item = data[known]
            if item >= _ORDERED:
                self._queue_skip(item - _ORDERED, read16(data, known + 1))
            elif item != _UNORDERED:
                break
            self.expired += 1
            at += self._item_size(data, at)
        self._bodies.release(slot)

    def _queue_skip(self, bucket: int, sequence: int) -> None:
        last = self._skips - 1
        if (
            last >= 0
            and self._skip_bucket[last] == bucket
            and self._skip_count[last] < 255
            and (self._skip_sequence[last] + self._skip_count[last]) & 0xFFFF == sequence
        ):
            self._skip_count[last] += 1
        elif self._skips < _SKIPS:
            self._skip_bucket[self._skips] = bucket
            self._skip_sequence[self._skips] = sequence
            self._skip_count[self._skips] = 1
            self._skips += 1
        else:
            self.skips_dropped += 1

    # --- Words to the peer ---------------------------------------------------------------

    def news(self) -> bool:
        """Tell whether there is something to tell the peer."""
        return self._skips > 0 or self._ack_delay > 0

    def tell_ack_delay(self, milliseconds: int) -> None:
        """Ask the peer to hold acknowledgements back no longer than this (1 to 255)."""
        self._ack_delay = milliseconds

    def build_control(self) -> int:
        """Make a body of what there is to tell, as much as fits; returns its slot."""
        bodies = self._bodies
        slot = bodies.acquire()
        begin = slot * bodies.stride
        at = begin
        data = bodies.data
        if self._ack_delay:
            data[at] = _ACK_DELAY
            data[at + 1] = self._ack_delay
            at += _ACK_DELAY_SIZE
            self._ack_delay = 0
        while self._skips and at + _SKIP_SIZE <= begin + bodies.stride:
            self._skips -= 1
            data[at] = _SKIP
            data[at + 1] = self._skip_bucket[self._skips]
            write16(data, at + 2, self._skip_sequence[self._skips])
            data[at + 4] = self._skip_count[self._skips]
            at += _SKIP_SIZE
            self.skips_sent += 1
        bodies.length[slot] = at - begin
        bodies.deadline[slot] = _NEVER
        bodies.important[slot] = 1
        return slot
