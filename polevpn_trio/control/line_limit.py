"""Keeps those who knock at the door from filling the disk with lines about it. No I/O."""

from __future__ import annotations


class LineLimit:
    """Lets ``burst`` lines through at once, and then one every ``interval`` seconds."""

    def __init__(self, burst: int, interval: float) -> None:
        self._burst = burst
        self._interval = interval
        self._spent_until = 0.0
        self._suppressed = 0

    def take(self, now: float) -> int | None:
        """Whether a line may be written at ``now`` (seconds, monotonic).

        None if not; else the number of lines suppressed since the last one.
        """
        start = max(self._spent_until, now)
        if start - now > (self._burst - 1) * self._interval:
            self._suppressed += 1
            return None
        self._spent_until = start + self._interval
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed
