"""Lets pass between two sites what a policy allows; the forwarder asks it once for each run."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import attrs

from polevpn_trio.forwarding.policy.flow_table import FlowTable
from polevpn_trio.forwarding.policy.headers import LATER_FRAGMENT, NO_PORT, UNREADABLE
from polevpn_trio.forwarding.policy.rule_table import RuleTable
from polevpn_trio.forwarding.policy.rules import Address, Policy, protocol_name
from polevpn_trio.forwarding.policy.sifter import Sifter
from polevpn_trio.frames.codec import FrameRun

RESUME_SECONDS = 120.0
"""How long after its start a router should let connections go on from either side: a server that
was sending would else wait for a client that waits for it."""

PAIRS = 65_536
"""Pairs of sites of which it is remembered whether everything passes; then all are forgotten."""


@attrs.frozen
class Denial:
    """A packet that was denied, by the counter ``name``; a protocol or port may be unknown."""

    name: str
    source: Address
    destination: Address
    protocol: int | None
    source_port: int | None
    port: int | None

    def __str__(self) -> str:
        """Tell which packet it is."""
        if self.protocol is None:
            return f"{self.source} -> {self.destination}"
        ports = [
            f" port {each}" if each is not None else "" for each in (self.source_port, self.port)
        ]
        text = f"{self.source}{ports[0]} -> {self.destination}{ports[1]}"
        return f"{protocol_name(self.protocol)} {text}"


@attrs.frozen
class Count:
    """What a rule has done: flows that it allowed, and packets that it denied."""

    name: str
    openings: int
    denials: int


class PolicyGuard:
    """Holds packets against a policy, and remembers the flows that it has let in.

    Sites are told apart by their names, "" is one that has none. ``now`` is in seconds of a clock
    that only goes forward. ``on_denied`` hears of each run in which something was denied. Until
    ``resume_until`` TCP connections that are older than the guard may go on with a packet of
    either side, if the other one may open them.
    """

    def __init__(
        self,
        policy: Policy,
        seed: int,
        resume_until: float = 0.0,
        on_denied: Callable[[object, PolicyGuard, float], None] | None = None,
    ) -> None:
        self._seed = seed
        self._on_denied = on_denied
        self._resume_until = int(1000 * resume_until)
        self._open: dict[tuple[str, str], bool] = {}
        self._counts: dict[str, Count] = {}
        self._put_in_force(policy, FlowTable(policy.flows, seed))

    def _put_in_force(self, policy: Policy, flows: FlowTable) -> None:
        self.policy = policy
        self._flows = flows
        self._table = RuleTable(policy)
        self._sifter = Sifter(self._table, flows)
        self._sifter.change(self._table, self._resume_until)

    def change(self, policy: Policy) -> None:
        """Go on with another policy; flows that it denies end with their next packet."""
        self._counts = {count.name: count for count in self.counts()}
        self._open.clear()
        if policy.flows != self.policy.flows:
            self._put_in_force(policy, FlowTable(policy.flows, self._seed))
            return
        self.policy = policy
        self._table = RuleTable(policy)
        self._sifter.change(self._table, self._resume_until)

    def keep_allowed(
        self, run: FrameRun, sender: object, origin: str, target: str, now: float
    ) -> int:
        """Take out of a run what may not pass; return how many packets that was."""
        if self._passes_all(origin, target):
            return 0
        sifter = self._sifter
        kept = sifter.sift_untrusted(
            run.data,
            run.sequences,
            self._table.site(origin),
            self._table.site(target),
            int(1000 * now),
        )
        denied: int = sifter.denied
        if denied:
            run.data = run.data[:kept]
            run.packets -= denied
            if self._on_denied is not None:
                self._on_denied(sender, self, now)
        return denied

    def _passes_all(self, origin: str, target: str) -> bool:
        """Whether all passes both ways between two sites, so that no flow need be known."""
        pair = (origin, target)
        found = self._open.get(pair)
        if found is None:
            if len(self._open) >= PAIRS:
                self._open.clear()
            policy = self.policy
            found = policy.allows_all(origin, target) and policy.allows_all(target, origin)
            self._open[pair] = found
        return found

    @property
    def denied_by(self) -> str:
        """What the first packet was counted under that was denied last."""
        return self.policy.names[self._sifter.denied_by]

    def last_denial(self) -> Denial:
        """Tell of the first packet that was denied in the run before."""
        headers = self._sifter.headers
        readable = headers.kind != UNREADABLE
        ports = [
            None if port == NO_PORT or headers.kind == LATER_FRAGMENT or not readable else port
            for port in (headers.back_port, headers.port)
        ]
        return Denial(
            self.denied_by,
            _address(headers.version, headers.source_high, headers.source_low),
            _address(headers.version, headers.destination_high, headers.destination_low),
            headers.protocol if readable else None,
            *ports,
        )

    def counts(self) -> list[Count]:
        """Tell what each rule has done, then the default, and what was unrelated to any flow.

        A rule is known by its name: its counters outlive a change of the policy.
        """
        found = []
        for index, name in enumerate(self.policy.names):
            before = self._counts.get(name, Count(name, 0, 0))
            found.append(
                Count(
                    name,
                    before.openings + self._sifter.openings[index],
                    before.denials + self._sifter.denials[index],
                )
            )
        return found

    def flows_in_use(self, now: float) -> int:
        """Count the flows that are remembered."""
        return self._flows.in_use(int(1000 * now))

    @property
    def evicted(self) -> int:
        """Flows that were forgotten before their time, because the table was full."""
        return self._flows.evicted


def _address(version: int, high: int, low: int) -> Address:
    return IPv6Address(high << 64 | low) if version == 6 else IPv4Address(low)
