# cython: annotation_typing=False
"""How long a segment may take: smoothed round trip and retransmission timeout (RFC 6298)."""

from __future__ import annotations

INITIAL_RTO = 200.0
"""Milliseconds until the first resend as long as no round trip was measured."""

MAX_RTO = 60_000.0
"""Milliseconds; also the longest round trip that is believed."""


class RoundTrip:
    """Estimates the round trip from samples and derives the timeout.

    All values are milliseconds. ``interval`` is the least slack above the smoothed round
    trip (the peer may hold an acknowledgement back that long), ``shortest`` the least timeout.
    """

    def __init__(self, interval: float, shortest: float) -> None:
        self.smoothed = 0.0
        self.variation = 0.0
        self.timeout = INITIAL_RTO
        self.samples = 0
        self._interval = interval
        self._shortest = shortest

    def add_sample(self, sample: float) -> None:
        """Take one measured round trip; one beyond a minute is no round trip and is ignored."""
        if sample > _MAX_RTO:
            return
        if self.samples == 0:
            self.smoothed = sample
            self.variation = sample / 2
        else:
            error = sample - self.smoothed
            self.smoothed += error / 8
            if error < 0:
                error = -error
            self.variation += (error - self.variation) / 4
        self.samples += 1
        slack = 4 * self.variation
        if slack < self._interval:
            slack = self._interval
        timeout = self.smoothed + slack
        if timeout < self._shortest:
            timeout = self._shortest
        elif timeout > _MAX_RTO:
            timeout = _MAX_RTO
        self.timeout = timeout


_MAX_RTO = MAX_RTO
