"""How fast TCP may send, so that the queue of packets stays with us and not in the path.

The kernel's BBR measures the path only while it has enough to send. A TCP inside the tunnel
has less under way than BBR would take, so BBR stays in its startup, in which it passes on all it
gets at up to 2.9 times the rate of the path; the path's queue fills, and there nobody can overtake.
So we look once a round trip at what the kernel measures, and while a queue stands, limit the rate
to what is delivered. Then it is our flow queue that fills, and makes the inner TCP slow down.

The method is BBR's own (draft-ietf-ccwg-bbr): drain, cruise, and probe upwards regularly.
"""

from __future__ import annotations

import math

import attrs

LEAST_ROUND = 0.025
"""Seconds between two looks at least: on shorter paths, a round trip has too few packets."""

LONGEST_ROUND = 0.5
"""Seconds between two looks at most, as long as something is sent."""

SILENCE = 2.0
"""Seconds after which what was known of the path has no value any more."""

LEAST_STANDING = 0.008
STANDING_SHARE = 0.125
STANDING_PACKETS = 3
"""A queue stands if it is longer than so many seconds or this share of the round trip, and so many
packets beyond that: shorter ones come of packets sent in bunches, and of busy hosts."""

LEAST_OWN_BYTES = 16_384
"""Bytes of ours in a queue that it takes to do anything about it: who has sent a few packets did
not make the queue, and what was delivered of those says nothing about the path."""

DRAINED_SHARE = 0.5
"""Share of a standing queue that may be left when it counts as worked off."""

DRAIN_GAIN = 0.5
GENTLE_DRAIN_GAIN = 0.92
DRAIN_ROUNDS = 3
"""A queue is worked off in about so many round trips, by sending at a share of the rate of the
path between these two."""

GROWTH = 1.1
"""A queue that grows by this factor, while it should be worked off, has been misjudged."""

PATIENCE = 2.0
PATIENCE_ROUNDS = 4
"""How long it may take, in multiples of what it should take, and round trips beyond it. A queue
that is still there then is not ours."""

GIVE_WAY_SECONDS = 2.0
LONGEST_GIVE_WAY_SECONDS = 60.0
"""How long we leave the rate alone when the queue is not ours; doubled while that remains so."""

CRUISE_GAIN = 0.995
CRUISE_ROUNDS = 10
CRUISE_SECONDS = 1.2
"""Round trips, and seconds, until the next probe for more."""

LEAST_UP_GAIN = 1.06
UP_GAIN = 1.25
UP_ROUNDS = 3
"""What is sent faster in the first of these shows in the second, smoothed in the third."""
UP_QUEUE = 1.5
"""Queue that a probe makes on a path that gives no more, in multiples of a standing one."""

FASTER_GAIN = 1.5
"""How much the limit grows each time that a probe has made no queue to speak of."""

FREE_FACTOR = 4.0
"""A limit so far above what is delivered limits nothing."""

MOST_LOSS = 0.2
LOSS_MEMORY = 8
SETTLE_ROUNDS = 2
"""Loss is averaged over about so many rounds of cruising, without the first ones, and more than
this share is not believed."""

_MASK32 = 0xFFFFFFFF
_FREE, _DRAIN, _CRUISE, _UP = range(4)
_PHASES = ("free", "drain", "cruise", "up")


@attrs.frozen
class PathSample:
    """What TCP has measured: round trips in seconds, and counters of segments (32 bits).

    ``rtt`` is smoothed, ``min_rtt`` the least of minutes. ``delivered`` counts the segments
    that the peer has acknowledged, selectively or not, of ``segment`` bytes at most each;
    ``sent`` those that left, ``resent`` those of them that had left before.
    """

    rtt: float
    min_rtt: float
    segment: int
    delivered: int
    sent: int
    resent: int


class PathGovernor:
    """The most that may be sent, ``limit``, in bytes of TCP payload per second; inf if free.

    Sans-IO: show it a sample whenever something is sent at or after ``due``. Times are in
    seconds of a clock that goes forward.

    Under a limit BBR has enough to send and leaves its startup, for good. Free again, and with
    pauses, it would take a round trip with a loss and little else for what the path can, and
    from there come back by a quarter in eight round trips. So when ``restart`` is set, it
    should begin anew; who does that clears it.
    """

    def __init__(self) -> None:
        self.limit = math.inf
        self.due = -math.inf
        self.restart = False
        self._limited = False
        self._phase = _FREE
        self._rounds = 0
        self._looked_at = -math.inf
        self._last: PathSample | None = None
        self._loss = 0.0
        # What the path delivers while it is full.
        self._capacity = 0.0
        self._queue_before = 0.0
        self._cruising_since = 0.0
        self._drain_until = 0.0
        self._give_way_until = -math.inf
        self._give_way = GIVE_WAY_SECONDS

    @property
    def phase(self) -> str:
        """What is being done: ``free``, ``drain``, ``cruise`` or ``up``."""
        return _PHASES[self._phase]

    def look(self, sample: PathSample, now: float) -> bool:
        """Take a sample; True if ``limit`` has changed."""
        before = self.limit
        last, self._last = self._last, sample
        elapsed = now - self._looked_at
        self._looked_at = now
        self.due = now + min(max(sample.rtt, LEAST_ROUND), LONGEST_ROUND)
        if last is None or elapsed > SILENCE:
            self._free()
            self._begin_anew()
        elif elapsed > 0:
            delivered = (sample.delivered - last.delivered) & _MASK32
            if self._phase == _CRUISE and self._rounds >= SETTLE_ROUNDS:
                sent = (sample.sent - last.sent) & _MASK32
                self._note_loss(sent, (sample.resent - last.resent) & _MASK32)
            self._end_round(sample, delivered * sample.segment / elapsed, now)
        return self.limit != before

    def _note_loss(self, sent: int, resent: int) -> None:
        """Learn what is lost although there is no queue: that is made up for."""
        # More than that are the losses of before, when the queue was full.
        if sent and resent <= MOST_LOSS * sent:
            self._loss += (resent / sent - self._loss) / LOSS_MEMORY

    def _end_round(self, sample: PathSample, rate: float, now: float) -> None:
        self._rounds += 1
        queue = max(sample.rtt - sample.min_rtt, 0.0)
        standing = max(LEAST_STANDING, sample.min_rtt * STANDING_SHARE)
        if rate > 0:
            standing += STANDING_PACKETS * sample.segment / rate
        if self._phase == _DRAIN:
            # While there is a queue, what is delivered is what the path can.
            self._capacity = max(self._capacity, rate)
            late = now >= self._drain_until
            if queue <= standing * (1.0 if late else DRAINED_SHARE):
                self._give_way = GIVE_WAY_SECONDS
                self._enter(_CRUISE)
                self._cruising_since = now
                self._allow(CRUISE_GAIN)
            elif (
                self._rounds % DRAIN_ROUNDS == 0 and queue > self._queue_before * GROWTH + standing
            ):
                # The path has become slower, and what it delivers was measured before that.
                self._start_drain(sample, queue, rate, now)
            elif late:
                self._give_way_until = now + self._give_way
                self._give_way = min(2 * self._give_way, LONGEST_GIVE_WAY_SECONDS)
                self._free()
        elif queue > standing:
            if rate * queue >= LEAST_OWN_BYTES and now >= self._give_way_until:
                self._enter(_DRAIN)
                self._start_drain(sample, queue, rate, now)
        elif self._phase == _CRUISE:
            if self._rounds >= CRUISE_ROUNDS and now - self._cruising_since >= CRUISE_SECONDS:
                self._enter(_UP)
                self._allow(self._up_gain(sample, standing))
        elif self._phase == _UP and self._rounds >= UP_ROUNDS:
            if self.limit > FREE_FACTOR * rate:
                self._free()
                self._begin_anew()
                return
            self._enter(_UP)
            if queue <= standing * DRAINED_SHARE:
                # The path gives more, or the limit is not what limits.
                self.limit *= FASTER_GAIN

    def _start_drain(self, sample: PathSample, queue: float, rate: float, now: float) -> None:
        self._capacity = rate
        self._queue_before = queue
        rtt = max(sample.min_rtt, LEAST_ROUND)
        gain = min(max(1 - queue / (DRAIN_ROUNDS * rtt), DRAIN_GAIN), GENTLE_DRAIN_GAIN)
        self._drain_until = now + PATIENCE * queue / (1 - gain) + PATIENCE_ROUNDS * sample.rtt
        self.limit = gain * rate
        self._limited = True

    def _up_gain(self, sample: PathSample, standing: float) -> float:
        rounds = UP_ROUNDS * max(sample.rtt, LEAST_ROUND)
        return min(max(1 + UP_QUEUE * standing / rounds, LEAST_UP_GAIN), UP_GAIN)

    def _enter(self, phase: int) -> None:
        self._phase = phase
        self._rounds = 0

    def _free(self) -> None:
        self._enter(_FREE)
        self.limit = math.inf

    def _begin_anew(self) -> None:
        self.restart = self.restart or self._limited
        self._limited = False

    def _allow(self, gain: float) -> None:
        self.limit = gain * self._capacity / (1 - self._loss)
