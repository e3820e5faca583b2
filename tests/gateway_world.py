"""A gateway, and the routers that it may call, over links in memory and in virtual time."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Any

import attrs
import trio
import trio.testing

from polevpn_trio.control.config import GatewayConfig, ServerUrl, SiteConfig
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.control.router_trust import Insecure, RouterTrust
from polevpn_trio.errors import LinkLost, Untrusted
from polevpn_trio.frames import codec
from polevpn_trio.frames.messages import AuthRequest
from polevpn_trio.gateway import Gateway
from polevpn_trio.nursery_tree import open_root
from polevpn_trio.site import Site
from polevpn_trio.transport.base import Link
from tests.memory_device import MemoryDevice
from tests.memory_links import IDENTITY, Frame, MemoryLink, frames, ipv4, link_pair, split

KEY = "secret"
ANSWERED = (codec.AUTH, codec.REGISTER, codec.HEART_BEAT)
SITE = SiteConfig(
    gateway=IPv4Address("10.8.0.2"),
    gateway6=IPv6Address("fd00::2"),
    local_networks=(IPv4Network("192.168.1.0/24"),),
    acls=(IPv4Network("10.9.0.0/16"),),
)


class Call:
    """One connection that the gateway made, from the router's side."""

    def __init__(self, server: Server, link: MemoryLink, gateways_end: MemoryLink) -> None:
        self.server = server
        self.link = link
        self.gateways_end = gateways_end
        self.at = trio.current_time()
        self.got: list[Frame] = []

    def of(self, command: int) -> list[Frame]:
        return [frame for frame in self.got if frame.command == command]

    @property
    def registered(self) -> bool:
        return bool(self.of(codec.REGISTER)) and not self.gateways_end.is_closed

    async def send(self, *packets: bytes) -> None:
        await self.link.send_batch([frames(codec.S2C_IPDATA, *packets)])

    async def control(self, command: int, **body: object) -> None:
        payload = json.dumps(body).encode() if body or command != codec.HEART_BEAT else b""
        await self.link.send_batch([codec.build_frame(command, payload)])

    async def serve(self) -> None:
        try:
            while True:
                for frame in split((await self.link.receive()).take()):
                    self.got.append(frame)
                    if frame.command in self.server.answers:
                        answer = self.server.answers[frame.command]
                        if frame.command == codec.AUTH and not answer.get("error"):
                            answer = self.server.judge(frame.payload)
                        await self.control(frame.command, **answer)
        except LinkLost:
            self.link.close()


@attrs.define
class Server:
    """A router: whether it can be reached, and what it answers to which command."""

    scheme: str = "kcp"
    up: bool = True
    untrusted: str = ""
    native: bool = False
    key: str = KEY
    features: tuple[str, ...] = ("ipv6",)
    answers: dict[int, dict[str, object]] = attrs.field(factory=dict)
    calls: list[Call] = attrs.field(factory=list)
    attempts: list[float] = attrs.field(factory=list)

    def judge(self, payload: bytes) -> dict[str, object]:
        """Answer a login by key as it is, or, if we are native, by proof."""
        request = AuthRequest.from_json_untrusted(payload)
        answer = self.answers[codec.AUTH]
        if request.key == KEY:
            return answer
        if not self.native or request.native is None or not request.native.proof:
            return {"error": "invalid key"}
        verifier = SiteKey.derive(self.key).verifier
        assert verifier.check(request.native.proof, "", IDENTITY)
        proof = base64.b64encode(verifier.prove("", IDENTITY)).decode()
        native = answer["native"]
        assert isinstance(native, dict)
        return {**answer, "native": {**native, "proof": proof}}

    def __attrs_post_init__(self) -> None:
        usual: dict[int, dict[str, object]] = {each: {} for each in ANSWERED}
        if self.native:
            usual[codec.AUTH] = {"native": {"version": 1, "features": list(self.features)}}
        self.answers = usual | self.answers


class World:
    """A gateway, its site's host and the routers that it may call."""

    def __init__(
        self, servers: list[Server], nursery: trio.Nursery, trust: RouterTrust, classic: bool
    ) -> None:
        self.servers = servers
        self.nursery = nursery
        self.device = MemoryDevice()
        urls = tuple(
            ServerUrl(server.scheme, f"192.0.2.{rank}", 443, "/", f"{server.scheme}://{rank}")
            for rank, server in enumerate(servers)
        )
        native = any(server.native for server in servers) or not classic
        self.config = GatewayConfig(
            Path("gateway.json"),
            urls,
            KEY,
            SITE,
            trust,
            native=native,
            classic=classic,
        )
        self.site = Site(SITE, self.device, None)  # type: ignore[arg-type]  # in memory
        self.gateway: Gateway

    def adapted(self, config: GatewayConfig) -> World:
        """What a Dialer does for another configuration."""
        return self

    async def serve_link(self, url: ServerUrl, *, task_status: trio.TaskStatus[Link]) -> None:
        """What a Dialer does."""
        rank = int(url.text.partition("://")[2])
        server = self.servers[rank]
        server.attempts.append(trio.current_time())
        await trio.sleep(0.02)
        if not server.up:
            raise LinkLost(f"cannot reach {url.text}")
        if server.untrusted:
            raise Untrusted(server.untrusted)
        ours, theirs = link_pair(url.scheme, f"192.0.2.{rank}:443")
        call = Call(server, theirs, ours)
        server.calls.append(call)
        self.nursery.start_soon(call.serve)
        task_status.started(ours)
        try:
            await ours.run()
        except LinkLost:
            pass
        finally:
            ours.close()

    @property
    def calls(self) -> list[Call]:
        return sorted((c for s in self.servers for c in s.calls), key=lambda call: call.at)

    async def registered(self, seconds: float = 60.0) -> Call:
        """Wait for the one connection that is registered."""
        with trio.fail_after(seconds):
            while True:
                found = [call for call in self.calls if call.registered]
                if found:
                    assert len(found) == 1
                    return found[0]
                await trio.sleep(0.01)

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> float:
        """Wait for something; return how long it took."""
        began = trio.current_time()
        with trio.fail_after(seconds):
            while not condition():  # noqa: ASYNC110 - a condition is no event, and time is virtual
                await trio.sleep(0.01)
        return trio.current_time() - began

    def send(self, packet: bytes) -> None:
        self.device.from_host.send_nowait(packet)

    async def keep_sending(self) -> None:
        while True:
            self.send(PACKET)
            await trio.sleep(0.05)


PACKET = ipv4("192.168.1.5", "10.9.0.1")


def with_gateway(
    body: Callable[[World], Awaitable[None]],
    *servers: Server,
    trust: RouterTrust | None = None,
    classic: bool = True,
) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            world = World(list(servers), nursery, trust or Insecure(), classic)
            async with open_root("gateway") as root:
                dialer: Any = world
                world.gateway = Gateway(world.config, world.site, dialer, root)
                root.start_soon("tun reader", world.gateway.read_tun)
                root.start_soon("tun writer", world.site.write)
                root.start_soon("connector", world.gateway.connect)
                await body(world)
                root.nursery.cancel_scope.cancel()
            for call in world.calls:
                assert call.gateways_end.is_closed, "a link was leaked"
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
