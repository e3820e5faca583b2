# cython: annotation_typing=False
"""Which datagrams arrived, and when to say so: the receiver's half of acknowledgements.

The numbers that arrived are kept as a few runs, newest last. A datagram that continues the
newest run costs a comparison; one that comes late is found from the top, since that is where it
belongs. The oldest run is forgotten when there are too many.

An acknowledgement tells the runs that changed since the eighth last one, so seven in a row may
be lost without harm. It is due after a number of datagrams or a time, at once when asked for,
and soon when a gap opens, since the sender may have something to repair.

The lateness of stragglers is measured here, where the sender's pauses and our own delays do not
blur it: from when the gap that a datagram fills became visible to when it came.
"""

from __future__ import annotations

import math
from array import array

from polevpn_trio.kcp.datagram import wire
from polevpn_trio.kcp.datagram.wire import Acknowledgement

ACK_EVERY = 64
"""Datagrams after which one is acknowledged without waiting."""

MAX_ACK_DELAY = 0.005
"""Seconds that an acknowledgement waits, unless the peer wishes otherwise."""

REORDERING_MEMORY = 8.0
"""Seconds, twice at most, that the latest straggler is remembered."""

NEW = 0
DUPLICATE = 1
ANCIENT = 2
"""Older than all that is remembered: whether it was here before is not known."""

_MOST_RUNS = 128
_TOLD_AGAIN = 8
_ACK_EVERY = ACK_EVERY
_GAP_SHARE = 0.25
_NEW = NEW
_DUPLICATE = DUPLICATE
_ANCIENT = ANCIENT
_TICKS = wire.TICKS
_REORDERING_TICKS = wire.REORDERING_TICKS
_MEMORY = REORDERING_MEMORY
_NEVER = math.inf


class Arrivals:
    """The runs of numbers that arrived, and the acknowledgement that is due.

    ``highest`` is the highest number, -1 at first. ``arrived`` counts distinct datagrams that
    came by themselves, ``recovered`` those that repair made up, ``gaps`` how often the highest
    number jumped, or would have without repair. ``due`` is when to acknowledge, inf if nothing
    waits for it.
    """

    def __init__(self) -> None:
        self.highest = -1
        self.arrived = 0
        self.recovered = 0
        self.gaps = 0
        # Whether the highest number was lost, and made up for.
        self._in_gap = False
        self.duplicates = 0
        self.late = 0
        self.due = _NEVER
        self.max_ack_delay = MAX_ACK_DELAY
        self.unacknowledged = 0
        self._acked_at = -_NEVER
        self._highest_at = 0.0
        self._low = array("q", bytes(8 * _MOST_RUNS))
        self._high = array("q", bytes(8 * _MOST_RUNS))
        # When the first datagram of each run came.
        self._opened_at = array("d", bytes(8 * _MOST_RUNS))
        self._runs = 0
        # The lowest number that was new since each of the last acknowledgements, latest first.
        self._changed = array("q", [0] * _TOLD_AGAIN)
        self._change = -1
        self._straggler = 0.0
        self._straggler_before = 0.0
        self._straggler_since = 0.0

    def add(self, number: int, recovered: bool, at_once: bool, now: float) -> int:
        """Note the arrival of a datagram and return what it is, one of the constants above."""
        fate = self._place(number, recovered, now)
        if fate == _DUPLICATE:
            self.duplicates += 1
            return fate
        if recovered:
            self.recovered += 1
        else:
            self.arrived += 1
        if self._change < 0 or number < self._change:
            self._change = number
        self.unacknowledged += 1
        if at_once or self.unacknowledged >= _ACK_EVERY:
            self.due = now
        elif self.unacknowledged == 1 and now + self.max_ack_delay < self.due:
            self.due = now + self.max_ack_delay
        return fate

    def _place(self, number: int, recovered: bool, now: float) -> int:
        top = self._runs - 1
        if number > self.highest:
            if top >= 0 and number == self._high[top] + 1:
                self._high[top] = number
                if recovered and not self._in_gap:
                    self.gaps += 1
            else:
                if number > self.highest + 1 and self.highest >= 0:
                    if not self._in_gap:
                        self.gaps += 1
                    self._expedite(now)
                self._insert(top + 1, number, now)
            self._in_gap = recovered
            self.highest = number
            self._highest_at = now
            return _NEW
        # Find the lowest run that ends at or above the number.
        at = top
        while at > 0 and self._high[at - 1] >= number:
            at -= 1
        if number >= self._low[at]:
            return _DUPLICATE
        if not recovered:
            self._note_straggler(now - self._opened_at[at], now)
        if at == 0 and self._runs == _MOST_RUNS:
            return _ANCIENT
        joins_above = number == self._low[at] - 1
        joins_below = at > 0 and number == self._high[at - 1] + 1
        if joins_above and joins_below:
            self._low[at] = self._low[at - 1]
            self._opened_at[at] = self._opened_at[at - 1]
            self._remove(at - 1)
        elif joins_above:
            self._low[at] = number
        elif joins_below:
            self._high[at - 1] = number
        else:
            self._insert(at, number, self._opened_at[at])
        self._expedite(now)
        return _NEW

    def _expedite(self, now: float) -> None:
        soon = self._acked_at + self.max_ack_delay * _GAP_SHARE
        if soon < now:
            soon = now
        if soon < self.due:
            self.due = soon

    def _insert(self, at: int, number: int, opened_at: float) -> None:
        if self._runs == _MOST_RUNS:
            self._remove(0)
            at -= 1
        index = self._runs
        while index > at:
            self._low[index] = self._low[index - 1]
            self._high[index] = self._high[index - 1]
            self._opened_at[index] = self._opened_at[index - 1]
            index -= 1
        self._low[at] = number
        self._high[at] = number
        self._opened_at[at] = opened_at
        self._runs += 1

    def _remove(self, at: int) -> None:
        self._runs -= 1
        index = at
        while index < self._runs:
            self._low[index] = self._low[index + 1]
            self._high[index] = self._high[index + 1]
            self._opened_at[index] = self._opened_at[index + 1]
            index += 1

    def _note_straggler(self, lateness: float, now: float) -> None:
        self.late += 1
        if now - self._straggler_since > _MEMORY:
            self._straggler_before = self._straggler
            if now - self._straggler_since > 2 * _MEMORY:
                self._straggler_before = 0.0
            self._straggler = 0.0
            self._straggler_since = now
        if lateness > self._straggler:
            self._straggler = lateness

    def reordering(self, now: float) -> float:
        """Tell how late, in seconds, the latest straggler of the last seconds was; 0 if none."""
        age = now - self._straggler_since
        if age > 2 * _MEMORY:
            return 0.0
        if age > _MEMORY or self._straggler > self._straggler_before:
            return self._straggler
        return self._straggler_before

    def wants_a_ride(self, first: bool, now: float) -> bool:
        """Tell whether a datagram that leaves is to carry an acknowledgement.

        Of bulk few are; with ``first``, also the first one for as long as acknowledgements wait.
        """
        if self.unacknowledged == 0:
            return False
        delay = self.max_ack_delay
        return self.due - now < delay / 2 or (first and now - self._acked_at >= delay)

    def fill(self, acknowledgement: Acknowledgement, now: float) -> None:
        """Make the acknowledgement that is due, and none is due any more.

        At least one datagram must have arrived.
        """
        ack = acknowledgement
        ack.largest = self.highest
        delay = int((now - self._highest_at) * _TICKS)
        ack.delay = delay if delay < 0xFFFF else 0xFFFF
        # Modulo before int: a clock may be far along, and C integers must not overflow.
        ack.received_at = int((self._highest_at % 1024.0) * _TICKS) & 0xFFFFFF
        late = self.reordering(now) * _REORDERING_TICKS
        # Rounded up: a straggler that is not patiently waited for is sent in vain.
        ack.reordering = 0 if late <= 0 else (int(late) + 1 if late < 254 else 255)
        ack.arrived = self.arrived & 0xFFFF
        ack.recovered = self.recovered & 0xFFFF
        ack.gaps = self.gaps & 0xFFFF
        ack.runs = 0
        horizon = self._change if self._change >= 0 else self.highest
        index = _TOLD_AGAIN - 1
        while index > 0:
            self._changed[index] = self._changed[index - 1]
            index -= 1
        self._changed[0] = horizon
        index = 1
        while index < _TOLD_AGAIN:
            if self._changed[index] < horizon:
                horizon = self._changed[index]
            index += 1
        at = self._runs - 1
        while at >= 0 and self._high[at] >= horizon:
            low = self._low[at] if self._low[at] > horizon else horizon
            if not ack.add_run(self.highest - self._high[at], self.highest - low):
                break
            at -= 1
        self._change = -1
        self.unacknowledged = 0
        self._acked_at = now
        self.due = _NEVER
