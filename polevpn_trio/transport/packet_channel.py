"""The native ``datagram`` conversation of a link, with the fair queue in front of it; no I/O.

Packets wait in the queue until the conversation has room for them, so that what leaves next is
decided as late as can be. A layer of repair (FEC) belongs between the conversation and those
who send and receive its datagrams: in `poll_datagrams` and `receive_datagrams_untrusted`.
"""

from __future__ import annotations

import random
import secrets
from array import array

import attrs

from polevpn_trio.batch import DatagramBuffer
from polevpn_trio.forwarding.flow_queue import INTERVAL, TARGET, FlowQueue
from polevpn_trio.forwarding.statistics import FlowQueueStatistics
from polevpn_trio.kcp.congestion.bbr import Bbr
from polevpn_trio.kcp.datagram.conversation import DatagramConversation
from polevpn_trio.kcp.datagram.statistics import DatagramStatistics

REPAIR_OVERHEAD = 10
"""Bytes that a layer of repair may add to a datagram."""

TARGET_SHARE = 0.4
"""Share of the round trip for which packets may stand in a flow's queue: what CUBIC needs to keep
the path full when it takes back three tenths of its window. Other flows do not wait behind them."""
LONGEST_TARGET = 0.06
INTERVAL_ROUNDS = 1.5


@attrs.frozen
class PacketChannelStatistics:
    """Counters of the conversation and of the queue in front of it."""

    conversation: DatagramStatistics
    queue: FlowQueueStatistics


class PacketChannel:
    """IP packets of one link, as frames, to and from datagrams.

    ``command`` is that of the frames `receive` gives; ``widest`` how many bytes of a datagram
    there are on the path; ``mtu`` how many are wished for; ``overhead`` what lower layers add
    to each. ``output`` may be shared: after each `poll_datagrams` it has the datagrams.
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
    ) -> None:
        self._tuned_for = 0.0
        self._offered: bytes | bytearray | memoryview = b""
        size = min(mtu, widest - REPAIR_OVERHEAD)
        self._queue = FlowQueue(secrets.randbits(64))
        self._control = Bbr(size + overhead, random.Random(secrets.randbits(64)))
        self._conversation = DatagramConversation(
            self._queue,
            self._control,
            command,
            size,
            window,
            overhead,
            output,
        )

    @property
    def datagrams(self) -> bytearray:
        """The datagrams of the last `poll_datagrams`, back to back."""
        return self._conversation.datagrams

    @property
    def sizes(self) -> array[int]:
        """Their sizes."""
        return self._conversation.sizes

    @property
    def largest_packet(self) -> int:
        """Bytes of the largest IP packet that fits one datagram."""
        return self._conversation.largest_packet

    @property
    def smoothed_rtt(self) -> float:
        """Seconds; 0 before the first sample."""
        return self._conversation.smoothed_rtt

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
        if self._offered:
            if not conversation.offer(self._offered):
                self._queue.enqueue_batch(self._offered, now)
            self._offered = b""
        count = conversation.poll_datagrams(now)
        if count == 0:
            rest = conversation.take_back()
            if rest:
                self._queue.enqueue_batch(rest, now)
            self._queue.release_idle(now)
            self._tune()
        return count

    def _tune(self) -> None:
        """Let a flow's queue stand as long as it takes to keep a path of this length full."""
        rtt = self._control.least_rtt()
        if abs(rtt - self._tuned_for) > 0.2 * self._tuned_for:
            self._tuned_for = rtt
            target = min(max(TARGET, TARGET_SHARE * rtt), LONGEST_TARGET)
            self._queue.tune(target, max(INTERVAL, INTERVAL_ROUNDS * rtt))

    def take_oversize(self) -> bytes:
        """Give the frames whose packets are too large for the conversation, and forget them."""
        return self._conversation.take_oversize()

    def next_timeout(self) -> float:
        """Tell when to call `poll_datagrams`: inf if there is no need."""
        return self._conversation.next_timeout()

    def receive_datagrams_untrusted(
        self,
        datagrams: bytes | bytearray | memoryview,
        sizes: array[int],
        count: int,
        now: float,
    ) -> int:
        """Take datagrams that lie back to back; returns how many belong to conversation 0."""
        return self._conversation.receive_datagrams_untrusted(datagrams, sizes, count, now)

    def receive(self) -> bytearray:
        """Fetch the packets that have come, as frames; nothing if there are none."""
        return self._conversation.receive()

    def statistics(self) -> PacketChannelStatistics:
        """Return the counters."""
        return PacketChannelStatistics(
            conversation=self._conversation.statistics(), queue=self._queue.statistics()
        )
