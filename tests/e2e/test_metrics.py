"""A real router and a real gateway, scraped over HTTP while packets pass between sites."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import polevpn_trio
from polevpn_trio.lab import probes
from polevpn_trio.lab.namespaces import Host, wait_until
from polevpn_trio.lab.overlay import Overlay

PORT = 9461
METRICS = {"listen": f"127.0.0.1:{PORT}"}
PINGS = 20

CONF = Path(polevpn_trio.__file__).parents[1] / "conf"
NAME = re.compile(r"\bpolevpn_[a-z0-9_]+|\bprocess_[a-z_]+")


def download() -> str:
    with urllib.request.urlopen(f"http://{METRICS['listen']}/metrics", timeout=10) as answer:
        assert answer.status == 200
        text: str = answer.read().decode()
        return text


def scrape(host: Host) -> dict[tuple[str, ...], float]:
    """Values by name and labels, in the order of the labels' names."""
    wait_until(lambda: host.listens("tcp", PORT), 20, f"metrics of {host.name}")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(host.call(download))
        for sample in family.samples
    }


@pytest.mark.needs_root_lab
def test_a_router_and_its_gateways_are_scraped(overlay: Overlay) -> None:
    first, second = overlay.add_site("first"), overlay.add_site("second")
    policy = {"rules": [{"name": "no discard", "action": "deny", "protocol": "udp", "ports": [9]}]}
    overlay.start_router(overlay.router_config(metrics=METRICS, policy=policy))
    overlay.wait_for_listener("kcp")
    for site, transport in ((first, "kcp"), (second, "tls")):
        overlay.start_gateway(
            site,
            overlay.gateway_config(
                site, [overlay.url(transport), overlay.url("wss")], metrics=METRICS
            ),
        )
    overlay.wait_for_path(first.lan_host, second.lan_host_address)
    echo = first.lan_host.call(
        probes.ping, second.lan_host_address, count=PINGS, interval=0.01, timeout=5.0
    )
    assert echo.received == PINGS

    router = scrape(overlay.router)
    assert router["polevpn_sites", "up"] == 2
    assert router["polevpn_forwarded_packets_total",] >= 2 * PINGS
    one, two = first.tunnel_address, second.tunnel_address
    assert router["polevpn_site_connection_info", "native", one, "kcp"] == 1
    assert router["polevpn_site_connection_info", "native", two, "tls"] == 1
    assert router["polevpn_site_path_datagrams_total", "sent", one] >= PINGS
    for name in (one, two):
        assert router["polevpn_site_up", name] == 1
        assert router["polevpn_site_traffic_bytes_total", "received", name] > PINGS * 64
        assert 0 < router["polevpn_site_rtt_seconds", name] < 5
    assert router["polevpn_certificate_expiry_timestamp_seconds", "tls"] > 0

    gateway = scrape(first.gateway)
    assert gateway["polevpn_site_up", one] == 1
    assert gateway["polevpn_server_in_use", "0", "kcp"] == 1

    exported = {name for name, *_ in (*router, *gateway)}
    for file in ("grafana-dashboard.json", "prometheus-alerts.yaml"):
        named = {name for name in NAME.findall((CONF / file).read_text()) if ":" not in name}
        assert named - exported == set(), file


@pytest.mark.needs_root_lab
def test_a_site_that_goes_down_and_a_login_that_is_refused_are_seen(overlay: Overlay) -> None:
    site = overlay.add_site("site")
    overlay.start_router(overlay.router_config(metrics=METRICS))
    overlay.wait_for_listener("kcp")
    gateway = overlay.start_gateway(site, overlay.gateway_config(site, overlay.url("kcp")))
    name = site.tunnel_address

    def seen(key: tuple[str, ...], value: float) -> bool:
        return scrape(overlay.router).get(key, -1) >= value

    wait_until(lambda: seen(("polevpn_site_up", name), 1), 20, "the site to be up")
    before = scrape(overlay.router)
    gateway.stop()
    wait_until(lambda: seen(("polevpn_sites", "down"), 1), 20, "the site to be down")
    after = scrape(overlay.router)
    assert after["polevpn_site_up", name] == 0
    sent = ("polevpn_site_traffic_bytes_total", "sent", name)
    assert after[sent] >= before[sent]
    wrong = overlay.gateway_config(site, overlay.url("tls"), key="not the right key")
    overlay.start_gateway(site, wrong)
    refused = ("polevpn_refused_logins_total", "wrong_key")
    wait_until(lambda: seen(refused, 1), 20, "the refusal to be counted")
    ended = ("polevpn_connections_without_login_total",)
    # It is counted when the answer has reached the gateway.
    wait_until(lambda: seen(ended, 1), 20, "the end of the connection to be counted")
