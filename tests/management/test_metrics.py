"""Metrics as Prometheus reads them: what a status becomes, names, bounds."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import attrs
import pytest
from prometheus_client.parser import text_string_to_metric_families

from polevpn_trio.management import metrics
from polevpn_trio.management.answers import (
    CertificateStatus,
    ConnectionInfo,
    Loss,
    Measured,
    PolicyStatus,
    Repair,
    RuleStatus,
    ServerStatus,
    SiteStatus,
    Status,
)
from polevpn_trio.management.answers import Path as OnPath

UNKNOWN = Loss(None, None)

LINK = Measured(
    rtt=0.05,
    jitter=0.002,
    queue_delay=0.01,
    queued_bytes=1200,
    bytes_sent=1000,
    bytes_received=2000,
    loss_sent=UNKNOWN,
    loss_received=UNKNOWN,
    drops={"queue_full": 3, "expired": 1},
    path_sent=OnPath(100, 90, 8),
    path_received=OnPath(50, 49, 1),
    resent=2,
    repair=Repair(300, 9000, 0.03),
)

UNMEASURED = attrs.evolve(
    LINK, rtt=None, jitter=None, queue_delay=None, queued_bytes=None, drops={}, repair=Repair()
)


def site(name: str, state: str = "up", link: Measured = LINK) -> SiteStatus:
    connection = ConnectionInfo("1f", "kcp", "192.0.2.1:9", 5.0, 0.5, ("fec",))
    return SiteStatus(
        name=name,
        state=state,
        age=7.0,
        addresses=("10.8.0.2",),
        networks=(),
        troubles=(),
        connections=4,
        connection=None if state == "down" else connection,
        link=link,
    )


def router(*sites: SiteStatus) -> Status:
    return Status(
        role="router",
        instance="router",
        version="1.2",
        pid=1,
        time=1.0,
        uptime=60.0,
        config="router.json",
        kernels="compiled",
        state="up",
        troubles=(),
        sites=sites,
        servers=(),
        forwarded=12,
        drops={"no_route": 5},
        strangers=6,
        refused={"wrong_key": 2, "closed_site": 0},
        certificates=(CertificateStatus("kcp", 1e9),),
        limited={"handshakes_per_second": 9},
        policy=PolicyStatus(
            (
                RuleStatus("web", "allow any to any, tcp port 443", 8, 0),
                RuleStatus("default", "deny", 0, 9),
                RuleStatus("unrelated", "deny", 0, 1),
            ),
            flows=3,
            flows_limit=65_536,
            evicted=2,
        ),
    )


def gateway() -> Status:
    servers = (
        ServerStatus("kcp://hub:443", "failed", 1.0, None),
        ServerStatus("wss://hub:443/secret", "used", 1.0, None),
        ServerStatus("tls://hub:443", "untried", None, None),
    )
    return attrs.evolve(
        router(site("berlin")), role="gateway", forwarded=None, strangers=None, servers=servers
    )


def text(status: Status) -> str:
    return b"".join(map(metrics.exposition, metrics.families(status))).decode()


def samples(status: Status) -> dict[tuple[str, ...], float]:
    """Values by name and labels (in the order of their names), as Prometheus' parser reads them."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text(status)):
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in found
            found[key] = sample.value
    return found


def test_a_site_that_is_up_tells_everything_about_its_link() -> None:
    found = samples(router(site("berlin")))
    assert found["polevpn_site_up", "berlin"] == 1
    assert found["polevpn_site_rtt_seconds", "berlin"] == 0.05
    assert found["polevpn_site_traffic_bytes_total", "sent", "berlin"] == 1000
    assert found["polevpn_site_traffic_bytes_total", "received", "berlin"] == 2000
    assert found["polevpn_site_path_datagrams_total", "sent", "berlin"] == 100
    assert found["polevpn_site_path_arrived_datagrams_total", "sent", "berlin"] == 90
    assert found["polevpn_site_path_recovered_datagrams_total", "received", "berlin"] == 1
    assert found["polevpn_site_retransmissions_total", "berlin"] == 2
    assert found["polevpn_site_repair_bytes_total", "berlin"] == 300
    assert found["polevpn_site_protected_bytes_total", "berlin"] == 9000
    assert found["polevpn_site_dropped_packets_total", "queue_full", "berlin"] == 3
    assert found["polevpn_site_connection_info", "native", "berlin", "kcp"] == 1


def test_a_site_that_is_down_has_its_counters_and_no_link() -> None:
    found = samples(router(site("berlin", "down", UNMEASURED), site("oslo")))
    assert found["polevpn_site_up", "berlin"] == 0
    assert found["polevpn_site_traffic_bytes_total", "sent", "berlin"] == 1000
    assert ("polevpn_site_rtt_seconds", "berlin") not in found
    assert ("polevpn_site_silence_seconds", "berlin") not in found
    assert ("polevpn_site_repair_ratio", "berlin") not in found
    assert found["polevpn_sites", "down"] == found["polevpn_sites", "up"] == 1
    # There before it grows, so that the first increase is seen.
    assert found["polevpn_site_dropped_packets_total", "queue_full", "berlin"] == 0


def test_a_router_tells_whom_it_refused() -> None:
    found = samples(router())
    assert found["polevpn_refused_logins_total", "wrong_key"] == 2
    assert found["polevpn_refused_logins_total", "closed_site"] == 0
    assert found["polevpn_connections_without_login_total",] == 6
    assert found["polevpn_connections_over_limit_total", "handshakes_per_second"] == 9
    assert found["polevpn_connections_over_limit_total", "unauthenticated"] == 0
    assert found["polevpn_certificate_expiry_timestamp_seconds", "kcp"] == 1e9
    assert found["polevpn_build_info", "compiled", "router", "1.2"] == 1
    assert not any(name[0].startswith("polevpn_server") for name in found)


def test_a_gateway_tells_how_its_servers_are_and_no_secret() -> None:
    found = samples(gateway())
    assert found["polevpn_server_usable", "0", "kcp"] == 0
    assert found["polevpn_server_usable", "1", "wss"] == 1
    assert ("polevpn_server_usable", "2", "tls") not in found
    assert found["polevpn_server_in_use", "1", "wss"] == 1
    assert "secret" not in text(gateway())
    assert ("polevpn_forwarded_packets_total",) not in found


def test_sites_beyond_the_bound_have_no_series_but_are_counted() -> None:
    many = [site(f"site-{number}") for number in range(metrics.MOST_SITES + 3)]
    found = samples(router(*many))
    assert sum(name[0] == "polevpn_site_up" for name in found) == metrics.MOST_SITES
    assert found["polevpn_sites", "up"] == metrics.MOST_SITES + 3


def test_a_policy_tells_what_each_rule_did_up_to_so_many() -> None:
    found = samples(router())
    assert found["polevpn_policy_allowed_flows_total", "web"] == 8
    assert found["polevpn_policy_denied_packets_total", "default"] == 9
    assert found["polevpn_policy_denied_packets_total", "unrelated"] == 1
    assert found["polevpn_policy_flows",] == 3
    assert found["polevpn_policy_evicted_flows_total",] == 2
    policy = router().policy
    assert policy is not None
    many = tuple(RuleStatus(f"rule {n}", "allow", n, 0) for n in range(metrics.MOST_RULES + 3))
    large = attrs.evolve(policy, rules=(*many, *policy.rules[-2:]))
    found = samples(attrs.evolve(router(), policy=large))
    rules = [name[1] for name in found if name[0] == "polevpn_policy_denied_packets_total"]
    assert len(rules) == metrics.MOST_RULES + 2
    assert rules[-2:] == ["default", "unrelated"]
    without = samples(attrs.evolve(router(), policy=None))
    assert not any(name[0].startswith("polevpn_policy") for name in without)


def test_what_is_in_a_name_does_not_break_the_format() -> None:
    found = samples(router(site('a"b\\c\nd')))
    assert found["polevpn_site_up", 'a"b\\c\nd'] == 1


@pytest.mark.parametrize("status", [router(site("berlin")), gateway()], ids=["router", "gateway"])
def test_names_and_help_follow_the_conventions(status: Status) -> None:
    for family in metrics.families(status):
        assert family.name.startswith("polevpn_")
        assert family.documentation.endswith(".")
        assert len(family.samples) > 0
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
        if any(unit in family.name for unit in ("milli", "kilo", "percent")):
            pytest.fail(f"{family.name} is not in base units")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_complain_of() -> None:
    for status in (router(site("berlin"), site("oslo", "down")), gateway()):
        done = subprocess.run(
            ["promtool", "check", "metrics"],
            input=text(status),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_reference_lists_every_metric_and_no_other() -> None:
    page = Path(__file__).parents[2] / "docs/METRICS.md"
    listed: dict[str, tuple[str, ...]] = {}
    for line in page.read_text().splitlines():
        if line.startswith("| `polevpn_"):
            name, kind, labels = (cell.strip() for cell in line.split("|")[1:4])
            words = (word.strip(" `") for word in labels.split(","))
            listed[name.strip("`")] = (kind, *filter(None, words))
    exported = {
        sample.name: (family.type, *sample.labels)
        for status in (router(site("berlin")), gateway())
        for family in metrics.families(status)
        for sample in family.samples
    }
    assert listed == exported
