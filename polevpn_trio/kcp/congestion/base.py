# cython: annotation_typing=False
"""What the conversation and its congestion control tell each other.

The conversation reports once per datagram of acknowledgements (or loss timer) what came of
what it sent, and reads two numbers: how many bytes may be under way, and how fast to send.
"""

from __future__ import annotations

import math

_INFINITE = math.inf


class AckEvent:
    """What one datagram of acknowledgements told; one object is filled again for each.

    Bytes are those of datagrams on the wire, headers of lower layers and attached repair
    included. ``rtt`` and ``one_way`` are seconds, negative and nan if there is no new sample;
    ``one_way`` has an unknown constant offset, so only its changes mean something. ``arrived_at``
    is when the newest arrived, later by a constant, or ``now`` where nobody tells. ``rate`` is
    a delivery-rate sample in bytes per second (draft-cheng-iccrg-delivery-rate-estimation), 0
    if none; ``app_limited`` tells that it may be low because there was nothing to send.
    ``newest`` is the highest number newly acknowledged, -1 if none; ``sent_delivered`` is how
    many bytes had been delivered when that datagram left; ``delivered`` is how many are now.
    ``spurious_packets`` counts those that had been counted as lost and arrived after all.
    ``lost_runs`` counts those of the lost datagrams whose predecessor was not lost,
    ``recovered_runs`` likewise for those that were lost on the path and made up by repair.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.rtt = -1.0
        self.one_way = math.nan
        self.arrived_at = 0.0
        self.rate = 0.0
        self.app_limited = False
        self.newest = -1
        self.sent_delivered = -1
        self.delivered = 0
        self.new_bytes = 0
        self.new_packets = 0
        self.lost_bytes = 0
        self.lost_packets = 0
        self.lost_runs = 0
        self.recovered_packets = 0
        self.recovered_runs = 0
        self.spurious_packets = 0
        self.in_flight = 0

    def clear(self, now: float) -> None:
        """Begin another event."""
        self.now = now
        self.rtt = -1.0
        self.one_way = math.nan
        self.arrived_at = now
        self.rate = 0.0
        self.app_limited = False
        self.newest = -1
        self.sent_delivered = -1
        self.new_bytes = 0
        self.new_packets = 0
        self.lost_bytes = 0
        self.lost_packets = 0
        self.lost_runs = 0
        self.recovered_packets = 0
        self.recovered_runs = 0
        self.spurious_packets = 0


class CongestionControl:
    """Base of all: limits nothing.

    ``window`` is the most bytes that may be under way, ``pacing_rate`` bytes per second.
    """

    def __init__(self) -> None:
        self.window = 1 << 62
        self.pacing_rate = _INFINITE

    def take_event(self, event: AckEvent) -> None:
        """Learn what was acknowledged and what was lost. Nothing of ``event`` is kept."""

    def statistics(self) -> dict[str, float | str]:
        """Give the state at this moment, by name."""
        return {}
