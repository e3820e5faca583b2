# cython: annotation_typing=False
"""Spreads datagrams over time, in bursts that are worth a system call.

A token bucket that may hold little: what was not used in time is lost, so a pause is not
followed by a flood. It asks to be woken when a burst's worth has come together, about once a
millisecond, and forgives being woken a few milliseconds late.
"""

from __future__ import annotations

import math

BURST_TIME = 0.001
"""Seconds' worth that leave together."""

LEAST_BURST = 2
"""Datagrams of full size that may leave together however low the rate is."""

LATENESS = 0.004
"""Seconds' worth of sending that a late wake-up may catch up with."""

_BURST_TIME = BURST_TIME
_LEAST_BURST = LEAST_BURST
_LATENESS = LATENESS
_INFINITE = math.inf


class Pacer:
    """Allows ``rate`` bytes per second; ``mtu`` is the size of a full datagram on the wire."""

    def __init__(self, mtu: int) -> None:
        self._least = _LEAST_BURST * mtu
        self._credit = float(self._least)
        self._rate = _INFINITE
        self._at = 0.0

    def refill(self, rate: float, now: float) -> None:
        """Go on with ``rate`` from ``now`` on, and count what has come together until then."""
        if rate == _INFINITE:
            self._rate = rate
            self._at = now
            return
        if self._rate == _INFINITE:
            self._credit = self._least
        elif now > self._at:
            self._credit += self._rate * (now - self._at)
        self._rate = rate
        self._at = now
        most = self._burst() + rate * _LATENESS
        if self._credit > most:
            self._credit = most

    def credit(self) -> float:
        """Tell how many bytes may leave now; a datagram may overdraw it."""
        return _INFINITE if self._rate == _INFINITE else self._credit

    def is_due(self) -> bool:
        """Tell whether a burst has come together: what leaves before is not worth a call."""
        return self._rate == _INFINITE or self._credit >= self._burst() - 1

    def charge(self, size: int) -> None:
        """Take ``size`` bytes that leave."""
        if self._rate != _INFINITE:
            self._credit -= size

    def next_burst(self) -> float:
        """Tell when the next burst may leave: a time in the past if it may already."""
        if self._rate == _INFINITE:
            return self._at
        return self._at + (self._burst() - self._credit) / self._rate

    def _burst(self) -> float:
        burst = self._rate * _BURST_TIME
        return self._least if burst < self._least else burst
