"""The bounded queue of packets in front of one link.

A memory channel whose bound is in bytes, since a batch may hold one packet or fifty. Who is
full drops and counts; it never makes another gateway wait.
"""

from __future__ import annotations

import attrs
import trio

from polevpn_trio.batch import FrameBatch

MAX_BATCHES = 16_384
"""Bound of the channel in batches: single small packets reach it before the byte limit, so
it keeps the Python objects of a stalled link to a few megabytes."""


@attrs.frozen
class OutgoingStatistics:
    """What passed the queue and what did not fit, in packets and bytes."""

    packets: int
    bytes: int
    dropped_packets: int
    queued_bytes: int


class OutgoingQueue:
    """Packets on their way to one link, at most ``limit`` bytes of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queued = 0
        self._packets = 0
        self._bytes = 0
        self._dropped = 0
        self._send, self._receive = trio.open_memory_channel[FrameBatch](MAX_BATCHES)

    def put_nowait(self, batch: FrameBatch) -> bool:
        """Queue a batch, or drop and count it when the queue is full."""
        size = len(batch.data)
        if self._queued and self._queued + size > self._limit:
            self._dropped += batch.packets
            return False
        try:
            self._send.send_nowait(batch)
        except trio.WouldBlock:
            self._dropped += batch.packets
            return False
        self._queued += size
        self._packets += batch.packets
        self._bytes += size
        return True

    async def get_batches(self, most_bytes: int) -> list[FrameBatch]:
        """Wait for a batch, then take what else is there, up to about ``most_bytes``."""
        batches = [await self._receive.receive()]
        size = len(batches[0].data)
        while size < most_bytes:
            try:
                batch = self._receive.receive_nowait()
            except trio.WouldBlock:
                break
            batches.append(batch)
            size += len(batch.data)
        self._queued -= size
        return batches

    def statistics(self) -> OutgoingStatistics:
        """Return the counters."""
        return OutgoingStatistics(
            packets=self._packets,
            bytes=self._bytes,
            dropped_packets=self._dropped,
            queued_bytes=self._queued,
        )
