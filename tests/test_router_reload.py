"""A router whose configuration changes: who stays, who is cut off, and when."""

from __future__ import annotations

import datetime
import logging
from ipaddress import ip_address, ip_network
from pathlib import Path

import attrs
import pytest
import trio

from polevpn_trio import access as access_module
from polevpn_trio.access import Access, ListenerContexts
from polevpn_trio.control.changes import ROUTER_KEYS, compare
from polevpn_trio.control.config import ListenerConfig, RouterConfig
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.control.site_directory import KnownSite, SiteDirectory
from polevpn_trio.errors import HostError
from polevpn_trio.frames import codec
from polevpn_trio.frames.messages import AuthRequest, NativeOffer
from polevpn_trio.management.answers import DOWN, UP
from tests.memory_links import IDENTITY, ipv4
from tests.test_router import CONFIG, Client, World, with_router

NOON = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)


def site(number: int, name: str) -> KnownSite:
    return KnownSite(
        name,
        Path(f"{name}.json"),
        verifiers=(SiteKey.derive(f"key of {name}", name).verifier,),
        addresses=frozenset({ip_address(f"10.8.0.{number}")}),
        networks=(ip_network(f"192.168.{number}.0/24"),),
    )


BERLIN, ROME, OSLO = site(1, "berlin"), site(2, "rome"), site(3, "oslo")


def with_sites(*sites: KnownSite) -> RouterConfig:
    return attrs.evolve(CONFIG, key="", sites=SiteDirectory({each.name: each for each in sites}))


async def join(world: World, number: int, name: str) -> Client:
    client = world.connect(number=number)
    key = SiteKey.derive(f"key of {name}", name)
    offer = NativeOffer(1, ("ipv6",), name, key.prove(IDENTITY))
    await client.link.send_batch([codec.build_frame(codec.AUTH, AuthRequest("", offer).to_json())])
    networks = [f"192.168.{number}.0/24"]
    await client.say(codec.REGISTER, gateway=f"10.8.0.{number}", key="", network=networks)
    await trio.sleep(0.1)
    assert client.of(codec.REGISTER)[-1].payload == b"{}"
    return client


async def adopt(world: World, config: RouterConfig) -> tuple[str, ...]:
    running = world.router.config
    return tuple(await world.router.adopt(compare(ROUTER_KEYS, CONFIG, running, config)))


def states(world: World) -> dict[str, str]:
    return {
        each.name: each.status(trio.current_time()).state for each in world.router.roster.sites()
    }


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day is noon, and as many seconds as Trio's clock says."""

    def now() -> datetime.datetime:
        return NOON + datetime.timedelta(seconds=trio.current_time())

    monkeypatch.setattr(access_module, "utc_now", now)


PACKET = ipv4("192.168.1.5", "192.168.3.6")


def test_listeners_show_what_the_new_configuration_names() -> None:
    async def main() -> None:
        access = Access(with_sites(BERLIN), ListenerContexts(None, None))
        others = ListenerContexts(None, None)
        access.adopt(with_sites(BERLIN), others)
        assert access.contexts is others

    trio.run(main)


def test_a_site_that_is_disabled_is_cut_off_and_the_others_do_not_notice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(world: World) -> None:
        berlin, rome, oslo = [
            await join(world, number, name)
            for number, name in enumerate(("berlin", "rome", "oslo"), 1)
        ]
        before = [client.connection for client in (berlin, oslo)]
        await berlin.send(PACKET)
        cut = await adopt(world, with_sites(BERLIN, attrs.evolve(ROME, disabled=True), OSLO))
        await berlin.send(PACKET)
        assert cut == ("rome",)
        await trio.sleep(1)
        assert rome.ended_at is not None
        assert (berlin.ended_at, oslo.ended_at) == (None, None)
        assert len(oslo.of(codec.S2C_IPDATA)) == 2
        assert list(world.router.access.members) == before
        # It need not be there any more.
        assert states(world) == {"berlin": UP, "oslo": UP}
        # And it does not get in again.
        again = world.connect(number=2)
        offer = NativeOffer(1, (), "rome", SiteKey.derive("key of rome", "rome").prove(IDENTITY))
        body_ = AuthRequest("", offer).to_json()
        await again.link.send_batch([codec.build_frame(codec.AUTH, body_)])
        await trio.sleep(1)
        assert again.ended_at is not None

    with caplog.at_level(logging.INFO, "polevpn_trio"):
        with_router(body, with_sites(BERLIN, ROME, OSLO))
    said = [record for record in caplog.records if "rome is disabled" in record.getMessage()]
    assert "ended: site rome is disabled" in said[0].getMessage()
    assert said[0].__dict__["context"]["site"] == "rome"
    assert "`reload`" in said[0].__dict__["context"]["advice"]


def test_sources_are_checked_as_the_new_configuration_says() -> None:
    async def body(world: World) -> None:
        berlin, oslo = await join(world, 1, "berlin"), await join(world, 3, "oslo")
        forged = ipv4("203.0.113.9", "192.168.3.6")
        exempt = with_sites(attrs.evolve(BERLIN, source_check=False), OSLO)
        usual = with_sites(BERLIN, OSLO)
        nobody = attrs.evolve(usual, source_check=False)
        arrived = []
        for config in (usual, exempt, usual, nobody, usual):
            assert await adopt(world, config) == ()
            await berlin.send(forged)
            await trio.sleep(1)
            arrived.append(len(oslo.of(codec.S2C_IPDATA)))
        assert arrived == [0, 1, 1, 2, 2]

    with_router(body, with_sites(BERLIN, OSLO))


def test_a_changed_priority_moves_a_network_to_another_site() -> None:
    network = ip_network("192.168.1.0/24")
    standby = attrs.evolve(ROME, networks=(*ROME.networks, network), priority=50)

    async def body(world: World) -> None:
        berlin, rome = await join(world, 1, "berlin"), await join(world, 2, "rome")
        await rome.say(codec.REGISTER, gateway="10.8.0.2", key="", network=[str(network)])
        await trio.sleep(1)
        owner = world.router.forwarder.lookup
        inside = network[5].packed
        assert owner(inside) is berlin.connection
        promoted = attrs.evolve(standby, priority=200)
        assert await adopt(world, with_sites(BERLIN, promoted)) == ()
        assert owner(inside) is rome.connection
        assert await adopt(world, with_sites(BERLIN, standby)) == ()
        assert owner(inside) is berlin.connection

    with_router(body, with_sites(BERLIN, standby))


def test_what_gives_a_site_more_does_not_cut_it_off() -> None:
    async def body(world: World) -> None:
        client = await join(world, 1, "berlin")
        more = attrs.evolve(
            BERLIN,
            verifiers=(*ROME.verifiers, *BERLIN.verifiers),
            networks=(*BERLIN.networks, ip_network("172.16.0.0/16")),
            expires=NOON + datetime.timedelta(days=36_500),
        )
        assert await adopt(world, with_sites(more, ROME)) == ()
        # On the same connection.
        await client.say(codec.REGISTER, gateway="10.8.0.1", key="", network=["172.16.1.0/24"])
        await trio.sleep(1)
        assert client.of(codec.REGISTER)[-1].payload == b"{}"
        assert client.ended_at is None
        assert states(world) == {"berlin": UP, "rome": DOWN}

    with_router(body, with_sites(BERLIN))


def test_whoever_came_by_the_shared_key_goes_when_that_is_replaced_for_good() -> None:
    async def body(world: World) -> None:
        client = world.connect()
        await client.join("10.8.0.1")
        between = attrs.evolve(CONFIG, key="another", other_keys=(CONFIG.key,))
        assert await adopt(world, between) == ()
        another = world.connect(number=2)
        await another.say(codec.AUTH, key="another")
        await trio.sleep(1)
        assert await adopt(world, attrs.evolve(CONFIG, key="another")) == (
            "kcp 198.51.100.1:50000",
        )
        await trio.sleep(1)
        assert client.ended_at is not None
        assert another.ended_at is None

    with_router(body)


def test_who_has_sent_the_key_as_it_is_goes_when_that_is_forbidden_and_nobody_comes_so() -> None:
    async def body(world: World) -> None:
        client = world.connect()
        await client.join("10.8.0.1")
        assert await adopt(world, attrs.evolve(CONFIG, classic=False)) == (
            "kcp 198.51.100.1:50000",
        )
        another = world.connect(number=2)
        await another.say(codec.AUTH, key=CONFIG.key)
        await trio.sleep(1)
        assert client.ended_at is not None
        assert another.ended_at is not None
        [answer] = another.of(codec.AUTH)
        assert answer.payload == b'{"error":"invalid key"}'

    with_router(body)


@pytest.mark.usefixtures("clock")
def test_a_site_is_cut_off_when_its_time_is_up(caplog: pytest.LogCaptureFixture) -> None:
    until = NOON + datetime.timedelta(seconds=600)

    async def body(world: World) -> None:
        world.root.start_soon("expiry", world.router.access.watch_time)
        client = await join(world, 1, "berlin")
        await join(world, 2, "rome")
        while client.ended_at is None:
            await client.say(codec.HEART_BEAT)
            await trio.sleep(10)
        assert client.ended_at == pytest.approx(600, abs=0.1)
        [berlin, _] = world.router.roster.sites()
        [trouble] = berlin.status(trio.current_time()).troubles
        assert trouble.what == "site berlin is expired on 2030-01-01 12:10 UTC"
        world.root.nursery.cancel_scope.cancel()

    with_router(body, with_sites(attrs.evolve(BERLIN, expires=until), ROME))


@pytest.mark.usefixtures("clock")
def test_a_time_that_a_reload_sets_is_heeded() -> None:
    async def body(world: World) -> None:
        world.root.start_soon("expiry", world.router.access.watch_time)
        client = await join(world, 1, "berlin")
        until = NOON + datetime.timedelta(seconds=30)
        assert await adopt(world, with_sites(attrs.evolve(BERLIN, expires=until))) == ()
        await trio.sleep(50)
        assert client.ended_at == pytest.approx(30, abs=0.1)
        world.root.nursery.cancel_scope.cancel()

    with_router(body, with_sites(BERLIN))


def test_a_certificate_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        client = await join(world, 1, "berlin")
        (tmp_path / "bad").write_text("no certificate")
        bad = ListenerConfig("", 443, tmp_path / "bad", tmp_path / "bad")
        before = world.router.config
        changes = compare(ROUTER_KEYS, CONFIG, before, with_sites(ROME))
        changes = attrs.evolve(changes, config=attrs.evolve(changes.config, tls=bad))
        with pytest.raises(HostError, match="cannot use the certificate"):
            await world.router.adopt(changes)
        assert world.router.config is before
        await trio.sleep(1)
        assert client.ended_at is None

    with_router(body, with_sites(BERLIN))


def test_timeouts_and_queues_are_for_connections_to_come() -> None:
    async def body(world: World) -> None:
        early = world.connect()
        await early.join("10.8.0.1")
        await adopt(world, attrs.evolve(CONFIG, idle_timeout=20.0))
        late = world.connect(number=2)
        await late.join("10.8.0.2")
        joined = trio.current_time()
        await trio.sleep(70)
        assert late.ended_at == pytest.approx(joined + 20, abs=0.5)
        assert early.ended_at == pytest.approx(60, abs=0.5)

    with_router(body)
