"""Whether a link's IP packets travel beside its stream, each for itself, or in it.

Beside it, a lost packet holds up nobody, but each packet has headers, a place in a window, an
acknowledgement and a share in repairs. In the stream they cost less, and super-packets stay whole;
a loss holds up all that follows for a round trip. Where the round trip is short and next to
nothing gets lost, nobody could tell the difference but by the speed. No I/O happens here.
"""

from __future__ import annotations

import math

LOOK_SECONDS = 0.25
ENTER_RATE = 6e6
"""Bytes per second from which on what datagrams cost is worth a change."""
LEAVE_RATE = 1.2e6
"""Slower traffic is better off where the last packet of a burst is repaired."""
ENTER_RTT = 0.003
"""Seconds that a loss may hold up everybody."""
LEAVE_RTT = 0.006
ENTER_SECONDS = 0.5
LEAVE_SECONDS = 2.0
TOLERATED_LOSSES = 2
"""In one look, and `TOLERATED_SHARE` of what was sent."""
TOLERATED_SHARE = 0.001
LOSSY_SECONDS = 2 * LOOK_SECONDS
"""Losses must go on for two looks: a program that was kept from running loses a burst but once."""
RETREAT_SECONDS = 10.0
"""How long not to try again after losses; twice as long each time."""
LONGEST_RETREAT = 600.0
FORGIVEN_SECONDS = 60.0
"""In the stream without a complaint: the next retreat is a short one again."""


class Carriage:
    """Judges by what became of what was sent. Times are in seconds of a clock that goes forward."""

    def __init__(self, now: float) -> None:
        self.in_stream = False
        """What was judged best."""
        self.look_at = now + LOOK_SECONDS
        """When to call `judge` again, if anything is sent."""
        self._looked_at = now
        self._bytes = 0
        self._sent = 0
        self._lost = 0
        # Since when all looks agreed that there is a reason for a change.
        self._fit_since = math.inf
        self._lossy_since = math.inf
        self._slow_since = math.inf
        self._entered_at = math.inf
        self._refrain_until = -math.inf
        self._retreat = RETREAT_SECONDS

    def judge(self, size: int, sent: int, lost: int, rtt: float, now: float) -> bool:
        """Take counters; return whether the stream is best.

        ``size`` counts bytes of frames, received ones too: what answers bulk is best where that is.
        ``sent`` and ``lost`` count datagrams sent on the way in use, ``rtt`` is its shortest round
        trip of late in seconds, 0 before any.
        """
        began = self._looked_at
        count = sent - self._sent
        rate = (size - self._bytes) / max(now - began, LOOK_SECONDS)
        self._bytes = size
        lossy = lost - self._lost > TOLERATED_LOSSES + TOLERATED_SHARE * count
        self.restart(sent, lost, now)
        if self.in_stream:
            self._lossy_since = min(self._lossy_since, began) if lossy else math.inf
            self._slow_since = min(self._slow_since, began) if rate < LEAVE_RATE else math.inf
            if now - self._lossy_since >= LOSSY_SECONDS or rtt > LEAVE_RTT:
                self._leave()
                self._retreat_from(now)
            elif now - self._slow_since >= LEAVE_SECONDS:
                self._leave()
        else:
            fit = rate >= ENTER_RATE and not lossy and 0 < rtt <= ENTER_RTT
            self._fit_since = min(self._fit_since, began) if fit else math.inf
            if now - self._fit_since >= ENTER_SECONDS and now >= self._refrain_until:
                self.in_stream = True
                self._entered_at = now
        return self.in_stream

    def _leave(self) -> None:
        self.in_stream = False
        self._lossy_since = self._slow_since = self._fit_since = math.inf

    def _retreat_from(self, now: float) -> None:
        """Stay away from the stream for a while, for longer if that is not the first time."""
        if now - self._entered_at >= FORGIVEN_SECONDS:
            self._retreat = RETREAT_SECONDS
        self._refrain_until = now + self._retreat
        self._retreat = min(2 * self._retreat, LONGEST_RETREAT)

    def restart(self, sent: int, lost: int, now: float) -> None:
        """Look at what comes from here on: after a change, with the counters of the other way."""
        self._sent, self._lost = sent, lost
        self._looked_at = now
        self.look_at = now + LOOK_SECONDS

    def give_up(self, now: float) -> None:
        """Stay beside the stream: the change did not come about."""
        self._leave()
        self._retreat_from(now)
