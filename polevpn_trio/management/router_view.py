"""A router as operators see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs
import trio

from polevpn_trio.control.site_directory import KnownSite
from polevpn_trio.forwarding.forwarder import Address, ForwarderStatistics
from polevpn_trio.management.absent import Claim, claim_of_earlier, claim_of_known, nearest
from polevpn_trio.management.answers import (
    CertificateStatus,
    Explanation,
    Routes,
    SiteStatus,
    Status,
    worst,
)
from polevpn_trio.management.measures import Counters
from polevpn_trio.management.policy_view import policy_status
from polevpn_trio.management.roster import Site
from polevpn_trio.management.routing import RouterTable
from polevpn_trio.management.view import SLICE, Program
from polevpn_trio.nursery_tree import Branch, NodeSnapshot


@attrs.frozen
class RouterView:
    """Reads a router's table and roster.

    ``strangers`` counts connections without a login, ``refused`` logins by why they were,
    ``limited`` what limits have turned away.
    """

    program: Program
    root: Branch
    table: RouterTable
    strangers: Callable[[], int]
    refused: Callable[[], Mapping[str, int]] = dict
    certificates: Callable[[], tuple[CertificateStatus, ...]] = tuple
    limited: Callable[[], Mapping[str, int]] = dict
    known: Callable[[], Iterable[tuple[KnownSite, str]]] = tuple
    """The sites of the configuration, each with why it is not let in now, "" if it is."""

    async def status(self, over: float) -> Status:
        """Tell how all sites are."""
        before: dict[Site, Counters] = {}
        started = trio.current_time()
        if over > 0:
            before = await self._counters()
            await trio.sleep_until(started + over)
        sites: list[SiteStatus] = []
        now = trio.current_time()
        for number, site in enumerate(self.table.roster.sites()):
            if number % SLICE == 0:
                await trio.lowlevel.checkpoint()
            sites.append(site.status(now, before.get(site), now - started))
        statistics = self.table.forwarder.statistics()
        program = self.program.status()
        return attrs.evolve(
            program,
            state=worst([program.state, *(site.state for site in sites)]),
            sites=tuple(sites),
            forwarded=statistics.forwarded,
            drops=drops_of(statistics),
            strangers=self.strangers(),
            refused=dict(self.refused()),
            certificates=self.certificates(),
            limited=dict(self.limited()),
            policy=policy_status(self.table.forwarder.guard, trio.current_time()),
        )

    async def _counters(self) -> dict[Site, Counters]:
        counters = {}
        for number, site in enumerate(self.table.roster.sites()):
            if number % SLICE == 0:
                await trio.lowlevel.checkpoint()
            counters[site] = site.read().counters
        return counters

    def routes(self, offset: int, most: int) -> Routes:
        """Give a part of the route table."""
        return self.table.routes(offset, most, trio.current_time())

    async def explain(
        self,
        source: Address,
        destination: Address,
        protocol: int | None = None,
        port: int | None = None,
    ) -> Explanation:
        """Say what becomes of a packet."""
        claims = await self._claims(source), await self._claims(destination)
        return self.table.explain(
            source, destination, trio.current_time(), protocol, port, claims=claims
        )

    async def _claims(self, address: Address) -> tuple[Claim, ...]:
        """Who would have an address if all were as it should be."""
        roster = self.table.roster
        found: list[Claim | None] = []
        for number, (known, closed_because) in enumerate(self.known()):
            if number % SLICE == 0:
                await trio.lowlevel.checkpoint()
            found.append(claim_of_known(known, closed_because, roster, address))
        for number, site in enumerate(roster.sites()):
            if number % SLICE == 0:
                await trio.lowlevel.checkpoint()
            found.append(claim_of_earlier(site, address))
        return tuple(nearest(claim for claim in found if claim is not None))

    def tree(self) -> NodeSnapshot:
        """Draw the live tree."""
        return self.root.snapshot()


def drops_of(statistics: ForwarderStatistics) -> dict[str, int]:
    """Packets that no site's queue dropped, by reason."""
    counts = {
        "no_route": statistics.no_route,
        "unregistered": statistics.unregistered,
        "hairpin": statistics.hairpin,
        "not_ipv4": statistics.not_ipv4,
    }
    return {name: count for name, count in counts.items() if count}
