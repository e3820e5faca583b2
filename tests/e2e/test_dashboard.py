"""A real router shows in a browser's terms that a real site goes down and comes back."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio

from polevpn_trio.lab.namespaces import Host
from polevpn_trio.lab.overlay import Overlay
from tests.dashboard.clients import Client

pytestmark = pytest.mark.needs_root_lab

TOKEN = "0123456789abcdef0123456789abcdef"
URL = "http://127.0.0.1:8443/"
START_SECONDS = 30.0


def client_on(host: Host, url: str = URL) -> Client:
    """A client as if it ran on that machine."""

    async def connect(address: str, port: int) -> trio.SocketStream:
        connection = host.call(socket.create_connection, (address, port))
        return trio.SocketStream(trio.socket.from_stdlib_socket(connection))

    return Client(url, connect=connect)


async def state_becomes(client: Client, name: str, state: str) -> Any:
    """Follow the news until a site is in a state; return what is said of it."""
    with trio.fail_after(START_SECONDS):
        async with client.following() as news:
            async for kind, content in news:
                for site in content["sites"] if kind == "status" else ():
                    if (site["name"], site["state"]) == (name, state):
                        return site
    raise AssertionError("the news ended")


def test_a_site_goes_down_and_comes_back_and_history_outlives_the_router(overlay: Overlay) -> None:
    site = overlay.add_site("a")
    overlay.router.write_file("token", TOKEN, mode=0o600)
    config = overlay.router_config(
        dashboard={"token_file": "token", "history": "history.sqlite"},
    )
    router = overlay.start_router(config)
    gateway = overlay.start_gateway(site, overlay.gateway_config(site, overlay.url("kcp")))
    overlay.wait_for_listener("kcp")
    router.wait_for_output("dashboard at http://127.0.0.1:8443/", START_SECONDS)
    client = client_on(overlay.router)

    async def watch() -> None:
        assert (await client.get("/api/routes")).status == 401
        assert (await client.login(TOKEN)).status == 204
        up = await state_becomes(client, site.tunnel_address, "up")
        assert up["connection"]["transport"] == "kcp"
        assert up["networks"] == [site.lan, site.lan6]
        gateway.stop()
        down = await state_becomes(client, site.tunnel_address, "down")
        assert down["troubles"][0]["advice"]
        overlay.start_gateway(site, overlay.gateway_config(site, overlay.url("tls")))
        again = await state_becomes(client, site.tunnel_address, "up")
        assert again["connection"]["transport"] == "tls"
        routes = (await client.get("/api/routes?search=" + site.lan)).json()
        assert [route["site"] for route in routes["routes"]] == [site.tunnel_address]

    trio.run(watch)
    assert router.stop() == 0
    assert TOKEN not in router.log()
    router = overlay.start_router(config)
    router.wait_for_output("dashboard at http://127.0.0.1:8443/", START_SECONDS)

    async def look_back() -> None:
        assert (await client.get("/api/routes")).status == 401
        await client.login(TOKEN)
        past = (await client.get(f"/api/history?site={site.tunnel_address}")).json()
        shares = [point["up"] for point in past["points"]]
        assert shares
        assert min(shares) < 1

    trio.run(look_back)
    assert router.stop() == 0
