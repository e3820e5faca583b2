"""How much of something there may be in a second, with a burst. No I/O."""

from __future__ import annotations


class TokenBucket:
    """Holds up to ``burst`` tokens, and gets ``rate`` of them a second; full at first.

    Times are in seconds of a clock that goes forward.
    """

    __slots__ = ("_burst", "_rate", "_since", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._since = now

    def level(self, now: float) -> float:
        """Return how many tokens there are."""
        self._tokens = min(self._burst, self._tokens + (now - self._since) * self._rate)
        self._since = now
        return self._tokens

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take ``amount`` tokens, or none and return False if there are fewer."""
        if self.level(now) < amount:
            return False
        self._tokens -= amount
        return True

    def spend(self, now: float, amount: float) -> bool:
        """Take ``amount`` tokens if there is any at all, going into debt; False if there is none.

        For amounts that come as they are: none is too large to pass ever.
        """
        if self.level(now) <= 0:
            return False
        self._tokens -= amount
        return True
