# cython: annotation_typing=False
"""The rest of a stream after a full batch, which may wait a moment for what follows it.

A super-packet of 64 KiB is some segments more than a batch. Sent at once they would be a batch
of their own, and cost everybody on the way as much again as those before them.
"""

from __future__ import annotations

import math

PAUSE = 64
"""Full batches after which a rest may wait again, once one has waited in vain: who sends no more
until all of it has arrived must not be made to wait each time."""

# Copies that the compiled build holds as C integers, which other modules cannot import.
_PAUSE = PAUSE
_NEVER = math.inf


class Tail:
    """Decides whether a rest waits, for ``wait`` seconds at most; 0: none does.

    What was handed in reaches up to position ``end`` of the stream; positions only grow.
    """

    def __init__(self, wait: float) -> None:
        self.due = _NEVER
        """When what waits leaves at the latest; inf if nothing does."""
        self._wait = wait
        self._end = 0
        self._pause = 0
        self._full_at = -1.0

    def waits(self, end: int, now: float) -> bool:
        """Tell whether a rest still waits: its time has not come, nor anything after it."""
        return self.due != _NEVER and now < self.due and end == self._end

    def review(self, end: int, now: float) -> None:
        """Let go what need not wait any longer."""
        if self.due != _NEVER and not self.waits(end, now):
            self.due = _NEVER
            if end == self._end:
                self._pause = _PAUSE

    def note_full_batch(self, now: float) -> None:
        """Note that a full batch leaves."""
        self._full_at = now
        if self._pause > 0:
            self._pause -= 1

    def keep(self, end: int, now: float) -> bool:
        """Have a rest wait if a full batch has just left; tell whether it does."""
        if self.due == _NEVER:
            if self._wait <= 0 or self._full_at != now or self._pause > 0:
                return False
            self.due = now + self._wait
            self._end = end
        return True
