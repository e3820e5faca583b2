"""The router and forged sources: they never arrive, by whatever way they came, and it says so."""

from __future__ import annotations

import logging
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from polevpn_trio.control import advice
from polevpn_trio.control.authentication import Admitted
from polevpn_trio.control.config import SiteConfig
from polevpn_trio.control.refused_packets import LINE_SECONDS
from polevpn_trio.control.site_directory import KnownSite
from polevpn_trio.frames import codec
from polevpn_trio.site import Site
from polevpn_trio.site_peer import SitePeer
from tests.memory_device import MemoryDevice
from tests.memory_links import Frame, frames, ipv4, ipv6
from tests.test_router import CONFIG, Client, World, with_router
from tests.tun.super_packets import Headers, bend, make_packet, make_super_packet

OWN = ipv4("192.168.1.5", "192.168.2.6")
FORGED = ipv4("192.168.2.9", "192.168.2.6")
BASE = 0xFD << 120
OWN6, FORGED6 = ipv6(BASE | 1 << 64, BASE | 2 << 64), ipv6(BASE | 2 << 64 | 9, BASE | 2 << 64)


async def join(world: World, **options: Any) -> tuple[Client, Client]:
    """Join two sites, of which the second takes all."""
    a, b = world.connect(), world.connect(number=2)
    await a.join("10.8.0.1", "192.168.1.0/24", "10.0.0.0/24", "fd00:0:0:1::/64", **options)
    features = ["gso", "ipv6"]
    networks = ("192.168.2.0/24", "10.0.1.0/24", "fd00:0:0:2::/64")
    await b.join("10.8.0.2", *networks, native=True, features=features)
    return a, b


def arrived(client: Client) -> list[bytes]:
    return [frame.payload for frame in client.of(codec.S2C_IPDATA)]


@pytest.mark.parametrize("options", [{}, {"native": True}, {"native": True, "features": ["gso"]}])
def test_a_forged_source_never_arrives_whichever_dialect_sends_it(options: dict[str, Any]) -> None:
    async def body(world: World) -> None:
        a, b = await join(world, **options)
        await a.send(FORGED, OWN, FORGED, FORGED6, OWN6, FORGED6)
        await trio.sleep(1)
        assert arrived(b) == [OWN, OWN6]
        assert world.router.statistics().forwarder.spoofed == 4
        assert a.connection.statistics().refused == {"spoofed": 4}
        assert a.connection.read().counters.drops["spoofed"] == 4
        assert b.connection.statistics().refused == {}

    with_router(body)


def test_nor_does_it_beside_the_stream() -> None:
    async def body(world: World) -> None:
        a, b = await join(world, native=True)
        packets = bytearray(frames(codec.C2S_IPDATA, FORGED, OWN, FORGED6, OWN6))
        assert a.connection._take_packets_untrusted(packets) is None
        await trio.sleep(1)
        assert arrived(b) == [OWN, OWN6]

    with_router(body)


def test_nor_in_super_packets_which_count_as_the_packets_in_them() -> None:
    async def body(world: World) -> None:
        a, b = await join(world, native=True, features=["gso"])
        own = make_packet(Headers(), bytes(300), partial=True)
        forged = bytearray(own)
        forged[12:16] = IPv4Address("10.0.1.9").packed
        for packet in (bytes(forged), own):
            await a.link.send_batch([codec.build_frame(codec.C2S_IPDATA, packet, 100)])
        await trio.sleep(1)
        assert b.of(codec.S2C_IPDATA) == [Frame(codec.S2C_IPDATA, 100, own)]
        assert a.connection.statistics().refused == {"spoofed": 3}

    with_router(body)


def test_nor_from_the_routers_own_site() -> None:
    async def body(world: World) -> None:
        device: Any = MemoryDevice()
        site = Site(SiteConfig(gateway=IPv4Address("10.8.0.200")), device, None)  # type: ignore[arg-type]  # no network
        peer = SitePeer(world.router.forwarder, site, super_packets=True)
        world.router.forwarder.register(peer, [], [IPv4Network("192.168.1.0/24")])
        world.nursery.start_soon(peer.read)
        client = world.connect()
        await client.join("10.8.0.2", "192.168.2.0/24")
        for packet in (FORGED, OWN):
            device.from_host.send_nowait(packet)
        forged = bend(make_super_packet(Headers(), bytes(300), 100), 10 + 16, 192, 168, 2, 5)
        device.from_host.send_nowait(forged)
        await trio.sleep(1)
        assert arrived(client) == [OWN]
        assert peer.refused == {"spoofed": 4}

    with_router(body)


def test_a_gateway_that_has_not_registered_is_not_listened_to() -> None:
    async def body(world: World) -> None:
        _, b = await join(world)
        late = world.connect(number=3)
        await late.say(codec.AUTH, key="secret")
        await late.send(OWN)
        await trio.sleep(1)
        assert arrived(b) == []
        assert late.connection.statistics().refused == {"unregistered": 1}
        assert late.ended_at is None

    with_router(body)


def test_a_line_tells_what_to_do_and_another_one_comes_only_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(world: World) -> None:
        a, _ = await join(world)
        for _ in range(5):
            await a.send(FORGED)
            await trio.sleep(1)
        await trio.sleep(LINE_SECONDS)
        await a.say(codec.HEART_BEAT)
        await a.send(FORGED)
        await trio.sleep(1)

    with caplog.at_level(logging.WARNING):
        with_router(body, attrs.evolve(CONFIG, idle_timeout=3600))
    assert [record.getMessage() for record in caplog.records] == [
        f"kcp 198.51.100.1:50000: packets from it dropped, {count} so far: "
        "192.168.2.9, for one, is not among its addresses and networks"
        for count in (1, 6)
    ]
    assert vars(caplog.records[0])["context"]["advice"] == advice.SPOOFED


def test_sources_need_not_be_checked() -> None:
    async def body(world: World) -> None:
        a, b = await join(world)
        await a.send(FORGED)
        await trio.sleep(1)
        assert arrived(b) == [FORGED]

    with_router(body, attrs.evolve(CONFIG, source_check=False))


def test_nor_need_those_of_a_single_known_site() -> None:
    async def body(world: World) -> None:
        known = KnownSite(
            "berlin",
            Path("router.json"),
            addresses=frozenset({IPv4Address("10.8.0.1")}),
            networks=tuple(map(ip_network, ("192.168.1.0/24", "10.0.0.0/24", "fd00:0:0:1::/64"))),
            source_check=False,
        )
        judge = world.router.access.judge_untrusted

        def admit(request: Any, identity: Any) -> Any:
            return Admitted(site=known) if request.native is None else judge(request, identity)

        world.router.access.judge_untrusted = admit  # type: ignore[method-assign]  # by key
        a, b = await join(world)
        await a.send(FORGED)
        await b.send(ipv4("192.168.1.77", "192.168.1.5"))
        await trio.sleep(1)
        assert arrived(b) == [FORGED]
        assert arrived(a) == []

    with_router(body)
