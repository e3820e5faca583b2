"""A gateway as operators see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs
import trio

from polevpn_trio.control.config import SiteConfig
from polevpn_trio.forwarding.forwarder import Address
from polevpn_trio.forwarding.prefix_table import holds, longest
from polevpn_trio.management.answers import (
    Alternative,
    CertificateStatus,
    Explanation,
    RouteEntry,
    Routes,
    Status,
    Step,
    worst,
)
from polevpn_trio.management.roster import info
from polevpn_trio.management.uplinks import Uplinks
from polevpn_trio.management.view import Program
from polevpn_trio.nursery_tree import Branch, NodeSnapshot
from polevpn_trio.tun.route_lookup import KernelRoute, look_up_route

NOT_ROUTED_ADVICE = "if it belongs to another site, add its network to route_networks"
KERNEL_ADVICE = (
    "another route of this machine is more precise or was there before: see `ip route get`"
)
SOURCE_ADVICE = (
    "if the source is a host of this site, add its network to local_networks, and at the router to "
    "the site's `networks`"
)
NO_LINK_ADVICE = "see `status` for why there is no link"
NOT_IPV4_ADVICE = "the router knows only IPv4: run this implementation there, with native on"
ACLS_ADVICE = "add the source's network to acls if it may send to this site"
AT_THE_ROUTER = "who gets it is the router's decision: explain it there as well"


@attrs.frozen
class GatewayView:
    """Reads a gateway's uplinks and configuration.

    ``configured`` gives what holds for its site, ``drops`` reads the packets dropped, by reason;
    ``look_up`` asks the kernel for a route, in a thread.
    """

    program: Program
    root: Branch
    uplinks: Uplinks
    configured: Callable[[], SiteConfig]
    interface: str
    drops: Callable[[], Mapping[str, int]]
    look_up: Callable[[Address], KernelRoute | None] = look_up_route
    certificates: Callable[[], tuple[CertificateStatus, ...]] = tuple

    @property
    def site(self) -> SiteConfig:
        """What the configuration says of the site now."""
        return self.configured()

    async def status(self, over: float) -> Status:
        """Tell how the link is."""
        started = trio.current_time()
        before = None
        if over > 0:
            before = self.uplinks.site.read().counters
            await trio.sleep_until(started + over)
        now = trio.current_time()
        site = self.uplinks.status(now, before, now - started)
        program = self.program.status()
        return attrs.evolve(
            program,
            state=worst([program.state, site.state]),
            sites=(site,),
            servers=self.uplinks.servers(now),
            drops={name: count for name, count in self.drops().items() if count},
            certificates=self.certificates(),
        )

    def routes(self, offset: int, most: int) -> Routes:
        """Give a part of the networks on either side."""
        entries = list(self._routes())
        return Routes(tuple(entries[offset : offset + most]), offset, len(entries))

    def _routes(self) -> Iterator[RouteEntry]:
        now = trio.current_time()
        connected = self.uplinks.site.connected
        identifier = connected.identifier if connected is not None else ""
        age = now - self.program.started
        for network in self.site.route_networks:
            yield RouteEntry(
                str(network), "the router", self.interface, "configured", identifier, age
            )
        for network in self.site.local_networks:
            yield RouteEntry(
                str(network), self.uplinks.site.name, "this site", "announced", identifier, age
            )

    def tree(self) -> NodeSnapshot:
        """Draw the live tree."""
        return self.root.snapshot()

    async def explain(
        self,
        source: Address,
        destination: Address,
        protocol: int | None = None,
        port: int | None = None,
    ) -> Explanation:
        """Say what becomes of a packet, that comes out of the tunnel or goes into it."""
        await trio.lowlevel.checkpoint()
        answer = _Answer(source, destination)
        own = (self.site.gateway, self.site.gateway6)
        inside = longest(self.site.local_networks, destination)
        comes_from_here = source in own or longest(self.site.local_networks, source) is not None
        if comes_from_here:
            answer.source_site = self.uplinks.site.name
        if destination in own or (inside is not None and not self._routed(destination, inside)):
            answer.site = self.uplinks.site.name
            answer.route = str(destination if destination in own else inside)
            answer.ask("is its destination at this site?", f"yes, {answer.route}", True)
            if comes_from_here:
                answer.verdict = "local"
            else:
                self._admit(source, answer)
            return self._finish(answer)
        answer.ask("is its destination at this site?", "no", True)
        await self._send(destination, answer)
        return self._finish(answer)

    def _routed(self, destination: Address, inside: object) -> bool:
        """Whether a route into the tunnel is more precise than the network at this site."""
        outside = longest(self.site.route_networks, destination)
        return outside is not None and outside.prefixlen > getattr(inside, "prefixlen", 0)

    def _admit(self, source: Address, answer: _Answer) -> None:
        """The check that packets from the tunnel pass."""
        if not self.site.acls:
            answer.policy = "no acls: every source may send to this site"
            answer.ask("may its source send to this site?", answer.policy, True)
            return
        rule = longest(self.site.acls, source)
        if rule is None:
            answer.policy = "acls: none of them holds the source"
            answer.drop("not_in_acls", ACLS_ADVICE)
        else:
            answer.policy = f"acls: {rule}"
        answer.ask("may its source send to this site?", answer.policy, rule is not None)

    async def _send(self, destination: Address, answer: _Answer) -> None:
        """The way into the tunnel."""
        routes = self.site.route_networks
        best = longest(routes, destination)
        if best is None:
            answer.verdict, answer.advice = "local", NOT_ROUTED_ADVICE
            answer.ask("which route_networks hold its destination?", "none", False)
        else:
            answer.route = str(best)
            answer.ask("which route_networks hold its destination?", str(best), True)
            for wider in sorted(routes, key=lambda network: -network.prefixlen):
                if wider != best and holds(wider, destination):
                    answer.alternatives.append(Alternative(str(wider), f"{best} is more precise"))
        kernel = await trio.to_thread.run_sync(self.look_up, destination)
        into_tunnel = kernel is not None and kernel.interface == self.interface
        way = "nowhere" if kernel is None else f"by {kernel.interface}"
        if kernel is not None and kernel.gateway:
            way += f" via {kernel.gateway}"
        answer.ask("where does this machine's kernel send it?", way, into_tunnel)
        if not into_tunnel:
            answer.verdict = "local"
            if best is not None:
                answer.advice = KERNEL_ADVICE
                answer.alternatives.append(
                    Alternative(f"{best} by {self.interface}", f"the kernel sends it {way}")
                )
            return
        answer.site = "the router"
        answer.policy = AT_THE_ROUTER
        connected = self.uplinks.site.connected
        registered = (
            "yes" if answer.source_site else "no: the router drops it, unless it checks no sources"
        )
        answer.ask("does this site register its source?", registered, bool(answer.source_site))
        if not answer.source_site:
            answer.advice = SOURCE_ADVICE
        answer.ask("is there a link?", "yes" if connected else "no", connected is not None)
        if connected is None:
            answer.drop("no_link", NO_LINK_ADVICE)
        elif destination.version != 4:
            takes = "ipv6" in (connected.features or ())
            answer.ask("does the router take IPv6?", "yes" if takes else "no", takes)
            if not takes:
                answer.drop("not_ipv4", NOT_IPV4_ADVICE)

    def _finish(self, answer: _Answer) -> Explanation:
        connected = self.uplinks.site.connected
        uses_link = connected is not None and answer.verdict != "local"
        largest = connected.largest_packet() if connected is not None and uses_link else None
        return Explanation(
            source=str(answer.source),
            destination=str(answer.destination),
            verdict=answer.verdict,
            reason=answer.reason,
            advice=answer.advice,
            source_site=answer.source_site,
            site=answer.site,
            route=answer.route,
            policy=answer.policy,
            link=info(connected, trio.current_time()) if connected and uses_link else None,
            mtu=min(self.site.mtu, largest or self.site.mtu),
            steps=tuple(answer.steps),
            alternatives=tuple(answer.alternatives),
        )


@attrs.define
class _Answer:
    """An explanation that is being put together."""

    source: Address
    destination: Address
    verdict: str = "delivered"
    reason: str = ""
    advice: str = ""
    source_site: str = ""
    site: str = ""
    route: str = ""
    policy: str = ""
    steps: list[Step] = attrs.field(factory=list)
    alternatives: list[Alternative] = attrs.field(factory=list)

    def ask(self, question: str, answer: str, passes: bool) -> None:
        self.steps.append(Step(question, answer, passes))

    def drop(self, reason: str, advice: str) -> None:
        self.verdict, self.reason, self.advice = "dropped", reason, advice
