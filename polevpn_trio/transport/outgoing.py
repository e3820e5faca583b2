"""What waits for one link: packets in a flow queue, and control frames that go ahead of them.

Links take from here, as much as they have room for and not before they have it: what has left
cannot be overtaken any more. Who brings too much loses packets of its own flow, counted; it never
makes another gateway wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from random import SystemRandom

import attrs

from polevpn_trio.batch import SEQUENCES_FOREIGN, SEQUENCES_OFFLOAD, FrameBatch
from polevpn_trio.forwarding.flow_queue import FlowQueue
from polevpn_trio.forwarding.statistics import FlowQueueStatistics
from polevpn_trio.frames.segmentation import clear_sequences
from polevpn_trio.transport.base import SEND_BATCH_BYTES, Buffer

MAX_CONTROL_FRAMES = 256
"""Control frames that may wait: the answers to 40 minutes of heartbeats."""

_SEEDS = SystemRandom()


@attrs.frozen
class OutgoingStatistics:
    """What was meant for the link, in packets and bytes, whether it passed or had to wait.

    Of the packets some may have been dropped since: ``waiting`` counts those, by reason, and tells
    what waits now. ``dropped_control`` counts control frames.
    """

    packets: int
    bytes: int
    dropped_control: int
    waiting: FlowQueueStatistics


class OutgoingQueue:
    """Frames on their way to one link, packets of at most ``limit`` bytes among them.

    Times are in seconds of a clock that goes forward.
    """

    def __init__(self, limit: int) -> None:
        self._flows = FlowQueue(_SEEDS.getrandbits(64), limit)
        self._control: list[bytes] = []
        self._packets = 0
        self._bytes = 0
        self._dropped_control = 0
        self.held = False
        """While it is true, packets wait here whether or not the link has room for them."""
        # Since when something waits and the link takes nothing.
        self._stalled_since = math.inf

    @property
    def waiting(self) -> bool:
        """Whether there is anything to take; a control frame may not go past that."""
        return self._waiting()

    def _waiting(self) -> bool:
        return (self._flows.queued > 0 and not self.held) or bool(self._control)

    @property
    def passable(self) -> bool:
        """Whether packets may go past the queue, since nothing waits."""
        return not (self.held or self._flows.queued or self._control)

    @property
    def stalled_since(self) -> float:
        """Since when the link has taken nothing although something waits; inf if nothing does."""
        return self._stalled_since

    def note_bypass(self, batch: FrameBatch) -> None:
        """Count a batch that went straight to the link, since nothing was queued before it."""
        self._packets += batch.packets
        self._bytes += len(batch.data)

    def put_nowait(self, batch: FrameBatch, now: float) -> None:
        """Queue packets; when that is too much, the fattest flow loses its oldest ones."""
        self.note_bypass(batch)
        self._put(batch, now)

    def _put(self, batch: FrameBatch, now: float) -> None:
        if batch.sequences == SEQUENCES_FOREIGN:
            # They would look like super-packets in the queue.
            clear_sequences(memoryview(batch.data))
        self._note_waiting(now)
        self._flows.enqueue_batch(batch.data, now)

    def put_control_nowait(self, frame: bytes, now: float) -> bool:
        """Queue a control frame ahead of all packets, or drop and count it when too many wait."""
        if len(self._control) >= MAX_CONTROL_FRAMES:
            self._dropped_control += 1
            return False
        self._note_waiting(now)
        self._control.append(frame)
        return True

    def _note_waiting(self, now: float) -> None:
        if not self._waiting():
            self._stalled_since = now

    def take(self, most_bytes: int, now: float) -> list[Buffer]:
        """Take all control frames, and packets of up to ``most_bytes``, but one if any waits.

        Nothing may come of it although something waited: the flow queue drops packets that
        stood too long as late as here.
        """
        taken: list[Buffer] = []
        if self._control:
            taken += self._control
            self._control.clear()
        if self._flows.queued and not self.held:
            batch = self._flows.dequeue_batch(most_bytes, now)
            if batch.packets:
                taken.append(batch.data)
        self._stalled_since = now if self._flows.queued else math.inf
        return taken

    def follow_path(self, rtt: float) -> None:
        """Let a flow stand as long as a path with this least round trip, in seconds, needs."""
        self._flows.follow_path(rtt)

    def convert(self, change: Callable[[FrameBatch], Iterable[FrameBatch]], now: float) -> None:
        """Put in place of the packets that wait what ``change`` makes of them."""
        waiting = []
        while self._flows.queued:
            taken = self._flows.dequeue_batch(SEND_BATCH_BYTES, now)
            waiting.append(FrameBatch(taken.data, taken.packets, SEQUENCES_OFFLOAD))
        for batch in waiting:
            for changed in change(batch):
                self._put(changed, now)

    def move_packets_to(self, other: OutgoingQueue, now: float) -> None:
        """Have the packets that wait here do so in ``other``, behind those that it has."""
        while self._flows.queued:
            taken = self._flows.dequeue_batch(SEND_BATCH_BYTES, now)
            other._put(FrameBatch(taken.data, taken.packets, SEQUENCES_OFFLOAD), now)

    def discard(self, now: float) -> int:
        """Drop all that waits; return how many frames with packets there were."""
        self._control.clear()
        count = 0
        while self._flows.queued:
            count += self._flows.dequeue_batch(SEND_BATCH_BYTES, now).packets
        self._stalled_since = math.inf
        return count

    def release_idle(self, now: float) -> None:
        """Give memory back that has not been needed for a while."""
        self._flows.release_idle(now)

    def statistics(self) -> OutgoingStatistics:
        """Return the counters."""
        return OutgoingStatistics(
            packets=self._packets,
            bytes=self._bytes,
            dropped_control=self._dropped_control,
            waiting=self._flows.statistics(),
        )
