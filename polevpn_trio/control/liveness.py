"""When to ask a link for a sign of life, when to doubt it, when to give it up. No I/O.

An idle link is asked by a heartbeat every ten seconds, as the originals have it. One in use
must give a sign of life soon: a router that was killed takes no leave, and UDP says nothing
either. All times are in seconds, ``now`` and ``heard`` on one monotonic clock.
"""

from __future__ import annotations

import attrs

HEART_BEAT_SECONDS = 10.0
"""Interval of heartbeats. The originals close who has not beaten for 60 s, data or not."""

QUIET_SECONDS = 0.7
"""Silence on a link in use after which it is asked for a sign of life."""

PATIENCE_SECONDS = 0.7
"""Least time that this sign may take before the link is doubted."""

PATIENCE_ROUND_TRIPS = 4
"""The same in round-trip times, for paths that are longer than that."""

LONGEST_PATIENCE = 10.0

CALM_SECONDS = 60.0
"""After a link was doubted wrongly, patience doubles each time, up to eightfold; it is back to
normal after so long without."""
MOST_FALSE_ALARMS = 3

DEAD_SECONDS = 25.0
"""Silence in spite of heartbeats after which the link is given up even if no other is found:
two beats unanswered, as the originals have it, and half of a third."""

ROUND_TRIP_WEIGHT = 0.25
"""How much a new measurement counts in the mean of those before."""


@attrs.frozen
class Verdict:
    """What to do about a link now, and when to look again.

    ``beat``: send a heartbeat. ``doubtful``: look for another way. ``dead``: give it up.
    """

    beat: bool
    doubtful: bool
    dead: bool
    look_again_at: float


class Liveness:
    """Judges one link in use, from `used`, `answered`, and when it was last heard."""

    def __init__(self, now: float) -> None:
        self._next_beat = now
        self._asked = now
        """When the last heartbeat was sent that was not a repetition."""
        self._asking = False
        """Whether a sign of life has been asked for and none has been heard since."""
        self._first_use: float | None = None
        """First use of the link after it was last asked."""
        # The last one that was not answered, and whether others before it were not either.
        self._beat: float | None = None
        self._several = False
        self._round_trip: float | None = None
        self._doubted = False
        self._false_alarms = 0
        self._last_alarm = now

    def used(self, now: float) -> bool:
        """Note that packets pass; True if `judge` has to be asked anew because of it."""
        if self._first_use is not None:
            return False
        self._first_use = now
        return True

    def answered(self, now: float) -> None:
        """Note the answer to a heartbeat in the stream. What asks beside it measures by itself."""
        # Answers do not say to which beat; with several under way they measure nothing.
        if self._beat is not None and not self._several:
            sample = now - self._beat
            mean = sample if self._round_trip is None else self._round_trip
            self._round_trip = mean + (sample - mean) * ROUND_TRIP_WEIGHT
        self._beat, self._several = None, False

    def patience(self, round_trip: float | None) -> float:
        """Seconds that a sign of life may take; ``round_trip`` is what the transport measures."""
        longest = max(round_trip or 0.0, self._round_trip or 0.0)
        patience = max(PATIENCE_SECONDS, PATIENCE_ROUND_TRIPS * longest)
        return min(patience * (1 << self._false_alarms), LONGEST_PATIENCE)

    def judge(self, now: float, heard: float, round_trip: float | None) -> Verdict:
        """Say what to do; a heartbeat that is asked for counts as sent.

        ``heard`` is when the last sign of life came, of whatever kind.
        """
        self._take_sign(now, heard)
        quiet_at = None
        if self._first_use is not None and not self._asking:
            quiet_at = max(heard, self._first_use) + QUIET_SECONDS
        beat = now >= self._next_beat or (quiet_at is not None and now >= quiet_at)
        if beat:
            self._send(now)
            quiet_at = None
        doubt_at = self._asked + self.patience(round_trip)
        doubtful = self._asking and now >= doubt_at
        if doubtful and not self._doubted:
            self._doubted = True
            self._last_alarm = now
        again = [self._next_beat, heard + DEAD_SECONDS]
        if quiet_at is not None:
            again.append(quiet_at)
        if self._asking:
            # Should it be heard before, its next silence must not wait for the next beat.
            again.append(max(doubt_at, now + QUIET_SECONDS))
        return Verdict(beat, doubtful, now >= heard + DEAD_SECONDS, max(min(again), now))

    def _take_sign(self, now: float, heard: float) -> None:
        if self._asking and heard >= self._asked:
            self._asking = False
            if self._doubted:
                self._doubted = False
                self._false_alarms = min(self._false_alarms + 1, MOST_FALSE_ALARMS)
        if not self._doubted and now - self._last_alarm > CALM_SECONDS:
            self._false_alarms = 0

    def _send(self, now: float) -> None:
        self._next_beat = now + HEART_BEAT_SECONDS
        self._several = self._beat is not None
        self._beat = now
        if not self._asking:
            self._asking = True
            self._asked = now
            self._first_use = None
