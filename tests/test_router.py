"""The router's logic, over links in memory in virtual time."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from polevpn_trio import hub
from polevpn_trio.control.admission import Admission
from polevpn_trio.control.config import RouterConfig, SiteConfig
from polevpn_trio.control.limits import Limits
from polevpn_trio.errors import LinkLost
from polevpn_trio.forwarding.forwarder import Forwarder, Peer
from polevpn_trio.frames import codec
from polevpn_trio.frames.codec import FrameRun
from polevpn_trio.hub import MOST_RUNS, GatewayConnection, Router
from polevpn_trio.nursery_tree import open_root
from polevpn_trio.site import Site
from polevpn_trio.site_peer import SitePeer
from polevpn_trio.transport.outgoing import MAX_CONTROL_FRAMES
from polevpn_trio.transport.recognise import MAX_LOGIN_BYTES
from tests.memory_device import MemoryDevice
from tests.memory_links import Frame, MemoryLink, frames, ipv4, ipv6, link_pair, split

KEY = "secret"
CONFIG = RouterConfig(Path("router.json"), KEY, idle_timeout=60.0, auth_timeout=10.0)


class Client:
    """A gateway, as far as the router can see it."""

    def __init__(self, link: MemoryLink, routers_end: MemoryLink, connection: Any) -> None:
        self.link = link
        self.routers_end = routers_end
        self.connection: GatewayConnection = connection
        self.got: list[Frame] = []
        self.ended_at: float | None = None

    async def listen(self) -> None:
        try:
            while True:
                self.got += split((await self.link.receive()).take())
        except LinkLost:
            self.ended_at = trio.current_time()

    def of(self, command: int) -> list[Frame]:
        return [frame for frame in self.got if frame.command == command]

    async def say(self, command: int, sequence: int = 0, **body: object) -> None:
        payload = json.dumps(body).encode() if body else b""
        await self.link.send_batch([codec.build_frame(command, payload, sequence)])

    async def join(
        self,
        gateway: str,
        *networks: str,
        native: bool = False,
        features: Sequence[str] = ("ipv6",),
    ) -> None:
        if native:
            offer = {"version": 1, "features": list(features)}
            await self.say(codec.AUTH, key=KEY, native=offer)
        else:
            await self.say(codec.AUTH, key=KEY)
        await self.say(codec.REGISTER, gateway=gateway, key=KEY, network=list(networks))
        await trio.sleep(0.1)
        assert self.of(codec.REGISTER)[-1].payload == b"{}"

    async def send(self, *packets: bytes) -> None:
        await self.link.send_batch([frames(codec.C2S_IPDATA, *packets)])


class World:
    def __init__(self, config: RouterConfig, root: Any, nursery: trio.Nursery) -> None:
        self.router = Router(config, root)
        self.root = root
        self.nursery = nursery
        self.admission = Admission(Limits(unauthenticated=4), trio.current_time())

    def connect(self, scheme: str = "kcp", number: int = 1) -> Client:
        theirs, ours = link_pair(scheme, "router")
        ours.peer = f"198.51.100.{number}:50000"
        scope = trio.CancelScope()
        place = self.admission.enter(f"198.51.100.{number}", scope.cancel)
        login_by = trio.current_time() + self.router.config.auth_timeout
        connection = GatewayConnection(self.router, ours, place, login_by)
        client = Client(theirs, ours, connection)

        async def serve() -> None:
            with scope:
                await connection.serve()

        self.nursery.start_soon(serve)
        self.nursery.start_soon(client.listen)
        return client


def with_router(body: Callable[[World], Awaitable[None]], config: RouterConfig = CONFIG) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery, open_root("router") as root:
            await body(World(config, root, nursery))
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


PACKET = ipv4("192.168.1.5", "192.168.2.6")


def test_forwards_between_gateways_and_rewrites_only_the_command() -> None:
    async def body(world: World) -> None:
        a, b = world.connect(), world.connect(number=2)
        await a.join("10.8.0.1", "192.168.1.0/24")
        await b.join("10.8.0.2", "192.168.2.0/24")
        await a.send(PACKET, ipv4("10.8.0.1", "10.8.0.2"), ipv4("10.8.0.1", "203.0.113.1"))
        await trio.sleep(1)
        assert [frame.payload for frame in b.of(codec.S2C_IPDATA)] == [
            PACKET,
            ipv4("10.8.0.1", "10.8.0.2"),
        ]
        assert a.of(codec.S2C_IPDATA) == []
        assert world.router.statistics().forwarder.no_route == 1

    with_router(body)


def test_who_scans_leaves_turns_to_others_and_keeps_his_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands of packets at once, each a decision of its own, and then one for somebody."""
    scanned = [ipv4("192.168.1.5", f"203.0.{n // 250}.{n % 250}") for n in range(5000)]
    decided: list[int] = []
    begun = trio.Event()

    class Counted(Forwarder):
        def route_batch(self, runs: Sequence[FrameRun], sender: Peer, now: float = 0.0) -> None:
            decided.append(len(runs))
            super().route_batch(runs, sender, now)
            begun.set()

    monkeypatch.setattr(hub, "Forwarder", Counted)

    async def body(world: World) -> None:
        a, b = world.connect(), world.connect(number=2)
        await a.join("10.8.0.1", "192.168.1.0/24")
        await b.join("10.8.0.2", "192.168.2.0/24")
        turns: list[int] = []

        await a.send(*scanned, PACKET)
        await begun.wait()
        while sum(decided) <= len(scanned):
            assert a.ended_at is None
            turns.append(len(decided))
            await trio.lowlevel.checkpoint()
        await trio.sleep(1)
        assert len(b.of(codec.S2C_IPDATA)) == 1
        assert world.router.statistics().forwarder.no_route == len(scanned)
        assert max(decided) <= MOST_RUNS
        # In the order that chance gives them.
        assert all(after - before <= 2 for before, after in pairwise(turns))
        assert len(turns) >= len(scanned) // (2 * MOST_RUNS)

        # What has few runs is taken in large pieces again.
        await a.send(*[PACKET] * 3000)
        await trio.sleep(1)
        assert len(b.of(codec.S2C_IPDATA)) == 3001

    with_router(body)


def test_packets_may_follow_the_login_at_once() -> None:
    async def body(world: World) -> None:
        a, b = world.connect(), world.connect(number=2)
        await b.join("10.8.0.2")
        ask = {"key": KEY, "gateway": "10.8.0.1", "network": []}
        login = [codec.build_frame(codec.AUTH, json.dumps({"key": KEY}).encode())]
        login.append(codec.build_frame(codec.REGISTER, json.dumps(ask).encode()))
        packet = ipv4("10.8.0.1", "10.8.0.2")
        await a.link.send_batch([*login, frames(codec.C2S_IPDATA, packet)])
        await trio.sleep(1)
        assert [frame.payload for frame in b.of(codec.S2C_IPDATA)] == [packet]

    with_router(body)


def test_answers_carry_the_sequence_and_heartbeats_no_payload() -> None:
    async def body(world: World) -> None:
        client = world.connect()
        await client.join("10.8.0.1")
        await client.say(codec.HEART_BEAT, 77, ignored=True)
        await trio.sleep(1)
        assert client.of(codec.HEART_BEAT) == [Frame(codec.HEART_BEAT, 77, b"")]

    with_router(body)


@pytest.mark.parametrize("beats", [False, True])
def test_who_does_not_log_in_is_ended_at_the_deadline(beats: bool) -> None:
    async def body(world: World) -> None:
        client = world.connect()
        # The beginning of a frame, drop by drop, changes nothing.
        for byte in codec.build_frame(codec.AUTH, bytes(100))[:50] if beats else b"":
            await client.link.send_batch([bytes([byte])])
            await trio.sleep(0.1)
        await trio.sleep(11)
        assert client.ended_at == pytest.approx(10.0, abs=0.1)
        assert world.admission.statistics().waiting == 0

    with_router(body)


def test_a_long_frame_before_login_is_not_waited_for() -> None:
    async def body(world: World) -> None:
        client = world.connect()
        await client.link.send_batch([b"\xff\xff\0\0" + bytes(MAX_LOGIN_BYTES)])
        await trio.sleep(1)
        assert client.ended_at is not None

    with_router(body)


def test_idle_connections_end_and_beating_ones_do_not() -> None:
    async def body(world: World) -> None:
        idle, beating = world.connect(), world.connect(number=2)
        await idle.join("10.8.0.1", "192.168.1.0/24")
        await beating.join("10.8.0.2")
        for _ in range(10):
            await trio.sleep(20)
            await beating.say(codec.HEART_BEAT)
        assert idle.ended_at == pytest.approx(60.0, abs=1)
        assert beating.ended_at is None
        assert [str(route.network) for route in world.router.forwarder.routes()] == ["10.8.0.2"]

    with_router(body)


def test_wrong_key_is_answered_counted_and_the_key_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(world: World) -> None:
        client = world.connect()
        await client.say(codec.AUTH, key="hunter2")
        await trio.sleep(1)
        assert json.loads(client.of(codec.AUTH)[0].payload) == {"error": "invalid key"}
        assert client.ended_at is not None
        assert world.router.statistics().strangers == 1

    with caplog.at_level(logging.DEBUG):
        with_router(body)
    assert "invalid key" in caplog.text
    assert "hunter2" not in caplog.text
    assert KEY not in caplog.text


def test_refusals_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        for number in range(200):
            client = world.connect(number=number)
            await client.say(codec.AUTH, key="wrong")
            await trio.sleep(0.5)
        assert world.router.statistics().strangers == 200

    with caplog.at_level(logging.INFO):
        with_router(body)
    assert len(caplog.messages) < 30
    assert "more since the last such line" in caplog.text


def test_a_newcomer_takes_over_the_address_of_a_stale_connection() -> None:
    async def body(world: World) -> None:
        stale, other = world.connect(), world.connect(number=2)
        await stale.join("10.8.0.1", "192.168.1.0/24")
        await other.join("10.8.0.2")
        fresh = world.connect(number=3)
        await fresh.join("10.8.0.1", "192.168.1.0/24")
        assert stale.routers_end.is_closed
        assert other.ended_at is None
        await other.send(ipv4("10.8.0.2", "10.8.0.1"), ipv4("10.8.0.2", "192.168.1.9"))
        await trio.sleep(1)
        assert len(fresh.of(codec.S2C_IPDATA)) == 2
        # The same again on one connection is no reason to end it.
        await fresh.join("10.8.0.1", "192.168.1.0/24")
        assert fresh.ended_at is None

    with_router(body)


def test_a_connection_that_takes_no_answer_cannot_displace_its_successor() -> None:
    """Its registration came first, so it must not win because its answer was held up."""

    async def body(world: World) -> None:
        stale = world.connect()
        await stale.say(codec.AUTH, key=KEY)
        await trio.sleep(0.1)
        stale.routers_end.taking = trio.Event()
        await stale.say(codec.REGISTER, gateway="10.8.0.1", key=KEY, network=[])
        await trio.sleep(0.1)
        fresh = world.connect(number=2)
        await fresh.join("10.8.0.1")
        stale.routers_end.taking.set()
        await trio.sleep(1)
        assert fresh.ended_at is None
        assert world.router.forwarder.gateway_owner(IPv4Address("10.8.0.1")) is fresh.connection

    with_router(body)


def test_the_registration_is_answered_before_any_data_although_others_are_sending() -> None:
    async def body(world: World) -> None:
        sender = world.connect()
        await sender.join("10.8.0.1", "192.168.1.0/24")
        flooding = trio.CancelScope()

        async def flood() -> None:
            with flooding:
                while True:
                    await sender.send(*[ipv4("10.8.0.1", "10.8.0.9")] * 20)
                    await trio.sleep(0.0005)

        world.nursery.start_soon(flood)
        for number in range(5, 15):
            client = world.connect(number=number)
            client.routers_end.taking = trio.Event()
            await client.say(codec.AUTH, key=KEY)
            await client.say(codec.REGISTER, gateway="10.8.0.9", key=KEY, network=[])
            await trio.sleep(0.1)
            client.routers_end.taking.set()
            await trio.sleep(0.1)
            commands = [frame.command for frame in client.got]
            assert commands[:2] == [codec.AUTH, codec.REGISTER]
            assert commands[2:].count(codec.S2C_IPDATA) > 100
        flooding.cancel()

    with_router(body)


def test_heartbeats_are_heard_while_the_link_takes_nothing() -> None:
    """What makes a KCP link take more is heard by receiving: the receiver must not wait."""

    async def body(world: World) -> None:
        a, b = world.connect(), world.connect(number=2)
        await a.join("10.8.0.1")
        await b.join("10.8.0.2")
        b.routers_end.taking = trio.Event()
        await a.send(ipv4("10.8.0.1", "10.8.0.2"))
        for _ in range(5):
            await trio.sleep(10)
            sent = trio.current_time()
            await b.say(codec.HEART_BEAT)
            await trio.sleep(0.1)
            assert b.routers_end.heard >= sent
        b.routers_end.taking.set()
        await trio.sleep(1)
        assert [frame.command for frame in b.got[2:]] == [
            *[codec.HEART_BEAT] * 5,
            codec.S2C_IPDATA,
        ]

    with_router(body)


def test_answers_overtake_packets_that_wait() -> None:
    async def body(world: World) -> None:
        a, b = world.connect(), world.connect(number=2)
        await a.join("10.8.0.1")
        await b.join("10.8.0.2")
        b.routers_end.taking = trio.Event()
        await a.send(*[ipv4("10.8.0.1", "10.8.0.2", 1500)] * 200)
        await trio.sleep(0.1)
        await a.send(*[ipv4("10.8.0.1", "10.8.0.2", 1500)] * 200)
        await b.say(codec.HEART_BEAT)
        await trio.sleep(0.1)
        b.routers_end.taking.set()
        await trio.sleep(1)
        commands = [frame.command for frame in b.got[2:]]
        assert commands.count(codec.S2C_IPDATA) == 400
        assert commands.index(codec.HEART_BEAT) <= 200

    with_router(body)


def test_who_takes_nothing_for_long_is_ended_though_he_beats() -> None:
    async def body(world: World) -> None:
        client = world.connect("tls")
        await client.join("10.8.0.1")
        client.routers_end.taking = trio.Event()
        for _ in range(3000):
            with contextlib.suppress(LinkLost):
                await client.say(codec.HEART_BEAT)
        statistics = client.connection.statistics().outgoing
        await trio.sleep(1)
        statistics = client.connection.statistics().outgoing
        assert statistics.dropped_control >= 3000 - 2 * MAX_CONTROL_FRAMES
        for _ in range(7):
            await trio.sleep(10)
            with contextlib.suppress(LinkLost):
                await client.say(codec.HEART_BEAT)
        assert client.routers_end.is_closed

    with_router(body)


def test_a_full_queue_drops_of_the_fattest_flow_counts_and_harms_nobody_else() -> None:
    async def body(world: World) -> None:
        a, slow, quick = (world.connect(number=number) for number in range(1, 4))
        await a.join("10.8.0.1")
        await slow.join("10.8.0.2", "10.9.0.0/24")
        await quick.join("10.8.0.3")
        slow.routers_end.taking = trio.Event()
        await a.send(ipv4("10.8.0.1", "10.9.0.1"))
        packets = 200
        for _ in range(packets):
            await a.send(ipv4("10.8.0.1", "10.8.0.2", 1492), ipv4("10.8.0.1", "10.8.0.3", 1492))
            await trio.sleep(0.02)
        assert len(quick.of(codec.S2C_IPDATA)) >= packets - 1
        waiting = slow.connection.statistics().outgoing.waiting
        assert 140_000 < waiting.queued_bytes <= 150_000
        assert waiting.dropped_full == packets + 1 - waiting.queued
        slow.routers_end.taking.set()
        await trio.sleep(0.1)
        # Not what was there first, but who takes so much room has to go.
        sizes = [len(frame.payload) for frame in slow.of(codec.S2C_IPDATA)]
        assert sorted(sizes)[:2] == [40, 1492]

    with_router(body, RouterConfig(Path("router.json"), KEY, queue_bytes=150_000))


def test_ipv6_goes_only_to_those_who_know_it() -> None:
    async def body(world: World) -> None:
        sender = world.connect()
        await sender.join("10.8.0.1", "fd00::1/128", native=True)
        classic, native = world.connect(number=2), world.connect(number=3)
        await classic.join("10.8.0.2", "fd00::2/128")
        await native.join("10.8.0.3", "fd00::3/128", native=True)
        base = 0xFD << 120
        await sender.send(ipv6(base + 1, base + 2), ipv6(base + 1, base + 3))
        await trio.sleep(1)
        assert classic.of(codec.S2C_IPDATA) == []
        assert len(native.of(codec.S2C_IPDATA)) == 1
        assert world.router.statistics().forwarder.not_ipv4 == 1

    with_router(body)


def test_strangers_beyond_the_limit_make_room_and_the_logged_in_stay() -> None:
    async def body(world: World) -> None:
        members = []
        for number in range(1, 6):
            members.append(world.connect(number=number))
            await members[-1].join(f"10.8.0.{number}")
        flood = [world.connect(number=200) for _ in range(50)]
        late = world.connect(number=7)
        await late.join("10.8.0.100")
        assert all(member.ended_at is None for member in [*members, late])
        assert sum(not each.routers_end.is_closed for each in flood) <= 4

    with_router(body)


@pytest.mark.parametrize("acls", [(), (IPv4Network("192.168.1.0/24"),)])
def test_the_routers_own_site_is_a_peer_like_others(acls: tuple[IPv4Network, ...]) -> None:
    async def body(world: World) -> None:
        device: Any = MemoryDevice()
        site = Site(SiteConfig(gateway=IPv4Address("10.8.0.200"), acls=acls), device, None)  # type: ignore[arg-type]  # no network
        peer = SitePeer(world.router.forwarder, site, super_packets=True)
        world.router.forwarder.register(
            peer, [IPv4Address("10.8.0.200")], [IPv4Network("192.168.2.0/24")]
        )
        world.nursery.start_soon(peer.read)
        world.nursery.start_soon(site.write)
        client = world.connect()
        await client.join("10.8.0.1", "192.168.1.0/24", "172.16.0.0/12")
        stranger = ipv4("172.16.0.1", "192.168.2.6")
        await client.send(PACKET, stranger, PACKET)
        back = ipv4("192.168.2.6", "192.168.1.5")
        device.from_host.send_nowait(back)
        await trio.sleep(1)
        assert device.to_host == ([PACKET, PACKET] if acls else [PACKET, stranger, PACKET])
        assert site.statistics().not_in_acls == len(acls)
        assert [frame.payload for frame in client.of(codec.S2C_IPDATA)] == [back]

    with_router(body)
