"""Explains a router's table: where each route comes from, and what becomes of a packet. No I/O.

A peer that stands in the table has always joined a site of the roster, or is the router's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import islice

import attrs

from polevpn_trio.forwarding.forwarder import Address, Forwarder, Peer, Route
from polevpn_trio.forwarding.policy.rules import Opening
from polevpn_trio.forwarding.prefix_table import Network
from polevpn_trio.forwarding.source_filter import is_martian
from polevpn_trio.management.absent import Claim
from polevpn_trio.management.answers import (
    Alternative,
    Explanation,
    RouteEntry,
    Routes,
    Step,
    Trouble,
)
from polevpn_trio.management.policy_view import NO_RULES, THERE, explain_policy
from polevpn_trio.management.roster import UNKNOWN, Roster, Site, info

NO_ROUTE_ADVICE = (
    "let the site that has this network name it in its local_networks, and see that it is up"
)
SPOOFED_ADVICE = (
    "let the site that has this source name it in its local_networks; or let a site send from "
    'anywhere: "source_check": false in its file'
)
MARTIAN_ADVICE = "no host between sites has such an address: look which program sends from it"
HAIRPIN_ADVICE = "both ends are at one site: its own LAN must carry this; see route_networks there"
NOT_IPV4_ADVICE = (
    "that site's gateway knows only IPv4: run this implementation there, with native on"
)
SAME_NETWORK_ADVICE = (
    "unless one is the other's standby, correct local_networks of one of them; for known sites a "
    "`priority` decides"
)

Claims = Sequence[Claim]
"""Of sites that have not the network that they should have, the most precise first."""


@attrs.frozen
class RouterTable:
    """The table and the sites behind it; ``own`` is the router's own site as a peer."""

    forwarder: Forwarder
    roster: Roster
    own: Peer | None = None

    def routes(self, offset: int, most: int, now: float) -> Routes:
        """A part of the table, of at most ``most`` lines from ``offset`` on."""
        forwarder = self.forwarder
        rows = tuple(
            self._entry(route, now) for route in islice(forwarder.routes(), offset, offset + most)
        )
        return Routes(rows, offset, forwarder.route_count)

    def _entry(self, route: Route, now: float) -> RouteEntry:
        site = self.roster.of(route.peer)
        connected = site.connected if site is not None else None
        return RouteEntry(
            network=str(route.network),
            site=site.name if site is not None else UNKNOWN,
            via=f"{connected.transport} {connected.peer}" if connected is not None else "",
            origin="configured" if route.peer is self.own else "registered",
            connection=connected.identifier if connected is not None else "",
            age=now - connected.since if connected is not None else 0.0,
            conflicts=tuple(self._conflicts(route)),
        )

    def _conflicts(self, route: Route) -> Iterator[Trouble]:
        others = [self._name(peer) for peer in reversed(route.others)]
        if not others:
            return
        mine, best_other = route.priorities[-1], route.priorities[-2]
        if mine > best_other:
            why, remedy = f"priority {mine} over {best_other}", ""
        else:
            why, remedy = "the last one has it", SAME_NETWORK_ADVICE
        yield Trouble(f"also named by {', '.join(others)}: {why}", remedy)

    def _name(self, peer: Peer) -> str:
        return self.roster.name_of(peer)

    def explain(
        self,
        source: Address,
        destination: Address,
        now: float,
        protocol: int | None = None,
        port: int | None = None,
        *,
        claims: tuple[Claims, Claims] = ((), ()),
    ) -> Explanation:
        """Say what becomes of a packet that comes from the site of ``source``, and opens a flow.

        ``claims``: who else would have the source, and the destination.
        """
        sender = self._sender(source)
        covering = self.forwarder.covering(destination)
        nobody = f"no site has {source}"
        steps = [
            Step(
                "which site does it come from?",
                sender.name if sender is not None else _with_claim(nobody, claims[0]),
                sender is not None,
            )
        ]
        if not covering:
            answer, advice = _with_claim("none", claims[1]), NO_ROUTE_ADVICE
            if claims[1]:
                advice = claims[1][0].advice or advice
            steps.append(Step("which route holds its destination?", answer, False))
            return self._explanation(
                source, destination, sender, None, steps, "no_route", advice, now
            )
        best = covering[0]
        steps.append(
            Step(
                "which route holds its destination?",
                f"{best.network} of {self._name(best.peer)}, "
                + ("its own address" if is_address(best.network) else "the longest prefix"),
                True,
            )
        )
        reason, advice = self._judge_source(source, sender, steps)
        if reason == "spoofed" and claims[0]:
            advice = claims[0][0].advice or advice
        if not reason:
            reason, advice = self._judge(sender, best, destination, steps)
        found = self._explanation(source, destination, sender, covering, steps, reason, advice, now)
        found = attrs.evolve(
            found, alternatives=(*found.alternatives, *_better(claims[1], best.network))
        )
        if reason or self.forwarder.guard is None:
            return found
        owner = sender.owner if sender is not None else None
        if owner is best.peer:
            return attrs.evolve(found, policy="it stays at one site: rules are not asked")
        opening = Opening(
            origin=self.forwarder.site_of(owner),
            target=self.forwarder.site_of(best.peer),
            source=source,
            destination=destination,
            protocol=protocol,
            port=port,
        )
        return explain_policy(
            found, self.forwarder.guard.policy, opening, remote=best.peer is not self.own
        )

    def _sender(self, source: Address) -> Site | None:
        covering = self.forwarder.covering(source)
        return self.roster.of(covering[0].peer) if covering else None

    def _judge_source(
        self, source: Address, sender: Site | None, steps: list[Step]
    ) -> tuple[str, str]:
        question = "may that site send from there?"
        if not self.forwarder.source_check:
            steps.append(Step(question, "yes: source_check is false for all", True))
        elif is_martian(source.packed):
            steps.append(Step(question, "no: it is no address of a host, or one of a link", False))
            return "martian", MARTIAN_ADVICE
        elif sender is None:
            answer = "none has registered it"
            steps.append(Step(question, f"{answer}, and source_check drops what is from it", False))
            return "spoofed", SPOOFED_ADVICE
        else:
            steps.append(Step(question, "yes, it has registered that", True))
        return "", ""

    def _judge(
        self, sender: Site | None, best: Route, destination: Address, steps: list[Step]
    ) -> tuple[str, str]:
        """The checks that the forwarder makes; the reason of a drop and what to do about it."""
        same = sender is not None and sender.owner is best.peer
        if same and not is_address(best.network):
            steps.append(Step("does it leave the site it comes from?", "no", False))
            return "hairpin", HAIRPIN_ADVICE
        steps.append(Step("does it leave the site it comes from?", "yes", True))
        if destination.version != 4:
            takes = best.peer.takes_ipv6
            steps.append(Step("does that site take IPv6?", "yes" if takes else "no", takes))
            if not takes:
                return "not_ipv4", NOT_IPV4_ADVICE
        return "", ""

    def _explanation(
        self,
        source: Address,
        destination: Address,
        sender: Site | None,
        covering: list[Route] | None,
        steps: list[Step],
        reason: str,
        advice: str,
        now: float,
    ) -> Explanation:
        best = covering[0] if covering else None
        site = self.roster.of(best.peer) if best is not None else None
        connected = site.connected if site is not None else None
        own = best is not None and best.peer is self.own
        policy = "" if self.forwarder.guard is not None else NO_RULES
        if policy and best is not None and not own:
            policy += THERE
        return Explanation(
            source=str(source),
            destination=str(destination),
            verdict="dropped" if reason else "delivered",
            reason=reason,
            advice=advice,
            source_site=sender.name if sender is not None else "",
            site=site.name if site is not None else "",
            route=str(best.network) if best is not None else "",
            policy=policy,
            link=info(connected, now) if connected is not None else None,
            mtu=connected.largest_packet() if connected is not None else None,
            steps=tuple(steps),
            alternatives=tuple(self._alternatives(covering)) if covering else (),
        )

    def _alternatives(self, covering: list[Route]) -> Iterator[Alternative]:
        best, *wider = covering
        for peer, priority in reversed([*zip(best.others, best.priorities, strict=False)]):
            mine = best.priorities[-1]
            better = "registered it later"
            if mine > priority:
                better = f"has a higher priority ({mine} over {priority})"
            yield Alternative(
                f"{best.network} of {self._name(peer)}",
                f"{self._name(best.peer)} {better}; takes over when that one goes",
            )
        for route in wider:
            yield Alternative(
                f"{route.network} of {self._name(route.peer)}",
                f"{best.network} is more precise",
            )


def _with_claim(answer: str, claims: Claims) -> str:
    """Add to an answer that nobody has an address who would have it."""
    return f"{answer}: {claims[0]}" if claims else answer


def _better(claims: Claims, network: Network | Address) -> Iterator[Alternative]:
    """Those who would get a packet in place of, or beside, the one that has this network."""
    length = ip_network(network).prefixlen
    for claim in claims:
        if claim.network.prefixlen >= length:
            yield Alternative(f"{claim.network} of {claim.site}", claim.trouble.what)


def is_address(network: Network | Address) -> bool:
    """Whether a route is a gateway's very address."""
    return isinstance(network, IPv4Address | IPv6Address)
