# cython: annotation_typing=False
"""Questions to the peer that need no acknowledgement (KCP's WASK, answered by WINS).

A peer that has closed its window is asked whether it is still closed. And a peer of ours can be
asked for a sign of life, which is what gateways do for a heartbeat: a question and an answer, where
a beat in the stream and its answer take acknowledgements too, and wake the router once more.

A question for a sign of life has ``frg`` 1, our clock in ``ts``, and in ``sn`` the round trip as we
measured it last, in milliseconds (0: unknown), since who only answers cannot. The answer repeats
``frg`` and ``ts``. In the questions and answers of originals ``frg`` is 0.
"""

from __future__ import annotations

import math

from polevpn_trio.kcp.round_trip import RoundTrip
from polevpn_trio.kcp.segment import SegmentHeader

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
_MASK32 = 0xFFFFFFFF
_HALF = 0x80000000


class WindowProbe:
    """Knows when the next question is due, what it says, and how to take question and answer."""

    def __init__(self) -> None:
        self.sent = 0
        self._window_due = _NEVER
        self._window_wait = _FIRST_PROBE
        # For a sign of life: when to ask next.
        self._life_due = _NEVER
        self.in_vain = 0
        """How often the peer has been asked for a sign of life since it last answered."""
        # The round trip of the last answer in milliseconds, -1 before any.
        self._measured = -1
        # What the next answer repeats, -1 for a question that wants nothing repeated.
        self._echo = -1

    def next_due(self, waits: bool) -> float:
        """Tell when to ask; of its window the peer is asked only while something ``waits``."""
        if waits and self._window_due < self._life_due:
            return self._window_due
        return self._life_due

    def note_window(self, window: int, before: int, now: float) -> None:
        """Take what the peer says of its window, in segments, and what it said before."""
        if window:
            self._window_due = _NEVER
            self._window_wait = _FIRST_PROBE
        elif before:
            self._window_due = now + self._window_wait

    def ask(self, now: float) -> None:
        """Ask for a sign of life, and again until there is an answer."""
        self._life_due = now

    def write_question(self, header: SegmentHeader, round_trip: RoundTrip, now: float) -> None:
        """Fill in what is ours in a question that is being asked."""
        self.sent += 1
        header.fragment = 0
        header.sequence = 0
        header.timestamp = 0
        # Whatever is asked for, the answer tells of the window too.
        if self._window_due <= now:
            self._window_wait = min(self._window_wait * _PROBE_GROWTH, _LAST_PROBE)
            self._window_due = now + self._window_wait
        if self._life_due <= now:
            # As a segment that is sent again and again.
            self._life_due = now + (1 + 0.5 * self.in_vain) * round_trip.timeout / 1000
            self.in_vain += 1
            header.fragment = 1
            header.timestamp = int(now * 1000) & _MASK32
            # Of those that are all alike the peer would take it that the path never varies.
            header.sequence = self._measured
            if self._measured < 0:
                header.sequence = int(round_trip.smoothed + 0.5)

    def write_answer(self, header: SegmentHeader) -> None:
        """Fill in what is ours in the answer to the last question, or in news of our window."""
        header.fragment = 0
        header.sequence = 0
        header.timestamp = 0
        if self._echo >= 0:
            header.fragment = 1
            header.timestamp = self._echo
            self._echo = -1

    def take_question_untrusted(self, header: SegmentHeader, round_trip: RoundTrip) -> None:
        """Note what the answer shall repeat, and the round trip that the peer has measured."""
        if header.fragment == 1:
            self._echo = header.timestamp
            if header.sequence:
                round_trip.add_sample(header.sequence)

    def take_answer_untrusted(
        self, header: SegmentHeader, milliseconds: int, round_trip: RoundTrip
    ) -> None:
        """Ask no more, and measure the round trip, if it is one for a question of ours."""
        if header.fragment == 1 and self._life_due != _NEVER:
            self._life_due = _NEVER
            self.in_vain = 0
            elapsed = (milliseconds - header.timestamp) & _MASK32
            if elapsed < _HALF:
                self._measured = elapsed
                round_trip.add_sample(elapsed)
