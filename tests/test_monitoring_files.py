"""The dashboard and the alerts in conf/: whole, and about metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import polevpn_trio

ROOT = Path(polevpn_trio.__file__).parents[1]
REFERENCE = ROOT / "docs/METRICS.md"
ALERTS = yaml.safe_load((ROOT / "conf/prometheus-alerts.yaml").read_text())
DASHBOARD = json.loads((ROOT / "conf/grafana-dashboard.json").read_text())

RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
WIDTH = 24
"""Columns of Grafana's grid."""

QUOTED = re.compile(r'"[^"]*"')
NAME = re.compile(r"\b(?:polevpn|process)[a-z0-9_:]*")
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")


def documented() -> dict[str, set[str]]:
    """The labels of each metric, from the reference, which a test holds to what is exported."""
    found = {}
    for line in REFERENCE.read_text().splitlines():
        if line.startswith("| `polevpn_"):
            name, _, labels = (cell.strip() for cell in line.split("|")[1:4])
            found[name.strip("`")] = set(re.findall(r"`(\w+)`", labels))
    assert found
    return found


METRICS = documented()
OF_PROCESS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_expressions_name_only_metrics_and_labels_that_there_are(
    where: str, expression: str
) -> None:
    names = set(NAME.findall(QUOTED.sub("", expression)))
    assert names or expression.startswith("up{"), where
    assert names <= METRICS.keys() | OF_PROCESS | RECORDED
    known = set().union(*(METRICS.get(name, set()) for name in names)) | {"job", "instance"}
    assert set(LABEL.findall(expression)) <= known


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_counters_are_looked_at_as_rates_and_gauges_are_not(where: str, expression: str) -> None:
    plain = QUOTED.sub("", expression)
    for name in set(NAME.findall(plain)) & (METRICS.keys() | OF_PROCESS):
        uses = len(re.findall(rf"\b{name}\b", plain))
        rates = len(re.findall(rf"\b(?:rate|increase)\({name}\b", plain))
        assert rates == (uses if name.endswith("_total") else 0), f"{where}: {name}"


def test_every_metric_of_links_and_logins_is_on_the_dashboard() -> None:
    shown = {name for _, expression in expressions() for name in NAME.findall(expression)}
    hidden = {"polevpn_configuration_warnings", "polevpn_site_state_seconds"}
    assert METRICS.keys() - shown <= hidden | {"polevpn_server_usable"}


@pytest.mark.parametrize("rule", [rule for rule in RULES if "alert" in rule], ids=str)
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Polevpn[A-Za-z]+", rule["alert"])
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "action"}
    known = {"instance", "job", *set().union(*METRICS.values())}
    for text in rule["annotations"].values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= known
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}


def test_the_troubles_that_somebody_must_hear_of_have_an_alert() -> None:
    alerts = {rule["alert"] for rule in RULES if "alert" in rule}
    assert alerts >= {
        "PolevpnSiteDown",
        "PolevpnHighLossAfterRepair",
        "PolevpnCertificateExpiring",
        "PolevpnRefusedLogins",
        "PolevpnQueueDrops",
    }


def test_the_dashboard_can_be_imported_anywhere() -> None:
    assert DASHBOARD["uid"]
    assert DASHBOARD["title"]
    assert DASHBOARD["schemaVersion"] >= 36
    assert "id" not in DASHBOARD
    variables = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert variables == ["datasource", "instance", "site"]
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        letters = [target["refId"] for target in panel["targets"]]
        assert len(letters) == len(set(letters))


def test_panels_are_numbered_and_described_and_lie_beside_each_other() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert all(panel["title"] and panel["description"] for panel in PANELS)
