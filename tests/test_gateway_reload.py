"""A gateway whose configuration changes: what it does on its link, and when it makes another."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Network
from typing import Any

import attrs
import pytest
import trio

from polevpn_trio.control.changes import GATEWAY_KEYS, compare
from polevpn_trio.control.config import ServerUrl
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.frames import codec
from tests.gateway_world import KEY, Call, Server, World, with_gateway

ANOTHER_KEY = "another secret"
SiteKey.derive(ANOTHER_KEY)

HERE, MORE = IPv4Network("192.168.1.0/24"), IPv4Network("192.168.7.0/24")
DENIED: dict[str, object] = {"error": "unknown site or wrong key", "native": {"version": 1}}


async def adopt(world: World, **values: Any) -> None:
    """Change top-level values of the configuration, and those of the site among them."""
    running = world.config
    site = {
        name: values.pop(name)
        for name in list(values)
        if name in {field.name for field in attrs.fields(type(running.site))}
    }
    new = attrs.evolve(running, site=attrs.evolve(running.site, **site), **values)
    changes = compare(GATEWAY_KEYS, running, running, new)
    assert not changes.restart
    await world.gateway.adopt(changes)
    world.config = changes.config


async def settled(world: World) -> Call:
    """Wait until the router and the gateway agree, on one link."""
    call = await world.registered()
    await world.until(lambda: world.gateway.unsettled() == "")
    [call] = [each for each in world.calls if each.registered]
    return call


def networks(call: Call) -> list[list[str]]:
    return [json.loads(frame.payload)["network"] for frame in call.of(codec.REGISTER)]


def with_servers(body: Callable[[World], Awaitable[None]], *servers: Server) -> None:
    with_gateway(body, *servers, classic=False)


def test_what_is_not_about_links_leaves_them_alone() -> None:
    async def body(world: World) -> None:
        call = await settled(world)
        await adopt(world, log_level="debug", connect_timeout=7.0)
        await world.until(lambda: len(call.of(codec.HEART_BEAT)) > 3)
        assert world.calls == [call]
        assert await settled(world) is call

    with_servers(body, Server(native=True))


def test_another_key_makes_another_link_beside_the_old_one() -> None:
    async def body(world: World) -> None:
        old = await settled(world)
        world.gateway.uplinks.answered(1, None, trio.current_time())
        world.servers[0].key = ANOTHER_KEY
        await adopt(world, key=ANOTHER_KEY)
        assert "by the new settings" in world.gateway.unsettled()
        assert not old.gateways_end.is_closed
        new = await settled(world)
        assert world.calls == [old, new]
        assert old.gateways_end.is_closed
        # That the other one took the old key says nothing now.
        states = [each.state for each in world.gateway.uplinks.servers(trio.current_time())]
        assert states == ["used", "untried"]

    with_servers(body, Server(native=True), Server("tls", native=True))


def test_while_no_login_works_by_the_new_settings_the_old_link_stays() -> None:
    async def body(world: World) -> None:
        server = world.servers[0]
        old = await settled(world)
        server.answers[codec.AUTH] = DENIED
        await adopt(world, key=ANOTHER_KEY)
        await world.until(lambda: len(world.calls) > 3)
        assert "refused our login" in world.gateway.unsettled()
        assert [call for call in world.calls if call.registered] == [old]
        # Back to what it was: nothing is left to do.
        await adopt(world, key=KEY)
        assert await settled(world) is old
        await trio.sleep(1)
        attempts, beats = len(world.calls), len(old.of(codec.HEART_BEAT))
        await world.until(lambda: len(old.of(codec.HEART_BEAT)) > beats + 3)
        assert len(world.calls) == attempts

    with_servers(body, Server(native=True))


def test_a_link_that_is_right_again_is_not_left_for_a_fallback() -> None:
    async def body(world: World) -> None:
        first, fallback = world.servers
        old = await settled(world)
        first.up = False
        attempts = len(first.attempts)
        await adopt(world, key=ANOTHER_KEY)
        await world.until(lambda: len(first.attempts) > attempts)
        # In the middle of the attempt, as when a reload is rolled back.
        await adopt(world, key=KEY)
        await trio.sleep(10)
        assert await settled(world) is old
        assert not fallback.attempts

    with_servers(body, Server(native=True), Server("tls", native=True))


def test_other_servers_are_called_and_the_status_tells_of_them() -> None:
    async def body(world: World) -> None:
        old = await settled(world)
        url = ServerUrl("tls", "192.0.2.1", 443, "/", "tls://1")
        await adopt(world, servers=(url,))
        new = await settled(world)
        assert new.server is world.servers[1]
        assert old.gateways_end.is_closed
        [server] = world.gateway.uplinks.servers(0.0)
        assert (server.url, server.state) == ("tls://1", "used")

    with_servers(body, Server(native=True), Server("tls", native=True))


def test_more_networks_are_announced_on_the_same_link() -> None:
    async def body(world: World) -> None:
        call = await settled(world)
        await adopt(world, local_networks=(HERE, MORE))
        assert await settled(world) is call
        assert networks(call) == [[str(HERE)], [str(HERE), str(MORE)]]
        assert world.gateway.uplinks.site.networks == (str(HERE), str(MORE))

    with_servers(body, Server(native=True))


def test_fewer_networks_take_another_link() -> None:
    async def body(world: World) -> None:
        old = await settled(world)
        await adopt(world, local_networks=(MORE,))
        new = await settled(world)
        assert new is not old
        assert networks(new) == [[str(MORE)]]

    with_servers(body, Server(native=True))


def test_networks_that_the_router_refuses_leave_the_link_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(world: World) -> None:
        server = world.servers[0]
        call = await settled(world)
        server.answers[codec.REGISTER] = {"error": "site berlin may not register that"}
        await adopt(world, local_networks=(HERE, MORE))
        await world.until(lambda: "may not register" in world.gateway.unsettled())
        await world.until(lambda: len(call.of(codec.HEART_BEAT)) > 3)
        assert len(networks(call)) == 2
        assert call.registered
        server.answers[codec.REGISTER] = {}
        await adopt(world, local_networks=(HERE,))
        assert await settled(world) is call

    with_servers(body, Server(native=True))
    [record] = [each for each in caplog.records if "may not register" in each.getMessage()]
    assert record.__dict__["context"]["advice"]


def test_a_gateway_without_a_link_tries_at_once() -> None:
    async def body(world: World) -> None:
        server = world.servers[0]
        await world.until(lambda: len(server.attempts) > 8)
        # Not in the middle of an attempt.
        await trio.sleep(0.1)
        assert "there is no link: cannot reach kcp://0" in world.gateway.unsettled()
        server.up = True
        attempts = len(server.attempts)
        await adopt(world, connect_timeout=7.0)
        assert await world.until(lambda: len(server.attempts) > attempts) < 0.1
        await settled(world)

    with_servers(body, Server(native=True, up=False))
