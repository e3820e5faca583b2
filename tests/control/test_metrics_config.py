"""The ``metrics`` section."""

from __future__ import annotations

from pathlib import Path

import pytest

from polevpn_trio.control.members import Members, Report
from polevpn_trio.control.metrics_config import MetricsConfig, metrics_config


def read(value: object) -> tuple[MetricsConfig | None, Report]:
    report = Report(Path("router.json"))
    values = {} if value is None else {"metrics": value}
    return metrics_config(Members(report, "", values, ("metrics",))), report


def test_there_are_none_by_default() -> None:
    config, report = read(None)
    assert config is None
    assert not report.mistakes


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:9461", MetricsConfig("127.0.0.1", 9461)),
        ("[::1]:9461", MetricsConfig("::1", 9461)),
        ("localhost:80", MetricsConfig("localhost", 80)),
    ],
)
def test_a_loopback_address_is_fine(listen: str, expected: MetricsConfig) -> None:
    config, report = read({"listen": listen})
    assert config == expected
    assert not report.mistakes
    assert not report.warnings


@pytest.mark.parametrize("listen", [":9461", "192.0.2.1:9461", "[::]:9461", "hub.example:9461"])
def test_any_other_address_draws_a_warning(listen: str) -> None:
    config, report = read({"listen": listen})
    assert config is not None
    assert not report.mistakes
    assert "metrics.listen: not a loopback address" in report.warnings[0]


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({}, "metrics.listen"),
        ({"listen": 9461}, "metrics.listen"),
        ({"listen": "127.0.0.1"}, "metrics.listen"),
        ({"listen": "127.0.0.1:99999"}, "metrics.listen"),
        ({"listen": ":1", "path": "/"}, "metrics.path"),
        ("127.0.0.1:9461", "metrics"),
    ],
)
def test_mistakes_name_the_key(value: object, key: str) -> None:
    _, report = read(value)
    assert [mistake.key for mistake in report.mistakes] == [key]
