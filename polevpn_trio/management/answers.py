"""What the control socket answers, as objects: docs/API.md describes the JSON made of them.

Durations are in seconds, sizes in bytes; None is what is not measured. Members are only ever
added: to change what one means, or to take one away, takes a new version of the API.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

UP, DEGRADED, DOWN = "up", "degraded", "down"
STATES = (UP, DEGRADED, DOWN)
"""From good to bad. A degraded site can be reached, but somebody should have a look."""


def worst(states: list[str]) -> str:
    """The worst of some states; with none there is nothing wrong."""
    return max(states, key=STATES.index, default=UP)


@attrs.frozen
class Trouble:
    """Something that is wrong, and what to do about it ("" if there is nothing to say)."""

    what: str
    advice: str = ""


def trouble_of(error: Exception) -> Trouble:
    """What an error says, and what can be done about it as far as it knows that."""
    return Trouble(str(error), getattr(error, "advice", ""))


@attrs.frozen
class ConnectionInfo:
    """The connection that a site is joined by now.

    ``identifier`` is in each line of the log about it, ``age`` counts from the login, ``silent``
    from the last sign of life. ``features`` are those of the native dialect, None towards a peer
    that speaks the classic one.
    """

    identifier: str
    transport: str
    peer: str
    age: float
    silent: float
    features: tuple[str, ...] | None = None


@attrs.frozen
class Loss:
    """Shares (0 to 1) of what was sent one way: lost on the path, and left of that after repair.

    Redundancy repairs; what it could not make up for is sent again, or given up.
    """

    before_repair: float | None
    after_repair: float | None


@attrs.frozen
class Path:
    """Datagrams of one direction of a path, counted since the program started.

    ``sent`` ones set out, of which ``arrived`` came by themselves, and ``recovered`` ones were
    computed from repairs. On a link without datagrams they are segments of its stream.
    """

    sent: int = 0
    arrived: int = 0
    recovered: int = 0


@attrs.frozen
class Repair:
    """What repair costs in our direction: bytes of repairs, and of the datagrams they protect."""

    repair_bytes: int = 0
    protected_bytes: int = 0
    ratio: float | None = None
    """Regular repairs per datagram, as of now; None on links without repair."""


@attrs.frozen
class Rates:
    """What passed in the last ``seconds``, in each second of them."""

    seconds: float
    bytes_sent: float
    bytes_received: float
    drops: float


@attrs.frozen
class Measured:
    """What is known of a site's link; "sent" is away from the program that answers.

    Counters are those of all connections of the site since the program started. ``rtt``,
    ``jitter`` (the variation of ``rtt``) and ``queue_delay`` (time that packets stand before the
    link) are of now; so are the losses, if there are rates.
    """

    rtt: float | None
    jitter: float | None
    queue_delay: float | None
    queued_bytes: int | None
    bytes_sent: int
    bytes_received: int
    loss_sent: Loss
    loss_received: Loss
    drops: Mapping[str, int]
    """Packets by the reason why they were dropped, those that never occurred left out."""
    rates: Rates | None = None
    path_sent: Path = Path()
    path_received: Path = Path()
    resent: int = 0
    """Datagrams or segments sent again."""
    repair: Repair = Repair()


@attrs.frozen
class SiteStatus:
    """One site. ``age`` is how long it has been in this state."""

    name: str
    state: str
    age: float
    addresses: tuple[str, ...]
    networks: tuple[str, ...]
    troubles: tuple[Trouble, ...]
    connections: int
    """How many connections there were since the program started."""
    connection: ConnectionInfo | None
    link: Measured


@attrs.frozen
class ServerStatus:
    """One of a gateway's ways to reach a router: ``state`` is used, works, failed, or untried.

    ``age`` is how long ago that was found out, None if it is untried.
    """

    url: str
    state: str
    age: float | None
    trouble: Trouble | None


@attrs.frozen
class CertificateStatus:
    """A certificate that the program shows its peers: ``use`` is the section that names it."""

    use: str
    expires: float
    """In seconds since 1970."""


@attrs.frozen
class RuleStatus:
    """A rule of a router's policy: flows that it allowed, and packets that it denied.

    Behind the rules comes one called ``default``, and one called ``unrelated``, for what belongs
    to no flow that was allowed: errors, and fragments. Flows between sites that may send each
    other everything are not counted.
    """

    name: str
    rule: str
    flows: int
    denied: int


@attrs.frozen
class PolicyStatus:
    """What a router's policy has done; ``flows`` are remembered now, at most ``flows_limit``.

    ``evicted`` were forgotten before their time, because there were so many.
    """

    rules: tuple[RuleStatus, ...]
    flows: int
    flows_limit: int
    evicted: int


@attrs.frozen
class Status:
    """Everything at a glance.

    ``state`` is the worst of the sites', and at least degraded while a reload has left something to
    do: confirm it, restart, correct the file.
    """

    role: str
    instance: str
    """Name of the control socket, without its suffix."""
    version: str
    pid: int
    time: float
    """Of the answer, in seconds since 1970."""
    uptime: float
    config: str
    kernels: str
    """``compiled``, ``pure`` (slower), or ``mixed``."""
    state: str
    troubles: tuple[Trouble, ...]
    sites: tuple[SiteStatus, ...]
    servers: tuple[ServerStatus, ...]
    """A gateway's; a router has none."""
    forwarded: int | None
    """Packets that a router has passed on."""
    drops: Mapping[str, int]
    """Packets that no site can be blamed for, by reason."""
    strangers: int | None
    """Connections to a router that ended without a login."""
    refused: Mapping[str, int] = attrs.field(factory=dict)
    """Logins and registrations that a router refused, by the cause."""
    certificates: tuple[CertificateStatus, ...] = ()
    limited: Mapping[str, int] = attrs.field(factory=dict)
    """What a router's ``limits`` have turned away, by the key of the limit."""
    policy: PolicyStatus | None = None
    """A router's, if it has one."""


@attrs.frozen
class RouteEntry:
    """A line of the route table.

    ``via`` is the link that its packets take, on a gateway its device, or "this site". ``origin``
    is where it comes from: ``registered`` by a gateway, ``configured`` here, or ``announced`` to
    the router. ``age`` says since when.
    """

    network: str
    site: str
    via: str
    origin: str
    connection: str
    age: float
    conflicts: tuple[Trouble, ...] = ()


@attrs.frozen
class Routes:
    """A part of the route table; ``total`` is the length of all of it."""

    routes: tuple[RouteEntry, ...]
    offset: int
    total: int


@attrs.frozen
class Step:
    """One decision on the way of a packet: what was asked, what came out, whether it passes."""

    question: str
    answer: str
    passes: bool


@attrs.frozen
class Alternative:
    """Another way that a packet could have gone, and why it does not."""

    what: str
    why_not: str


@attrs.frozen
class Explanation:
    """What would become of a packet.

    ``verdict`` is ``delivered`` (as far as this program can see), ``local`` (it never enters the
    tunnel), or ``dropped``, and then ``reason`` is the name of the counter.
    """

    source: str
    destination: str
    verdict: str
    reason: str
    advice: str
    source_site: str
    site: str
    route: str
    policy: str
    """The rule that let it pass or not."""
    link: ConnectionInfo | None
    mtu: int | None
    """Bytes of the largest packet that this way carries in one piece, as far as it is known."""
    steps: tuple[Step, ...]
    alternatives: tuple[Alternative, ...]


@attrs.frozen
class AppliedChange:
    """A key of the configuration that has changed; ``effect`` says when that takes effect."""

    key: str
    effect: str
    detail: str


@attrs.frozen
class Reloaded:
    """What became of a request to go on with what the configuration file says now.

    ``outcome`` is ``applied``, ``unchanged``, ``confirmed``, or ``refused`` because of
    ``problems``: then everything goes on as before. ``restart`` names keys that have changed, but
    take a restart, ``ended`` whose links were cut. ``confirm_within`` is how long there is to
    confirm, in seconds; None if that is not necessary.
    """

    outcome: str
    config: str
    problems: tuple[str, ...] = ()
    applied: tuple[AppliedChange, ...] = ()
    restart: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    confirm_within: float | None = None
