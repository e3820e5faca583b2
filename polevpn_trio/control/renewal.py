"""When a link's keys are to be renewed. No I/O.

Renewed keys limit what one stolen key gives away, and how much somebody who listens sees under it
(RFC 8446 section 5.5). Times are in seconds on one monotonic clock.
"""

from __future__ import annotations

import random

RENEW_SECONDS = 3600.0
"""No key is used for longer, as long as the router can be reached."""

EARLIEST, LATEST = 0.75, 0.95
"""Shares of that between which it is begun, at random: a thousand gateways that came back at the
same moment must not do so again, and a few attempts may fail in between."""

WORN = 0.5
"""Share of the use that keys may be put to at which they are renewed before their time."""

LOOK_SECONDS = 10.0
"""How often that is looked at: at 10 Gbit/s a tenth of it is used up meanwhile."""


_CHANCE = random.Random()


class RenewalPlan:
    """When the keys made at ``now`` are due to be renewed."""

    def __init__(self, now: float, renew_seconds: float, chance: random.Random = _CHANCE) -> None:
        self._due = now + renew_seconds * chance.uniform(EARLIEST, LATEST)

    def is_due(self, now: float, key_use: float) -> bool:
        """Whether to renew them; ``key_use`` is a share of what they may be used for."""
        return now >= self._due or key_use >= WORN

    def look_again_at(self, now: float) -> float:
        """When to ask the next time."""
        return min(self._due, now + LOOK_SECONDS)
