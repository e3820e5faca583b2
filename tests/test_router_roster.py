"""What the router notes about its sites as their gateways come and go."""

from __future__ import annotations

import datetime
import logging
from ipaddress import ip_address
from pathlib import Path

import attrs
import pytest
import trio

from polevpn_trio.control.log import context_of
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.control.site_directory import KnownSite, SiteDirectory
from polevpn_trio.frames import codec
from polevpn_trio.frames.messages import AuthRequest, NativeOffer
from polevpn_trio.management.answers import DOWN, UP
from tests.memory_links import IDENTITY, ipv4
from tests.test_router import CONFIG, World, with_router

BERLIN = KnownSite(
    "berlin",
    Path("berlin.json"),
    verifiers=(SiteKey.derive("berlin's own key", "berlin").verifier,),
    addresses=frozenset({ip_address("10.8.0.2")}),
)


def test_a_site_is_up_from_its_registration_to_the_end_of_its_link(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(world: World) -> None:
        roster = world.router.roster
        client = world.connect("tls")
        await client.join("10.8.0.2", "192.168.1.0/24", native=True)
        [site] = roster.sites()
        status = site.status(trio.current_time())
        assert (status.name, status.state, status.networks) == (
            "10.8.0.2",
            UP,
            ("192.168.1.0/24",),
        )
        assert status.connection is not None
        assert (status.connection.transport, status.connection.features) == ("tls", ("ipv6",))
        its = [
            context_of(record)
            for record in caplog.records
            if context_of(record).get("connection") == status.connection.identifier
        ]
        assert len(its) == 2
        assert its[1]["site"] == "10.8.0.2"
        await trio.sleep(61)
        status = site.status(trio.current_time())
        assert status.state == DOWN
        assert status.troubles[0].what == "nothing heard for 60 s"
        assert status.troubles[0].advice
        assert context_of(caplog.records[-1])["site"] == "10.8.0.2"

    with caplog.at_level(logging.INFO, "polevpn_trio"):
        with_router(body)


def test_packets_that_do_not_fit_are_the_sites_drops() -> None:
    async def body(world: World) -> None:
        a, b = world.connect(), world.connect(number=2)
        await a.join("10.8.0.1", "192.168.1.0/24")
        await b.join("10.8.0.2", "192.168.2.0/24")
        b.routers_end.taking = trio.Event()
        packet = ipv4("192.168.1.5", "192.168.2.6", 1400)
        for _ in range(100):
            await a.send(*[packet] * 100)
        await trio.sleep(1)
        _, site = world.router.roster.sites()
        assert site.read().counters.drops["queue_full"] > 0

    with_router(body)


def test_sites_that_are_known_are_expected_unless_they_are_closed() -> None:
    async def body(world: World) -> None:
        assert [site.name for site in world.router.roster.sites()] == ["berlin"]

    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    sites = {
        "berlin": BERLIN,
        "rome": attrs.evolve(BERLIN, name="rome", disabled=True),
        "oslo": attrs.evolve(BERLIN, name="oslo", expires=past),
    }
    with_router(body, attrs.evolve(CONFIG, key="", sites=SiteDirectory(sites)))


def test_a_known_site_that_is_refused_is_down_for_that_reason() -> None:
    async def body(world: World) -> None:
        client = world.connect()
        native = {"version": 1, "features": [], "name": "berlin", "proof": "AAAA"}
        await client.say(codec.AUTH, key="", native=native)
        await trio.sleep(1)
        assert client.ended_at is not None
        [site] = world.router.roster.sites()
        [trouble] = site.status(trio.current_time()).troubles
        assert trouble.what == "wrong key of berlin (from kcp 198.51.100.1:50000)"
        assert "key_hash" in trouble.advice

    with_router(body, attrs.evolve(CONFIG, key="", sites=SiteDirectory({"berlin": BERLIN})))


def test_a_known_site_whose_registration_is_refused_is_down_for_that_reason() -> None:
    async def body(world: World) -> None:
        client = world.connect()
        proof = SiteKey.derive("berlin's own key", "berlin").prove(IDENTITY)
        login = AuthRequest("", NativeOffer(1, (), "berlin", proof)).to_json()
        await client.link.send_batch([codec.build_frame(codec.AUTH, login)])
        await client.say(codec.REGISTER, gateway="10.8.0.2", key="", network=["192.168.9.0/24"])
        await trio.sleep(0.1)
        client.link.close()
        await trio.sleep(1)
        [site] = world.router.roster.sites()
        [trouble] = site.status(trio.current_time()).troubles
        assert trouble.what == (
            "registration refused: site berlin may not register 192.168.9.0/24 "
            "(from kcp 198.51.100.1:50000)"
        )
        assert "give it to the site" in trouble.advice

    with_router(body, attrs.evolve(CONFIG, key="", sites=SiteDirectory({"berlin": BERLIN})))
