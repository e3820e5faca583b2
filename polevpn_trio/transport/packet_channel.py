"""The native ``datagram`` conversation of a link, the fair queue in front of it, repair behind it.

Packets wait in the queue until the conversation has room for them, so that what leaves next is
decided as late as can be. With peers that have ``fec``, repairs follow its datagrams, and lost
ones that repairs made up for are handed to it like those that came. No I/O happens here.

A router may have a thousand gateways of which few send anything. What a channel consists of is
therefore made when its first packet comes, and a channel `at_rest` need not be looked at.
"""

from __future__ import annotations

import math
import random
from array import array
from functools import lru_cache

import attrs

from polevpn_trio.batch import DatagramBuffer
from polevpn_trio.fec.controller import BaseLoss, PathCounters
from polevpn_trio.fec.layer import RepairLayer, RepairStatistics
from polevpn_trio.fec.symbols import OVERHEAD as REPAIR_OVERHEAD
from polevpn_trio.forwarding.flow_queue import LIMIT_BYTES, FlowQueue
from polevpn_trio.forwarding.statistics import FlowQueueStatistics
from polevpn_trio.kcp.congestion.bbr import Bbr
from polevpn_trio.kcp.datagram.conversation import DatagramConversation
from polevpn_trio.kcp.datagram.statistics import DatagramStatistics
from polevpn_trio.kcp.datagram.wire import HEADER_SIZE, ITEM_SIZE

REST_SECONDS = 10.0
"""Seconds without a packet, either way, after which a channel may come to rest: all parts of it
have given back by then what memory they needed for the last ones."""


@attrs.frozen
class PacketChannelStatistics:
    """Counters of the conversation, of the queue in front of it, and of repair if there is any."""

    conversation: DatagramStatistics
    queue: FlowQueueStatistics
    repair: RepairStatistics | None


@attrs.frozen
class _Terms:
    """What the parts are made by."""

    command: int
    mtu: int
    window: int
    overhead: int
    repair_share: float | None


class _Parts:
    """What carries the packets once there are any."""

    __slots__ = ("control", "conversation", "repair")

    def __init__(
        self, control: Bbr, conversation: DatagramConversation, repair: RepairLayer | None
    ) -> None:
        self.control = control
        self.conversation = conversation
        self.repair = repair


def _make_parts(terms: _Terms, queue: FlowQueue, output: DatagramBuffer, seed: int) -> _Parts:
    control = Bbr(terms.mtu + terms.overhead, random.Random(seed))
    conversation = DatagramConversation(
        queue, control, terms.command, terms.mtu, terms.window, terms.overhead, output
    )
    share = terms.repair_share
    repair = None if share is None else RepairLayer(terms.mtu, share)
    return _Parts(control, conversation, repair)


@lru_cache(maxsize=8)
def _unused_parts(terms: _Terms) -> _Parts:
    """Make parts for the counters of all channels that have none of their own yet."""
    return _make_parts(terms, FlowQueue(0), DatagramBuffer(), 0)


class PacketChannel:
    """IP packets of one link, as frames, to and from datagrams.

    ``command`` is that of the frames `receive` gives; ``widest`` how many bytes of a datagram
    there are on the path; ``mtu`` how many are wished for; ``overhead`` what lower layers add
    to each. ``output`` may be shared: after each `poll_datagrams` it may have the datagrams.
    At most ``queue_bytes`` wait. ``repair_share`` is how much of all bytes sent may be repair, None
    for a peer without repair. ``chance`` is where random numbers come from.
    """

    def __init__(
        self,
        command: int,
        *,
        mtu: int,
        widest: int,
        window: int,
        overhead: int,
        output: DatagramBuffer,
        repair_share: float | None = None,
        chance: random.Random | None = None,
        queue_bytes: int = LIMIT_BYTES,
    ) -> None:
        chance = chance or random.SystemRandom()
        self._offered: bytes | bytearray | memoryview = b""
        self._queue = FlowQueue(chance.getrandbits(64), queue_bytes)
        self._seed = chance.getrandbits(64)
        size = min(mtu, widest - REPAIR_OVERHEAD)
        self._terms = _Terms(command, size, window, overhead, repair_share)
        self._output = output
        self._parts: _Parts | None = None
        self.at_rest = True
        """Nothing is under way or due, nor will be until `enqueue`, or until a datagram of this
        conversation has come: `poll_datagrams` has nothing to do until then."""
        # When a packet was last taken, from either side.
        self._used_at = -math.inf
        # Repairs that the last datagrams left to be sent.
        self._repairs = 0
        self.datagrams: bytearray = output.datagrams
        """The datagrams of the last `poll_datagrams`, back to back."""
        self.sizes: array[int] = output.sizes
        """Their sizes."""

    def _rouse(self) -> _Parts:
        self.at_rest = False
        if self._parts is None:
            self._parts = _make_parts(self._terms, self._queue, self._output, self._seed)
        return self._parts

    @property
    def largest_packet(self) -> int:
        """Bytes of the largest IP packet that fits one datagram."""
        return self._terms.mtu - HEADER_SIZE - ITEM_SIZE

    @property
    def smoothed_rtt(self) -> float:
        """Seconds; 0 before the first sample."""
        return 0.0 if self._parts is None else self._parts.conversation.smoothed_rtt

    @property
    def all_arrived(self) -> bool:
        """Whether nothing waits here, and the peer lacks nothing that was sent."""
        parts = self._parts
        idle = parts is None or parts.conversation.all_arrived
        return idle and not self._offered and self._queue.queued == 0

    def path_counters(self) -> tuple[int, int, float]:
        """Give datagrams sent up to the newest acknowledged, how many of them did not come by
        themselves, and the shortest round trip of late in seconds (0 if there was none)."""
        if self._parts is None:
            return 0, 0, 0.0
        sent, arrived, _, _ = self._parts.conversation.path_counters()
        return sent, sent - arrived, self._parts.control.least_rtt()

    def enqueue(self, frames: bytes | bytearray | memoryview, now: float) -> None:
        """Queue whole frames with one ordinary packet each; who has too much loses some.

        The next `poll_datagrams` must follow soon: frames that nothing waits before need not go
        through the queue, and are kept till then.
        """
        self._rouse()
        self._used_at = now
        if self._offered:
            self._queue.enqueue_batch(self._offered, now)
            self._offered = b""
        if self._queue.queued:
            self._queue.enqueue_batch(frames, now)
        else:
            self._offered = frames

    def poll_datagrams(self, now: float) -> int:
        """Make the datagrams that are due; returns how many. Call it until it gives 0."""
        parts = self._parts
        if parts is None:
            return 0
        conversation = parts.conversation
        repair = parts.repair
        if repair is not None and (count := self._poll_repairs(parts, repair, now)):
            return count
        if self._offered:
            if not conversation.offer(self._offered):
                self._queue.enqueue_batch(self._offered, now)
            self._offered = b""
        count = conversation.poll_datagrams(now)
        self.datagrams, self.sizes = conversation.datagrams, conversation.sizes
        if repair is not None:
            if count:
                self._repairs = repair.protect_batch(
                    self.datagrams, self.sizes, count, conversation.important, now
                )
            else:
                repair.release_idle(now)
        if count == 0:
            rest = conversation.take_back()
            if rest:
                self._queue.enqueue_batch(rest, now)
            self._queue.release_idle(now)
            self._queue.follow_path(parts.control.least_rtt())
            if now - self._used_at >= REST_SECONDS:
                self.at_rest = self.all_arrived and self.next_timeout() == math.inf
        return count

    def _poll_repairs(self, parts: _Parts, repair: RepairLayer, now: float) -> int:
        """Give the repairs that follow the last datagrams, or else those that are due."""
        conversation = parts.conversation
        if now >= repair.adapt_at:
            loss = parts.control.loss
            repair.adapt(
                PathCounters(*conversation.path_counters()),
                BaseLoss(loss.share, loss.known),
                conversation.smoothed_rtt,
                now,
                parts.control.headroom(),
            )
            conversation.repair_wait = repair.wait
        count, self._repairs = self._repairs, 0
        if count == 0 and repair.next_timeout() <= now:
            count = repair.poll_repairs(now)
        if count:
            self.datagrams, self.sizes = repair.repairs, repair.repair_sizes
            size = sum(self.sizes[:count]) + count * self._terms.overhead
            conversation.charge_repair(size, now)
        return count

    def least_rtt(self) -> float:
        """Give the round trip without a queue, in seconds; 0 before the first."""
        return 0.0 if self._parts is None else self._parts.control.least_rtt()

    def take_oversize(self) -> bytes:
        """Give the frames whose packets are too large for the conversation, and forget them."""
        return b"" if self._parts is None else self._parts.conversation.take_oversize()

    def next_timeout(self) -> float:
        """Tell when to call `poll_datagrams`: inf if there is no need."""
        parts = self._parts
        if parts is None:
            return math.inf
        due = parts.conversation.next_timeout()
        if parts.repair is None:
            return due
        return 0.0 if self._repairs else min(due, parts.repair.next_timeout())

    def receive_datagrams_untrusted(
        self,
        datagrams: bytes | bytearray | memoryview,
        sizes: array[int],
        count: int,
        now: float,
    ) -> int:
        """Take datagrams that lie back to back; returns how many belong to conversation 0."""
        parts = self._parts
        if parts is None:
            if _all_of_conversation_0(datagrams, sizes, count):
                return count
            parts = self._rouse()
        conversation = parts.conversation
        others = conversation.receive_datagrams_untrusted(datagrams, sizes, count, now)
        if others == count:
            return count
        self.at_rest = False
        self._used_at = now
        repair = parts.repair
        if repair is not None:
            recovered = repair.receive_batch_untrusted(datagrams, sizes, count, now)
            if recovered:
                conversation.receive_datagrams_untrusted(
                    repair.recovered, repair.recovered_sizes, recovered, now, True
                )
            if repair.overtaken:
                conversation.note_overtaken(repair.overtaken)
        return others

    def receive(self) -> bytearray:
        """Fetch the packets that have come, as frames; nothing if there are none."""
        return bytearray() if self._parts is None else self._parts.conversation.receive()

    def statistics(self) -> PacketChannelStatistics:
        """Return the counters."""
        parts = self._parts or _unused_parts(self._terms)
        return PacketChannelStatistics(
            conversation=parts.conversation.statistics(),
            queue=self._queue.statistics(),
            repair=None if parts.repair is None else parts.repair.statistics(),
        )


def _all_of_conversation_0(
    datagrams: bytes | bytearray | memoryview, sizes: array[int], count: int
) -> bool:
    """Tell whether all these datagrams begin with a zero byte."""
    at = 0
    for size in sizes[:count]:
        if not size or datagrams[at]:
            return False
        at += size
    return True
