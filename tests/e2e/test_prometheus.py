"""A real Prometheus scrapes a router and a gateway, and answers what the Grafana dashboard asks."""

from __future__ import annotations

import json
import shutil
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import polevpn_trio
from polevpn_trio.lab import probes
from polevpn_trio.lab.namespaces import wait_until
from polevpn_trio.lab.overlay import Overlay

CONF = Path(polevpn_trio.__file__).parents[1] / "conf"
DASHBOARD = json.loads((CONF / "grafana-dashboard.json").read_text())

METRICS, ANSWERS = 9461, 9090
"""Ports."""

OCCASIONAL = {
    ("Denied by the policy", "A"),
    ("Packets dropped, by reason", "A"),
    ("Packets dropped, by reason", "B"),
    # Of other queries that divide by what was sent, at a site that is at rest nothing is left.
    ("What repair costs", "A"),
}
"""Queries that need not find anything on a path that is well."""

_CONFIGURATION = """\
global: {scrape_interval: 250ms, evaluation_interval: 1s}
rule_files: [alerts.yaml]
scrape_configs:
  - job_name: polevpn
    static_configs: [{targets: ["127.0.0.1:%d", "%s:%d"]}]
"""


def ask(path: str, **params: str) -> Any:
    url = f"http://127.0.0.1:{ANSWERS}/api/v1/{path}?{urllib.parse.urlencode(params)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"]


def queries() -> dict[tuple[str, str], str]:
    """What each panel asks for, with variables filled in, by its title and the query's letter."""
    filled = {"$__rate_interval": "3s", "$instance": ".*", "$site": ".*"}
    found = {}
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in filled.items():
                expression = expression.replace(name, value)
            found[panel["title"], target["refId"]] = expression
    return found


@pytest.mark.needs_root_lab
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_every_panel_of_the_dashboard_finds_data(overlay: Overlay) -> None:
    site = overlay.add_site("site")
    other = overlay.add_site("other")
    listen = {"listen": f"127.0.0.1:{METRICS}"}
    policy = {"rules": [{"name": "no discard", "action": "deny", "protocol": "udp", "ports": [9]}]}
    overlay.start_router(overlay.router_config(metrics=listen, policy=policy))
    overlay.wait_for_listener("kcp")
    for each in (site, other):
        everywhere = {"listen": f"{each.uplink.address}:{METRICS}"}
        config = overlay.gateway_config(each, overlay.url("kcp"), metrics=everywhere)
        overlay.start_gateway(each, config)
    overlay.wait_for_path(site.lan_host, other.lan_host_address)

    hub = overlay.router
    folder = hub.FILES
    text = _CONFIGURATION % (METRICS, site.uplink.address, METRICS)
    hub.write_file("prometheus.yaml", text)
    hub.write_file("alerts.yaml", (CONF / "prometheus-alerts.yaml").read_text())
    hub.start(
        [
            "prometheus",
            f"--config.file={folder}/prometheus.yaml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{ANSWERS}",
        ],
        name="prometheus",
    )
    wait_until(lambda: hub.listens("tcp", ANSWERS), 30, "prometheus")
    empty: set[tuple[str, str]] = set()

    def all_answered() -> bool:
        # Rates need traffic that goes on.
        site.lan_host.call(probes.ping, other.lan_host_address, count=20, interval=0.05)
        found = hub.call(_count_all)
        empty.clear()
        empty.update(key for key, number in found.items() if not number)
        return empty <= OCCASIONAL

    try:
        wait_until(all_answered, 40, "data for all panels")
    except TimeoutError:
        pytest.fail(f"no data: {sorted(empty - OCCASIONAL)}")
    rules = [rule for group in hub.call(ask, "rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 10
    assert {rule["health"] for rule in rules} == {"ok"}


def _count_all() -> dict[tuple[str, str], int]:
    return {key: len(ask("query", query=text)["result"]) for key, text in queries().items()}
