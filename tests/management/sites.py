"""Connections and sites for tests, in a time of their own."""

from __future__ import annotations

from typing import Any

import attrs

from polevpn_trio.management.measures import Counters, Reading
from polevpn_trio.management.roster import Connected


@attrs.define(eq=False)
class Peer:
    """A peer of the forwarder that keeps nothing."""

    counters: Counters = attrs.field(factory=Counters)
    heard: float = 0.0
    takes_ipv6: bool = True
    sequences: int = 0

    def enqueue_nowait(self, batch: Any) -> bool:
        return True

    def flush(self) -> None:
        pass

    def note_refused(self, reason: str, packets: int, source: bytes) -> None:
        pass

    def connected(self, since: float = 0.0, **changes: Any) -> Connected:
        values: dict[str, Any] = {
            "identifier": "1f",
            "transport": "kcp",
            "peer": "198.51.100.7:50412",
            "since": since,
            "features": ("ipv6",),
            "read": lambda: Reading(self.counters),
            "heard": lambda: max(self.heard, since),
        }
        return Connected(**{**values, **changes})
