"""Which link a packet leaves by: the router's table and its decisions, without any I/O.

A packet goes to the gateway whose own address is its destination, else to the owner of the
longest registered prefix that holds it. One decision serves a whole run of packets.

It goes there only if its source belongs to who sent it, by the same table (feasible reverse path
forwarding, RFC 3704, section 2.3): the sender must have registered the longest prefix that holds
the source, alone or with others, or be the gateway with that very address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Protocol

import attrs

from polevpn_trio.batch import FrameBatch
from polevpn_trio.forwarding.policy.guard import PolicyGuard
from polevpn_trio.forwarding.prefix_table import Network, PrefixTable
from polevpn_trio.forwarding.source_filter import (
    MARTIAN,
    OWN,
    SPOOFED,
    SourceFilter,
    is_martian,
)
from polevpn_trio.frames.codec import FrameRun
from polevpn_trio.frames.segmentation import Segmenter

Address = IPv4Address | IPv6Address

CACHE_ENTRIES = 65_536
"""Destinations remembered in front of the table; forgotten all at once when full or when the
table changes. It bounds what a scan of addresses through the tunnel can make us hold."""


class Peer(Protocol):
    """Where packets can go: a gateway's connection, or the router's own site."""

    @property
    def takes_ipv6(self) -> bool:
        """Whether IPv6 packets may be sent there (the Go gateways die of them)."""

    @property
    def sequences(self) -> int:
        """What ``seq`` of IP frames may mean there: ``SEQUENCES_OFFLOAD`` or ``_FOREIGN``."""

    def enqueue_nowait(self, batch: FrameBatch) -> bool:
        """Queue a batch for sending; False (and counted there) when the queue is full."""

    def flush(self) -> None:
        """Let leave what was queued: for now there is no more of it."""

    def note_refused(self, reason: str, packets: int, source: bytes) -> None:
        """Hear that packets from there were dropped; ``reason`` is the name of the counter.

        ``source`` is the source address of one of them (4 or 16 bytes), empty if it is not known.
        """


@attrs.frozen
class ForwarderStatistics:
    """Packets, by what became of them."""

    forwarded: int
    no_route: int
    unregistered: int
    """Their sender had registered nothing yet, so that no source can be its own."""
    spoofed: int
    """Their source is not their sender's."""
    martian: int
    """Their source is no address of a host, or one of a single link only."""
    denied: int
    """The policy does not let them pass."""
    hairpin: int
    not_ipv4: int
    queue_full: int
    cut: int
    """Super-packets that were cut for a peer that takes none; their packets are forwarded."""


@attrs.frozen
class Route:
    """A line of the route table: ``network`` is reached through ``peer``.

    ``others`` have registered it too: the last of them takes over when ``peer`` goes.
    ``priorities`` are those of the others, and then the peer's.
    """

    network: Network | Address
    peer: Peer
    others: tuple[Peer, ...] = ()
    priorities: tuple[int, ...] = ()


class _Holdings:
    """What one peer has registered, so that taking it away need not search the table."""

    __slots__ = ("checked", "gateways", "networks", "retired", "sources")

    def __init__(self, sources: SourceFilter) -> None:
        self.sources = sources
        self.checked = True
        """Whether the sources of its packets are looked at."""
        self.retired = False
        """Whether another connection of the same site has taken over."""
        self.gateways: set[bytes] = set()
        self.networks: set[Network] = set()


class Forwarder:
    """The route table of one router.

    The same network may be registered by several peers: the one with the highest priority owns it,
    of several such ones the last; when that goes, the one before it owns it again. Without
    ``source_check`` packets may bear any source. ``guard`` holds a policy between sites, if there
    is one.
    """

    def __init__(self, *, source_check: bool = True) -> None:
        self.source_check = source_check
        self.guard: PolicyGuard | None = None
        self._holdings: dict[Peer, _Holdings] = {}
        self._names: dict[object, str] = {}
        # Grows with each change of the table: what was decided before is void.
        self._generation = 0
        self._gateways: dict[bytes, Peer] = {}
        # Of each network the peers that have registered it, with their priorities, which rise: the
        # last one is the owner.
        self._networks: PrefixTable[dict[Peer, int]] = PrefixTable()
        self._cache: dict[bytes, tuple[Peer, bool] | None] = {}
        self._segmenter = Segmenter()
        self._forwarded = 0
        self._no_route = 0
        self._unregistered = 0
        self._spoofed = 0
        self._martian = 0
        self._denied = 0
        self._hairpin = 0
        self._not_ipv4 = 0
        self._queue_full = 0

    def gateway_owner(self, address: Address) -> Peer | None:
        """Return the peer that has registered this gateway address."""
        return self._gateways.get(address.packed)

    def owners(self, network: Network) -> Mapping[Peer, int]:
        """Return the peers that have registered exactly this network, the owner last.

        The values are their priorities. Those that are retired do not count.
        """
        owners = self._networks.get(network) or {}
        return {peer: owners[peer] for peer in owners if not self._holdings[peer].retired}

    def register(
        self,
        peer: Peer,
        gateways: Iterable[Address],
        networks: Iterable[Network],
        priority: int = 0,
    ) -> None:
        """Give ``peer`` these gateway addresses and networks, beside what it has.

        A gateway address belongs to one peer: taking it from another does not remove that
        one's networks; the caller ends the stale connection.
        """
        holdings = self._holdings_of(peer)
        for address in gateways:
            self._gateways[address.packed] = peer
            holdings.gateways.add(address.packed)
        for network in networks:
            holdings.networks.add(network)
            owners = self._networks.get(network)
            if owners is None:
                self._networks.set(network, {peer: priority})
            else:
                owners.pop(peer, None)
                higher = [other for other in owners if owners[other] > priority]
                owners[peer] = priority
                for other in higher:
                    owners[other] = owners.pop(other)
        self._changed()

    def exempt(self, peer: Peer, exempt: bool = True) -> None:
        """Let packets of ``peer`` bear any source, or not, until it is unregistered."""
        self._holdings_of(peer).checked = not exempt

    def name(self, peer: Peer, site: str) -> None:
        """Say what the policy calls the site of ``peer``, "" to forget it.

        It has nothing to do with what is registered: who registers nothing is no stranger.
        """
        if site:
            self._names[peer] = site
        else:
            self._names.pop(peer, None)

    def site_of(self, peer: object) -> str:
        """Return what the policy calls the site of ``peer``, "" if that has no name."""
        return self._names.get(peer, "")

    def prioritise(self, peer: Peer, priority: int) -> None:
        """Change the priority of all that ``peer`` has registered."""
        holdings = self._holdings.get(peer)
        if holdings is not None:
            networks = [each for each in holdings.networks if self.owners(each)[peer] != priority]
            self.register(peer, (), networks, priority)

    def retire(self, peer: Peer) -> None:
        """Let ``peer`` bring what is under way, although another has what it had registered."""
        self._holdings_of(peer).retired = True

    def _holdings_of(self, peer: Peer) -> _Holdings:
        holdings = self._holdings.get(peer)
        if holdings is None:
            judge = partial(self.judge_source, peer)
            holdings = self._holdings[peer] = _Holdings(SourceFilter(judge))
        return holdings

    def _changed(self) -> None:
        self._cache.clear()
        self._generation += 1

    def unregister(self, peer: Peer) -> None:
        """Take away all that ``peer`` has registered; costs nothing if that is nothing."""
        holdings = self._holdings.pop(peer, None)
        if holdings is None:
            return
        for key in holdings.gateways:
            # It may have moved to a newcomer, and gone with that.
            if self._gateways.get(key) is peer:
                del self._gateways[key]
        for network in holdings.networks:
            owners = self._networks.get(network)
            if owners is not None:
                del owners[peer]
                if not owners:
                    self._networks.remove(network)
        self._changed()

    def judge_source(self, sender: Peer, source: bytes) -> int:
        """Say whether packets of ``sender`` may bear this source (4 or 16 bytes).

        The answer is `OWN`, `SPOOFED` or `MARTIAN`.
        """
        if is_martian(source):
            return MARTIAN
        owner = self._gateways.get(source)
        if owner is not None and owner is not sender:
            held = self._holdings.get(sender)
            return OWN if held and held.retired and source in held.gateways else SPOOFED
        if owner is sender:
            return OWN
        owners = self._networks.lookup(source)
        return OWN if owners and sender in owners else SPOOFED

    def lookup(self, destination: bytes) -> Peer | None:
        """Return the peer that packets for ``destination`` (4 or 16 bytes) go to."""
        found = self._find(destination)
        return found[0] if found is not None else None

    def _find(self, destination: bytes) -> tuple[Peer, bool] | None:
        """Find the peer, and whether the destination is its very gateway address."""
        if destination in self._cache:
            return self._cache[destination]
        found: tuple[Peer, bool] | None = None
        peer = self._gateways.get(destination)
        if peer is not None:
            found = (peer, True)
        else:
            owners = self._networks.lookup(destination)
            if owners:
                found = (next(reversed(owners)), False)
        if len(self._cache) >= CACHE_ENTRIES:
            self._cache.clear()
        self._cache[destination] = found
        return found

    def route_batch(self, runs: Sequence[FrameRun], sender: Peer, now: float = 0.0) -> None:
        """Pass runs of IP packets, grouped by destination, on to where they belong.

        The data of runs may be changed, as may be the runs. ``now`` (seconds of a clock that only
        goes forward) is what a policy's flows are timed by.
        """
        reached: dict[Peer, None] = {}
        holdings = self._holdings.get(sender)
        checked = self.source_check and (holdings is None or holdings.checked)
        for run in runs:
            found = self._find(run.address)
            if found is None:
                self._no_route += run.packets
                continue
            if checked and not self._keep_own(run, sender, holdings):
                continue
            peer, is_gateway = found
            if peer is sender and not is_gateway:
                # Back to the network that it came from: it would circle between the two
                # until its time to live is used up.
                self._hairpin += run.packets
            elif run.version != 4 and not peer.takes_ipv6:
                self._not_ipv4 += run.packets
            elif self.guard is None or self._keep_allowed(self.guard, run, sender, peer, now):
                batch = FrameBatch(run.data, run.packets, run.sequences)
                if run.sequences and run.sequences != peer.sequences:
                    batch = self._segmenter.to_ordinary(batch)
                if peer.enqueue_nowait(batch):
                    self._forwarded += run.packets
                    reached[peer] = None
                else:
                    self._queue_full += run.packets
        for peer in reached:
            peer.flush()

    def _keep_own(self, run: FrameRun, sender: Peer, holdings: _Holdings | None) -> bool:
        """Take packets with a source that is not the sender's out of a run; False if all are."""
        if holdings is None:
            self._unregistered += run.packets
            sender.note_refused("unregistered", run.packets, b"")
            return False
        sources = holdings.sources
        kept = sources.sift_untrusted(run.data, run.sequences, self._generation)
        if sources.spoofed or sources.martian:
            self._spoofed += sources.spoofed
            self._martian += sources.martian
            if sources.spoofed:
                sender.note_refused("spoofed", sources.spoofed, sources.refused)
            if sources.martian:
                sender.note_refused("martian", sources.martian, b"")
            run.data = run.data[:kept]
            run.packets -= sources.spoofed + sources.martian
        return kept > 0

    def _keep_allowed(
        self, guard: PolicyGuard, run: FrameRun, sender: Peer, peer: Peer, now: float
    ) -> bool:
        """Take packets that the policy denies out of a run; False if all are.

        It is about what goes between sites: what goes back to the same one is not its matter.
        """
        if peer is not sender:
            denied = guard.keep_allowed(run, sender, self.site_of(sender), self.site_of(peer), now)
            if denied:
                self._denied += denied
                sender.note_refused("denied", denied, b"")
        return run.packets > 0

    @property
    def route_count(self) -> int:
        """Length of the table."""
        return len(self._gateways) + len(self._networks)

    def routes(self) -> Iterator[Route]:
        """Give the table: gateway addresses, then networks. It must not change meanwhile."""
        for key, peer in self._gateways.items():
            yield Route(IPv4Address(key) if len(key) == 4 else IPv6Address(key), peer)
        for network, owners in self._networks:
            *others, owner = owners
            yield Route(network, owner, tuple(others), tuple(owners.values()))

    def covering(self, destination: Address) -> list[Route]:
        """Give the routes that would do for a destination, the one that is taken first."""
        found = []
        owner = self._gateways.get(destination.packed)
        if owner is not None:
            found.append(Route(destination, owner))
        for length in range(destination.max_prefixlen, -1, -1):
            network = ip_network((destination, length), strict=False)
            owners = self._networks.get(network)
            if owners:
                *others, owner = owners
                found.append(Route(network, owner, tuple(others), tuple(owners.values())))
        return found

    def statistics(self) -> ForwarderStatistics:
        """Return the counters."""
        return ForwarderStatistics(
            forwarded=self._forwarded,
            no_route=self._no_route,
            unregistered=self._unregistered,
            spoofed=self._spoofed,
            martian=self._martian,
            denied=self._denied,
            hairpin=self._hairpin,
            not_ipv4=self._not_ipv4,
            queue_full=self._queue_full,
            cut=self._segmenter.super_packets,
        )
