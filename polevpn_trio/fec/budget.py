# cython: annotation_typing=False
"""What repair may cost: a share of the traffic, and a little per second besides.

The share keeps a busy link from drowning in its own redundancy. The allowance per second is
for links on which next to nothing happens: a lone ping earns too little to be sent twice, and
on such a link it costs nobody anything.

Two token buckets. In any time t in which B bytes of traffic were sent, at most
``share`` * B + ``allowance`` * t are spent, plus what the buckets hold: `SHARE_BURST` bytes and
one second's allowance. Each datagram counts with its headers, `PACKET_BYTES` more than its
length.
"""

from __future__ import annotations

SHARE_BURST = 32 * 1024
"""Bytes that the share may save up: some twenty repairs."""

PACKET_BYTES = 65
"""Bytes that a datagram costs besides its own: headers of IPv4 and UDP, and of the record."""

_SHARE_BURST = float(SHARE_BURST)
_PACKET_BYTES = PACKET_BYTES


class RepairBudget:
    """Counts what may be spent; ``now`` in seconds.

    ``share`` is repair bytes per byte of traffic (0.25 is a quarter), ``allowance`` bytes per
    second. Raises ValueError unless both are 0 or more and the share at most 4.
    """

    def __init__(self, share: float, allowance: float) -> None:
        if not (0 <= share <= 4 and 0 <= allowance <= 1e9):
            raise ValueError(f"share {share} not in 0 to 4, or allowance {allowance} negative")
        self.share = share
        self.allowance = allowance
        self.shared = 0.0
        self.spare = allowance
        self.spent = 0
        self.refused = 0
        self._at = 0.0

    def earn(self, size: int, now: float) -> None:
        """Note that a datagram of ``size`` bytes is being sent."""
        self.shared += self.share * (size + _PACKET_BYTES)
        if self.shared > _SHARE_BURST:
            self.shared = _SHARE_BURST
        self._pass_time(now)

    def spend(self, size: int, now: float, may_use_allowance: bool) -> bool:
        """Pay for a repair of ``size`` bytes; False, and counted, if there is too little.

        The allowance goes first. A payment is never divided between the two.
        """
        self._pass_time(now)
        size += _PACKET_BYTES
        if may_use_allowance and self.spare >= size:
            self.spare -= size
        elif self.shared >= size:
            self.shared -= size
        else:
            self.refused += 1
            return False
        self.spent += size
        return True

    def _pass_time(self, now: float) -> None:
        if now > self._at:
            self.spare += (now - self._at) * self.allowance
            if self.spare > self.allowance:
                self.spare = self.allowance
            self._at = now
