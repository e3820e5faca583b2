"""What the two ends of the repair code tell about themselves."""

from __future__ import annotations

import attrs


@attrs.frozen
class EncoderStatistics:
    """What was protected, and what it cost.

    ``sources`` datagrams of ``source_bytes`` in total were there to be repaired. Repairs are
    counted by their reason: ``regular`` by the ratio, ``tail`` at the end of a burst,
    ``priority`` for important datagrams. ``repair_bytes`` is what all of them have, ``spent``
    what they cost with the headers of lower layers; ``over_budget`` were left out because the
    budget was spent.
    """

    sources: int
    source_bytes: int
    regular: int
    tail: int
    priority: int
    repair_bytes: int
    spent: int
    over_budget: int

    @property
    def overhead(self) -> float:
        """Repair bytes per byte of the layer above."""
        return self.repair_bytes / self.source_bytes if self.source_bytes else 0.0


@attrs.frozen
class DecoderStatistics:
    """What came of the repairs.

    Of the ``repairs`` that arrived, ``unneeded`` had nothing missing in their window,
    ``dependent`` told nothing new, ``too_old`` reached back to what is no longer kept, and
    ``malformed`` ones were dropped unread. ``recovered`` datagrams were computed from the
    others, ``overtaken`` of them arrived later; ``given_up`` came too late or never.
    ``dropped_equations`` had to make room, ``inconsistent`` ones gave what cannot be a datagram.
    """

    repairs: int
    unneeded: int
    dependent: int
    too_old: int
    malformed: int
    recovered: int
    overtaken: int
    given_up: int
    dropped_equations: int
    inconsistent: int
