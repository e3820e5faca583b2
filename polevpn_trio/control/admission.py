"""How many strangers may be at the door at once, and who has to go when it is full. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

import attrs

IPV6_SITE_BYTES = 8
"""Leading bytes of an IPv6 address by which hosts are told apart: whoever has one address
mostly has the whole /64."""


@attrs.frozen
class AdmissionStatistics:
    """Connections that are not logged in, and those given up to make room for newer ones."""

    waiting: int
    evicted: int


@attrs.define(eq=False)
class Place:
    """The place of one connection that is not logged in yet."""

    _admission: Admission
    _host: bytes
    _evict: Callable[[], None]

    def leave(self) -> None:
        """Give the place back: the peer has logged in, or is gone. Harmless when done before."""
        self._admission._leave(self)


class Admission:
    """At most ``limit`` connections that have not logged in.

    When it is full the newest is let in all the same, and the oldest one of the host that holds
    most places is evicted: who floods us stands in his own way first.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting = 0
        self._evicted = 0
        self._hosts: dict[bytes, dict[Place, None]] = {}

    def enter(self, host: str, evict: Callable[[], None]) -> Place:
        """Take a place for a connection from ``host``, a numeric address.

        ``evict`` is called, once at most, when the place is needed for somebody else.
        """
        if self._waiting >= self._limit:
            greediest = max(self._hosts.values(), key=len)
            oldest = next(iter(greediest))
            self._leave(oldest)
            self._evicted += 1
            oldest._evict()
        place = Place(self, _site(host), evict)
        self._hosts.setdefault(place._host, {})[place] = None
        self._waiting += 1
        return place

    def _leave(self, place: Place) -> None:
        places = self._hosts.get(place._host, {})
        if place in places:
            del places[place]
            self._waiting -= 1
            if not places:
                del self._hosts[place._host]

    def statistics(self) -> AdmissionStatistics:
        """Return the counters."""
        return AdmissionStatistics(waiting=self._waiting, evicted=self._evicted)


def _site(host: str) -> bytes:
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped.packed
        return address.packed[:IPV6_SITE_BYTES]
    return address.packed
