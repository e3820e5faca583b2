"""The bounded queue in front of one link: packets, and control frames that go ahead of them.

A memory channel whose bound is in bytes, since a batch may hold one packet or fifty. Who is full
drops and counts; it never makes another gateway wait.
"""

from __future__ import annotations

import contextlib

import attrs
import trio

from polevpn_trio.batch import FrameBatch

MAX_BATCHES = 16_384
"""Bound of the queue in batches: single small packets reach it before the byte limit, so
it keeps the Python objects of a stalled link to a few megabytes."""

MAX_CONTROL_FRAMES = 256
"""Control frames that may wait: the answers to 40 minutes of heartbeats."""

SPARSE = 4
"""A waiting batch is copied out of a buffer that is this many times its size or more: it would
keep all of that in memory, though only its own bytes count against the limit."""


@attrs.frozen
class OutgoingStatistics:
    """What passed the queue and what did not fit, in packets and bytes.

    ``dropped_control`` counts control frames.
    """

    packets: int
    bytes: int
    dropped_packets: int
    dropped_control: int
    queued_bytes: int


_WAKE = FrameBatch(b"", 0)
"""Sent through the channel so that its receiver looks at the control frames."""


class OutgoingQueue:
    """Packets on their way to one link, at most ``limit`` bytes of them.

    Any number of tasks may put, one may get.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._send, self._receive = trio.open_memory_channel[FrameBatch](MAX_BATCHES)
        self._control: list[FrameBatch] = []
        self._queued = 0
        self._packets = 0
        self._bytes = 0
        self._dropped = 0
        self._dropped_control = 0
        self._awaited = False

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, and who empties the queue waits for something to come."""
        return self._awaited

    def note_bypass(self, batch: FrameBatch) -> None:
        """Count a batch that went straight to the link, since nothing was queued before it."""
        self._packets += batch.packets
        self._bytes += len(batch.data)

    def put_nowait(self, batch: FrameBatch) -> bool:
        """Queue a batch, or drop and count it when the queue is full."""
        size = len(batch.data)
        data = batch.data
        if self._queued and self._queued + size > self._limit:
            self._dropped += batch.packets
            return False
        if self._queued and isinstance(data, memoryview) and size * SPARSE <= len(data.obj):  # type: ignore[arg-type]  # bytes-like
            batch = FrameBatch(bytes(data), batch.packets)
        try:
            self._send.send_nowait(batch)
        except trio.WouldBlock:
            self._dropped += batch.packets
            return False
        self._awaited = False
        self._queued += size
        self._packets += batch.packets
        self._bytes += size
        return True

    def put_control_nowait(self, frame: bytes) -> bool:
        """Queue a control frame ahead of all packets, or drop and count it when too many wait."""
        if len(self._control) >= MAX_CONTROL_FRAMES:
            self._dropped_control += 1
            return False
        self._awaited = False
        self._control.append(FrameBatch(frame, 0))
        with contextlib.suppress(trio.WouldBlock):
            self._send.send_nowait(_WAKE)
        return True

    async def get_batches(self, most_bytes: int) -> list[FrameBatch]:
        """Wait until something is there; take control frames, then packets.

        Takes up to about ``most_bytes`` of packets. Nothing may come of it: a control frame
        that was taken already leaves its wake-up behind.
        """
        try:
            batches = [self._receive.receive_nowait()]
            await trio.lowlevel.checkpoint()
        except trio.WouldBlock:
            self._awaited = True
            try:
                batches = [await self._receive.receive()]
            finally:
                self._awaited = False
        size = len(batches[0].data)
        while size < most_bytes:
            try:
                batch = self._receive.receive_nowait()
            except trio.WouldBlock:
                break
            batches.append(batch)
            size += len(batch.data)
        self._queued -= size
        taken, self._control = self._control, []
        taken += [batch for batch in batches if batch is not _WAKE]
        return taken

    def statistics(self) -> OutgoingStatistics:
        """Return the counters."""
        return OutgoingStatistics(
            packets=self._packets,
            bytes=self._bytes,
            dropped_packets=self._dropped,
            dropped_control=self._dropped_control,
            queued_bytes=self._queued,
        )
