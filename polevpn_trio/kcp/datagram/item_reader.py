# cython: annotation_typing=False
"""Reads the items of datagrams: packets, parts of packets, and words of the peer."""

from __future__ import annotations

from polevpn_trio.frames.ip import is_well_formed
from polevpn_trio.kcp.datagram import wire
from polevpn_trio.kcp.datagram.arrivals import Arrivals
from polevpn_trio.kcp.datagram.flow_order import FlowOrder
from polevpn_trio.kcp.datagram.reassembly import Reassembly
from polevpn_trio.kcp.datagram.wire import read16

_LARGEST_PACKET = wire.LARGEST_PACKET
_ORDERED = wire.ORDERED
_UNORDERED = wire.UNORDERED
_SKIP = wire.SKIP
_ACK_DELAY = wire.ACK_DELAY
_PART = wire.PART
_BUCKETS = wire.BUCKETS
_ITEM = wire.ITEM_SIZE
_SKIP_SIZE = wire.SKIP_SIZE
_ACK_DELAY_SIZE = wire.ACK_DELAY_SIZE
_PART_SIZE = wire.PART_SIZE


class ItemReader:
    """Gives packets to ``order``, parts to ``parts`` first; tells ``arrivals`` what it may wait.

    ``command`` is that of the frames that ``order`` makes.
    """

    def __init__(self, command: int, arrivals: Arrivals) -> None:
        self.order = FlowOrder(command, wire.LARGEST_PACKET)
        self.parts = Reassembly(wire.LARGEST_PACKET)
        self._arrivals = arrivals

    def read_untrusted(
        self, view: bytes | bytearray | memoryview, at: int, end: int, now: float
    ) -> bool:
        """Take the items between ``at`` and ``end``; False if one is bad, which ends it."""
        while at < end:
            item = view[at]
            if item >= _ORDERED or item == _UNORDERED:
                begin = at + _ITEM
                version = is_well_formed(view, begin, end - begin)
                if version == 4:
                    length = read16(view, begin + 2)
                elif version == 6:
                    length = 40 + read16(view, begin + 4)
                else:
                    break
                if length > _LARGEST_PACKET:
                    break
                if item == _UNORDERED:
                    self.order.add_unordered(read16(view, at + 1), view, begin, length)
                else:
                    self.order.add(item - _ORDERED, read16(view, at + 1), view, begin, length, now)
                at = begin + length
            elif item == _SKIP:
                if end - at < _SKIP_SIZE or view[at + 1] >= _BUCKETS:
                    break
                sequence = read16(view, at + 2)
                index = 0
                count = view[at + 4]
                while index < count:
                    self.order.add(view[at + 1], (sequence + index) & 0xFFFF, view, at, 0, now)
                    index += 1
                at += _SKIP_SIZE
            elif item == _ACK_DELAY:
                if end - at < _ACK_DELAY_SIZE or view[at + 1] == 0:
                    break
                self._arrivals.max_ack_delay = view[at + 1] / 1000.0
                at += _ACK_DELAY_SIZE
            elif item == _PART:
                if end - at < _PART_SIZE:
                    break
                length = read16(view, at + 8)
                if length == 0 or end - at - _PART_SIZE < length:
                    break
                if not self._read_part(view, at, length, now):
                    break
                at += _PART_SIZE + length
            else:
                break
        return at == end

    def _read_part(
        self, view: bytes | bytearray | memoryview, at: int, length: int, now: float
    ) -> bool:
        """Take the part of ``length`` bytes whose item begins at ``at``; False if it is bad."""
        item = view[at + 1]
        total = read16(view, at + 4)
        offset = read16(view, at + 6)
        if (item < _ORDERED and item != _UNORDERED) or total > _LARGEST_PACKET:
            return False
        if offset + length > total:
            return False
        parts = self.parts
        sequence = read16(view, at + 2)
        slot = parts.add(item << 16 | sequence, total, offset, view, at + _PART_SIZE, length)
        if parts.evicted >= _ORDERED << 16:
            # The others of its bucket shall not wait for what will not be whole.
            bucket = (parts.evicted >> 16) - _ORDERED
            self.order.add(bucket, parts.evicted & 0xFFFF, view, at, 0, now)
        if slot < 0:
            return True
        begin = slot * parts.stride
        version = is_well_formed(parts.data, begin, total)
        if version == 4:
            length = read16(parts.data, begin + 2)
        elif version == 6:
            length = 40 + read16(parts.data, begin + 4)
        else:
            return False
        if item == _UNORDERED:
            self.order.add_unordered(sequence, parts.data, begin, length)
        else:
            self.order.add(item - _ORDERED, sequence, parts.data, begin, length, now)
        return True
