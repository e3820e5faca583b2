"""A gateway as its operators see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import trio
import trio.testing

from polevpn_trio.control.config import SiteConfig
from polevpn_trio.management.answers import DOWN, UP, Trouble
from polevpn_trio.management.events import EventLog
from polevpn_trio.management.gateway_view import GatewayView
from polevpn_trio.management.uplinks import Uplinks
from polevpn_trio.management.view import Program
from polevpn_trio.nursery_tree import open_root
from polevpn_trio.tun.route_lookup import KernelRoute
from tests.management.sites import Peer

SITE = SiteConfig(
    gateway=IPv4Address("10.8.0.2"),
    local_networks=(ip_network("192.168.1.0/24"),),
    route_networks=(
        ip_network("10.8.0.0/24"),
        ip_network("192.168.0.0/16"),
        ip_network("fd00:2::/64"),
    ),
    acls=(ip_network("192.168.2.0/24"),),
    mtu=1400,
)


class World:
    def __init__(self, view: GatewayView, routes: dict[Any, KernelRoute | None]) -> None:
        self.view = view
        self.routes = routes
        self.peer = Peer()

    def join(self, **changes: Any) -> None:
        self.peer.heard = trio.current_time()
        self.view.uplinks.joined(0, self.peer.connected(since=trio.current_time(), **changes))

    async def explain(self, source: str, destination: str) -> Any:
        return await self.view.explain(ip_address(source), ip_address(destination))


def with_gateway(body: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        routes: dict[Any, KernelRoute | None] = {}
        into = KernelRoute("pole0", "")

        def look_up(destination: IPv4Address | IPv6Address) -> KernelRoute | None:
            return routes.get(str(destination), into)

        program = Program("gateway", Path("gateway.json"), ("easy to guess",), EventLog(), None)
        servers = ("kcp://192.0.2.1:443",)
        uplinks = Uplinks("10.8.0.2", ("10.8.0.2",), ("192.168.1.0/24",), servers, 0.0)
        async with open_root("gateway") as root:
            drops = {"no_link": 3, "writer_full": 0}
            view = GatewayView(
                program, root, uplinks, lambda: SITE, "pole0", lambda: drops, look_up
            )
            await body(World(view, routes))

    trio.run(main)


def test_status_is_that_of_the_one_site() -> None:
    async def body(world: World) -> None:
        status = await world.view.status(0.0)
        assert (status.role, status.instance, status.state) == ("gateway", "", DOWN)
        assert status.drops == {"no_link": 3}
        assert [trouble.what for trouble in status.troubles] == ["easy to guess"]
        assert [server.state for server in status.servers] == ["untried"]
        world.join()
        status = await world.view.status(0.01)
        assert status.state == UP
        assert status.sites[0].link.rates is not None

    with_gateway(body)


def test_routes_are_those_into_the_tunnel_and_those_announced() -> None:
    async def body(world: World) -> None:
        routes = world.view.routes(0, 100)
        assert [(route.network, route.origin) for route in routes.routes] == [
            ("10.8.0.0/24", "configured"),
            ("192.168.0.0/16", "configured"),
            ("fd00:2::/64", "configured"),
            ("192.168.1.0/24", "announced"),
        ]
        assert len(world.view.routes(3, 100).routes) == 1
        assert world.view.tree().name == "gateway"

    with_gateway(body)


def test_a_packet_for_another_site_goes_to_the_router() -> None:
    async def body(world: World) -> None:
        found = await world.explain("192.168.1.10", "192.168.2.10")
        assert (found.verdict, found.reason) == ("dropped", "no_link")
        assert "status" in found.advice
        world.join()
        found = await world.explain("192.168.1.10", "192.168.2.10")
        assert (found.verdict, found.site, found.route) == (
            "delivered",
            "the router",
            "192.168.0.0/16",
        )
        assert (found.source_site, found.mtu, found.link.identifier) == ("10.8.0.2", 1400, "1f")

    with_gateway(body)


def test_a_source_that_the_site_does_not_register_is_told() -> None:
    async def body(world: World) -> None:
        world.join()
        found = await world.explain("192.168.1.10", "192.168.2.10")
        assert all(step.passes for step in found.steps[1:])
        assert not found.advice
        found = await world.explain("172.16.0.9", "192.168.2.10")
        assert found.verdict == "delivered"
        [step] = [each for each in found.steps if "source" in each.question]
        assert not step.passes
        assert "local_networks" in found.advice

    with_gateway(body)


def test_a_route_of_the_kernel_that_goes_before_is_told() -> None:
    async def body(world: World) -> None:
        world.join()
        world.routes["192.168.2.10"] = KernelRoute("eth0", "203.0.113.1")
        found = await world.explain("192.168.1.10", "192.168.2.10")
        assert (found.verdict, found.link) == ("local", None)
        [other] = found.alternatives
        assert other.why_not == "the kernel sends it by eth0 via 203.0.113.1"
        world.routes["192.168.2.10"] = None
        found = await world.explain("192.168.1.10", "192.168.2.10")
        assert found.alternatives[0].why_not == "the kernel sends it nowhere"

    with_gateway(body)


def test_what_is_not_routed_into_the_tunnel_stays_out_of_it() -> None:
    async def body(world: World) -> None:
        world.routes["203.0.113.9"] = KernelRoute("eth0", "")
        found = await world.explain("192.168.1.10", "203.0.113.9")
        assert (found.verdict, found.route) == ("local", "")
        assert "route_networks" in found.advice
        found = await world.explain("192.168.1.10", "192.168.1.11")
        assert (found.verdict, found.route) == ("local", "192.168.1.0/24")

    with_gateway(body)


def test_what_comes_from_the_tunnel_is_judged_by_the_acls() -> None:
    async def body(world: World) -> None:
        world.join()
        found = await world.explain("192.168.2.10", "192.168.1.10")
        assert (found.verdict, found.policy) == ("delivered", "acls: 192.168.2.0/24")
        found = await world.explain("192.168.3.10", "10.8.0.2")
        assert (found.verdict, found.reason) == ("dropped", "not_in_acls")
        assert "acls" in found.advice

    with_gateway(body)


def test_ipv6_needs_a_router_that_knows_it() -> None:
    async def body(world: World) -> None:
        world.join(features=None)
        found = await world.explain("fd00:1::1", "fd00:2::1")
        assert (found.verdict, found.reason) == ("dropped", "not_ipv4")
        world.join(features=("ipv6",))
        assert (await world.explain("fd00:1::1", "fd00:2::1")).verdict == "delivered"
        world.view.uplinks.lost(Trouble("gone"), 0.0)
        assert (await world.explain("fd00:1::1", "fd00:2::1")).reason == "no_link"

    with_gateway(body)
