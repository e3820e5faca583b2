"""What the gateway notes about its link and its servers."""

from __future__ import annotations

import logging

import pytest
import trio

from polevpn_trio.control.log import context_of
from polevpn_trio.frames import codec
from polevpn_trio.management.answers import DEGRADED, DOWN, UP
from tests.gateway_world import Server, World, with_gateway


def test_a_link_is_noted_from_its_registration_to_its_loss(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(world: World) -> None:
        links = world.gateway.uplinks
        assert links.status(trio.current_time()).state == DOWN
        call = await world.registered()
        await trio.sleep(1)
        status = links.status(trio.current_time())
        assert (status.name, status.state) == ("10.8.0.2", UP)
        assert status.connection is not None
        assert status.connection.peer == "192.0.2.0:443"
        world.servers[0].up = False
        call.link.close()
        await trio.sleep(1)
        status = links.status(trio.current_time())
        assert status.state == DOWN
        assert "cannot reach kcp://0" in status.troubles[0].what
        its = [record for record in caplog.records if "connection" in context_of(record)]
        assert len({context_of(record)["connection"] for record in its}) == 1
        assert [record.getMessage().partition(" ")[0] for record in its] == ["registered", "link"]

    with caplog.at_level(logging.INFO, "polevpn_trio"):
        with_gateway(body, Server())


def test_a_refusal_is_noted_with_what_to_do() -> None:
    async def body(world: World) -> None:
        await trio.sleep(5)
        links = world.gateway.uplinks
        [server] = links.servers(trio.current_time())
        assert server.state == "failed"
        assert server.trouble is not None
        assert server.trouble.what == "kcp://0 refused our login: go away"
        assert "`key`" in server.trouble.advice
        assert links.status(trio.current_time()).troubles == (server.trouble,)

    with_gateway(body, Server(answers={codec.AUTH: {"error": "go away"}}))


def test_a_fallback_is_noted_until_the_better_server_is_back() -> None:
    async def body(world: World) -> None:
        links = world.gateway.uplinks
        await world.registered()
        await trio.sleep(1)
        assert links.status(trio.current_time()).state == DEGRADED
        world.servers[0].up = True
        await world.until(lambda: links.status(trio.current_time()).state == UP, 120)
        assert links.site.connections == 2
        assert [server.state for server in links.servers(trio.current_time())] == ["used", "works"]

    with_gateway(body, Server(up=False), Server("tls"))
