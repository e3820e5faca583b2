"""Networks that more than one site of a router is given."""

from __future__ import annotations

from typing import Any

from polevpn_trio.control.config import RouterConfig
from polevpn_trio.doctor.sites import judge_sites
from tests.conftest import Certificates

from .machines import ills, router

PRINT = "sha256:" + "ab" * 32


def site(address: str, *networks: str, **more: Any) -> dict[str, Any]:
    return {"certificate": PRINT, "addresses": [address], "networks": networks, **more}


def hub(certificates: Certificates, **changes: Any) -> RouterConfig:
    pair = certificates.ecdsa
    return router(pair.cert_file, pair.key_file, **changes)


def judged(certificates: Certificates, **changes: Any) -> list[str]:
    return [each.text for each in ills(judge_sites(hub(certificates, **changes)))]


def test_a_network_of_two_sites_is_told_unless_their_priorities_decide(
    certificates: Certificates,
) -> None:
    lan, wider = "192.168.1.0/24", "192.168.0.0/16"
    gateways = {"berlin": site("10.8.0.2", lan), "oslo": site("10.8.0.3", wider)}
    assert judged(certificates, gateways=gateways) == []
    gateways["paris"] = site("10.8.0.4", lan, wider, priority=200)
    assert judged(certificates, gateways=gateways) == []
    gateways["rome"] = site("10.8.0.5", lan)
    assert judged(certificates, gateways=gateways) == [
        f"{lan} is given to berlin and rome, with the same priority"
    ]
    gateways["rome"]["disabled"] = True
    assert judged(certificates, gateways=gateways) == []


def test_the_routers_own_site_comes_before_all(certificates: Certificates) -> None:
    gateways = {"berlin": site("10.8.0.2", "192.168.1.0/24", "192.168.2.0/24")}
    own = {"gateway": "10.8.0.1", "local_networks": ["192.168.2.0/24"]}
    assert judged(certificates, gateways=gateways, site=own) == [
        "192.168.2.0/24 of berlin is a network of the router's own site, too"
    ]


def test_without_known_sites_there_is_nothing_to_say(certificates: Certificates) -> None:
    assert judge_sites(hub(certificates)) == []
