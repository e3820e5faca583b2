"""New keys for a link that is in use: a new link takes over, and no packet notices.

A real gateway and a real router, over links in memory whose delays differ, in virtual time.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from polevpn_trio.control.config import GatewayConfig, RouterConfig, ServerUrl, SiteConfig
from polevpn_trio.control.registration import FEATURES
from polevpn_trio.control.router_trust import Insecure
from polevpn_trio.errors import LinkLost
from polevpn_trio.frames import codec
from polevpn_trio.gateway import Gateway
from polevpn_trio.hand_over import HAND_OVER_SECONDS
from polevpn_trio.hub import GatewayConnection, Router
from polevpn_trio.nursery_tree import Branch, open_root
from polevpn_trio.site import Site
from polevpn_trio.transport.base import Link
from tests.memory_device import MemoryDevice
from tests.memory_links import Frame, MemoryLink, frames, ipv4, link_pair, split

KEY = "secret"
SITE = SiteConfig(
    gateway=IPv4Address("10.8.0.2"),
    local_networks=(IPv4Network("192.168.1.0/24"),),
    acls=(IPv4Network("10.9.0.0/16"),),
)
HERE, OWN, THERE = "192.168.1.5", "10.8.0.2", "10.9.0.1"
_OF_THE_GATEWAY = 1 << 31
"""Added to the numbers of packets that come from the gateway's own address: another flow."""
RENEW_SECONDS = 4.0
PACE = 0.011
"""Seconds between packets: many are under way at any time."""


def numbered(source: str, destination: str, number: int) -> bytes:
    return ipv4(source, destination, 40)[:-4] + number.to_bytes(4, "big")


def numbers(got: Sequence[Frame], command: int) -> list[int]:
    return [int.from_bytes(each.payload[-4:], "big") for each in got if each.command == command]


class World:
    """A gateway, the router, and a site that was there before; ``delays`` of the links in turn."""

    def __init__(
        self, root: Branch, nursery: trio.Nursery, delays: Sequence[float], features: Sequence[str]
    ) -> None:
        self.nursery = nursery
        self.delays = delays
        self.links: list[tuple[MemoryLink, MemoryLink]] = []
        self.reachable = True
        self.router = Router(RouterConfig(Path("router.json"), KEY, features=tuple(features)), root)
        self.admission = self.router.admission
        self.device = MemoryDevice()
        config = GatewayConfig(
            Path("gateway.json"),
            (ServerUrl("kcp", "192.0.2.0", 443, "/", "kcp://0"),),
            KEY,
            SITE,
            Insecure(),
            renew_seconds=RENEW_SECONDS,
        )
        self.site = Site(SITE, self.device, None)  # type: ignore[arg-type]  # in memory
        dialer: Any = self
        self.gateway = Gateway(config, self.site, dialer, root)
        self.far = self.connect()
        self.got_there: list[Frame] = []
        self.sent_here = self.sent_there = 0

    def connect(self) -> MemoryLink:
        """Make a link to the router, and have the router serve its end."""
        delay = self.delays[len(self.links) % len(self.delays)]
        ours, theirs = link_pair("kcp", "192.0.2.0:443", delay)
        self.links.append((ours, theirs))
        place = self.admission.enter("198.51.100.7", lambda: None)
        login_by = trio.current_time() + 10
        connection = GatewayConnection(self.router, theirs, place, login_by)
        self.nursery.start_soon(connection.serve)
        return ours

    async def serve_link(self, url: ServerUrl, *, task_status: trio.TaskStatus[Link]) -> None:
        """What a Dialer does."""
        if not self.reachable:
            raise LinkLost(f"cannot reach {url.text}")
        link = self.connect()
        task_status.started(link)
        try:
            await link.run()
        except LinkLost:
            pass
        finally:
            link.close()

    @property
    def alive(self) -> int:
        """Connections of the gateway that are not over."""
        return sum(not ours.is_closed for ours, _ in self.links[1:])

    async def join(self) -> None:
        """Let the far site register, and wait for the gateway."""
        await self.far.send_batch(
            [
                codec.build_frame(codec.AUTH, b'{"key":"secret"}'),
                codec.build_frame(
                    codec.REGISTER, b'{"gateway":"10.9.0.254","network":["10.9.0.0/16"]}'
                ),
            ]
        )
        self.nursery.start_soon(self._listen)
        await trio.sleep(3)
        assert self.alive == 1

    async def until_links(self, count: int, step: float) -> None:
        """Wait until so many links have been made, the far site's among them."""
        while len(self.links) < count:  # noqa: ASYNC110 - time is virtual
            await trio.sleep(step)

    async def _listen(self) -> None:
        while True:
            self.got_there += split((await self.far.receive()).take())

    async def exchange(self, seconds: float) -> None:
        """Send numbered packets both ways at once."""
        until = trio.current_time() + seconds
        while trio.current_time() < until:
            self.device.from_host.send_nowait(numbered(HERE, THERE, self.sent_here))
            gateways = numbered(OWN, THERE, _OF_THE_GATEWAY + self.sent_here)
            self.device.from_host.send_nowait(gateways)
            self.sent_here += 1
            packet = numbered(THERE, HERE, self.sent_there)
            await self.far.send_batch([frames(codec.C2S_IPDATA, packet)])
            self.sent_there += 1
            await trio.sleep(PACE)

    @property
    def arrived_there(self) -> list[int]:
        return [n for n in numbers(self.got_there, codec.S2C_IPDATA) if n < _OF_THE_GATEWAY]

    @property
    def arrived_from_the_gateway(self) -> list[int]:
        got = numbers(self.got_there, codec.S2C_IPDATA)
        return [n - _OF_THE_GATEWAY for n in got if n >= _OF_THE_GATEWAY]

    @property
    def arrived_here(self) -> list[int]:
        return [int.from_bytes(each.payload[-4:], "big") for each in self.device.frames_to_host]


def with_world(
    body: Callable[[World], Awaitable[None]],
    delays: Sequence[float] = (0.01,),
    features: Sequence[str] = FEATURES,
) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            async with open_root("both") as root:
                world = World(root, nursery, delays, features)
                root.start_soon("tun reader", world.gateway.read_tun)
                root.start_soon("tun writer", world.site.write)
                root.start_soon("connector", world.gateway.connect)
                await world.join()
                await body(world)
                root.nursery.cancel_scope.cancel()
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    "delays", [(0.01, 0.15, 0.02), (0.15,), (0.001,)], ids=["mixed", "long", "short"]
)
def test_renewals_lose_and_reorder_nothing_in_either_direction(
    delays: Sequence[float], caplog: pytest.LogCaptureFixture
) -> None:
    async def body(world: World) -> None:
        await world.exchange(20)
        await trio.sleep(1)
        assert len(world.links) - 2 >= 4
        assert world.arrived_there == list(range(world.sent_here))
        assert world.arrived_from_the_gateway == list(range(world.sent_here))
        assert world.arrived_here == list(range(world.sent_there))
        await trio.sleep(HAND_OVER_SECONDS)
        assert world.alive <= 2
        counted = world.router.statistics().forwarder
        assert (counted.no_route, counted.spoofed, counted.unregistered) == (0, 0, 0)

    with caplog.at_level(logging.INFO):
        with_world(body, delays)
    assert "takes over" in caplog.text
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_what_waits_for_a_stuck_link_is_not_lost_with_it() -> None:
    async def body(world: World) -> None:
        _, theirs = world.links[1]
        # The path takes nothing from the router for a while.
        theirs.taking = trio.Event()
        await world.exchange(1)
        theirs.taking.set()
        await world.exchange(RENEW_SECONDS)
        await trio.sleep(1)
        assert len(world.links) > 2
        assert world.arrived_here == list(range(world.sent_there))

    with_world(body)


def test_an_old_link_that_goes_silent_in_between_does_not_hold_up_the_new_one() -> None:
    async def body(world: World) -> None:
        old = world.links[1]
        await world.until_links(3, 0.001)
        old[0].silent = old[1].silent = True
        await world.exchange(HAND_OVER_SECONDS + 2)
        await trio.sleep(1)
        assert old[0].is_closed
        assert world.arrived_here[-1] == world.sent_there - 1
        assert world.arrived_there[-1] == world.sent_here - 1

    with_world(body)


def test_without_the_feature_a_new_link_still_brings_new_keys() -> None:
    async def body(world: World) -> None:
        await world.exchange(RENEW_SECONDS * 3)
        await trio.sleep(1)
        assert len(world.links) >= 4
        assert world.alive == 1
        assert world.arrived_here == sorted(world.arrived_here)
        assert world.arrived_there == sorted(world.arrived_there)

    with_world(body, features=("ipv6",))


def test_the_old_link_is_kept_while_the_router_takes_no_new_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(world: World) -> None:
        world.reachable = False
        await world.exchange(3 * RENEW_SECONDS)
        assert (len(world.links), world.alive) == (2, 1)
        assert "cannot renew the keys now" in caplog.text
        world.reachable = True
        await world.exchange(2 * RENEW_SECONDS)
        await trio.sleep(1)
        assert len(world.links) > 2
        assert world.arrived_there == list(range(world.sent_here))
        assert world.arrived_here == list(range(world.sent_there))

    with caplog.at_level(logging.INFO):
        with_world(body)


def test_worn_keys_are_renewed_early_and_used_up_ones_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wear: dict[Link, float] = {}
    monkeypatch.setattr(MemoryLink, "key_use", property(lambda link: wear.get(link, 0.0)))

    async def body(world: World) -> None:
        # Just after a renewal, so that age does not bring about the next.
        await world.until_links(3, 0.1)
        world.reachable = False
        worn = world.links[-1][0]
        wear[worn] = 1.0
        await trio.sleep(RENEW_SECONDS)
        assert worn.is_closed

    with_world(body)
