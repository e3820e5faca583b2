"""A program that can be asked: a view with made-up contents, on a real control socket."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import attrs
import trio

from polevpn_trio.control.control_config import ControlConfig
from polevpn_trio.control.log import PACKAGE
from polevpn_trio.forwarding.forwarder import Forwarder
from polevpn_trio.management.answers import (
    AppliedChange,
    Explanation,
    Reloaded,
    Routes,
    Status,
    Trouble,
)
from polevpn_trio.management.measures import Counters, Passage
from polevpn_trio.management.roster import Roster
from polevpn_trio.management.router_view import RouterView
from polevpn_trio.management.routing import RouterTable
from polevpn_trio.management.service import managed, start_control
from polevpn_trio.management.view import Program
from polevpn_trio.nursery_tree import Branch, NodeSnapshot, open_root
from tests.management.sites import Peer


def router_view(program: Program, root: Branch, *, well: bool = False) -> RouterView:
    """A router with berlin and oslo up, which both have 10.99.0.0/16, and paris down."""
    roster, forwarder = Roster(), Forwarder()
    now = trio.current_time()
    for number, name in enumerate(("berlin", "oslo", "paris"), 1):
        peer = Peer(Counters(1000, 2000, Passage(100, 3), drops={"queue_full": 4}), heard=now)
        networks = [ip_network(f"192.168.{number}.0/24"), ip_network("10.99.0.0/16")]
        connected = peer.connected(since=now, peer=f"198.51.100.{number}:50412")
        roster.joined(peer, name, [f"10.8.0.{number}"], networks, connected)
        if name == "paris" and not well:
            roster.left(peer, Trouble("nothing heard for 60 s", "look at \x1b[31mit"), now)
        else:
            forwarder.register(peer, [ip_address(f"10.8.0.{number}")], networks)
    table = RouterTable(forwarder, roster)
    return RouterView(program, root, table, lambda: 7, limited=lambda: {"handshakes_per_second": 5})


@attrs.define
class Reloads:
    """Takes whatever its file says, which is always something new."""

    asked: list[float | None] = attrs.field(factory=list)

    async def reload(self, within: float | None) -> Reloaded:
        await trio.lowlevel.checkpoint()
        self.asked.append(within)
        change = AppliedChange("gateways", "at once", "removed rome")
        return Reloaded(
            "applied",
            "router.json",
            applied=(change,),
            restart=("tls.listen",),
            ended=("rome",),
            warnings=("key: easy to guess",),
            confirm_within=within,
        )

    async def confirm(self) -> Reloaded:
        await trio.lowlevel.checkpoint()
        if self.asked:
            return Reloaded("confirmed", "router.json")
        return Reloaded("refused", "router.json", ("nothing waits to be confirmed",))


@contextmanager
def running_router(path: Path, *, well: bool = False) -> Iterator[None]:
    """Answer on a control socket at ``path``, in another thread, as long as the block lasts."""
    package = logging.getLogger(PACKAGE)
    level = package.level
    package.setLevel(logging.INFO)
    ready = threading.Event()
    ends: list[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = []

    async def main() -> None:
        config = ControlConfig(path=path)
        with managed("router", Path("router.json"), config, ("key: easy to guess",)) as program:
            async with open_root("router") as root:
                view = router_view(program, root, well=well)
                await start_control(root, view, Reloads())
                ends.append((trio.lowlevel.current_trio_token(), root.nursery.cancel_scope))
                ready.set()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    try:
        assert ready.wait(30)
        yield
    finally:
        for token, scope in ends:
            token.run_sync_soon(scope.cancel)
        thread.join(30)
        package.setLevel(level)


@attrs.define
class BrokenView:
    """A view that has a fault in it."""

    program: Program

    async def status(self, over: float) -> Status:
        raise ZeroDivisionError

    def routes(self, offset: int, most: int) -> Routes:
        raise NotImplementedError

    async def explain(
        self,
        source: IPv4Address | IPv6Address,
        destination: IPv4Address | IPv6Address,
        protocol: int | None = None,
        port: int | None = None,
    ) -> Explanation:
        raise NotImplementedError

    def tree(self) -> NodeSnapshot:
        raise NotImplementedError
