"""How often a program looks for what has arrived, under bulk on a long path.

Datagrams that a path spreads over time wake a program one by one, and each wake-up costs far more
than a datagram: at 100 Mbit/s most of a processor. Network cards have the same trouble, and let
interrupts wait for more to come (moderation, ``ethtool -C rx-usecs``). So does this, where it
cannot be felt: by a small share of the shortest round trip in use, and not before many looks have
followed each other at once. A request and its answer, or a ping, are never held back.
"""

from __future__ import annotations

SHARE = 0.02
"""Of the round trip; on a path of 50 ms that is one of the milliseconds by which pings differ."""
LONGEST = 0.001
"""Seconds; by then some ten datagrams have come at 100 Mbit/s, and most is saved."""
SHORTEST = 0.0002
"""Seconds; a sleep takes some 60 us more than asked for, so less saves nothing."""
BURST = 16
"""Looks that may follow each other at once after as many that were far enough apart."""
MEMORY = 1.0
"""Seconds for which the shortest round trip counts that somebody was active on."""


class Moderation:
    """Tells how long to wait before the next look. Times are in seconds of one clock."""

    def __init__(self) -> None:
        self._spacing = 0.0
        self._spacing_until = 0.0
        # When the last look would have been, had all been apart (GCRA, as in ATM's cells).
        self._theoretical = 0.0

    def note_path(self, rtt: float, now: float) -> None:
        """Learn that something happens on a path with this least round trip; 0 if it is unknown."""
        spacing = min(SHARE * rtt, LONGEST)
        if spacing < SHORTEST:
            spacing = 0.0
        if spacing <= self._spacing or now >= self._spacing_until:
            self._spacing = spacing
            self._spacing_until = now + MEMORY

    def look(self, now: float) -> float:
        """Count a look for what has arrived; return how long it should wait, 0 mostly."""
        spacing = self._spacing
        if spacing == 0.0:
            return 0.0
        theoretical = self._theoretical
        if theoretical < now:
            theoretical = now
        theoretical += spacing
        wait = theoretical - now - BURST * spacing
        self._theoretical = theoretical
        return wait if wait > 0.0 else 0.0
