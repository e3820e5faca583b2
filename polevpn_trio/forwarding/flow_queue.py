# cython: annotation_typing=False, cpow=True
"""Which packet leaves next on a link: FQ-CoDel (RFC 8290, RFC 8289), over packets in frames.

Packets wait in one queue for each flow. Flows take turns, a quantum of bytes each (deficit
round robin); a flow that had nothing waiting goes ahead of those that always have, so a ping
or a keystroke does not wait behind a transfer. In each flow CoDel watches how long packets
stand in the queue: when that is over ``target`` for a whole ``interval``, it drops from the
front, or marks what can bear a mark, more often the longer it lasts. When memory runs out, the
flow that has most of it loses its oldest packet.

How it is kept: frames are copied into blocks of one slab, chained by arrays of numbers, so
that a packet makes no object and costs the same however many wait. Flows hang in lists by the
number of blocks they hold, hence the fattest is found without a search.

Call order: ``enqueue_batch`` whenever packets come, ``dequeue_batch`` whenever the link below
takes more, with as many bytes as it takes. Do not dequeue ahead of the link: what has left is
no longer in fair order, and its waiting is not seen.
"""

from __future__ import annotations

import math
from array import array

from polevpn_trio.batch import FrameBatch
from polevpn_trio.forwarding.statistics import FlowQueueStatistics
from polevpn_trio.frames.flow_hash import FlowHash

# RFC 8290, section 5.2.
TARGET = 0.005
"""Seconds that packets may stand in a flow's queue; at least the time of a packet and a half
at the link's rate, or slow links lose packets for nothing."""
INTERVAL = 0.100
"""Seconds for which a queue must stand; the longest usual round trip."""
TARGET_SHARE = 0.6
"""Share of the round trip for which packets may stand in a flow's queue: what CUBIC needs to keep
the path full when it takes back three tenths of its window, and the dip of a recovery (RFC 6937)
besides. Other flows do not wait behind them."""
LONGEST_TARGET = 0.06
INTERVAL_ROUNDS = 3.0
"""Round trips that CoDel waits before it drops, and then again: within one the sender hears of it,
with the queue counted, and within another it has slowed down. A second loss before that costs
CUBIC three tenths more, for nothing."""
FLOWS = 1024
QUANTUM = 1514

LIMIT_BYTES = 4 * 1024 * 1024
"""Bytes of blocks at most: 320 ms of full packets at 100 Mbit/s."""

IDLE_SHRINK = 5.0
"""Seconds without a packet until the memory is given back."""

# Small packets waste most of a block, large ones cost a copy for each block.
_BLOCK = 512
_FIRST_BLOCKS = 64
_FRAME_HEADER = 8
# CoDel goes on with its last drop rate if it has to drop again within so many intervals.
_RECENT_INTERVALS = 16.0
# Drops in a row after which a sender that should answer does not.
_PATIENT_DROPS = 8
# Share by which the round trip must have changed.
_RETUNE = 0.2
# Share of a new packet's delay in the smoothed one.
_DELAY_GAIN = 0.0625

_NONE = -1
_NEVER = math.inf
_IDLE = 0
_NEW = 1
_OLD = 2

_INTERPRETED = __file__.endswith(".py")


class FlowQueue:
    """The packets that wait for one link; sans-IO, ``now`` in seconds of a clock going forward.

    ``seed`` keys the hash that puts flows into ``flows`` buckets (a power of two up to 65,536);
    make it random and keep it to yourself. ``limit_bytes`` bounds the memory for packets; a
    packet takes a multiple of 512 bytes of it. ``quantum`` is in bytes; below the size of a
    frame it costs that frame several turns. ``target`` and ``interval`` are CoDel's, in
    seconds; ``ecn`` lets it mark ECT packets instead of dropping them.

    Memory is taken as packets come and given back by ``release_idle``.

    Raises ValueError for parameters out of range.
    """

    def __init__(
        self,
        seed: int,
        limit_bytes: int = LIMIT_BYTES,
        flows: int = FLOWS,
        quantum: int = QUANTUM,
        target: float = TARGET,
        interval: float = INTERVAL,
        ecn: bool = True,
    ) -> None:
        if not _BLOCK <= limit_bytes <= 1 << 30:
            raise ValueError(f"limit_bytes {limit_bytes} not in {_BLOCK} to {1 << 30}")
        if not 1 <= flows <= 65536 or flows & (flows - 1):
            raise ValueError(f"flows {flows} is not a power of two up to 65536")
        if not 64 <= quantum <= 1 << 20:
            raise ValueError(f"quantum {quantum} not in 64 to {1 << 20}")
        self._hash = FlowHash(seed)
        self._limit = limit_bytes // _BLOCK
        self._flows = flows
        self._quantum = quantum
        self._ecn = ecn
        self.tune(target, interval)
        self._tuned_for = 0.0

        self._used_at = 0.0
        self._delay = 0.0
        self._packets = 0
        self._bytes = 0
        self._active = 0
        self._enqueued = 0
        self._enqueued_bytes = 0
        self._dequeued = 0
        self._dequeued_bytes = 0
        self._dropped_full = 0
        self._dropped_codel = 0
        self._marked = 0
        self._oversize = 0
        self._malformed = 0
        self._new_flows = 0
        self._allocate_nothing()

    @property
    def queued(self) -> int:
        """Packets that wait."""
        return self._packets

    @property
    def queued_bytes(self) -> int:
        """Bytes of the frames that wait."""
        return self._bytes

    def tune(self, target: float, interval: float) -> None:
        """Change CoDel's parameters, in seconds, for instance when the link's rate is known.

        Raises ValueError unless 0 < target <= interval.
        """
        if not 0 < target <= interval < math.inf:
            raise ValueError(f"target {target} and interval {interval} must be positive, in order")
        self._target = target
        self._interval = interval

    def follow_path(self, rtt: float) -> None:
        """Let a flow stand as long as it takes to keep a path with this least round trip full.

        In seconds; 0 if it is unknown.
        """
        if abs(rtt - self._tuned_for) > _RETUNE * self._tuned_for:
            self._tuned_for = rtt
            target = TARGET_SHARE * rtt
            target = min(max(TARGET, target), LONGEST_TARGET)
            self.tune(target, max(INTERVAL, INTERVAL_ROUNDS * rtt))

    def release_idle(self, now: float) -> None:
        """Give the memory back if no packet waits and none came for `IDLE_SHRINK` seconds."""
        if self._packets == 0 and self._capacity and now - self._used_at >= IDLE_SHRINK:
            self._allocate_nothing()

    # --- Memory --------------------------------------------------------------------------

    def _allocate_nothing(self) -> None:
        self._capacity = 0
        self._free = _NONE
        self._free_blocks = 0
        self._output_object = memoryview(bytearray())
        self._output = self._output_object
        self._output_size = 0
        self._forget_flows()
        # One view of each type for all: a thousand idle links have two dozen of them each.
        self._slab = self._output_object
        self._place = array("B")
        self._dropping = self._place
        self._next_block = array("i")
        self._next_packet = self._size = self._head = self._tail = self._next_block
        self._deficit = self._next_flow = self._blocks = self._next_block
        self._before = self._behind = self._holding = self._next_block
        self._flow_bytes = array("q")
        self._queued_at = array("d")
        self._drop_after = self._drop_next = self._queued_at
        self._count = array("I")
        self._last_count = self._count

    def _forget_flows(self) -> None:
        self._new_first = _NONE
        self._new_last = _NONE
        self._old_first = _NONE
        self._old_last = _NONE
        self._active = 0
        self._most_blocks = 0

    def _allocate_flows(self, flows: int, limit: int) -> None:
        # The first and last packet of each flow, named by their first blocks.
        self._head = array("i", [_NONE]) * flows
        self._tail = array("i", [_NONE]) * flows
        self._flow_bytes = array("q", bytes(8 * flows))
        self._deficit = array("i", bytes(4 * flows))
        self._place = array("B", bytes(flows))
        self._next_flow = array("i", [_NONE]) * flows
        self._forget_flows()
        # Lists of the flows that hold so many blocks.
        self._blocks = array("i", bytes(4 * flows))
        self._before = array("i", [_NONE]) * flows
        self._behind = array("i", [_NONE]) * flows
        self._holding = array("i", [_NONE]) * (limit + 1)
        # CoDel: since when it is time to drop, when next, and how often so far.
        self._drop_after = array("d", [_NEVER]) * flows
        self._drop_next = array("d", bytes(8 * flows))
        self._count = array("I", bytes(4 * flows))
        self._last_count = array("I", bytes(4 * flows))
        self._dropping = array("B", bytes(flows))

    def _grow(self) -> None:
        """Double the blocks, up to the limit."""
        old = self._capacity
        if old == 0:
            self._allocate_flows(self._flows, self._limit)
        capacity = min(self._limit, max(_FIRST_BLOCKS, 2 * old))
        added = capacity - old
        slab = bytearray(capacity * _BLOCK)
        slab[: old * _BLOCK] = self._slab
        self._slab = memoryview(slab)
        links = array("i", self._next_block)
        links.extend(range(old + 1, capacity + 1))
        links[capacity - 1] = self._free
        self._next_block = links
        self._next_packet = array("i", self._next_packet) + array("i", [_NONE]) * added
        self._size = array("i", self._size) + array("i", bytes(4 * added))
        self._queued_at = array("d", self._queued_at) + array("d", bytes(8 * added))
        self._free = old
        self._free_blocks += added
        self._capacity = capacity

    # --- Packets come --------------------------------------------------------------------

    def enqueue_batch(self, frames: bytes | bytearray | memoryview, now: float) -> int:
        """Take in whole frames back to back; return how many frames there were.

        The bytes are copied. Each frame is taken, except those counted as ``oversize``;
        what has to go instead when memory is full is at the head of the fattest flow. A rest
        that is no whole frame counts as ``malformed``. Frames whose payload is not an IP packet
        share one flow.
        """
        view = memoryview(frames) if _INTERPRETED else frames
        total = len(view)
        at = 0
        count = 0
        self._used_at = now
        while total - at >= _FRAME_HEADER:
            size = view[at] << 8 | view[at + 1]
            if size < _FRAME_HEADER or size > total - at:
                break
            self._enqueue(view, at, size, now)
            at += size
            count += 1
        if at != total:
            self._malformed += 1
        return count

    def _enqueue(
        self, view: bytes | bytearray | memoryview, at: int, size: int, now: float
    ) -> None:
        needed = (size + _BLOCK - 1) // _BLOCK
        if needed > self._limit:
            self._oversize += 1
            return
        while self._free_blocks < needed:
            if self._capacity < self._limit:
                self._grow()
            else:
                self._drop_fattest()
        packet = self._store(view, at, size, needed)
        self._size[packet] = size
        self._queued_at[packet] = now
        self._next_packet[packet] = _NONE
        flow = self._hash.of_packet(view, at + _FRAME_HEADER, size - _FRAME_HEADER)
        flow &= self._flows - 1
        if self._head[flow] == _NONE:
            self._head[flow] = packet
        else:
            self._next_packet[self._tail[flow]] = packet
        self._tail[flow] = packet
        self._flow_bytes[flow] += size
        self._hold(flow, self._blocks[flow] + needed)
        if self._place[flow] == _IDLE:
            self._deficit[flow] = self._quantum
            self._append(flow, _NEW)
            self._active += 1
            self._new_flows += 1
        self._packets += 1
        self._bytes += size
        self._enqueued += 1
        self._enqueued_bytes += size

    def _store(self, view: bytes | bytearray | memoryview, at: int, size: int, needed: int) -> int:
        """Copy a frame into ``needed`` free blocks; return the first."""
        slab = self._slab
        links = self._next_block
        first = self._free
        block = first
        while True:
            target = block * _BLOCK
            piece = size if size < _BLOCK else _BLOCK
            if _INTERPRETED:
                slab[target : target + piece] = view[at : at + piece]
            else:
                for index in range(piece):
                    slab[target + index] = view[at + index]
            at += piece
            size -= piece
            if size == 0:
                break
            block = links[block]
        self._free = links[block]
        links[block] = _NONE
        self._free_blocks -= needed
        return first

    def _drop_fattest(self) -> None:
        # What rises with each block that comes, falls here: no search, on average.
        while self._holding[self._most_blocks] == _NONE:
            self._most_blocks -= 1
        self._remove_head(self._holding[self._most_blocks])
        self._dropped_full += 1

    # --- Packets leave -------------------------------------------------------------------

    def dequeue_batch(self, most_bytes: int, now: float) -> FrameBatch:
        """Give the frames that leave next: at most ``most_bytes``, but one if any waits.

        The batch is empty when nothing waits (any more: CoDel may drop the last).
        """
        written = 0
        count = 0
        if self._packets:
            self._used_at = now
        while True:
            flow = self._new_first
            place = _NEW
            if flow == _NONE:
                flow = self._old_first
                place = _OLD
                if flow == _NONE:
                    break
            if self._deficit[flow] <= 0:
                self._deficit[flow] += self._quantum
                self._take_first(place)
                self._append(flow, _OLD)
                continue
            if not self._admit(flow, now):
                self._take_first(place)
                if place == _NEW and self._old_first != _NONE:
                    # Else a flow with a packet now and then would always go first.
                    self._append(flow, _OLD)
                else:
                    self._place[flow] = _IDLE
                    self._active -= 1
                continue
            packet = self._head[flow]
            size = self._size[packet]
            if count and written + size > most_bytes:
                break
            if written + size > self._output_size:
                self._widen_output(written, written + size)
            self._load(packet, size, written)
            written += size
            count += 1
            self._deficit[flow] -= size
            self._delay += (now - self._queued_at[packet] - self._delay) * _DELAY_GAIN
            self._remove_head(flow)
        self._dequeued += count
        self._dequeued_bytes += written
        return FrameBatch(self._output_object[:written].tobytes(), count)

    def _widen_output(self, used: int, needed: int) -> None:
        output = bytearray(max(2 * self._output_size, needed))
        output[:used] = self._output_object[:used]
        self._output_size = len(output)
        self._output_object = memoryview(output)
        self._output = self._output_object

    def _load(self, packet: int, size: int, at: int) -> None:
        """Copy a frame out to byte ``at`` of the output."""
        slab = self._slab
        output = self._output
        block = packet
        while size > 0:
            source = block * _BLOCK
            piece = size if size < _BLOCK else _BLOCK
            if _INTERPRETED:
                output[at : at + piece] = slab[source : source + piece]
            else:
                for index in range(piece):
                    output[at + index] = slab[source + index]
            at += piece
            size -= piece
            block = self._next_block[block]

    def _admit(self, flow: int, now: float) -> bool:
        """Let CoDel drop from the head of a flow; tell whether a packet is left to be sent.

        This is RFC 8289, section 5, looking at the packet before it is taken. Asked again
        later, about a packet that did not fit, it may decide against it.
        """
        too_long = self._stands_too_long(flow, now)
        if self._dropping[flow]:
            if not too_long:
                self._dropping[flow] = 0
            while self._dropping[flow] and now >= self._drop_next[flow]:
                self._count[flow] += 1
                if self._mark(flow):
                    self._drop_next[flow] += self._step(flow, now)
                    break
                self._remove_head(flow)
                self._dropped_codel += 1
                if self._stands_too_long(flow, now):
                    self._drop_next[flow] += self._step(flow, now)
                else:
                    self._dropping[flow] = 0
        elif too_long:
            if not self._mark(flow):
                self._remove_head(flow)
                self._dropped_codel += 1
                self._stands_too_long(flow, now)
            self._dropping[flow] = 1
            since = self._count[flow] - self._last_count[flow]
            recent = now - self._drop_next[flow] < _RECENT_INTERVALS * self._interval
            self._count[flow] = since if since > 1 and recent else 1
            self._last_count[flow] = self._count[flow]
            self._drop_next[flow] = now + self._step(flow, now)
        return self._head[flow] != _NONE

    def _step(self, flow: int, now: float) -> float:
        """Seconds until the next drop of a flow: shorter after each (RFC 8289, section 4.1).

        But where the path is known, not before the one sender of the flow had time to answer: it
        hears of a loss within a round trip, and has slowed down after another with the queue.
        """
        step: float = self._interval / self._count[flow] ** 0.5
        if self._tuned_for > 0.0 and self._count[flow] <= _PATIENT_DROPS:
            answer = self._tuned_for
            if self._head[flow] != _NONE:
                answer += now - self._queued_at[self._head[flow]]
            answer *= 2.0
            if step < answer:
                step = answer
        return step

    def _stands_too_long(self, flow: int, now: float) -> bool:
        packet = self._head[flow]
        if (
            packet == _NONE
            or now - self._queued_at[packet] < self._target
            or self._flow_bytes[flow] <= self._quantum
            # The last one may be a super-packet, and all that its sender has under way.
            or self._flow_bytes[flow] == self._size[packet]
        ):
            self._drop_after[flow] = _NEVER
            return False
        if self._drop_after[flow] == _NEVER:
            self._drop_after[flow] = now + self._interval
            return False
        return now >= self._drop_after[flow]

    def _mark(self, flow: int) -> bool:
        """Mark the packet at the head as having met congestion (RFC 3168), if it may be."""
        if not self._ecn:
            return False
        slab = self._slab
        packet = self._head[flow]
        size = self._size[packet] - _FRAME_HEADER
        at = packet * _BLOCK + _FRAME_HEADER
        if size < 20:
            return False
        version = slab[at] >> 4
        if version == 4:
            if slab[at + 1] & 3 == 0:
                return False
            # RFC 1624: the checksum changes by what the word changes.
            old = slab[at] << 8 | slab[at + 1]
            slab[at + 1] |= 3
            new = slab[at] << 8 | slab[at + 1]
            checksum = slab[at + 10] << 8 | slab[at + 11]
            checksum = (checksum ^ 0xFFFF) + (old ^ 0xFFFF) + new
            checksum = (checksum & 0xFFFF) + (checksum >> 16)
            checksum = ((checksum & 0xFFFF) + (checksum >> 16)) ^ 0xFFFF
            slab[at + 10] = checksum >> 8
            slab[at + 11] = checksum & 0xFF
        elif version == 6:
            if slab[at + 1] & 0x30 == 0:
                return False
            slab[at + 1] |= 0x30
        else:
            return False
        self._marked += 1
        return True

    # --- Lists ---------------------------------------------------------------------------

    def _remove_head(self, flow: int) -> None:
        """Take the first packet off a flow that has one, and free its blocks."""
        packet = self._head[flow]
        size = self._size[packet]
        self._head[flow] = self._next_packet[packet]
        if self._head[flow] == _NONE:
            self._tail[flow] = _NONE
        self._flow_bytes[flow] -= size
        self._packets -= 1
        self._bytes -= size
        links = self._next_block
        freed = 1
        last = packet
        while links[last] != _NONE:
            last = links[last]
            freed += 1
        links[last] = self._free
        self._free = packet
        self._free_blocks += freed
        self._hold(flow, self._blocks[flow] - freed)

    def _hold(self, flow: int, blocks: int) -> None:
        """Note that a flow holds so many blocks now."""
        before = self._before[flow]
        behind = self._behind[flow]
        if before != _NONE:
            self._behind[before] = behind
        elif self._blocks[flow]:
            self._holding[self._blocks[flow]] = behind
        if behind != _NONE:
            self._before[behind] = before
        self._blocks[flow] = blocks
        self._before[flow] = _NONE
        self._behind[flow] = _NONE
        if blocks:
            behind = self._holding[blocks]
            self._behind[flow] = behind
            if behind != _NONE:
                self._before[behind] = flow
            self._holding[blocks] = flow
            if blocks > self._most_blocks:
                self._most_blocks = blocks

    def _append(self, flow: int, place: int) -> None:
        self._place[flow] = place
        self._next_flow[flow] = _NONE
        if place == _NEW:
            if self._new_first == _NONE:
                self._new_first = flow
            else:
                self._next_flow[self._new_last] = flow
            self._new_last = flow
        else:
            if self._old_first == _NONE:
                self._old_first = flow
            else:
                self._next_flow[self._old_last] = flow
            self._old_last = flow

    def _take_first(self, place: int) -> None:
        if place == _NEW:
            self._new_first = self._next_flow[self._new_first]
        else:
            self._old_first = self._next_flow[self._old_first]

    # --- Counters ------------------------------------------------------------------------

    def statistics(self) -> FlowQueueStatistics:
        """Return the counters."""
        return FlowQueueStatistics(
            enqueued=self._enqueued,
            enqueued_bytes=self._enqueued_bytes,
            dequeued=self._dequeued,
            dequeued_bytes=self._dequeued_bytes,
            dropped_full=self._dropped_full,
            dropped_codel=self._dropped_codel,
            marked=self._marked,
            oversize=self._oversize,
            malformed=self._malformed,
            queued=self._packets,
            queued_bytes=self._bytes,
            flows=self._active,
            new_flows=self._new_flows,
            memory=self._capacity * _BLOCK,
            delay=self._delay,
        )
