"""Configurations change under the real programs; links that may stay do not notice."""

from __future__ import annotations

import datetime
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.lab import probes
from polevpn_trio.lab.namespaces import Process, wait_until
from polevpn_trio.lab.overlay import TRANSPORTS, Overlay, Site

from .test_operation import ask, look

pytestmark = pytest.mark.needs_root_lab

PINGS, PING_INTERVAL = 250, 0.01

KEYS = {"a": "the key of site a", "b": "the key of site b", "c": "the key of site c"}


def known_sites(overlay: Overlay, **changes: dict[str, Any]) -> dict[str, Any]:
    """The ``gateways`` of a router that knows all sites."""
    return {
        site.name: {
            "key_hash": str(SiteKey.derive(KEYS[site.name], site.name).verifier),
            "addresses": [site.tunnel_address, site.tunnel_address6],
            "networks": [site.lan, site.lan6],
            **changes.get(site.name, {}),
        }
        for site in overlay.sites
    }


def start(overlay: Overlay, transport: str, **changes: Any) -> tuple[Process, list[Site]]:
    """A router that knows three sites, which are joined."""
    sites = [overlay.add_site(name) for name in KEYS]
    config = overlay.router_config(gateways=known_sites(overlay), **changes)
    router = overlay.start_router(config)
    overlay.wait_for_listener(transport)
    for site in sites:
        overlay.start_gateway(
            site,
            overlay.gateway_config(
                site, overlay.url(transport), name=site.name, key=KEYS[site.name]
            ),
        )
    for site in sites[1:]:
        overlay.wait_for_path(sites[0].lan_host, site.lan_host_address)
    return router, sites


def rewrite(overlay: Overlay, config: dict[str, Any]) -> None:
    overlay.router.write_file("router.json", json.dumps(config), mode=0o600)


def connections(overlay: Overlay) -> dict[str, str]:
    """The identifiers of the connections by which sites are joined."""
    [router] = look(overlay.router, "status", "--over", "0")["programs"]
    return {
        site["name"]: site["connection"]["identifier"]
        for site in router["sites"]
        if site["connection"]
    }


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_disabled_site_is_cut_off_while_another_loses_no_packet(
    overlay: Overlay, transport: str
) -> None:
    router, (a, b, c) = start(overlay, transport)
    before = connections(overlay)
    assert before.keys() == {"a", "b", "c"}
    with ThreadPoolExecutor(1) as stream:
        pings = stream.submit(
            a.lan_host.call,
            probes.ping,
            b.lan_host_address,
            count=PINGS,
            interval=PING_INTERVAL,
        )
        disabled = known_sites(overlay, c={"disabled": True})
        rewrite(overlay, overlay.router_config(gateways=disabled, log_level="debug"))
        done = ask(overlay.router, "reload")
        router.wait_for_output("ended: site c is disabled", 10)
        echo = pings.result()
    assert (done.returncode, done.stderr) == (0, "")
    assert "gateways: applied at once (changed c)" in done.stdout
    assert "links cut: c" in done.stdout
    assert (echo.received, echo.duplicates, echo.corrupted) == (PINGS, 0, 0)
    assert connections(overlay) == {name: before[name] for name in ("a", "b")}
    assert not overlay.reaches(a.lan_host, c.lan_host_address)
    # And back again.
    rewrite(overlay, overlay.router_config(gateways=known_sites(overlay)))
    router.send_signal(signal.SIGHUP)
    overlay.wait_for_path(a.lan_host, c.lan_host_address)
    assert {name: connections(overlay)[name] for name in "ab"} == {n: before[n] for n in "ab"}


def test_a_broken_file_is_refused_and_all_goes_on(overlay: Overlay) -> None:
    router, (a, b, _) = start(overlay, "kcp")
    before = connections(overlay)
    broken = overlay.router_config(gateways=known_sites(overlay, b={"addresses": ["nowhere"]}))
    rewrite(overlay, {**broken, "idle_timout": 20})
    done = ask(overlay.router, "reload")
    assert done.returncode == 1
    assert 'idle_timout: unknown key, did you mean "idle_timeout"?' in done.stderr
    assert "gateways.b.addresses[0]" in done.stderr
    assert "refused: all goes on as before" in done.stderr
    router.send_signal(signal.SIGHUP)
    router.wait_for_output("SIGHUP: reading the configuration anew", 10)
    assert overlay.reaches(a.lan_host, b.lan_host_address)
    assert connections(overlay) == before
    assert "reload refused, all goes on as before" in ask(overlay.router, "events").stdout


def test_what_takes_a_restart_is_named(overlay: Overlay) -> None:
    _, (a, b, _) = start(overlay, "tls")
    config = overlay.router_config(gateways=known_sites(overlay))
    moved = {**config["tls"], "listen": ":444"}
    rewrite(overlay, {**config, "tls": moved})
    done = ask(overlay.router, "reload")
    assert done.returncode == 0
    assert "tls.listen: not applied, takes a restart" in done.stdout
    assert overlay.router.listens("tcp", 443)
    [router] = look(overlay.router, "status", "--over", "0")["programs"]
    assert any("tls.listen" in trouble["what"] for trouble in router["troubles"])
    assert overlay.reaches(a.lan_host, b.lan_host_address)


def test_a_site_is_cut_off_when_its_time_is_up(overlay: Overlay) -> None:
    router, (a, b, c) = start(overlay, "kcp")
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    expiring = known_sites(overlay, c={"expires": soon.isoformat()})
    rewrite(overlay, overlay.router_config(gateways=expiring))
    assert ask(overlay.router, "reload").returncode == 0
    router.wait_for_output("ended: site c is expired on", 20)
    wait_until(lambda: not overlay.reaches(a.lan_host, c.lan_host_address), 10, "the cut")
    assert overlay.reaches(a.lan_host, b.lan_host_address)
