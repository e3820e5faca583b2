"""Configurations change under the real programs; links that may stay do not notice."""

from __future__ import annotations

import datetime
import json
import signal
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.lab import probes
from polevpn_trio.lab.certificate import make_certificate
from polevpn_trio.lab.namespaces import Process, wait_until
from polevpn_trio.lab.overlay import PORT, TRANSPORTS, Overlay, Site

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


def test_a_new_certificate_is_for_those_who_come_and_those_who_are_there_stay(
    overlay: Overlay,
) -> None:
    _, (a, b, _) = start(overlay, "kcp")
    before = connections(overlay)
    made = make_certificate("another.example")
    overlay.router.write_file("router.crt", made.certificate)
    overlay.router.write_file("router.key", made.key, mode=0o600)
    done = ask(overlay.router, "reload")
    assert done.returncode == 0
    for key in ("kcp.cert_file", "tls.cert_file"):
        assert f"{key}: applied for connections to come" in done.stdout
    shown = a.gateway.call(
        ssl.get_server_certificate, (overlay.router_uplink.address, PORT), timeout=10
    )
    expected = ssl.PEM_cert_to_DER_cert(made.certificate.decode())
    assert ssl.PEM_cert_to_DER_cert(shown) == expected
    assert connections(overlay) == before
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


def gateway_files(overlay: Overlay, site: Site, **changes: Any) -> None:
    """Rewrite a gateway's file."""
    config = overlay.gateway_config(
        site, overlay.url("kcp"), name=site.name, key=KEYS[site.name], **changes
    )
    site.gateway.write_file(f"gateway-{site.number}.json", json.dumps(config), mode=0o600)


def test_a_gateway_takes_over_routes_networks_and_acls_on_the_link_that_it_has(
    overlay: Overlay,
) -> None:
    extra = "10.78.0.0/16"
    router, (a, b, c) = start(overlay, "kcp")
    more = known_sites(overlay, a={"networks": [a.lan, a.lan6, extra]})
    rewrite(overlay, overlay.router_config(gateways=more))
    assert ask(overlay.router, "reload").returncode == 0
    before = connections(overlay)
    others = [network for site in (b, c) for network in (site.lan, site.lan6)]
    with ThreadPoolExecutor(1) as stream:
        pings = stream.submit(
            a.lan_host.call, probes.ping, b.lan_host_address, count=PINGS, interval=PING_INTERVAL
        )
        gateway_files(
            overlay,
            a,
            route_networks=[*others, "10.77.0.0/16"],
            local_networks=[a.lan, a.lan6, extra],
            acls=[b.lan, b.lan6],
        )
        assert ask(a.gateway, "reload").returncode == 0
        router.wait_for_output(
            f"registered {a.tunnel_address}, {a.tunnel_address6} for {a.lan}, {a.lan6}, {extra}", 10
        )
        echo = pings.result()
    assert echo.received == PINGS
    assert connections(overlay) == before
    routes = {route["network"] for route in look(a.gateway, "routes")["routes"]}
    assert routes == {*others, "10.77.0.0/16", a.lan, a.lan6, extra}
    # Whoever is not in acls is not let in any more.
    wait_until(lambda: not overlay.reaches(c.lan_host, a.lan_host_address), 10, "the acls")
    overlay.wait_for_path(b.lan_host, a.lan_host_address)
    # One network less takes another link, which takes the place of the first.
    gateway_files(overlay, a, route_networks=others, local_networks=[a.lan])
    assert ask(a.gateway, "reload").returncode == 0
    wait_until(lambda: connections(overlay).get("a", before["a"]) != before["a"], 20, "a new link")
    assert {name: connections(overlay)[name] for name in "bc"} == {n: before[n] for n in "bc"}


def test_a_mistake_at_a_site_far_away_mends_itself(overlay: Overlay) -> None:
    _, (a, b, _) = start(overlay, "kcp")
    before = connections(overlay)
    # The wrong key, and no way to anybody.
    config = overlay.gateway_config(a, overlay.url("kcp"), name="a", key="mistyped, alas")
    config["route_networks"] = ["10.77.0.0/16"]
    a.gateway.write_file("gateway-1.json", json.dumps(config), mode=0o600)
    done = ask(a.gateway, "reload", "--confirm", "5")
    assert done.returncode == 0
    assert "key: applied by a new link" in done.stdout
    assert "rolled back in 5 s unless you say: polevpn-trio reload --confirmed" in done.stdout
    assert not overlay.reaches(a.lan_host, b.lan_host_address)
    done = ask(a.gateway, "reload", "--confirmed")
    assert done.returncode == 1
    [gateway] = [process for process in overlay.programs() if process.name == "gateway-1"]
    gateway.wait_for_output("not confirmed within 5 s, so it was rolled back", 20)
    overlay.wait_for_path(a.lan_host, b.lan_host_address)
    # The link that was there has never gone.
    assert connections(overlay) == before
    [status] = look(a.gateway, "status", "--over", "0")["programs"]
    assert "rolled back" in status["troubles"][0]["what"]
    assert ask(a.gateway, "reload", "--confirmed").returncode == 1


def test_what_is_confirmed_over_the_new_link_stays(overlay: Overlay) -> None:
    _, (a, b, _) = start(overlay, "kcp")
    before = connections(overlay)
    config = overlay.gateway_config(a, overlay.url("tls"), name="a", key=KEYS["a"])
    a.gateway.write_file("gateway-1.json", json.dumps(config), mode=0o600)
    assert ask(a.gateway, "reload", "--confirm", "60").returncode == 0
    wait_until(lambda: ask(a.gateway, "reload", "--confirmed").returncode == 0, 20, "a link")
    assert connections(overlay)["a"] != before["a"]
    [router] = look(overlay.router, "status", "--over", "0")["programs"]
    [site] = [site for site in router["sites"] if site["name"] == "a"]
    assert site["connection"]["transport"] == "tls"
    overlay.wait_for_path(a.lan_host, b.lan_host_address)
