"""The native ``datagram`` conversation of a link, the fair queue in front of it, repair behind it.

Packets wait in the queue until the conversation has room for them, so that what leaves next is
decided as late as can be. With peers that have ``fec``, repairs follow its datagrams, and lost
ones that repairs made up for are handed to it like those that came. No I/O happens here.
"""

from __future__ import annotations

import random
from array import array

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


@attrs.frozen
class PacketChannelStatistics:
    """Counters of the conversation, of the queue in front of it, and of repair if there is any."""

    conversation: DatagramStatistics
    queue: FlowQueueStatistics
    repair: RepairStatistics | None


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
        size = min(mtu, widest - REPAIR_OVERHEAD)
        self._queue = FlowQueue(chance.getrandbits(64), queue_bytes)
        self._control = Bbr(size + overhead, random.Random(chance.getrandbits(64)))
        self._conversation = DatagramConversation(
            self._queue,
            self._control,
            command,
            size,
            window,
            overhead,
            output,
        )
        self._overhead = overhead
        self._repair = None if repair_share is None else RepairLayer(size, repair_share)
        # Repairs that the last datagrams left to be sent.
        self._repairs = 0
        self.datagrams: bytearray = self._conversation.datagrams
        """The datagrams of the last `poll_datagrams`, back to back."""
        self.sizes: array[int] = self._conversation.sizes
        """Their sizes."""

    @property
    def largest_packet(self) -> int:
        """Bytes of the largest IP packet that fits one datagram."""
        return self._conversation.largest_packet

    @property
    def smoothed_rtt(self) -> float:
        """Seconds; 0 before the first sample."""
        return self._conversation.smoothed_rtt

    @property
    def all_arrived(self) -> bool:
        """Whether nothing waits here, and the peer lacks nothing that was sent."""
        return not self._offered and self._queue.queued == 0 and self._conversation.all_arrived

    def path_counters(self) -> tuple[int, int, float]:
        """Give datagrams sent up to the newest acknowledged, how many of them did not come by
        themselves, and the shortest round trip of late in seconds (0 if there was none)."""
        sent, arrived, _, _ = self._conversation.path_counters()
        return sent, sent - arrived, self._control.least_rtt()

    def enqueue(self, frames: bytes | bytearray | memoryview, now: float) -> None:
        """Queue whole frames with one ordinary packet each; who has too much loses some.

        The next `poll_datagrams` must follow soon: frames that nothing waits before need not go
        through the queue, and are kept till then.
        """
        if self._offered:
            self._queue.enqueue_batch(self._offered, now)
            self._offered = b""
        if self._queue.queued:
            self._queue.enqueue_batch(frames, now)
        else:
            self._offered = frames

    def poll_datagrams(self, now: float) -> int:
        """Make the datagrams that are due; returns how many. Call it until it gives 0."""
        conversation = self._conversation
        repair = self._repair
        if repair is not None and (count := self._poll_repairs(repair, now)):
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
            self._queue.follow_path(self._control.least_rtt())
        return count

    def _poll_repairs(self, repair: RepairLayer, now: float) -> int:
        """Give the repairs that follow the last datagrams, or else those that are due."""
        if now >= repair.adapt_at:
            loss = self._control.loss
            repair.adapt(
                PathCounters(*self._conversation.path_counters()),
                BaseLoss(loss.share, loss.known),
                self._conversation.smoothed_rtt,
                now,
                self._control.headroom(),
            )
            self._conversation.repair_wait = repair.wait
        count, self._repairs = self._repairs, 0
        if count == 0 and repair.next_timeout() <= now:
            count = repair.poll_repairs(now)
        if count:
            self.datagrams, self.sizes = repair.repairs, repair.repair_sizes
            size = sum(self.sizes[:count]) + count * self._overhead
            self._conversation.charge_repair(size, now)
        return count

    def least_rtt(self) -> float:
        """Give the round trip without a queue, in seconds; 0 before the first."""
        return self._control.least_rtt()

    def take_oversize(self) -> bytes:
        """Give the frames whose packets are too large for the conversation, and forget them."""
        return self._conversation.take_oversize()

    def next_timeout(self) -> float:
        """Tell when to call `poll_datagrams`: inf if there is no need."""
        due = self._conversation.next_timeout()
        if self._repair is None:
            return due
        return 0.0 if self._repairs else min(due, self._repair.next_timeout())

    def receive_datagrams_untrusted(
        self,
        datagrams: bytes | bytearray | memoryview,
        sizes: array[int],
        count: int,
        now: float,
    ) -> int:
        """Take datagrams that lie back to back; returns how many belong to conversation 0."""
        conversation = self._conversation
        others = conversation.receive_datagrams_untrusted(datagrams, sizes, count, now)
        repair = self._repair
        if repair is not None and others < count:
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
        return self._conversation.receive()

    def statistics(self) -> PacketChannelStatistics:
        """Return the counters."""
        return PacketChannelStatistics(
            conversation=self._conversation.statistics(),
            queue=self._queue.statistics(),
            repair=None if self._repair is None else self._repair.statistics(),
        )
