"""The router and super-packets: whole to those who know them, cut for the others."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs
import pytest
import trio

from polevpn_trio.control.config import SiteConfig
from polevpn_trio.frames import codec
from polevpn_trio.site import Site
from polevpn_trio.site_peer import SitePeer
from tests.memory_device import MemoryDevice
from tests.memory_links import Frame
from tests.test_router import CONFIG, Client, World, with_router
from tests.tun.super_packets import Headers, bend, make_packet, make_super_packet, pieces

WHOLE = Headers()
WHOLE_PACKET = make_packet(WHOLE, bytes(300), partial=True)
TARGET = "10.0.1.0/24"
"""Where the packets of `WHOLE` go to."""
SOURCE = "10.0.0.0/24"
"""Where they come from."""


def data_of(client: Client) -> list[tuple[bytes, int]]:
    return [(frame.payload, frame.sequence) for frame in client.of(codec.S2C_IPDATA)]


@pytest.mark.parametrize("receiver", ["gso", "native", "classic"])
@pytest.mark.parametrize("sender", ["gso", "native", "classic"])
def test_super_packets_pass_whole_or_cut_and_other_sequences_mean_nothing(
    sender: str, receiver: str
) -> None:
    async def body(world: World) -> None:
        a, b = world.connect(), world.connect(number=2)
        for client, kind, gateway, network in (
            (a, sender, "10.8.0.1", "10.0.0.0/24"),
            (b, receiver, "10.8.0.2", TARGET),
        ):
            features = ["gso"] if kind == "gso" else ["ipv6"]
            await client.join(gateway, network, native=kind != "classic", features=features)
        frame = codec.build_frame(codec.C2S_IPDATA, WHOLE_PACKET, 100)
        lone = codec.build_frame(codec.C2S_IPDATA, WHOLE_PACKET)
        await a.link.send_batch([frame + lone])
        await trio.sleep(1)
        if sender == "gso" and receiver != "gso":
            expected = [(packet, 0) for packet in pieces(WHOLE, bytes(300), 100)]
        else:
            expected = [(WHOLE_PACKET, 100 if sender == "gso" else 0)]
        assert data_of(b) == [*expected, (WHOLE_PACKET, 0)]
        statistics = world.router.statistics().forwarder
        assert statistics.forwarded == (4 if sender == "gso" else 2)
        assert statistics.cut == (sender == "gso" and receiver != "gso")

    with_router(body)


def test_what_is_no_super_packet_though_it_says_so_ends_at_the_router() -> None:
    async def body(world: World) -> None:
        a, b = world.connect(), world.connect(number=2)
        await a.join("10.8.0.1", SOURCE, native=True, features=["gso"])
        await b.join("10.8.0.2", TARGET, native=True, features=["gso"])
        for sequence in (300, 1, 0x10064, 100):
            await a.link.send_batch([codec.build_frame(codec.C2S_IPDATA, WHOLE_PACKET, sequence)])
        await trio.sleep(1)
        assert data_of(b) == [(WHOLE_PACKET, 100)]
        assert a.connection.statistics().malformed == 3

    with_router(body)


def test_super_packets_can_be_switched_off_at_the_router() -> None:
    async def body(world: World) -> None:
        a, b = world.connect(), world.connect(number=2)
        await a.join("10.8.0.1", "10.0.0.0/24", native=True, features=["gso", "ipv6"])
        await b.join("10.8.0.2", TARGET, native=True, features=["gso", "ipv6"])
        (answer,) = a.of(codec.AUTH)
        assert json.loads(answer.payload)["native"]["features"] == ["ipv6"]

    with_router(body, attrs.evolve(CONFIG, features=("ipv6",)))


@pytest.mark.parametrize("acls", [(), (IPv4Network("10.0.0.0/24"),)])
@pytest.mark.parametrize("features", [["gso"], []])
def test_the_routers_own_site_takes_and_sends_super_packets(
    features: list[str], acls: tuple[IPv4Network, ...]
) -> None:
    async def body(world: World) -> None:
        device: Any = MemoryDevice()
        site = Site(SiteConfig(gateway=IPv4Address("10.8.0.200"), acls=acls), device, None)  # type: ignore[arg-type]  # no network
        peer = SitePeer(world.router.forwarder, site, super_packets=True)
        world.router.forwarder.register(peer, [], [IPv4Network(TARGET), IPv4Network(SOURCE)])
        world.nursery.start_soon(peer.read)
        world.nursery.start_soon(site.write)
        client = world.connect()
        await client.join("10.8.0.1", "192.168.1.0/24", SOURCE, native=True, features=features)
        await trio.sleep(1)
        frame = codec.build_frame(codec.C2S_IPDATA, WHOLE_PACKET, 100)
        await client.link.send_batch([frame])
        back = bend(make_super_packet(WHOLE, bytes(300), 100), 10 + 16, 192, 168, 1, 5)
        device.from_host.send_nowait(back)
        await trio.sleep(1)
        marked = 100 if features else 0
        assert device.frames_to_host == [Frame(codec.S2C_IPDATA, marked, WHOLE_PACKET)]
        sent = data_of(client)
        assert [sequence for _, sequence in sent] == ([100] if features else [0, 0, 0])
        if features:
            assert sent[0][0] == back[10:]

    with_router(body)
