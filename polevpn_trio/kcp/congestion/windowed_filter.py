# cython: annotation_typing=False
"""The least value of the last seconds, kept in constant space and time."""

from __future__ import annotations

import math

_NEVER = math.inf


class WindowedMinimum:
    """Remembers the least of what was added within ``window`` seconds, approximately.

    Kathleen Nichols' filter: the best value, the best after it, and the best after that, each
    moved up when it grows old. ``value`` is inf before the first sample; ``since`` is when the
    least value was last met or undercut.
    """

    def __init__(self, window: float) -> None:
        self.value = _NEVER
        self.since = 0.0
        self._window = window
        self._second = _NEVER
        self._second_at = 0.0
        self._third = _NEVER
        self._third_at = 0.0

    def add(self, sample: float, now: float) -> None:
        """Take a sample."""
        if sample <= self.value or now - self._third_at > self._window:
            self.restart(sample, now)
            return
        if sample <= self._second:
            self._second = self._third = sample
            self._second_at = self._third_at = now
        elif sample <= self._third:
            self._third = sample
            self._third_at = now
        age = now - self.since
        if age > self._window:
            self.value = self._second
            self.since = self._second_at
            self._second = self._third
            self._second_at = self._third_at
            self._third = sample
            self._third_at = now
            if now - self.since > self._window:
                self.value = self._second
                self.since = self._second_at
                self._second = self._third
                self._second_at = self._third_at
        elif self._second_at == self.since and age > self._window / 4:
            self._second = self._third = sample
            self._second_at = self._third_at = now
        elif self._third_at == self._second_at and age > self._window / 2:
            self._third = sample
            self._third_at = now

    def restart(self, sample: float, now: float) -> None:
        """Forget the past and begin with one sample."""
        self.value = self._second = self._third = sample
        self.since = self._second_at = self._third_at = now
