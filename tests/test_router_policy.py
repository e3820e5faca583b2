"""A router with a policy: what it denies never arrives, by whatever way it came, and it says so."""

from __future__ import annotations

import logging
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs
import pytest
import trio

from polevpn_trio.control import advice
from polevpn_trio.control.config import RouterConfig, SiteConfig
from polevpn_trio.control.denial_log import LINE_SECONDS
from polevpn_trio.control.policy_config import OWN_SITE
from polevpn_trio.forwarding.policy.rules import Policy, Rule
from polevpn_trio.frames import codec
from polevpn_trio.site import Site
from polevpn_trio.site_peer import SitePeer
from tests.forwarding.policy.packets import ACK_ONLY, SYN_ACK, tcp
from tests.memory_device import MemoryDevice
from tests.memory_links import frames
from tests.test_router import CONFIG, Client, World, with_router
from tests.test_router_reload import BERLIN, OSLO, ROME, adopt, join, with_sites

BERLIN_HOST, ROME_HOST = "192.168.1.5", "192.168.2.6"
SSH = tcp(BERLIN_HOST, 4000, ROME_HOST, 22)
WEB = tcp(BERLIN_HOST, 4000, ROME_HOST, 443)
ANSWER = tcp(ROME_HOST, 443, BERLIN_HOST, 4000, SYN_ACK)

TO_ROME = Rule("web in rome", True, ("berlin",), ("rome",), frozenset({6}), ((443, 443),))
ONLY_WEB = Policy((TO_ROME,), default_allows=False)


def with_policy(policy: Policy | None) -> RouterConfig:
    return attrs.evolve(with_sites(BERLIN, ROME, OSLO), policy=policy)


def arrived(client: Client) -> list[bytes]:
    return [frame.payload for frame in client.of(codec.S2C_IPDATA)]


def test_what_a_rule_allows_passes_and_its_answers_do() -> None:
    async def body(world: World) -> None:
        berlin, rome = await join(world, 1, "berlin"), await join(world, 2, "rome")
        await rome.send(ANSWER)
        # Who is heard first of those that speak at the same time is for chance to say.
        await trio.sleep(1)
        await berlin.send(SSH, WEB, SSH)
        await trio.sleep(1)
        await rome.send(ANSWER, tcp(ROME_HOST, 4000, BERLIN_HOST, 443))
        await trio.sleep(1)
        assert arrived(rome) == [WEB]
        assert arrived(berlin) == [ANSWER]
        assert world.router.statistics().forwarder.denied == 4
        assert berlin.connection.read().counters.drops["denied"] == 2

    with_router(body, with_policy(ONLY_WEB))


def test_so_it_is_beside_the_stream() -> None:
    async def body(world: World) -> None:
        berlin, rome = await join(world, 1, "berlin"), await join(world, 2, "rome")
        packets = bytearray(frames(codec.C2S_IPDATA, SSH, WEB, SSH))
        assert berlin.connection._take_packets_untrusted(packets) is None
        await trio.sleep(1)
        assert arrived(rome) == [WEB]

    with_router(body, with_policy(ONLY_WEB))


def test_a_site_is_who_has_logged_in_as_it_even_before_it_registers_anything() -> None:
    async def body(world: World) -> None:
        berlin, rome = await join(world, 1, "berlin"), await join(world, 2, "rome")
        world.router.forwarder.unregister(berlin.connection)
        await berlin.send(WEB)
        await trio.sleep(1)
        assert arrived(rome) == []
        berlin.routers_end.close()
        await trio.sleep(1)
        assert world.router.forwarder.site_of(berlin.connection) == ""

    deny = Policy((Rule("not berlin", False, ("berlin",)),))
    with_router(body, attrs.evolve(with_policy(deny), source_check=False))


def test_the_routers_own_site_is_one_of_those_that_rules_speak_of() -> None:
    async def body(world: World) -> None:
        device: Any = MemoryDevice()
        site = Site(SiteConfig(gateway=IPv4Address("10.8.0.200")), device, None)  # type: ignore[arg-type]  # no network
        forwarder = world.router.forwarder
        peer = SitePeer(forwarder, site, super_packets=True)
        forwarder.name(peer, OWN_SITE)
        forwarder.register(peer, [], [IPv4Network("172.31.0.0/16")])
        world.nursery.start_soon(peer.read)
        world.nursery.start_soon(site.write)
        berlin = await join(world, 1, "berlin")
        out, refused = (tcp("172.31.0.1", 1, BERLIN_HOST, port) for port in (80, 22))
        for packet in (out, refused):
            device.from_host.send_nowait(packet)
        await trio.sleep(1)
        assert arrived(berlin) == [out]
        assert peer.refused == {"denied": 1}
        await berlin.send(
            tcp(BERLIN_HOST, 80, "172.31.0.1", 1, SYN_ACK), tcp(BERLIN_HOST, 9, "172.31.0.1", 80)
        )
        await trio.sleep(1)
        assert forwarder.statistics().denied == 2

    to_berlin = Rule("out", True, (OWN_SITE,), ("berlin",), frozenset({6}), ((80, 80),))
    with_router(body, with_policy(Policy((to_berlin,), default_allows=False)))


def test_a_reload_closes_what_is_now_denied_and_opens_what_is_allowed() -> None:
    async def body(world: World) -> None:
        berlin, rome = await join(world, 1, "berlin"), await join(world, 2, "rome")
        data = tcp(BERLIN_HOST, 4000, ROME_HOST, 443, ACK_ONLY)
        await berlin.send(WEB)
        await trio.sleep(1)
        await rome.send(ANSWER)
        for policy, passes in (
            (ONLY_WEB, True),
            (Policy((), default_allows=False), False),
            (None, True),
            (Policy((Rule("no web", False, (), ("rome",)),)), False),
            (ONLY_WEB, True),
        ):
            before = len(arrived(rome))
            assert await adopt(world, with_policy(policy)) == ()
            await berlin.send(data)
            await trio.sleep(1)
            assert len(arrived(rome)) - before == passes

    with_router(body, with_policy(ONLY_WEB))


def test_a_line_tells_which_rule_denied_what_and_another_one_comes_only_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(world: World) -> None:
        berlin = await join(world, 1, "berlin")
        await join(world, 2, "rome")
        for _ in range(5):
            await berlin.send(SSH, SSH)
            await trio.sleep(1)
        await trio.sleep(LINE_SECONDS)
        await berlin.say(codec.HEART_BEAT)
        await berlin.send(SSH)
        await trio.sleep(1)

    rule = Rule("no ssh", False, (), ("rome",), frozenset({6}), ((22, 22),))
    with caplog.at_level(logging.WARNING):
        with_router(body, attrs.evolve(with_policy(Policy((rule,))), idle_timeout=3600))
    lines = [record for record in caplog.records if record.name == "polevpn_trio.policy"]
    assert [record.getMessage() for record in lines] == [
        f'denied by rule "no ssh": tcp 192.168.1.5 port 4000 -> 192.168.2.6 port 22, from site '
        f"berlin ({count} packets so far)"
        for count in (2, 11)
    ]
    assert vars(lines[0])["context"]["advice"] == advice.DENIED


def test_what_goes_back_to_the_same_site_is_not_its_matter() -> None:
    async def body(world: World) -> None:
        berlin = await join(world, 1, "berlin")
        to_itself = tcp(BERLIN_HOST, 1, "10.8.0.1", 22)
        await berlin.send(to_itself)
        await trio.sleep(1)
        assert arrived(berlin) == [to_itself]

    with_router(body, with_policy(Policy((), default_allows=False)))


def test_without_a_policy_nothing_is_looked_at() -> None:
    async def body(world: World) -> None:
        berlin, rome = await join(world, 1, "berlin"), await join(world, 2, "rome")
        await berlin.send(SSH)
        await trio.sleep(1)
        assert arrived(rome) == [SSH]
        assert world.router.forwarder.guard is None

    assert CONFIG.policy is None
    with_router(body, with_policy(None))
