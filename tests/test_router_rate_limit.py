"""The ``rate_limit`` of a site, through a router."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from polevpn_trio.control.site_directory import SiteDirectory, parse_site
from polevpn_trio.errors import ConfigError
from polevpn_trio.frames import codec
from tests.memory_links import ipv4
from tests.test_router import World, with_router
from tests.test_router_reload import BERLIN, ROME, adopt, join, with_sites

KILOBYTE = ipv4("192.168.1.5", "192.168.2.6", 992)
BACK = ipv4("192.168.2.6", "192.168.1.5", 992)


def dropped(world: World) -> dict[str, int]:
    return {
        each.name: each.read().counters.drops.get("rate_limit", 0)
        for each in world.router.roster.sites()
    }


def test_a_site_sends_and_gets_no_more_than_its_rate_and_others_do() -> None:
    async def body(world: World) -> None:
        berlin, rome = await join(world, 1, "berlin"), await join(world, 2, "rome")
        for _ in range(20):
            await berlin.send(*[KILOBYTE] * 50)
            await rome.send(*[BACK] * 50)
            await trio.sleep(0.01)
        await trio.sleep(1)
        arrived = len(rome.of(codec.S2C_IPDATA)), len(berlin.of(codec.S2C_IPDATA))
        # Bursts of 128 KiB, a debt, and 125 kB/s for a fifth of a second.
        for count in arrived:
            assert 130 < count < 250
        assert dropped(world) == {"berlin": 2000 - sum(arrived), "rome": 0}
        # A reload takes the limit away from the link that there is.
        await adopt(world, with_sites(BERLIN, ROME))
        await berlin.send(*[KILOBYTE] * 60, *[KILOBYTE] * 60)
        await trio.sleep(1)
        assert len(rome.of(codec.S2C_IPDATA)) == arrived[0] + 120

    with_router(body, with_sites(attrs.evolve(BERLIN, rate_limit=1), ROME))


def site_with(**members: Any) -> int | None:
    values = {"certificate": "sha256:" + "ab" * 32, "addresses": ["10.8.0.2"], **members}
    return parse_site(Path("berlin.json"), values, SiteDirectory({})).rate_limit


def test_the_key_of_a_site() -> None:
    assert site_with() is None
    assert site_with(rate_limit=100) == 100


@pytest.mark.parametrize("value", [0, -1, 1.5, "100", None, 1_000_000])
def test_what_is_no_rate_is_one_line(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        site_with(rate_limit=value)
    message = str(caught.value)
    assert message.startswith("berlin.json: rate_limit: ")
    assert message.endswith("expected a whole number from 1 to 100000 (Mbit/s)")
