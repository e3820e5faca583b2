# cython: annotation_typing=False
"""When datagrams arrived, by the peer's clock, on the scale of ours.

What the peer tells is the time of an arrival in ticks that wrap. Seen from here its clock has an
unknown offset, and drifts. Two things are told from it:

* how much longer datagrams take in our direction than they did: the offset does not matter;
* when acknowledgements would have come if none were late (``arrived_at``). How late they do come
  tells of the way back and of how often either program gets the processor, not of how fast our
  direction delivers; a rate measured by it is too high as often as too low, and BBR believes
  the highest.
"""

from __future__ import annotations

import math

from polevpn_trio.kcp.congestion.windowed_filter import WindowedMinimum
from polevpn_trio.kcp.datagram import wire
from polevpn_trio.kcp.datagram.wire import expand

MEMORY = 10.0
"""Seconds for which the quickest acknowledgement counts: clocks that drift are followed."""

_TICKS = wire.TICKS
_WRAP = 1 << 24


class PeerClock:
    """Reads the peer's times; ``one_way`` and ``arrived_at`` are those of the last, in seconds.

    ``one_way`` has an unknown constant offset. ``arrived_at`` is on our clock's scale, but later
    than the arrival by the time that the quickest acknowledgement takes. Before any sample both
    are nan.
    """

    def __init__(self) -> None:
        self.one_way = math.nan
        self.arrived_at = math.nan
        self._base = -1
        self._way_back = WindowedMinimum(MEMORY)

    def read(self, received_at: int, sent_at: float, rtt: float, now: float) -> None:
        """Take the ticks at which a datagram was received that left at ``sent_at``.

        ``rtt`` is its round trip without the time that the peer waited before it answered.
        """
        ticks = (received_at - int((sent_at % 1024.0) * _TICKS)) & (_WRAP - 1)
        if self._base < 0:
            self._base = ticks
        self.one_way = expand(ticks - self._base, _WRAP, 0) / _TICKS
        self._way_back.add(rtt - self.one_way, now)
        self.arrived_at = sent_at + self.one_way + self._way_back.value
