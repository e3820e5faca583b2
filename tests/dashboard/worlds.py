"""A router with made-up sites whose links are alive: traffic, round trips, losses."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path

import attrs
import trio

from polevpn_trio.control.control_config import ControlConfig
from polevpn_trio.control.dashboard_config import DashboardConfig
from polevpn_trio.dashboard.server import Dashboard, listen
from polevpn_trio.forwarding.forwarder import Forwarder
from polevpn_trio.forwarding.policy.guard import PolicyGuard
from polevpn_trio.forwarding.policy.rules import Policy
from polevpn_trio.management.answers import Status, Trouble
from polevpn_trio.management.measures import Counters, Passage, Reading
from polevpn_trio.management.roster import Connected, Roster
from polevpn_trio.management.router_view import RouterView
from polevpn_trio.management.routing import RouterTable
from polevpn_trio.management.service import managed
from polevpn_trio.nursery_tree import open_root
from tests.conftest import Certificate
from tests.forwarding.policy.packets import Border
from tests.management.sites import Peer

TOKEN = "a token that is long enough"
LOST = Trouble(
    "nothing heard for 60 s", "see whether that gateway runs, and whether its uplink does"
)


@attrs.define(eq=False)
class LivePeer(Peer):
    """A link that carries ``rate`` bytes per second, and loses a share of the packets."""

    rate: float = 0.0
    rtt: float = 0.02
    loss: float = 0.0
    began: float = attrs.field(factory=trio.current_time)

    def reading(self) -> Reading:
        passed = trio.current_time() - self.began
        swing = 1 + 0.5 * math.sin(passed / 7 + self.rtt * 100)
        sent = int(self.rate * (passed + 3 * math.sin(passed / 7)))
        packets = int(sent / 1000)
        lost = int(packets * self.loss)
        return Reading(
            Counters(sent, int(sent * 0.4), Passage(packets, lost, lost // 8), Passage()),
            rtt=self.rtt * (0.9 + 0.2 * swing),
            jitter=self.rtt / 12,
            queue_delay=0.0004,
            queued_bytes=2800,
        )


@attrs.define
class World:
    """A router with a dashboard at ``url``."""

    roster: Roster
    forwarder: Forwarder
    url: str = ""
    peers: dict[str, LivePeer] = attrs.field(factory=dict)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)
    """Set when all of the router is over."""
    looking: trio.Event = attrs.field(factory=trio.Event)
    """Set while there are new looks at the router."""

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Tell nobody anything new, but for what is under way, as long as the block lasts."""
        self.looking = trio.Event()
        try:
            yield
        finally:
            self.looking.set()

    def join(self, name: str, *, rate: float = 0.0, rtt: float = 0.02, loss: float = 0.0) -> None:
        """Have a site log in."""
        number = len(self.peers) + 1
        now = trio.current_time()
        peer = LivePeer(heard=math.inf, rate=rate, rtt=rtt, loss=loss)
        address = [ip_address(f"10.8.{number // 250}.{number % 250 + 1}")]
        networks = [ip_network(f"192.168.{number % 250}.0/24")]
        connected = Connected(
            identifier=f"{random.Random(name).getrandbits(32):08x}",
            transport="kcp" if number % 4 else "wss",
            peer=f"198.51.100.{number % 250}:{50400 + number}",
            since=now,
            features=("datagram", "fec", "gso", "ipv6") if number % 5 else None,
            read=peer.reading,
            heard=trio.current_time,
        )
        self.roster.joined(peer, name, address, networks, connected)
        self.forwarder.register(peer, address, networks)
        self.forwarder.name(peer, name)
        self.peers[name] = peer

    def send(self, packet: bytes, origin: str, target: str) -> bool:
        """Have a site send a packet to another; tell whether the policy lets it pass."""
        assert self.forwarder.guard is not None
        border = Border(self.forwarder.guard)
        return bool(border.send(packet, origin=origin, target=target, now=trio.current_time()))

    def leave(self, name: str, trouble: Trouble = LOST) -> None:
        """Have a site's connection end."""
        peer = self.peers[name]
        self.forwarder.unregister(peer)
        self.roster.left(peer, trouble, trio.current_time())


@attrs.frozen
class RestingView(RouterView):
    """Looks at the router only while its world says so."""

    world: World = attrs.field(kw_only=True)

    async def status(self, over: float) -> Status:
        """Tell how all sites are."""
        await self.world.looking.wait()
        return await super().status(over)


@asynccontextmanager
async def dashboard_of(
    folder: Path,
    history: Path | None = None,
    warnings: tuple[str, ...] = (),
    certificate: Certificate | None = None,
    policy: Policy | None = None,
) -> AsyncIterator[World]:
    """A world whose dashboard serves on a port of its own, as long as the block lasts.

    Or until its scope is cancelled, which leaves the block alone.
    """
    config = DashboardConfig("127.0.0.1", 0, TOKEN, history or folder / "history.sqlite")
    if certificate is not None:
        config = attrs.evolve(
            config, cert_file=certificate.cert_file, key_file=certificate.key_file
        )
    control = ControlConfig(enabled=False)
    world = World(Roster(), Forwarder())
    world.looking.set()
    if policy is not None:
        world.forwarder.guard = PolicyGuard(policy, seed=1)

    async def router(*, task_status: trio.TaskStatus[str]) -> None:
        with managed("router", Path("router.json"), control, warnings) as program, world.scope:
            async with open_root("router") as root:
                table = RouterTable(world.forwarder, world.roster)
                view = RestingView(program, root, table, lambda: 7, world=world)
                dashboard = Dashboard(config, view, listen(config.host, config.port))
                task_status.started(dashboard.url)
                await dashboard.run()
        world.ended.set()

    async with trio.open_nursery() as nursery:
        world.url = str(await nursery.start(router))
        yield world
        world.scope.cancel()
