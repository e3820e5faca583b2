"""The sites that a router has seen, and how they are. No I/O.

Times are in seconds of one clock that goes forward, passed in as ``now``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from polevpn_trio.control.advice import SPOOFED
from polevpn_trio.management.answers import (
    DEGRADED,
    DOWN,
    UP,
    ConnectionInfo,
    SiteStatus,
    Trouble,
)
from polevpn_trio.management.measures import Counters, Reading, measured

UNKNOWN = "?"
"""Name of a site that has left between two looks."""

KEPT_SITES = 4096
"""Sites remembered; of more than that, the one that has been away longest is forgotten."""

SILENT_SECONDS = 15.0
"""A gateway sends a heartbeat every ten seconds; one is late by now."""

LOSSY_BEFORE_REPAIR, LOSSY_AFTER_REPAIR = 0.1, 0.03
"""Shares of what is sent above which somebody should have a look at the path."""

WANTED = ("queue_delay", "spoofed", "martian", "denied")
"""Drops that are no fault of the link: by them the queue tells a sender how fast it is, or the
router does not pass on what it must not."""

TELLING_SENT = 100
"""Packets that must have been sent before a share of them means something."""

NEVER_CONNECTED = Trouble(
    "not seen since this router started",
    "start the site's gateway, and look into its log if it runs: `events` there, or journalctl",
)

SILENT_ADVICE = (
    "its machine, its uplink, or the path is failing; unless it comes back, check all three"
)
LOSS_ADVICE = (
    "look at the site's uplink: saturated, Wi-Fi, or a provider's fault; try tls beside kcp"
)
DROPS_ADVICE = (
    "more comes for the site than its link takes: see `top`; who sends so much, and must it?"
)


@attrs.frozen
class Connected:
    """A connection that a site is joined by; ``read`` and ``heard`` ask it for its state.

    ``largest_packet`` tells the bytes of the largest IP packet that it carries in one piece, None
    if there is no limit.
    """

    identifier: str
    transport: str
    peer: str
    since: float
    features: tuple[str, ...] | None
    read: Callable[[], Reading]
    heard: Callable[[], float]
    largest_packet: Callable[[], int | None] = lambda: None


@attrs.define(eq=False)
class Site:
    """What is known of one site. ``owner`` is the peer that packets for it go to, None if down."""

    name: str
    changed: float
    addresses: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    owner: object | None = None
    connected: Connected | None = None
    trouble: Trouble | None = NEVER_CONNECTED
    connections: int = 0
    ended: Counters = attrs.field(factory=Counters)
    """Of its connections that are over."""

    def read(self) -> Reading:
        """The counters of all its connections, and the state of the present one."""
        if self.connected is None:
            return Reading(self.ended)
        reading = self.connected.read()
        return attrs.evolve(reading, counters=self.ended.plus(reading.counters))

    def status(
        self, now: float, before: Counters | None = None, seconds: float = 0.0
    ) -> SiteStatus:
        """How the site is; ``before`` are its counters of ``seconds`` ago, for the rates."""
        reading = self.read()
        connected = self.connected
        troubles: tuple[Trouble, ...]
        if connected is None:
            troubles = (self.trouble,) if self.trouble else ()
            state = DOWN
        else:
            troubles = tuple(_troubles(now - connected.heard(), reading.counters, before))
            state = DEGRADED if troubles else UP
        return SiteStatus(
            name=self.name,
            state=state,
            age=now - self.changed,
            addresses=self.addresses,
            networks=self.networks,
            troubles=troubles,
            connections=self.connections,
            connection=None if connected is None else info(connected, now),
            link=measured(reading, before, seconds),
        )


def info(connected: Connected, now: float) -> ConnectionInfo:
    """What is told of a connection."""
    return ConnectionInfo(
        identifier=connected.identifier,
        transport=connected.transport,
        peer=connected.peer,
        age=now - connected.since,
        silent=max(0.0, now - connected.heard()),
        features=connected.features,
    )


def _troubles(silent: float, counters: Counters, before: Counters | None) -> Iterable[Trouble]:
    if silent > SILENT_SECONDS:
        yield Trouble(f"nothing heard for {silent:.0f} s", SILENT_ADVICE)
    if before is None:
        return
    for direction, passage in (
        ("to", counters.passage_sent.since(before.passage_sent)),
        ("from", counters.passage_received.since(before.passage_received)),
    ):
        loss = passage.loss()
        if passage.sent < TELLING_SENT or loss.before_repair is None:
            continue
        if (loss.after_repair or 0.0) > LOSSY_AFTER_REPAIR:
            what = f"{loss.after_repair:.1%} of packets {direction} it lost, and sent again"
            yield Trouble(what, LOSS_ADVICE)
        elif loss.before_repair > LOSSY_BEFORE_REPAIR:
            what = f"{loss.before_repair:.0%} lost on the path {direction} it, and repaired"
            yield Trouble(what, LOSS_ADVICE)
    spoofed = counters.drops.get("spoofed", 0) - before.drops.get("spoofed", 0)
    if spoofed > 0:
        yield Trouble(f"{spoofed} packets dropped, whose source is not among its own", SPOOFED)
    dropped = _unwanted_drops(counters) - _unwanted_drops(before)
    if dropped > 0:
        yield Trouble(f"{dropped} packets dropped", DROPS_ADVICE)


def _unwanted_drops(counters: Counters) -> int:
    """Packets that were dropped for want of room, or by mistake, but by no rule."""
    return sum(count for name, count in counters.drops.items() if name not in WANTED)


class Roster:
    """All sites, in the order in which they became known."""

    def __init__(self, limit: int = KEPT_SITES) -> None:
        self._limit = limit
        self._sites: dict[str, Site] = {}
        self._owners: dict[object, Site] = {}

    def expect(self, name: str, now: float) -> None:
        """Note a site that should be there, and is down until it joins."""
        self._sites.setdefault(name, Site(name, now))

    def forget(self, name: str) -> None:
        """Drop a site that need not be there any more; its connection, if any, is ending."""
        self._sites.pop(name, None)

    def joined(
        self,
        owner: object,
        name: str,
        addresses: Iterable[object],
        networks: Iterable[object],
        connected: Connected,
    ) -> None:
        """Note that a site is joined by a connection, or that one registered more."""
        site = self._sites.get(name)
        if site is None:
            self._make_room()
            site = self._sites[name] = Site(name, connected.since)
        elif site.owner is not None and site.owner is not owner:
            self._leave(site)
        if site.owner is not owner:
            site.connections += 1
            site.changed = connected.since
            site.addresses = site.networks = ()
        site.owner = owner
        site.connected = connected
        site.trouble = None
        site.addresses = _merged(site.addresses, addresses)
        site.networks = _merged(site.networks, networks)
        self._owners[owner] = site

    def left(self, owner: object, trouble: Trouble, now: float) -> None:
        """Note that a connection is over, and why; nothing if it joined no site, or lost it."""
        site = self._owners.pop(owner, None)
        if site is not None and site.owner is owner:
            self._leave(site)
            site.trouble = trouble
            site.changed = now

    def refused(self, name: str, trouble: Trouble) -> None:
        """Note why a site that is down is not let in."""
        site = self._sites.get(name)
        if site is not None and site.connected is None:
            site.trouble = trouble

    def _leave(self, site: Site) -> None:
        self._owners.pop(site.owner, None)
        if site.connected is not None:
            site.ended = site.ended.plus(site.connected.read().counters)
        site.owner = site.connected = None

    def _make_room(self) -> None:
        if len(self._sites) >= self._limit:
            away = [site for site in self._sites.values() if site.connected is None]
            if away:
                del self._sites[min(away, key=lambda site: site.changed).name]

    def sites(self) -> list[Site]:
        """All of them."""
        return list(self._sites.values())

    def named(self, name: str) -> Site | None:
        """The site of this name, if it is remembered."""
        return self._sites.get(name)

    def of(self, owner: object | None) -> Site | None:
        """The site that is joined by this peer."""
        return None if owner is None else self._owners.get(owner)

    def name_of(self, owner: object | None) -> str:
        """The name of the site that is joined by this peer; `UNKNOWN` if it has left."""
        site = self.of(owner)
        return UNKNOWN if site is None else site.name


def _merged(known: tuple[str, ...], more: Iterable[object]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*known, *map(str, more))))
