"""How much repair to send: what the controller tells the encoder."""

from __future__ import annotations

import attrs

STAGGER = 0.002
"""Seconds; on most paths a burst of losses is over by then."""


@attrs.frozen
class RepairPlan:
    """How many repairs to send, before the budget has its say.

    ``ratio`` is regular repairs per ordinary datagram. ``tail`` is how many follow the end of a
    burst of traffic, ``important`` how many each important datagram gets. Such a repair covers
    older datagrams too, ``reach`` in all at most; where much is lost, it should be few. It leaves
    ``stagger`` seconds after its datagram, and the next one as much later, so that one short
    burst of losses does not take both.
    """

    ratio: float = 0.0
    tail: int = 1
    important: int = 1
    reach: int = 16
    stagger: float = STAGGER


CLEAN = RepairPlan(ratio=0.0, tail=0, important=0)
"""For a link that loses nothing: nothing is sent, nothing even kept."""
