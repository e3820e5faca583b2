"""The gateway: one site's end, joined to the router by one link at a time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from functools import partial

import trio

from polevpn_trio.batch import SEQUENCES_OFFLOAD, FrameBatch
from polevpn_trio.control import advice
from polevpn_trio.control.changes import GATEWAY_KEYS, Changes, Effect
from polevpn_trio.control.config import GatewayConfig, SiteConfig, load_gateway
from polevpn_trio.control.liveness import DEAD_SECONDS, Liveness
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.control.renewal import RenewalPlan
from polevpn_trio.errors import LinkLost, PoleVpnError, Refused, Untrusted
from polevpn_trio.forwarding.prefix_table import Network
from polevpn_trio.frames import codec
from polevpn_trio.frames.codec import FrameReader, FrameRun
from polevpn_trio.frames.messages import (
    RegisterAnswer,
    RegisterRequest,
)
from polevpn_trio.frames.segmentation import Segmenter
from polevpn_trio.gateway_login import LONGEST_ERROR, Login
from polevpn_trio.hand_over import BEAT, ControlFrames
from polevpn_trio.management.answers import CertificateStatus, Trouble, trouble_of
from polevpn_trio.management.certificate_status import certificates_of
from polevpn_trio.management.gateway_view import GatewayView
from polevpn_trio.management.measures import device_drops
from polevpn_trio.management.reload import Reloader, Source
from polevpn_trio.management.service import managed, start_control, start_metrics
from polevpn_trio.management.service_manager import start_service_manager
from polevpn_trio.management.uplinks import Uplinks
from polevpn_trio.nursery_tree import Branch, open_root, run_connection
from polevpn_trio.site import Site, open_site
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport.dial import Backoff, Dialer, NameBook
from polevpn_trio.transport.outgoing import OutgoingQueue
from polevpn_trio.tun.device import TunDevice, TunStatistics
from polevpn_trio.uplink import GatewayStatistics, LinkSettings, Uplink

log = ContextLogger(logging.getLogger(__name__))

QUEUE_BYTES = 4 << 20
"""Bytes of packets from the site that may wait for the link: 320 ms at 100 Mbit/s. The flow
queue keeps what one flow has of it far below that."""

REGISTER_SECONDS = 5.0
"""How long the answer to REGISTER may take. An original router that has a dead connection for
our address may never answer: only a new connection helps then."""

STABLE_SECONDS = 10.0
"""A link that was lost sooner counts as a failed attempt: where two gateways have been given the
same address they throw each other out, and should not do so without pause."""

MOST_COMPLAINTS = 20
"""Different reasons why no link can be had that are logged in one outage."""

FIRST_RETURN_SECONDS = 5.0
LONGEST_RETURN_SECONDS = 60.0
"""Interval of attempts to return to a better server, growing from the first to the longest."""

HOST_KEYS = frozenset(("acls", "route_networks", "forward", "masquerade"))
"""Keys that ask something of this machine."""


class Gateway:
    """One site's connection to the router, over whichever link is up."""

    def __init__(self, config: GatewayConfig, site: Site, dialer: Dialer, root: Branch) -> None:
        self._config = config
        self._site = site
        self._root = root
        self._dialer = dialer
        self._login = Login(config, dialer, root, site.reader)
        self.changed = trio.Event()
        """Set, and replaced, when there is another configuration."""
        self.outgoing = OutgoingQueue(QUEUE_BYTES)
        """Packets for the link in use, or for the one that follows it."""
        self._segmenter = Segmenter()
        self._connection: Connection | None = None
        self._no_link = 0
        self._not_ipv4 = 0
        own = [str(each) for each in (config.site.gateway, config.site.gateway6) if each]
        self.uplinks = Uplinks(
            config.site_name,
            tuple(own),
            tuple(map(str, config.site.local_networks)),
            tuple(server.text for server in config.servers),
            trio.current_time(),
        )

    async def adopt(self, changes: Changes[GatewayConfig]) -> Sequence[str]:
        """Go on with another configuration.

        Raises HostError when this machine does not let us; then nothing has changed.
        """
        config, before = changes.config, self.settings
        if changes.names & HOST_KEYS:
            await self._site.change(config.site)
        self._config = config
        if any(change.effect in (Effect.NEW_LINK, Effect.LATER) for change in changes.applied):
            self._dialer = self._dialer.adapted(config)
            self._login = Login(config, self._dialer, self._root, self._site.reader)
        self.uplinks.reconfigured(
            config.site_name,
            tuple(map(str, config.site.local_networks)),
            tuple(server.text for server in config.servers),
            same_login=self.settings.differs_in_servers_at_most(before),
        )
        self.changed.set()
        self.changed = trio.Event()
        return ()

    def certificates(self) -> tuple[CertificateStatus, ...]:
        """Tell of what the router knows this site by, if it is by that."""
        return certificates_of(self._config)

    @property
    def site_config(self) -> SiteConfig:
        """What holds for the site now."""
        return self._config.site

    @property
    def settings(self) -> LinkSettings:
        """What links are made by now."""
        return self._login.settings

    def unsettled(self) -> str:
        """Say what of the configuration has not been agreed on with the router; "" if all has."""
        if self._connection is None:
            trouble = self.uplinks.site.trouble
            return f"there is no link: {trouble.what}" if trouble else "there is no link"
        return self._connection.unsettled()

    async def read_tun(self) -> None:
        """Task "tun reader": packets from the site's hosts go to the link, or wait for it."""
        while True:
            await self._site.device.while_readable(self._take_from_site)

    def _take_from_site(self) -> bool:
        batch = self._site.device.read_batch_nowait(codec.C2S_IPDATA)
        if batch is None:
            return True
        if self._connection is None:
            self._no_link += batch.packets
        else:
            self._connection.send_nowait(batch)
        return True

    async def connect(self) -> None:
        """Task "connector": keep a link up for ever."""
        backoff = Backoff()
        successor: Connection | None = None
        while True:
            connection = successor or self.begin(await self._reconnect(backoff))
            self.use(connection)
            started = trio.current_time()
            await connection.ended.wait()
            if trio.current_time() - started >= STABLE_SECONDS:
                backoff = Backoff()
            successor = connection.successor
            if successor is not None:
                connection.log.info("moved to %s", successor.title)
                continue
            self._connection = None
            # Without a link they would only become old.
            self._no_link += self.outgoing.discard(trio.current_time())
            trouble = trouble_of(connection.reason)
            trouble = Trouble(trouble.what, trouble.advice or advice.ROUTER_LEFT)
            self.uplinks.lost(trouble, trio.current_time())
            connection.log.warning(
                "link to %s lost: %s", connection.link.peer, trouble.what, advice=trouble.advice
            )
            if trio.current_time() - started < STABLE_SECONDS:
                await self._pause(backoff.next_delay())

    def begin(self, uplink: Uplink, *, takes_over: bool = False) -> Connection:
        """Register over ``uplink``, and serve it from now on in a task of its own."""
        connection = Connection(self, uplink, takes_over=takes_over)
        self._root.start_soon(f"link {uplink.identifier}", partial(connection.serve, self._root))
        return connection

    def use(self, connection: Connection) -> None:
        """Send what comes from the site by this connection from now on, and what waits."""
        if self._connection is connection:
            return
        if self._connection is not None:
            self._connection.link.pull_from(None)
        self.fit_to(connection.uplink)
        self.outgoing.convert(connection.fit, trio.current_time())
        self.outgoing.held = False
        self._connection = connection
        connection.use()

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt, unless there is another configuration."""
        with trio.move_on_after(seconds):
            await self.changed.wait()

    async def _reconnect(self, backoff: Backoff) -> Uplink:
        """Try the servers in order, again and again, until one takes us."""
        complaints: set[str] = set()
        while True:
            level = logging.WARNING
            for rank in range(self.servers):
                try:
                    return await self.log_in(rank)
                except Untrusted:
                    level = logging.ERROR
                except PoleVpnError:
                    # What was wrong, the uplinks know.
                    continue
            delay = backoff.next_delay()
            # Each only once: an outage may last for days.
            trouble = self.uplinks.outage()
            if trouble.what not in complaints and len(complaints) < MOST_COMPLAINTS:
                text = "%s; trying again until it works"
                log.log(level, text, trouble.what, advice=trouble.advice)
                complaints.add(trouble.what)
            await self._pause(delay)

    async def log_in(self, rank: int) -> Uplink:
        """Connect to a server and authenticate.

        Raises LinkLost, BadPacket, Refused, or Untrusted.
        """
        login = self._login
        if rank >= self.servers:
            raise LinkLost("this server is not configured any more")
        try:
            uplink = await login.log_in(rank)
        except PoleVpnError as error:
            if login is self._login:
                self.uplinks.answered(rank, trouble_of(error), trio.current_time())
            raise
        if login is self._login:
            self.uplinks.answered(rank, None, trio.current_time())
        return uplink

    def registration(self, uplink: Uplink, *, takes_over: bool) -> bytes:
        """Build the REGISTER frame for our addresses and networks."""
        site = self._config.site
        request = RegisterRequest(
            gateway=site.gateway,
            key="" if uplink.proved else self._config.key,
            networks=site.local_networks,
            gateway6=site.gateway6,
            takes_over=takes_over,
        )
        return codec.build_frame(codec.REGISTER, request.to_json())

    def packet_reader(self) -> FrameReader:
        """Make a reader for packets from the router that do not come in its stream."""
        return self._site.reader()

    def fit_to(self, uplink: Uplink) -> None:
        """Have the site's device make packets that suit the link."""
        device = self._site.device
        device.keep_super_packets(uplink.takes_super_packets)
        device.clamp_mss(uplink.link.largest_packet)

    def cut(self, batch: FrameBatch) -> FrameBatch:
        """Cut what was read while super-packets could still be sent."""
        return self._segmenter.to_ordinary(batch) if batch.sequences else batch

    def only_ipv4(self, batch: FrameBatch) -> list[FrameBatch]:
        """Leave out IPv6 packets, which an original router would misread."""
        kept = []
        reader = FrameReader(codec.C2S_IPDATA, codec.C2S_IPDATA)
        reader.sequences = SEQUENCES_OFFLOAD
        for run in reader.receive_data_untrusted(batch.data):
            if run.version == 4:
                kept.append(FrameBatch(run.data, run.packets, run.sequences))
            else:
                self._not_ipv4 += run.packets
        return kept

    def take_nowait(self, run: FrameRun) -> bool:
        """Pass packets from the router on to the site; False if that takes waiting."""
        return self._site.take_nowait(run)

    async def deliver(self, run: FrameRun) -> None:
        """Pass packets from the router on to the site."""
        await self._site.deliver(run)

    def plan_renewal(self) -> RenewalPlan:
        """Decide when the keys of a new link are to be renewed."""
        return RenewalPlan(trio.current_time(), self._config.renew_seconds)

    @property
    def servers(self) -> int:
        """Number of servers configured."""
        return len(self._config.servers)

    def drops(self) -> dict[str, int]:
        """Packets that were dropped, by reason, those that the link dropped left out."""
        site = self._site.statistics()
        drops = {
            "no_link": self._no_link,
            "not_ipv4": self._not_ipv4,
            "not_in_acls": site.not_in_acls,
            "writer_full": site.writer_full,
        }
        device = site.device
        return drops | device_drops(device) if isinstance(device, TunStatistics) else drops

    def statistics(self, uplink: Uplink) -> GatewayStatistics:
        """Return the counters of a connection over ``uplink``."""
        return GatewayStatistics(
            link=uplink.link.statistics(),
            outgoing=self.outgoing.statistics(),
            no_link=self._no_link,
            not_ipv4=self._not_ipv4,
            malformed=uplink.reader.malformed,
        )


class Connection:
    """The nursery of one link, from REGISTER until it is lost or replaced.

    ``successor`` is the connection to go on with, when a better link was found. One that
    ``takes_over`` does so from a link that is alive, and must not overtake it.
    """

    def __init__(self, gateway: Gateway, uplink: Uplink, *, takes_over: bool) -> None:
        self._gateway = gateway
        self.uplink = uplink
        self.link = uplink.link
        self.title = f"{uplink.link.scheme} {uplink.link.peer} [{uplink.identifier}]"
        self.log = log.bind(connection=uplink.identifier)
        self.successor: Connection | None = None
        self._takes_over = takes_over
        self._in_use = False
        self.ended = trio.Event()
        self.reason: Exception = LinkLost("the connection was ended")
        self._plan = gateway.plan_renewal()
        self._answered = trio.Event()
        self._control = ControlFrames(uplink.link)
        self._packet_reader = gateway.packet_reader()
        self._registered = trio.Event()
        # Networks that the router has taken, and those that it has been asked to.
        self._announced: set[Network] = set()
        self._asked: list[tuple[Network, ...]] = []
        self._complaint = ""
        self._time = trio.lowlevel.current_clock().current_time
        self._liveness = Liveness(self._time())
        self._use_began = trio.Event()
        self._doubted = trio.Event()

    async def serve(self, parent: Branch) -> None:
        """Run the connection until it ends."""
        tasks = {
            "receiver": self._receive,
            "heartbeat": self._control.run,
            "keepalive": self._keep_alive,
            "other path": self._find_other_path,
            "settings": self._follow_settings,
            "renewal": self._renew,
        }
        if self.uplink.rank > 0:
            tasks["better path"] = self._find_better_path
        try:
            self.reason = await run_connection(
                parent, self.link, tasks, partial(self._gateway.statistics, self.uplink)
            )
        finally:
            self.ended.set()
            self._answered.set()

    async def joined(self) -> bool:
        """Wait for the answer to REGISTER; whether the connection can be used."""
        await self._answered.wait()
        return not self.ended.is_set()

    def use(self) -> None:
        """Take what the site sends from now on."""
        self._in_use = True
        if self._registered.is_set():
            self.link.pull_from(self._gateway.outgoing)

    async def _receive(self) -> None:
        """Task "receiver": packets go to the site, answers to whoever waits for them."""
        await self._register()
        rest = self._take_runs_untrusted(self.uplink.waiting)
        if rest is not None:
            await rest
        await self.link.receive_each(self._take_untrusted, self._take_packets_untrusted)

    async def _register(self) -> None:
        self._asked.append(self._gateway.site_config.local_networks)
        registration = self._gateway.registration(self.uplink, takes_over=self._takes_over)
        await self.link.send_batch([registration])

    def _take_untrusted(self, stream: StreamBuffer) -> Awaitable[None] | None:
        runs = self.uplink.reader.read_untrusted(stream)
        if runs and runs[0].version:
            self._note_use()
        return self._take_runs_untrusted(runs)

    def _take_packets_untrusted(self, frames: bytearray) -> Awaitable[None] | None:
        """Take packets that came beside the stream."""
        self._note_use()
        return self._take_runs_untrusted(self._packet_reader.receive_data_untrusted(frames))

    def _take_runs_untrusted(self, runs: Sequence[FrameRun]) -> Awaitable[None] | None:
        for index, run in enumerate(runs):
            if not run.version:
                self._take_control_untrusted(run)
            elif not self._gateway.take_nowait(run):
                return self._take_waiting_untrusted(runs[index:])
        return None

    async def _take_waiting_untrusted(self, runs: Sequence[FrameRun]) -> None:
        for run in runs:
            if run.version:
                await self._gateway.deliver(run)
            else:
                self._take_control_untrusted(run)

    def _take_control_untrusted(self, run: FrameRun) -> None:
        if run.command == codec.REGISTER:
            answer = RegisterAnswer.from_json_untrusted(bytes(run.data))
            asked = self._asked.pop(0) if self._asked else ()
            if answer.error:
                self._note_refusal(f"the router refused our registration: {answer.error}")
                return
            self._announced.update(asked)
            if not self._registered.is_set():
                native = self.uplink.native
                dialect = "classic" if native is None else "native " + " ".join(sorted(native))
                self.log.info("registered at %s %s (%s)", self.link.scheme, self.link.peer, dialect)
                self._gateway.uplinks.joined(
                    self.uplink.rank, self.uplink.connected(self._gateway.outgoing)
                )
                self._registered.set()
                self._answered.set()
                if self._in_use:
                    self.use()
        elif run.command == codec.HEART_BEAT:
            self._liveness.answered(trio.current_time())
        elif run.command == codec.CLIENT_CLOSED:
            raise LinkLost("the router asked us to reconnect")
        elif self.uplink.hands_over:
            self._control.take(run.command)

    def _note_refusal(self, text: str) -> None:
        """The link is of no use if it was the first registration, else it stays as it was."""
        text = text[:LONGEST_ERROR]
        if not self._registered.is_set():
            raise Refused(text, advice=advice.REFUSED_REGISTRATION)
        self._complaint = text
        self.log.warning("%s", text, advice=advice.REFUSED_REGISTRATION)

    def send_nowait(self, batch: FrameBatch) -> None:
        """Give packets of the site to the link, or queue them for when it takes them."""
        outgoing = self._gateway.outgoing
        for fitting in self.fit(batch):
            if (
                self._registered.is_set()
                and outgoing.passable
                and len(fitting.data) <= self.link.room
            ):
                self.link.send_nowait((fitting.data,))
                outgoing.note_bypass(fitting)
            else:
                outgoing.put_nowait(fitting, trio.current_time())
        if self._registered.is_set():
            self.link.flush()
            self._note_use()

    def fit(self, batch: FrameBatch) -> Sequence[FrameBatch]:
        """Cut or leave out what the router does not know."""
        if not self.uplink.takes_super_packets:
            batch = self._gateway.cut(batch)
        return [batch] if self.uplink.takes_ipv6 else self._gateway.only_ipv4(batch)

    def _note_use(self) -> None:
        """Note that the link is in use, so that its silence means something."""
        if self._liveness.used(self._time()):
            self._use_began.set()

    async def _keep_alive(self) -> None:
        """Task "keepalive": has heartbeats sent, and judges a link that has fallen silent."""
        with trio.move_on_after(REGISTER_SECONDS):
            await self._registered.wait()
        if not self._registered.is_set():
            raise LinkLost(
                f"no answer to REGISTER within {REGISTER_SECONDS:g} s",
                advice=advice.NO_LOGIN_ANSWER,
            )
        while True:
            self._use_began = trio.Event()
            self._gateway.outgoing.release_idle(trio.current_time())
            verdict = self._liveness.judge(
                trio.current_time(), self.link.heard, self.link.slowest_rtt
            )
            if verdict.dead:
                raise LinkLost(f"nothing heard for {DEAD_SECONDS:g} s", advice=advice.ROUTER_SILENT)
            if verdict.beat and not self.uplink.ask():
                self._control.send(BEAT)
            if verdict.doubtful:
                self._doubted.set()
            with trio.move_on_at(verdict.look_again_at):
                await self._use_began.wait()

    async def _find_other_path(self) -> None:
        """Task "other path": while the link is silent, try to reach a router anew.

        The link stays in use meanwhile, and wins if it speaks first.
        """
        level = logging.INFO
        while True:
            await self._doubted.wait()
            doubted_at = trio.current_time()
            backoff = Backoff()
            link = self.link
            self.log.log(level, "%s %s has fallen silent, trying anew", link.scheme, link.peer)
            # A path that loses much would fill the log.
            level = logging.DEBUG
            while link.heard < doubted_at:
                for rank in range(self._gateway.servers):
                    if await self._succeed(rank, unless_heard_since=doubted_at):
                        return
                await trio.sleep(backoff.next_delay())
            self._doubted = trio.Event()

    def unsettled(self) -> str:
        """Say what of the configuration has not been agreed on with the router; "" if all has."""
        if not self._registered.is_set():
            return "the link has just been made, and the router has not answered yet"
        if self._is_outdated():
            outage = self._gateway.uplinks.outage().what
            return "there is no link by the new settings yet" + (f": {outage}" if outage else "")
        missing = set(self._gateway.site_config.local_networks) - self._announced
        if missing:
            return self._complaint or "the router has not answered to our networks yet"
        return ""

    def _is_outdated(self) -> bool:
        """Whether it takes another link to do as the configuration says."""
        # What is registered on a link stays so.
        networks = self._gateway.site_config.local_networks
        return self.uplink.settings != self._gateway.settings or not self._announced.issubset(
            networks
        )

    async def _follow_settings(self) -> None:
        """Task "settings": do as the configuration says when it changes.

        More networks are announced on this link. For all else another link is made, which takes
        the place of this one once it works.
        """
        await self._registered.wait()
        while True:
            changed = self._gateway.changed
            self._complaint = ""
            if self._is_outdated():
                if await self._find_new_link(changed):
                    return
            else:
                # A link that is left registers no more: that would be to take over again.
                networks = self._gateway.site_config.local_networks
                if self.successor is None and not self._announced.issuperset(networks):
                    await self._register()
                await changed.wait()

    async def _find_new_link(self, changed: trio.Event) -> bool:
        """Try to make another link by the new settings; False if there are newer ones yet."""
        backoff = Backoff()
        level = logging.WARNING
        while not changed.is_set():
            for rank in range(self._gateway.servers):
                if changed.is_set():
                    return False  # This link may be the right one again.
                if await self._succeed(rank):
                    return True
            outage = self._gateway.uplinks.outage()
            text = "no link by the new settings, the one before stays: %s"
            self.log.log(level, text, outage.what, advice=outage.advice)
            level = logging.DEBUG
            with trio.move_on_after(backoff.next_delay()):
                await changed.wait()
        return False

    async def _find_better_path(self) -> None:
        """Task "better path": on a fallback, try to return to a server before it."""
        interval = FIRST_RETURN_SECONDS
        while True:
            await trio.sleep(interval)
            interval = min(interval * 2, LONGEST_RETURN_SECONDS)
            for rank in range(self.uplink.rank):
                if await self._succeed(rank):
                    return

    async def _succeed(self, rank: int, unless_heard_since: float | None = None) -> bool:
        """Log in at a server and make that link the successor of this one, if it works."""
        if self.successor is not None:
            return True
        try:
            uplink = await self._gateway.log_in(rank)
        except PoleVpnError as error:
            log.debug("no better: %s", error)
            return False
        if unless_heard_since is not None and self.link.heard >= unless_heard_since:
            uplink.link.close()
            return False
        if self.successor is not None:
            uplink.link.close()
        else:
            self.successor = self._gateway.begin(uplink)
        return True

    async def _renew(self) -> None:
        """Task "renewal": go over to a new link before the keys are too old, or worn."""
        await self._registered.wait()
        backoff = Backoff()
        while True:
            key_use = self.link.key_use
            if key_use >= 1:
                raise LinkLost("its keys are used up, and the router lets us make no new ones")
            now = trio.current_time()
            if not self._plan.is_due(now, key_use):
                await trio.sleep_until(self._plan.look_again_at(now))
            elif await self._hand_over():
                return
            else:
                await trio.sleep(backoff.next_delay())

    async def _hand_over(self) -> bool:
        """Make a new link to the same server and leave to it; False if that does not work now."""
        try:
            uplink = await self._gateway.log_in(self.uplink.rank)
        except PoleVpnError as error:
            self.log.info("cannot renew the keys now: %s", error)
            return False
        if self.successor is not None:
            uplink.link.close()
            return True
        takes_over = self.uplink.hands_over and uplink.hands_over
        self.successor = successor = self._gateway.begin(uplink, takes_over=takes_over)
        if not takes_over:
            return True
        if not await successor.joined():
            self.successor = None
            return False
        self.log.info("renewing the keys: %s takes over", successor.title)
        gateway = self._gateway
        await self._control.leave(gateway.outgoing, partial(gateway.use, successor))
        return True


async def run(
    config: GatewayConfig,
    source: Source[GatewayConfig] | None = None,
    device: TunDevice | None = None,
) -> None:
    """Be a gateway until cancelled; go on with what comes from ``source``, by default its file.

    ``device`` is its TUN device, by default made now. Raises HostError when this machine lacks
    something or does not let us.
    """
    source = source or Source(partial(load_gateway, config.path))
    with managed("gateway", config.path, config.control, config.warnings) as program:
        names = NameBook()
        if any(network.prefixlen == 0 for network in config.site.route_networks):
            # Once everything goes through the tunnel, so does the name server.
            await names.look_all_up(config.servers, config.connect_timeout)
        async with open_site(config.site, device) as site, open_root("gateway") as root:
            dialer = Dialer.of(config, site.network.keep_reachable, names)
            gateway = Gateway(config, site, dialer, root)
            root.start_soon("tun reader", gateway.read_tun)
            root.start_soon("tun writer", site.write, site.statistics)
            root.start_soon("connector", gateway.connect)
            view = GatewayView(
                program,
                root,
                gateway.uplinks,
                lambda: gateway.site_config,
                site.device.name,
                gateway.drops,
                certificates=gateway.certificates,
            )
            reloader = Reloader(
                program,
                config,
                source,
                GATEWAY_KEYS,
                gateway.adopt,
                prepare=lambda new: new.key and SiteKey.derive(new.key, new.name),
                missing=gateway.unsettled,
            )
            root.start_soon("reload", reloader.serve)
            await start_control(root, view, reloader)
            await start_metrics(root, view, config.metrics)
            start_service_manager(root, view)
