"""The connections of one router, and what they share."""

from __future__ import annotations

import contextlib
import datetime
import logging
import secrets
from collections.abc import Awaitable, Sequence

import attrs
import trio

from polevpn_trio.access import Access, ListenerContexts
from polevpn_trio.batch import SEQUENCES_OFFLOAD, FrameBatch
from polevpn_trio.control import advice
from polevpn_trio.control.admission import REASONS, Admission, Place
from polevpn_trio.control.authentication import Authenticator
from polevpn_trio.control.changes import Changes
from polevpn_trio.control.config import RouterConfig
from polevpn_trio.control.denial_log import DenialLog
from polevpn_trio.control.line_limit import LineLimit
from polevpn_trio.control.log import ContextLogger, new_connection_id
from polevpn_trio.control.overlaps import (
    SHARED_KEY_PRIORITY,
    note_overlaps,
    overlap_refusal,
)
from polevpn_trio.control.rate_limit import RateLimit
from polevpn_trio.control.refused_packets import RefusedPackets
from polevpn_trio.control.registration import (
    Answer,
    End,
    Passed,
    Refusal,
    Register,
    RouterSession,
    features_over,
    takes_super_packets,
)
from polevpn_trio.errors import BadPacket, LinkLost, Refused
from polevpn_trio.forwarding.forwarder import Address, Forwarder
from polevpn_trio.forwarding.policy.guard import RESUME_SECONDS, PolicyGuard
from polevpn_trio.forwarding.policy.rules import Policy
from polevpn_trio.frames.codec import (
    BARRIER,
    C2S_IPDATA,
    GROUP_BY_DESTINATION,
    S2C_IPDATA,
    FrameReader,
    FrameRun,
    build_frame,
)
from polevpn_trio.frames.messages import RegisterRequest
from polevpn_trio.hand_over import Succession
from polevpn_trio.management.answers import Trouble, trouble_of
from polevpn_trio.management.measures import Reading, read_link
from polevpn_trio.management.roster import Connected, Roster
from polevpn_trio.management.strangers import REGISTRATION, Strangers
from polevpn_trio.nursery_tree import Branch, run_connection
from polevpn_trio.router_statistics import (
    ConnectionStatistics,
    RouterStatistics,
)
from polevpn_trio.site import Site
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport import dtls
from polevpn_trio.transport.base import Link
from polevpn_trio.transport.outgoing import OutgoingQueue
from polevpn_trio.transport.recognise import MAX_LOGIN_BYTES

log = ContextLogger(logging.getLogger("polevpn_trio.router"))


MOST_RUNS = 128
"""Runs of packets taken from one gateway before others get their turn. Each is a decision where to
send it; they may hold 64 KiB for one destination, or a single packet when somebody scans."""

LINES = 20
LINE_SECONDS = 30.0
"""Lines in the log about refused registrations of one connection, as those about strangers."""

REFUSAL_SECONDS = 2.0
"""How long the answer to a wrong key may take to reach the peer before the link is closed."""


class Router:
    """What the connections of one router share."""

    def __init__(
        self, config: RouterConfig, root: Branch, contexts: ListenerContexts | None = None
    ) -> None:
        self.config = config
        self.root = root
        self.forwarder = Forwarder(source_check=config.source_check)
        self.access = Access(config, contexts)
        self.roster = Roster()
        for name in self.access.open_sites(config):
            self.roster.expect(name, trio.current_time())
        self.strangers = Strangers()
        self.admission = Admission(config.limits, trio.current_time())
        self.endpoint: dtls.DtlsEndpoint | None = None
        self.own_site: Site | None = None
        self._denials = DenialLog(self.roster.name_of)
        # What was open before a restart may go on; a new policy judges it.
        self._enforce(config.policy, trio.current_time() + RESUME_SECONDS)

    def _enforce(self, policy: Policy | None, resume_until: float = 0.0) -> None:
        """Go on with a policy between sites, or with none."""
        guard = self.forwarder.guard
        if policy is None:
            self.forwarder.guard = None
        elif guard is None:
            self.forwarder.guard = PolicyGuard(
                policy, secrets.randbits(64), resume_until, self._denials.note
            )
        else:
            guard.change(policy)

    async def adopt(self, changes: Changes[RouterConfig]) -> Sequence[str]:
        """Go on with another configuration; return the sites whose links that has cut.

        Raises HostError if a certificate cannot be used, or if this machine does not let us; then
        nothing has changed.
        """
        config, before = changes.config, self.config
        contexts = ListenerContexts.of(config)
        if self.own_site is not None and config.site is not None:
            await self.own_site.change(config.site)
        self.config = config
        self.forwarder.source_check = config.source_check
        if config.policy != before.policy:
            self._enforce(config.policy)
        if config.limits != before.limits:
            self.admission.limit(config.limits, trio.current_time())
        if self.endpoint is not None:
            self.endpoint.handshake_timeout = config.auth_timeout
            self.endpoint.max_half_open = config.limits.unauthenticated
        cut = self.access.adopt(config, contexts)
        expected = self.access.open_sites(config)
        for name in (before.sites or {}).keys() - set(expected):
            self.roster.forget(name)
        for name in expected:
            self.roster.expect(name, trio.current_time())
        return cut

    def displace(
        self, newcomer: GatewayConnection, gateways: Sequence[Address], *, take_over: bool
    ) -> None:
        """End other connections that hold these gateway addresses: they are stale.

        One that the newcomer is to ``take_over`` from has something under way, and ends later.
        """
        for address in gateways:
            owner = self.forwarder.gateway_owner(address)
            if not isinstance(owner, GatewayConnection) or owner is newcomer:
                continue
            if not (take_over and newcomer.take_over_from(owner)):
                owner.close(f"{address} connected anew from {newcomer.name}", advice.ANEW)

    def turns_away(self, name: str, host: str) -> bool:
        """Whether a limit keeps ``host``, whose address is proven, from shaking hands now."""
        refusal = self.admission.refuse_handshake(host, trio.current_time())
        if refusal:
            self.strangers.note(name, Trouble(REASONS[refusal], advice.CROWD))
        return bool(refusal)

    def statistics(self) -> RouterStatistics:
        """Return the counters."""
        return RouterStatistics(self.forwarder.statistics(), self.strangers.count)


class GatewayConnection:
    """One gateway's connection to the router: a peer that packets can be forwarded to."""

    def __init__(self, router: Router, link: Link, place: Place, login_by: float) -> None:
        """Serve ``link``, which holds a ``place`` until its peer has logged in, by ``login_by``."""
        self._router = router
        self._place = place
        self._login_by = login_by
        self._link = link
        self._session = RouterSession(
            lambda request: router.access.judge_untrusted(request, link.identity),
            offer_native=router.config.native,
            features=features_over(link.carries_datagrams, router.config.features),
            overlaps=lambda site, request: overlap_refusal(
                site, request.networks, router.forwarder.owners, router.roster.name_of
            ),
            limits=router.config.limits,
        )
        self._reader = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
        self._packet_reader = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
        self._outgoing = OutgoingQueue(router.config.queue_bytes)
        self._authenticated = trio.Event()
        self._closed_because: Trouble | None = None
        self._succession = Succession(link, self._outgoing)
        self.name = f"{link.scheme} {link.peer}"
        self._refused = RefusedPackets(self.name)
        self._identifier = new_connection_id()
        self._log = log.bind(connection=self._identifier)
        self._lines = LineLimit(LINES, LINE_SECONDS)
        self._rate_limit = RateLimit()
        # trio.current_time() without two calls in between, for what is done for each batch.
        self._time = trio.lowlevel.current_clock().current_time
        self._since = self._time()

    @property
    def title(self) -> str:
        """The site's name if it has one, else the peer's."""
        site = self._session.site
        return site.name if site else self.name

    def reconsider(self, authenticator: Authenticator, now: datetime.datetime) -> str:
        """Go on by these rules; say why they do not let this gateway stay, "" if they do."""
        reason = self._session.reconsider(authenticator, now)
        site = self._session.site
        if not reason and site is not None:
            self._router.forwarder.exempt(self, not site.source_check)
            self._router.forwarder.prioritise(self, site.priority)
        self._rate_limit.change(self._session.rate_limit, trio.current_time())
        return reason

    @property
    def takes_ipv6(self) -> bool:
        """Whether this gateway understands IPv6 packets."""
        return self._session.native is not None and "ipv6" in self._session.native

    @property
    def sequences(self) -> int:
        """What ``seq`` means to this gateway: that super-packets may come, or nothing."""
        return self._reader.sequences

    def enqueue_nowait(self, batch: FrameBatch) -> bool:
        """Give packets for this gateway to its link, or queue them if that does not take them."""
        limit = self._rate_limit
        if limit.limits and not limit.lets_to_site(batch, trio.current_time()):
            # Counted there.
            return True
        if self._outgoing.passable and len(batch.data) <= self._link.room:
            self._link.send_nowait((batch.data,))
            self._outgoing.note_bypass(batch)
        else:
            self._outgoing.put_nowait(batch, trio.current_time())
        return True

    def flush(self) -> None:
        """Let the link send what it was given, and what is queued, as far as it takes that."""
        self._link.flush()

    def note_refused(self, reason: str, packets: int, source: bytes) -> None:
        """Count packets from this gateway that were dropped, and say so in the log."""
        self._refused.note(reason, packets, source, trio.current_time(), self._log)

    def take_over_from(self, old: GatewayConnection) -> bool:
        """Go on with what ``old`` has for the same site, if both ends can; False if not."""
        session, other = self._session, old._session
        if not (session.hands_over and other.hands_over and session.site_name == other.site_name):
            return False
        if not self._succession.take_over_from(old._succession):
            return False
        self._router.forwarder.retire(old)
        old._closed_because = Trouble("its keys were renewed, on a new connection")
        return True

    def close(self, reason: str, remedy: str = "") -> None:
        """End the connection: close_notify leaves at once, its tasks end by themselves."""
        self._closed_because = Trouble(reason, remedy)
        self._router.forwarder.unregister(self)
        self._link.close()

    def statistics(self) -> ConnectionStatistics:
        """Return the counters."""
        return ConnectionStatistics(
            link=self._link.statistics(),
            outgoing=self._outgoing.statistics(),
            malformed=self._reader.malformed,
            refused=dict(self._refused.counts),
        )

    def read(self) -> Reading:
        """Read the counters of the link and of the queue before it."""
        return read_link(
            self._link.statistics(),
            self._outgoing.statistics(),
            before=None,
            malformed=self._reader.malformed,
            rate_limit=self._rate_limit.dropped,
            **self._refused.counts,
        )

    async def serve(self) -> None:
        """Run the connection's nursery until it ends."""
        tasks = {
            "transport": self._link.run,
            "receiver": self._receive,
            "keepalive": self._keep_alive,
            "leaving": self._leave,
        }
        trouble = Trouble("the router was ended")
        self._link.pull_from(self._outgoing)
        self._router.access.members[self] = None
        try:
            ended_by = await run_connection(self._router.root, self._link, tasks, self.statistics)
            trouble = self._closed_because or trouble_of(ended_by)
            usual = advice.LEFT if self._authenticated.is_set() else advice.STRANGER
            trouble = attrs.evolve(trouble, advice=trouble.advice or usual)
        finally:
            del self._router.access.members[self]
            self._router.forwarder.unregister(self)
            self._router.forwarder.name(self, "")
            self._router.roster.left(self, trouble, trio.current_time())
            self._place.leave()
        if self._authenticated.is_set():
            level = logging.WARNING if isinstance(ended_by, BadPacket) else logging.INFO
            self._log.log(level, "%s: ended: %s", self.name, trouble.what, advice=trouble.advice)
        else:
            self._router.strangers.note(self.name, trouble, self._identifier)

    async def _leave(self) -> None:
        await self._succession.leave(lambda: self._answer(build_frame(BARRIER)))

    async def _receive(self) -> None:
        """Task "receiver": control frames are answered, packets go to their routes."""
        await self._link.receive_each(self._take_untrusted, self._take_packets_untrusted)

    def _take_packets_untrusted(self, frames: bytearray) -> Awaitable[None] | None:
        """Route packets that came beside the stream."""
        runs = self._packet_reader.receive_data_untrusted(frames)
        if len(runs) <= MOST_RUNS:
            self._route(runs)
            return None
        return self._route_in_turns(runs)

    def _route(self, runs: list[FrameRun]) -> None:
        now = self._time()
        passing = self._rate_limit.from_site(runs, now)
        self._router.forwarder.route_batch(passing, self, now)

    async def _route_in_turns(self, runs: list[FrameRun]) -> None:
        """Route many short runs, with turns for others in between."""
        for at in range(0, len(runs), MOST_RUNS):
            self._route(runs[at : at + MOST_RUNS])
            await trio.lowlevel.checkpoint()

    def _take_untrusted(self, stream: StreamBuffer) -> Awaitable[None] | None:
        runs = self._reader.read_untrusted(stream, MOST_RUNS)
        if len(runs) == MOST_RUNS:
            return self._take_in_turns_untrusted(runs, stream)
        return self._take_last_untrusted(runs, stream)

    async def _take_in_turns_untrusted(self, runs: list[FrameRun], stream: StreamBuffer) -> None:
        """Take many short runs, and what follows them, with turns for others in between."""
        while len(runs) == MOST_RUNS:
            refusal = self._take_runs_untrusted(runs)
            if refusal is not None:
                await refusal
            await trio.lowlevel.checkpoint()
            runs = self._reader.read_untrusted(stream, MOST_RUNS)
        refusal = self._take_last_untrusted(runs, stream)
        if refusal is not None:
            await refusal

    def _take_last_untrusted(
        self, runs: list[FrameRun], stream: StreamBuffer
    ) -> Awaitable[None] | None:
        """Take runs behind which there is no whole frame yet."""
        refusal = self._take_runs_untrusted(runs)
        unknown = refusal is None and not self._session.accepts_data
        if unknown and len(stream) > MAX_LOGIN_BYTES:
            raise BadPacket(f"more than {MAX_LOGIN_BYTES} bytes before login")
        return refusal

    def _take_runs_untrusted(self, runs: list[FrameRun]) -> Awaitable[None] | None:
        packets = []
        accepts_data = self._session.accepts_data
        for run in runs:
            if run.version and accepts_data:
                packets.append(run)
            elif run.version:
                raise BadPacket("IP data before login")
            else:
                # What came before a control frame must not be overtaken by what that does.
                if packets:
                    self._route(packets)
                    packets = []
                refusal = self._control_untrusted(run.command, run.sequence, bytes(run.data))
                if refusal is not None:
                    return refusal
                accepts_data = self._session.accepts_data
        if packets:
            self._route(packets)
        return None

    def _control_untrusted(
        self, command: int, sequence: int, payload: bytes
    ) -> Awaitable[None] | None:
        """Act on one control frame; return what is left to do when the login is refused.

        Answers never wait here until the link takes them: were this task to do so, it would not
        hear what makes the link take more.
        """
        match self._session.receive_control_untrusted(command, sequence, payload):
            case [Answer(frame), End() as end]:
                return self._refuse(frame, end)
            case [Answer(frame)]:
                self._answer(frame)
            case [Refusal() as refusal]:
                self._router.strangers.refused[REGISTRATION] += 1
                if refusal.limit:
                    self._router.admission.refused[refusal.limit] += 1
                reason = f"registration refused: {refusal.reason}"
                if self._lines.take(trio.current_time()) is not None:
                    self._log.warning("%s: %s", self.name, reason, advice=refusal.advice)
                self._note_kept_out(self._session.site_name, reason, refusal.advice)
                self._answer(refusal.frame)
            case [Register(request, answer)]:
                self._register(request, answer)
            case [Passed()]:
                self._succession.passed()
        if self._session.accepts_data and not self._authenticated.is_set():
            self._authenticated.set()
            self._place.admit()
            self._link.admit()
            features = self._session.native
            if features is not None:
                whole = takes_super_packets(features)
                if "datagram" in features:
                    self._link.open_datagrams(C2S_IPDATA, repair="fec" in features, whole=whole)
                if whole:
                    self._reader.sequences = SEQUENCES_OFFLOAD
            dialect = "classic" if features is None else "native " + " ".join(sorted(features))
            site = self._session.site
            if site is not None:
                self._log = self._log.bind(site=site.name)
                self._router.forwarder.name(self, site.name)
                if not site.source_check:
                    self._router.forwarder.exempt(self)
                self._rate_limit.change(site.rate_limit, trio.current_time())
            self._log.info(
                "%s: %s logged in (%s)", self.name, site.name if site else "a gateway", dialect
            )
        return None

    def _answer(self, frame: bytes) -> bool:
        """Give an answer to the link, or queue it if that does not take it; False if it is lost."""
        if not self._outgoing.waiting and len(frame) <= self._link.room:
            self._link.send_nowait((frame,))
        elif not self._outgoing.put_control_nowait(frame, trio.current_time()):
            return False
        self._link.flush()
        return True

    def _register(self, request: RegisterRequest, answer: Answer) -> None:
        """Install the routes of a gateway, in place of those of a stale connection."""
        gateways: list[Address] = [a for a in (request.gateway, request.gateway6) if a]
        self._router.displace(self, gateways, take_over=request.takes_over)
        # The answer before the routes: data on a device that is not up yet ends a Go gateway.
        if not self._answer(answer.frame):
            raise LinkLost("it does not read our answers")
        known = self._session.site
        self._join(known.name if known else str((*gateways, *request.networks)[0]), request)
        priority = known.priority if known else SHARED_KEY_PRIORITY
        table = self._router.forwarder
        table.register(self, gateways, request.networks, priority)
        self._log.info(
            "%s: registered %s for %s",
            self.name,
            ", ".join(map(str, gateways)) or "no gateway",
            ", ".join(map(str, request.networks)) or "no network",
        )
        names = self._router.roster.name_of
        note_overlaps(self._log, self.name, request.networks, table.owners, names)
        if request.unusable:
            self._log.warning(
                "%s: %d unusable addresses in its registration were ignored",
                self.name,
                request.unusable,
                advice=advice.UNUSABLE,
            )

    def _join(self, site: str, request: RegisterRequest) -> None:
        """Enter the site that this connection is of in the roster."""
        self._log = self._log.bind(site=site)
        native = self._session.native
        self._router.roster.joined(
            self,
            site,
            [address for address in (request.gateway, request.gateway6) if address],
            request.networks,
            Connected(
                identifier=self._identifier,
                transport=self._link.scheme,
                peer=self._link.peer,
                since=self._since,
                features=None if native is None else tuple(sorted(native)),
                read=self.read,
                heard=lambda: self._link.heard,
                largest_packet=lambda: self._link.largest_packet,
            ),
        )

    def _note_kept_out(self, site: str, reason: str, remedy: str) -> None:
        """If a known site is down, that is why."""
        self._router.roster.refused(site, Trouble(f"{reason} (from {self.name})", remedy))

    async def _refuse(self, answer: bytes, end: End) -> None:
        """End the connection once the refusal has reached the peer."""
        trouble = self._closed_because = Trouble(end.reason, end.advice)
        self._router.strangers.refused[end.cause] += 1
        self._note_kept_out(end.site, trouble.what, end.advice)
        # One that hears it may be gone before we know that it did: the reason stays the same.
        with trio.move_on_after(REFUSAL_SECONDS), contextlib.suppress(LinkLost):
            # Straight to the link: before login there is nothing that could be queued for it.
            await self._link.send_batch([answer])
            await self._link.drain()
        raise Refused(end.reason, advice=end.advice)

    async def _keep_alive(self) -> None:
        """Task "keepalive": ends a connection without a login, or whose peer is gone."""
        config = self._router.config
        with trio.move_on_at(self._login_by):
            await self._authenticated.wait()
        if not self._authenticated.is_set():
            raise LinkLost(f"no login within {config.auth_timeout:g} s")
        while True:
            now = trio.current_time()
            self._outgoing.release_idle(now)
            if now - self._link.heard >= config.idle_timeout:
                reason = f"nothing heard for {config.idle_timeout:g} s"
                raise LinkLost(reason, advice=advice.SILENCE)
            if now - self._outgoing.stalled_since >= config.idle_timeout:
                reason = f"it took nothing for {config.idle_timeout:g} s"
                raise LinkLost(reason, advice=advice.STALLED)
            since = min(self._link.heard, self._outgoing.stalled_since)
            await trio.sleep_until(since + config.idle_timeout)
