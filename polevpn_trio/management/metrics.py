"""What a program's status is as metrics of Prometheus; docs/METRICS.md describes each. No I/O.

Everything is read off one `Status`, so nothing is counted a second time. Series are bounded: the
only label that names something of the network is ``site``, for a limited number of sites.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from polevpn_trio.control.admission import REASONS
from polevpn_trio.management.answers import DOWN, STATES, Path, PolicyStatus, SiteStatus, Status

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

MOST_SITES = 500
"""Sites with series of their own, some thirty each; more are only counted in ``polevpn_sites``."""

MOST_RULES = 100
"""Rules of a policy with series of their own, two each; `status` tells of all."""

SENT, RECEIVED = "sent", "received"


def families(status: Status) -> Iterator[Metric]:
    """Give all metrics of a program, one family after the other."""
    yield from _of_program(status)
    yield from _of_router(status)
    yield from _of_servers(status)
    yield from _of_sites(status.sites[:MOST_SITES])


def exposition(family: Metric) -> bytes:
    """Write one family in the text format, version 0.0.4."""
    return generate_latest(_Single(family))


class _Single(Collector):
    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


def _gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"polevpn_{name}", text, labels=labels)


def _counter(name: str, text: str, labels: tuple[str, ...] = ()) -> CounterMetricFamily:
    """Make a counter; the format puts ``_total`` behind its name."""
    return CounterMetricFamily(f"polevpn_{name}", text, labels=labels)


def _of_program(status: Status) -> Iterator[Metric]:
    build = _gauge("build_info", "The program that answers.", ("version", "role", "kernels"))
    build.add_metric((status.version, status.role, status.kernels), 1)
    yield build
    uptime = _gauge("uptime_seconds", "Since the program started.")
    uptime.add_metric((), status.uptime)
    yield uptime
    warnings = _gauge("configuration_warnings", "What the configuration file hardly means.")
    warnings.add_metric((), len(status.troubles))
    yield warnings
    certificates = _gauge(
        "certificate_expiry_timestamp_seconds",
        "When a certificate that the program shows expires, in seconds since 1970.",
        ("use",),
    )
    for certificate in status.certificates:
        certificates.add_metric((certificate.use,), certificate.expires)
    yield certificates
    drops = _counter(
        "dropped_packets", "Packets dropped that no site's link is to blame for.", ("reason",)
    )
    for reason, count in status.drops.items():
        drops.add_metric((reason,), count)
    yield drops
    states = _gauge("sites", "Sites by their state.", ("state",))
    for state in STATES:
        states.add_metric((state,), sum(site.state == state for site in status.sites))
    yield states


def _of_router(status: Status) -> Iterator[Metric]:
    if status.forwarded is None:
        return
    forwarded = _counter("forwarded_packets", "Packets that the router passed on.")
    forwarded.add_metric((), status.forwarded)
    yield forwarded
    strangers = _counter(
        "connections_without_login", "Connections that ended without a login, refused ones too."
    )
    strangers.add_metric((), status.strangers or 0)
    yield strangers
    refused = _counter(
        "refused_logins", "Logins and registrations that the router refused.", ("reason",)
    )
    for reason, count in status.refused.items():
        refused.add_metric((reason,), count)
    yield refused
    limited = _counter(
        "connections_over_limit", "Connections that a limit of the router turned away.", ("limit",)
    )
    # An increase can be seen only of what has been there before.
    for limit, count in (dict.fromkeys(REASONS, 0) | dict(status.limited)).items():
        limited.add_metric((limit,), count)
    yield limited
    if status.policy is not None:
        yield from _of_policy(status.policy)


def _of_policy(policy: PolicyStatus) -> Iterator[Metric]:
    # The last two stand for what no rule matches.
    rules = (*policy.rules[:-2][:MOST_RULES], *policy.rules[-2:])
    denied = _counter("policy_denied_packets", "Packets that a rule denied.", ("rule",))
    allowed = _counter("policy_allowed_flows", "Flows that a rule allowed.", ("rule",))
    for rule in rules:
        denied.add_metric((rule.name,), rule.denied)
        allowed.add_metric((rule.name,), rule.flows)
    yield denied
    yield allowed
    flows = _gauge("policy_flows", "Flows that are remembered.")
    flows.add_metric((), policy.flows)
    yield flows
    limit = _gauge("policy_flows_limit", "Flows that can be remembered.")
    limit.add_metric((), policy.flows_limit)
    yield limit
    evicted = _counter(
        "policy_evicted_flows", "Flows forgotten before their time, for want of room."
    )
    evicted.add_metric((), policy.evicted)
    yield evicted


def _of_servers(status: Status) -> Iterator[Metric]:
    if not status.servers:
        return
    # Their URLs may hold a secret path.
    labels = ("rank", "transport")
    usable = _gauge("server_usable", "Whether a server took the last login (1) or not.", labels)
    in_use = _gauge("server_in_use", "Whether the link in use leads to a server (1).", labels)
    for rank, server in enumerate(status.servers):
        names = (str(rank), server.url.partition(":")[0])
        in_use.add_metric(names, server.state == "used")
        if server.state != "untried":
            usable.add_metric(names, server.state != "failed")
    yield usable
    yield in_use


@attrs.frozen
class _PerSite:
    """A metric with one value for each site; ``read`` gives None where it is not measured."""

    name: str
    text: str
    read: Callable[[SiteStatus], float | None]


_GAUGES = (
    _PerSite(
        "site_up",
        "Whether a site can be reached (1) or is down.",
        lambda site: site.state != DOWN,
    ),
    _PerSite("site_state_seconds", "How long a site has been up or down.", lambda site: site.age),
    _PerSite(
        "site_silence_seconds",
        "Time since anything was heard of a site that is up.",
        lambda site: site.connection.silent if site.connection else None,
    ),
    _PerSite("site_rtt_seconds", "Smoothed round trip time.", lambda site: site.link.rtt),
    _PerSite(
        "site_rtt_variation_seconds",
        "Mean deviation of the round trip time.",
        lambda site: site.link.jitter,
    ),
    _PerSite(
        "site_queue_delay_seconds",
        "Time that packets stand in the queue before the link.",
        lambda site: site.link.queue_delay,
    ),
    _PerSite(
        "site_queue_bytes",
        "Bytes that stand in the queue before the link.",
        lambda site: site.link.queued_bytes,
    ),
    _PerSite(
        "site_repair_ratio",
        "Regular repairs sent per datagram, as losses call for now.",
        lambda site: site.link.repair.ratio,
    ),
)

_COUNTERS = (
    _PerSite("site_connections", "Connections that joined a site.", lambda site: site.connections),
    _PerSite(
        "site_retransmissions", "Datagrams or segments sent again.", lambda site: site.link.resent
    ),
    _PerSite(
        "site_repair_bytes", "Bytes of repairs sent.", lambda site: site.link.repair.repair_bytes
    ),
    _PerSite(
        "site_protected_bytes",
        "Bytes sent of datagrams that repairs protect.",
        lambda site: site.link.repair.protected_bytes,
    ),
)


@attrs.frozen
class _PerDirection:
    """A counter with two values for each site: away from the program that answers, and to it."""

    name: str
    text: str
    sent: Callable[[SiteStatus], float]
    received: Callable[[SiteStatus], float]


def _of_path(name: str, text: str, read: Callable[[Path], int]) -> _PerDirection:
    return _PerDirection(
        name,
        text,
        lambda site: read(site.link.path_sent),
        lambda site: read(site.link.path_received),
    )


_DIRECTIONS = (
    _PerDirection(
        "site_traffic_bytes",
        "Bytes on the link of a site.",
        lambda site: site.link.bytes_sent,
        lambda site: site.link.bytes_received,
    ),
    _of_path(
        "site_path_datagrams",
        "Datagrams (on tls and wss: segments) that set out.",
        lambda path: path.sent,
    ),
    _of_path(
        "site_path_arrived_datagrams",
        "Those of them that arrived by themselves.",
        lambda path: path.arrived,
    ),
    _of_path(
        "site_path_recovered_datagrams",
        "Those of them that repairs made up for.",
        lambda path: path.recovered,
    ),
)


def _of_sites(sites: tuple[SiteStatus, ...]) -> Iterator[Metric]:
    for gauge in _GAUGES:
        family: GaugeMetricFamily | CounterMetricFamily = _gauge(gauge.name, gauge.text, ("site",))
        yield _filled(family, gauge, sites)
    for counter in _COUNTERS:
        yield _filled(_counter(counter.name, counter.text, ("site",)), counter, sites)
    for both in _DIRECTIONS:
        family = _counter(both.name, both.text, ("site", "direction"))
        for site in sites:
            family.add_metric((site.name, SENT), both.sent(site))
            family.add_metric((site.name, RECEIVED), both.received(site))
        yield family
    dropped = _counter(
        "site_dropped_packets", "Packets dropped on the way to or from a site.", ("site", "reason")
    )
    link = _gauge("site_connection_info", "How a site is joined.", ("site", "transport", "dialect"))
    for site in sites:
        # An increase can be seen only of what has been there before.
        for reason, count in ({"queue_full": 0} | dict(site.link.drops)).items():
            dropped.add_metric((site.name, reason), count)
        if site.connection is not None:
            dialect = "classic" if site.connection.features is None else "native"
            link.add_metric((site.name, site.connection.transport, dialect), 1)
    yield dropped
    yield link


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, metric: _PerSite, sites: tuple[SiteStatus, ...]
) -> Metric:
    for site in sites:
        value = metric.read(site)
        if value is not None:
            family.add_metric((site.name,), value)
    return family
