# cython: annotation_typing=False
"""When to ask a peer that has closed its window whether it is still closed (KCP's WASK)."""

from __future__ import annotations

import math

FIRST_PROBE = 7.0
"""Seconds after the peer closed its window until it is asked."""
PROBE_GROWTH = 1.5
LAST_PROBE = 120.0
"""Seconds; the intervals between further questions grow up to this."""

# Copies that the compiled build holds as C numbers, which other modules cannot import.
_FIRST_PROBE = FIRST_PROBE
_PROBE_GROWTH = PROBE_GROWTH
_LAST_PROBE = LAST_PROBE
_NEVER = math.inf


class WindowProbe:
    """Knows when the next question is due: at ``due``, inf while the window is open."""

    def __init__(self) -> None:
        self.due = _NEVER
        self.sent = 0
        self._wait = _FIRST_PROBE

    def note_window(self, window: int, before: int, now: float) -> None:
        """Take what the peer says of its window, in segments, and what it said before."""
        if window:
            self.due = _NEVER
            self._wait = _FIRST_PROBE
        elif before:
            self.due = now + self._wait

    def note_sent(self, now: float) -> None:
        """Note that the peer is being asked."""
        self.sent += 1
        self._wait = min(self._wait * _PROBE_GROWTH, _LAST_PROBE)
        self.due = now + self._wait
