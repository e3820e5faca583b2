"""How many packets a site may send and get in a second. No I/O."""

from __future__ import annotations

from polevpn_trio.batch import FrameBatch
from polevpn_trio.control.token_bucket import TokenBucket
from polevpn_trio.frames.codec import FrameRun

BURST_SECONDS = 0.1
SMALLEST_BURST = 131_072
"""Bytes that may pass at once, however low the rate: two of the largest batches."""

_BYTES_PER_MEGABIT = 125_000


class RateLimit:
    """Lets so many megabits a second pass each way, at first all, and drops and counts the rest.

    Batches are let through or dropped as a whole; one that begins within the limit may go beyond
    it, and what follows makes up for that. Times are in seconds of a clock that goes forward.
    """

    def __init__(self) -> None:
        self.dropped = 0
        """Packets."""
        self._megabits: int | None = None
        self._from_site: TokenBucket | None = None
        self._to_site: TokenBucket | None = None

    @property
    def limits(self) -> bool:
        """Whether anything is ever dropped."""
        return self._megabits is not None

    def change(self, megabits: int | None, now: float) -> None:
        """Let ``megabits`` a second pass from now on, or all."""
        if megabits == self._megabits:
            return
        self._megabits = megabits
        if megabits is None:
            self._from_site = self._to_site = None
            return
        rate = megabits * _BYTES_PER_MEGABIT
        burst = max(rate * BURST_SECONDS, SMALLEST_BURST)
        self._from_site = TokenBucket(rate, burst, now)
        self._to_site = TokenBucket(rate, burst, now)

    def from_site(self, runs: list[FrameRun], now: float) -> list[FrameRun]:
        """Return those runs of packets from the site that pass."""
        if self._from_site is None:
            return runs
        bucket = self._from_site
        return [run for run in runs if self._passes(bucket, run, now)]

    def lets_to_site(self, batch: FrameBatch, now: float) -> bool:
        """Whether packets for the site pass."""
        return self._to_site is None or self._passes(self._to_site, batch, now)

    def _passes(self, bucket: TokenBucket, packets: FrameRun | FrameBatch, now: float) -> bool:
        passes = bucket.spend(now, len(packets.data))
        if not passes:
            self.dropped += packets.packets
        return passes
