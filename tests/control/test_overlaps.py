"""Several sites with one network: priorities decide, or the second one is refused."""

from __future__ import annotations

import logging
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.control import advice
from polevpn_trio.control.authentication import Admitted
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.control.overlaps import (
    OWN_PRIORITY,
    SHARED_KEY_PRIORITY,
    note_overlaps,
    overlap_refusal,
)
from polevpn_trio.control.site_directory import (
    DEFAULT_PRIORITY,
    HIGHEST_PRIORITY,
    LOWEST_PRIORITY,
    KnownSite,
)
from polevpn_trio.forwarding.forwarder import Forwarder
from polevpn_trio.frames import codec
from polevpn_trio.management.routing import RouterTable
from tests.control.test_site_directory import SITE, folder, mistakes, router, sites
from tests.management.sites import Peer
from tests.test_router import Client, World, with_router

__all__ = ["folder"]

NETWORK = IPv4Network("192.168.7.0/24")
INSIDE = IPv4Address("192.168.7.1").packed


def known(name: str, priority: int = DEFAULT_PRIORITY) -> KnownSite:
    addresses = frozenset({ip_address("10.8.0.2"), ip_address("10.8.0.3")})
    return KnownSite(name, Path("router.json"), (), (), addresses, (NETWORK,), priority)


@given(st.lists(st.tuples(st.integers(0, 4), st.none() | st.integers(0, 2)), max_size=20))
def test_the_highest_priority_owns_a_network_and_of_several_the_last(
    steps: list[tuple[int, int | None]],
) -> None:
    """A step is a peer that registers with a priority, or goes."""
    peers = [Peer() for _ in range(5)]
    forwarder = Forwarder()
    registered: dict[int, tuple[int, int]] = {}
    for moment, (number, priority) in enumerate(steps):
        if priority is None:
            forwarder.unregister(peers[number])
            registered.pop(number, None)
        else:
            forwarder.register(peers[number], [], [NETWORK], priority)
            registered[number] = (priority, moment)
        ranked = sorted(registered, key=registered.__getitem__)
        owners = forwarder.owners(NETWORK)
        assert list(owners) == [peers[each] for each in ranked]
        assert list(owners.values()) == [registered[each][0] for each in ranked]
        assert forwarder.lookup(INSIDE) is (peers[ranked[-1]] if ranked else None)


def test_a_known_site_comes_after_the_routers_own_and_before_those_with_the_shared_key() -> None:
    assert SHARED_KEY_PRIORITY < LOWEST_PRIORITY <= DEFAULT_PRIORITY <= HIGHEST_PRIORITY
    assert HIGHEST_PRIORITY < OWN_PRIORITY


def test_another_known_site_with_the_same_priority_is_refused() -> None:
    forwarder, holder = Forwarder(), Peer()
    forwarder.register(holder, [], [NETWORK], DEFAULT_PRIORITY)

    def refusal(site: KnownSite) -> str:
        return overlap_refusal(site, [NETWORK], forwarder.owners, lambda peer: "oslo")

    assert refusal(known("berlin")) == (
        "site berlin with the same priority may not register 192.168.7.0/24, which oslo has"
    )
    assert refusal(known("berlin", 99)) == refusal(known("berlin", 101)) == ""
    # It is oslo itself that connects anew.
    assert refusal(known("oslo")) == ""


def test_a_refusal_names_a_few_networks_and_the_number_of_the_others() -> None:
    networks = [ip_network(f"10.{n}.0.0/16") for n in range(9)]
    forwarder = Forwarder()
    forwarder.register(Peer(), [], networks, DEFAULT_PRIORITY)
    found = overlap_refusal(known("berlin"), networks, forwarder.owners, lambda peer: "oslo")
    assert found.endswith("10.2.0.0/16, which oslo has and 6 more")


def test_who_registers_what_nobody_else_has_is_not_written_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = ContextLogger(logging.getLogger("test"))
    peers = [Peer(), Peer()]
    note_overlaps(log, "berlin", [NETWORK], lambda _: {peers[0]: 1}, str)
    assert not caplog.records
    note_overlaps(log, "berlin", [NETWORK], lambda _: {peers[0]: 1, peers[1]: 1}, str)
    [record] = caplog.records
    assert record.getMessage().startswith(
        "berlin: registered by several sites, the last one has it: "
    )


async def join(world: World, number: int, site: KnownSite | None) -> Client:
    """Let a site register `NETWORK`; whether it may, its answer says."""
    admitted: Any = lambda request, identity: Admitted(site=site)  # noqa: E731 - a stand-in
    world.router.access.judge_untrusted = admitted  # type: ignore[method-assign]  # no key
    client = world.connect(number=number)
    await client.say(codec.AUTH, key="")
    await client.say(codec.REGISTER, gateway=f"10.8.0.{number}", network=[str(NETWORK)])
    await trio.sleep(0.1)
    return client


def test_at_a_router_the_second_is_refused_and_hears_why() -> None:
    async def body(world: World) -> None:
        first = await join(world, 2, known("berlin"))
        second = await join(world, 3, known("oslo"))
        assert first.of(codec.REGISTER)[-1].payload == b"{}"
        assert b"which berlin has" in second.of(codec.REGISTER)[-1].payload
        assert world.router.forwarder.lookup(INSIDE) is first.connection
        again = await join(world, 2, known("berlin"))
        assert again.of(codec.REGISTER)[-1].payload == b"{}"
        assert world.router.forwarder.lookup(INSIDE) is again.connection

    with_router(body)


def test_at_a_router_priorities_decide_and_the_log_and_the_routes_tell(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(world: World) -> None:
        best = await join(world, 2, known("berlin", 200))
        await join(world, 3, known("oslo", 100))
        assert world.router.forwarder.lookup(INSIDE) is best.connection
        table = RouterTable(world.router.forwarder, world.router.roster)
        [conflict] = next(
            route.conflicts
            for route in table.routes(0, 9, 1.0).routes
            if route.network == str(NETWORK)
        )
        assert conflict.what == "also named by oslo: priority 200 over 100"
        found = table.explain(IPv4Address("10.8.0.3"), IPv4Address(INSIDE), 1.0)
        assert found.site == "berlin"
        assert "priority (200 over 100)" in found.alternatives[0].why_not

    with caplog.at_level(logging.INFO):
        with_router(body)
    expected = f"by priority: {NETWORK} (its packets go to berlin, not to oslo)"
    assert [record.levelname for record in caplog.records if expected in record.getMessage()] == [
        "INFO"
    ]


def test_with_the_shared_key_the_last_one_has_it_and_the_log_warns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(world: World) -> None:
        await join(world, 2, None)
        last = await join(world, 3, None)
        assert world.router.forwarder.lookup(INSIDE) is last.connection
        site = await join(
            world, 4, attrs.evolve(known("oslo"), addresses=frozenset([ip_address("10.8.0.4")]))
        )
        late = await join(world, 5, None)
        assert late.of(codec.REGISTER)[-1].payload == b"{}"
        assert world.router.forwarder.lookup(INSIDE) is site.connection

    with caplog.at_level(logging.WARNING):
        with_router(body)
    found = [record for record in caplog.records if "the last one has it" in record.getMessage()]
    assert "its packets go to 10.8.0.3, not to 10.8.0.2" in found[0].getMessage()
    assert vars(found[0])["context"]["advice"] == advice.OVERLAP


def test_a_file_gives_priorities_within_bounds(folder: Path) -> None:
    others = {"addresses": ["10.8.0.3"], "priority": 7}
    file = router(folder, gateways={"berlin": SITE, "oslo": {**SITE, **others}})
    assert {name: site.priority for name, site in sites(file).items()} == {
        "berlin": DEFAULT_PRIORITY,
        "oslo": 7,
    }
    assert mistakes(router(folder, gateways={"berlin": {**SITE, "priority": 1001}})) == [
        "router.json: gateways.berlin.priority: 1001, expected a whole number from 1 to 1000 "
        "(higher wins)"
    ]
