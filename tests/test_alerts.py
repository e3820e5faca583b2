"""Each alert in conf/ fires when it should, as Prometheus' own promtool sees it.

Promtool is not everywhere; what can be known of the rules without it, test_monitoring_files.py
looks at.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import polevpn_trio

ALERTS = Path(polevpn_trio.__file__).parents[1] / "conf/prometheus-alerts.yaml"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in RULES if "alert" in rule]

AT = "60m"
"""When the rules are looked at; longer than any waits."""

_WHERE = 'instance="hub:9461",job="polevpn"'
_SITE = f'{_WHERE},site="berlin"'

Series = dict[str, str]
"""Values a minute, by series, in promtool's notation: START+STEPxTIMES."""


def _lossy(arrived: int) -> Series:
    """A thousand datagrams a second set out, of which some arrive, and none are made up for."""
    at = f'{{{_SITE},direction="sent"}}'
    return {
        f"polevpn_site_path_datagrams_total{at}": "0+60000x60",
        f"polevpn_site_path_arrived_datagrams_total{at}": f"0+{arrived * 60}x60",
        f"polevpn_site_path_recovered_datagrams_total{at}": "0+0x60",
    }


CASES: dict[str, tuple[Series, Series]] = {
    "PolevpnProgramDown": ({f"up{{{_WHERE}}}": "0x60"}, {f"up{{{_WHERE}}}": "1x60"}),
    "PolevpnSiteDown": (
        {f"polevpn_site_up{{{_SITE}}}": "0x60"},
        {f"polevpn_site_up{{{_SITE}}}": "1x60"},
    ),
    "PolevpnSiteFlapping": (
        {f"polevpn_site_connections_total{{{_SITE}}}": "0+1x60"},
        {f"polevpn_site_connections_total{{{_SITE}}}": "1x60"},
    ),
    "PolevpnHighLossAfterRepair": (_lossy(900), _lossy(990)),
    "PolevpnHighLossOnPath": (_lossy(800), _lossy(900)),
    "PolevpnQueueDrops": (
        {f'polevpn_site_dropped_packets_total{{{_SITE},reason="queue_full"}}': "0+300x60"},
        {f'polevpn_site_dropped_packets_total{{{_SITE},reason="queue_delay"}}': "0+300x60"},
    ),
    "PolevpnQueueDelay": (
        {f"polevpn_site_queue_delay_seconds{{{_SITE}}}": "0.3x60"},
        {f"polevpn_site_queue_delay_seconds{{{_SITE}}}": "0.01x60"},
    ),
    "PolevpnCertificateExpiring": (
        {f'polevpn_certificate_expiry_timestamp_seconds{{{_WHERE},use="kcp"}}': "1000000x60"},
        {f'polevpn_certificate_expiry_timestamp_seconds{{{_WHERE},use="kcp"}}': "9000000x60"},
    ),
    "PolevpnRefusedLogins": (
        {f'polevpn_refused_logins_total{{{_WHERE},reason="wrong_key"}}': "0+1x60"},
        {f'polevpn_refused_logins_total{{{_WHERE},reason="wrong_key"}}': "3x60"},
    ),
    "PolevpnOverLimit": (
        {f'polevpn_connections_over_limit_total{{{_WHERE},limit="unauthenticated"}}': "0+9x60"},
        {f'polevpn_connections_over_limit_total{{{_WHERE},limit="unauthenticated"}}': "0+1x60"},
    ),
    "PolevpnRateLimited": (
        {f'polevpn_site_dropped_packets_total{{{_SITE},reason="rate_limit"}}': "0+900x60"},
        {f'polevpn_site_dropped_packets_total{{{_SITE},reason="rate_limit"}}': "0+60x60"},
    ),
    "PolevpnOnFallback": (
        {f'polevpn_server_in_use{{{_WHERE},rank="1",transport="tls"}}': "1x60"},
        {f'polevpn_server_in_use{{{_WHERE},rank="0",transport="kcp"}}': "1x60"},
    ),
    "PolevpnFewFilesLeft": (
        {f"process_open_fds{{{_WHERE}}}": "90x60", f"process_max_fds{{{_WHERE}}}": "100x60"},
        {f"process_open_fds{{{_WHERE}}}": "10x60", f"process_max_fds{{{_WHERE}}}": "100x60"},
    ),
    "PolevpnKernelsNotCompiled": (
        {f'polevpn_build_info{{{_WHERE},kernels="pure"}}': "1x70"},
        {f'polevpn_build_info{{{_WHERE},kernels="compiled"}}': "1x70"},
    ),
}
"""For each alert series at which it fires, and such at which it does not."""


def test_there_is_a_case_for_each_alert() -> None:
    assert list(CASES) == NAMES


def judged(which: int, folder: Path) -> str:
    """Have promtool look at all alerts on their bad series (0) or good ones (1).

    It is told that none fires, and says of each that does what it is.
    """
    tests: list[dict[str, Any]] = [
        {
            "interval": "1m",
            "input_series": [
                {"series": name, "values": values} for name, values in CASES[alert][which].items()
            ],
            "alert_rule_test": [{"eval_time": AT, "alertname": alert, "exp_alerts": []}],
        }
        for alert in CASES
    ]
    file = folder / "test.yaml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "tests": tests}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_an_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    said = judged(0, tmp_path)
    assert [alert for alert in CASES if f'alertname="{alert}"' not in said] == [], said
    assert said.count("summary=") == said.count("action=") == len(CASES)
    assert "%!" not in said
    assert "<error" not in said, "a template that does not work"
    said = judged(1, tmp_path)
    assert "SUCCESS" in said, said
    assert "alertname=" not in said
