"""Counts the packets of one sender that a router refused to pass on, and says so now and then.

No I/O but the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from polevpn_trio.control import advice
from polevpn_trio.control.line_limit import LineLimit
from polevpn_trio.control.log import ContextLogger

LINE_SECONDS = 60.0
"""A line for each sender and reason that often, at most: floods must not fill the log."""

_ADVICE = {"spoofed": advice.SPOOFED, "unregistered": advice.UNREGISTERED}
"""Of the reasons that are worth a line."""


class RefusedPackets:
    """What was refused, by reason."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._counts: dict[str, int] = {}
        self._limits = {reason: LineLimit(1, LINE_SECONDS) for reason in _ADVICE}

    @property
    def counts(self) -> Mapping[str, int]:
        """Packets by the reason why they were refused."""
        return self._counts

    def note(
        self, reason: str, packets: int, source: bytes, now: float, log: ContextLogger
    ) -> None:
        """Count some, at ``now`` (seconds, monotonic), and log it if it is time to.

        ``source`` is the source address of one of them (4 or 16 bytes), empty if not known.
        """
        count = self._counts[reason] = self._counts.get(reason, 0) + packets
        if reason not in _ADVICE or self._limits[reason].take(now) is None:
            return
        why = "it has registered neither address nor network"
        if source:
            why = f"{ip_address(source)}, for one, is not among its addresses and networks"
        log.warning(
            "%s: packets from it dropped, %d so far: %s",
            self._name,
            count,
            why,
            advice=_ADVICE[reason],
        )
