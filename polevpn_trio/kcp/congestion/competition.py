# cython: annotation_typing=False
"""Whether somebody else keeps a queue on the path, and how to send while somebody does.

A queue of our own goes away when less is sent than is delivered, and the least round trip of a
path that has become longer stays the same whatever is sent. A queue that does neither is kept by
others: plain BBR keeps up to twice what fits on the path under way, CUBIC fills any queue. Whoever
works such a queue off gives up its share of the path. So as long as it stands we send in the manner
of BBR version 1 (draft-cardwell-iccrg-bbr-congestion-control-00): in turns faster, slower, and
steadily, whatever the queue.

When no queue stands for a while, nobody competes any more.
"""

from __future__ import annotations

import math

FASTER_GAIN = 1.25
SLOWER_GAIN = 0.75
STEADY_GAIN = 1.0
TURNS = 8
"""Round trips from one in which more is sent to the next."""
SETTLED_TURNS = 4
"""Turns until what was sent faster has left the path."""
SETTLED_ROUNDS = 6
"""Round trips with a queue after which what is left of our own is taken to be gone."""
FREE_ROUNDS = 16
"""Round trips without a queue after which nobody competes any more; BBR's PROBE_RTT takes less."""
CALM_TIME = 5.0
"""Seconds, at least, from one PROBE_RTT to the next that a queue which never varies asks for."""
COMPETE_LOSS = 0.15
"""Loss beyond base loss from which on to go on from the rate that arrives."""

_FASTER_GAIN = FASTER_GAIN
_SLOWER_GAIN = SLOWER_GAIN
_STEADY_GAIN = STEADY_GAIN
_TURNS = TURNS
_SETTLED_TURNS = SETTLED_TURNS
_SETTLED_ROUNDS = SETTLED_ROUNDS
_FREE_ROUNDS = FREE_ROUNDS
_NEVER = math.inf


class Competition:
    """Looks at the least queue of each round trip.

    ``standing`` counts the round trips in a row in which one stood, as long as nobody is known to
    compete, ``free`` those in which none did, while somebody does. Then ``gain`` is for the pacing,
    ``turn`` counts the round trips from the last one in which more was sent, and ``queue`` is the
    average, in seconds.
    """

    def __init__(self) -> None:
        self.standing = 0
        self.free = 0
        self.turn = 0
        self.gain = 1.0
        self.queue = 0.0
        self._least = _NEVER
        self._most = 0.0
        self._limited = False

    def forget(self) -> None:
        """Begin to look anew."""
        self.standing = self.free = 0
        self._least = _NEVER
        self._most = 0.0

    def _see(self, queue: float) -> None:
        if queue < self._least:
            self._least = queue
        if queue > self._most:
            self._most = queue

    def look(self, queue: float, limit: float) -> None:
        """Take the least queue of a round trip, in seconds; up to ``limit`` there is none."""
        if queue <= limit:
            self.forget()
            return
        self.standing += 1
        if self.standing > _SETTLED_ROUNDS:
            self._see(queue)

    def varies(self, queue: float, noise: float) -> bool:
        """Tell whether a queue was seen to vary, now that it is ``queue`` seconds."""
        self._see(queue)
        return self._most - self._least > noise

    def begin(self, queue: float) -> None:
        """Begin to compete, with a turn of sending faster."""
        self.forget()
        self.queue = queue
        self.turn = 0
        self.gain = _FASTER_GAIN

    def take_turn(self, queue: float, limit: float, limited: bool) -> None:
        """Take the least queue of a round trip while competing, and begin the next turn."""
        self.queue += (queue - self.queue) / 4
        self.free = self.free + 1 if queue <= limit else 0
        if self.turn == 0:
            self._least = _NEVER
            self._most = 0.0
            self._limited = False
        elif self.turn >= _SETTLED_TURNS:
            self._see(queue)
        if limited:
            self._limited = True
        self.turn = (self.turn + 1) % _TURNS
        if self.turn == 0:
            self.gain = _FASTER_GAIN
        elif self.turn == 1:
            self.gain = _SLOWER_GAIN
        else:
            self.gain = _STEADY_GAIN

    def is_over(self) -> bool:
        """Tell whether nobody competes any more."""
        return self.free >= _FREE_ROUNDS

    def is_busy(self) -> bool:
        """Tell whether there was always enough to send in the turns that are over."""
        return not self._limited

    def is_calm(self, noise: float) -> bool:
        """Tell whether the queue was the same in all turns of steady sending."""
        return self.turn == 0 and self._most - self._least <= noise
