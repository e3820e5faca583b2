"""Who of those that knock may come in, and who has to go when it is too crowded. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address
from types import MappingProxyType

import attrs

from polevpn_trio.control.limits import Limits
from polevpn_trio.control.token_bucket import TokenBucket

IPV6_SITE_BYTES = 8
"""Leading bytes of an IPv6 address by which hosts are told apart: whoever has one address
mostly has the whole /64."""

MOST_SOURCES = 4096
"""Sources whose handshakes are counted; the one not heard of for longest is forgotten for a new
one. Whoever has more addresses than that is kept in check by the limit for all together."""

REASONS = MappingProxyType(
    {
        "unauthenticated": "too many who do not log in",
        "connections_per_source": "too many connections from its address",
        "source_handshakes_per_second": "too many handshakes with its address",
        "handshakes_per_second": "too many handshakes",
    }
)
"""Why somebody is turned away, by the limit that says so."""


@attrs.frozen
class AdmissionStatistics:
    """Connections that are not logged in, and all; and those turned away, by the limit."""

    waiting: int
    connections: int
    refused: Mapping[str, int]


@attrs.define(eq=False)
class Place:
    """The place of one connection."""

    _admission: Admission
    _source: bytes
    _evict: Callable[[], None]

    def admit(self) -> None:
        """Let go of the part for those that are not logged in: the peer has logged in."""
        self._admission._stop_waiting(self)

    def leave(self) -> None:
        """Give the place back: the peer is gone. Harmless when done before."""
        self._admission._leave(self)


class Admission:
    """The connections of one router, within its limits.

    When too many are not logged in, the newest is let in all the same, and the oldest one of the
    source that has most of them is evicted: who floods us stands in his own way first. A source
    is an IPv4 address, or the /64 of an IPv6 address.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self.refused: Counter[str] = Counter()
        """What a limit has turned away, by its name."""
        self._places: dict[Place, None] = {}
        self._connections: Counter[bytes] = Counter()
        self._waiting = 0
        self._waiting_of: dict[bytes, dict[Place, None]] = {}
        self.limit(limits, now)

    def limit(self, limits: Limits, now: float) -> None:
        """Go on with these limits; who is in stays."""
        self._limits = limits
        self._handshakes = TokenBucket(limits.handshakes_per_second, limits.handshake_burst, now)
        # In the order in which they were heard of last.
        self._handshakes_of: dict[bytes, TokenBucket] = {}

    def refuse_handshake(self, host: str, now: float) -> str:
        """Whether no handshake may begin with ``host``, a numeric address that is proven.

        Returns the name of the limit that forbids it, after counting that; "" if it may.
        """
        source = _source(host)
        own = self._handshakes_of.pop(source, None) or TokenBucket(
            self._limits.source_handshakes_per_second, self._limits.source_handshake_burst, now
        )
        if len(self._handshakes_of) >= MOST_SOURCES:
            del self._handshakes_of[next(iter(self._handshakes_of))]
        self._handshakes_of[source] = own
        refusal = ""
        if self._connections[source] >= self._limits.connections_per_source:
            refusal = "connections_per_source"
        elif own.level(now) < 1:
            refusal = "source_handshakes_per_second"
        elif not self._handshakes.take(now):
            refusal = "handshakes_per_second"
        else:
            own.take(now)
        if refusal:
            self.refused[refusal] += 1
        return refusal

    def enter(self, host: str, evict: Callable[[], None]) -> Place:
        """Take a place for a connection from ``host``, a numeric address.

        ``evict`` is called, once at most, when the place is needed for somebody else.
        """
        if self._waiting >= self._limits.unauthenticated:
            greediest = max(self._waiting_of.values(), key=len)
            oldest = next(iter(greediest))
            self._leave(oldest)
            self.refused["unauthenticated"] += 1
            oldest._evict()
        place = Place(self, _source(host), evict)
        self._places[place] = None
        self._connections[place._source] += 1
        self._waiting_of.setdefault(place._source, {})[place] = None
        self._waiting += 1
        return place

    @contextmanager
    def place(self, host: str, evict: Callable[[], None]) -> Iterator[Place]:
        """Hold what `enter` gives, and give it back at the end."""
        place = self.enter(host, evict)
        try:
            yield place
        finally:
            self._leave(place)

    def _stop_waiting(self, place: Place) -> None:
        places = self._waiting_of.get(place._source, {})
        if place in places:
            del places[place]
            self._waiting -= 1
            if not places:
                del self._waiting_of[place._source]

    def _leave(self, place: Place) -> None:
        self._stop_waiting(place)
        if place in self._places:
            del self._places[place]
            self._connections[place._source] -= 1
            if not self._connections[place._source]:
                del self._connections[place._source]

    def statistics(self) -> AdmissionStatistics:
        """Return the counters."""
        return AdmissionStatistics(
            waiting=self._waiting, connections=len(self._places), refused=dict(self.refused)
        )


def _source(host: str) -> bytes:
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped.packed
        return address.packed[:IPV6_SITE_BYTES]
    return address.packed
