"""The network of a soak, readings of it every few seconds, and what is asked of them.

Two sites of `Overlay`, each gateway with a transport of its own, and a `load` on a host behind
each. Keys are renewed every few minutes, so that whole connections come and go while it runs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from bench.endurance.between_sites import PING_INTERVAL, UDP_SHARE, LoadBetween
from bench.endurance.health import Health
from bench.endurance.load import DATAGRAM, Count
from bench.endurance.trend import Trend, Verdict
from bench.side_by_side.network import RunFailed, cpu_seconds
from polevpn_trio.lab.namespaces import Lab
from polevpn_trio.lab.overlay import Overlay

GROWTH_SHARE, GROWTH_MIB = 0.02, 1.0
"""What memory may grow by, by its trend, over the time of measuring: the larger of the two."""

LOST_SHARE = 0.001
"""Of pings and datagrams that may get lost: two cores can be too busy for a moment."""

RATE_SHARE = 0.98
"""Of the rate that has to arrive."""

PROGRAMS = ("router", "first", "second")


@attrs.frozen
class Plan:
    """What the command line says."""

    transports: tuple[str, str]
    """Of the first and of the second gateway."""
    rate: float
    """Mbit/s of payload, both directions together."""
    seconds: float
    """Of the soak, warm-up included."""
    warm_up: float
    """Seconds at the start that no verdict looks at."""
    every: float
    """Seconds between two readings."""
    renew: float
    """Seconds after which a link has new keys."""


@attrs.frozen
class Reading:
    """Everything at one moment; rates are since the reading before."""

    seconds: float
    programs: Mapping[str, Health]
    megabits: float
    """Payload that arrived, Mbit/s, both directions together."""
    pings_lost: int
    ping_ms: float
    """The longest round trip."""
    datagrams_lost: int
    """Sent and not yet there: a few that are under way are made up for by the next reading."""
    tcp_failures: int
    links_lost: int
    """By both gateways, so far."""
    renewals: int
    """Of keys, by both gateways, so far."""

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Reading:
        """Read what ``attrs.asdict`` made."""
        programs = {name: Health(**one) for name, one in answer["programs"].items()}
        return cls(**{**answer, "programs": programs})


class Soak:
    """Programs under load in a lab."""

    def __init__(self, lab: Lab, plan: Plan) -> None:
        """Start everything and wait for a first packet. Raises RunFailed or TimeoutError."""
        self._plan = plan
        overlay = self._overlay = Overlay(lab)
        sites = [overlay.add_site("first"), overlay.add_site("second")]
        self._programs = [overlay.start_router()]
        for transport in plan.transports:
            overlay.wait_for_listener(transport)
        for site, transport in zip(sites, plan.transports, strict=True):
            config = overlay.gateway_config(
                site, overlay.url(transport), renew_seconds=round(plan.renew)
            )
            self._programs.append(overlay.start_gateway(site, config))
        overlay.wait_for_path(sites[0].lan_host, sites[1].lan_host_address)
        self._load = LoadBetween(sites, plan.rate)
        self._last = [Count(), Count()]

    def readings(self) -> Iterator[Reading]:
        """Give a reading every few seconds until the time is over. Raises RunFailed."""
        start = time.monotonic()
        self._read(0.0)
        number = 0
        while (number + 1) * self._plan.every <= self._plan.seconds:
            number += 1
            time.sleep(max(start + number * self._plan.every - time.monotonic(), 0))
            yield self._read(time.monotonic() - start)

    def cpu(self) -> float:
        """Seconds of processor time of the three programs and the two loads so far."""
        return sum(cpu_seconds(each) for each in (*self._programs, *self._load.processes))

    def _read(self, now: float) -> Reading:
        for each in (*self._programs, *self._load.processes):
            if each.returncode is not None:
                raise RunFailed(f"{each.name} ended: {each.log_tail(3)}")
        fresh = self._load.reports()
        last, latest = self._last, [counts[-1] for counts in fresh]
        self._last = latest

        def grown(name: str) -> int:
            return sum(
                int(getattr(new, name) - getattr(old, name))
                for new, old in zip(latest, last, strict=True)
            )

        gateways = [each.log() for each in self._programs[1:]]
        datagrams = grown("udp_received")
        octets = grown("tcp_received") + datagrams * DATAGRAM
        # By their own clocks: what they report last may be a second old.
        passed = sum(new.seconds - old.seconds for new, old in zip(latest, last, strict=True)) / 2
        return Reading(
            seconds=now,
            programs={
                name: Health.of(each) for name, each in zip(PROGRAMS, self._programs, strict=True)
            },
            megabits=octets * 8 / 1e6 / passed if passed else 0.0,
            pings_lost=grown("pings_sent") - grown("pings_answered"),
            ping_ms=max(count.ping_ms for counts in fresh for count in counts),
            datagrams_lost=grown("udp_sent") - datagrams,
            tcp_failures=grown("tcp_failures"),
            links_lost=sum(" lost: " in line for log in gateways for line in log.splitlines()),
            renewals=sum(log.count("takes over") for log in gateways),
        )


def verdicts(plan: Plan, readings: Sequence[Reading]) -> list[Verdict]:
    """Say what held of all that is asked; raises ValueError for too few readings."""
    measured = [one for one in readings if one.seconds >= plan.warm_up]
    if len(measured) < 4:
        raise ValueError("too few readings after the warm-up")
    found = []
    for name in PROGRAMS:
        found += _program_verdicts(name, measured)
    last = measured[-1]
    lost = last.links_lost
    failures = sum(one.tcp_failures for one in measured)
    found.append(Verdict(lost == 0, f"links lost: {lost}, renewed: {last.renewals}"))
    found.append(Verdict(failures == 0, f"TCP connections that failed: {failures}"))
    minutes = (last.seconds - measured[0].seconds) / 60
    pings = sum(one.pings_lost for one in measured)
    expected = minutes * 60 / PING_INTERVAL * 2
    found.append(Verdict(pings <= expected * LOST_SHARE, f"pings lost: {pings} of {expected:.0f}"))
    datagrams = sum(one.datagrams_lost for one in measured)
    sent = plan.rate * UDP_SHARE * 1e6 / 8 / DATAGRAM * minutes * 60
    # Some are under way at the first and at the last reading.
    held = abs(datagrams) <= max(sent * LOST_SHARE, sent / minutes / 60)
    found.append(Verdict(held, f"datagrams lost: {datagrams} of {sent:.0f}"))
    rate = statistics.fmean(one.megabits for one in measured)
    said = f"arrived: {rate:.2f} of {plan.rate:g} Mbit/s"
    found.append(Verdict(rate >= plan.rate * RATE_SHARE, said))
    return found


def _program_verdicts(name: str, measured: Sequence[Reading]) -> list[Verdict]:
    own = [(one.seconds, one.programs[name]) for one in measured]
    trend = Trend.of([(seconds, one.memory) for seconds, one in own])
    allowed = max(trend.median * GROWTH_SHARE, GROWTH_MIB)
    found = [
        Verdict(
            trend.growth <= allowed,
            f"{name}: memory {trend.median:.1f} MiB, trend {trend.growth:+.2f} MiB in this time "
            f"({trend.slope:+.2f} an hour)",
        )
    ]
    for what in ("descriptors", "threads", "tasks"):
        values = [int(getattr(one, what)) for _, one in own]
        quarter = max(len(values) // 4, 1)
        # Medians: for a moment a renewal has both of its connections. Trio's threads come and go
        # with what is looked up in them.
        start = statistics.median(values[:quarter])
        if what == "threads":
            start = max(values[:quarter])
        end = statistics.median(values[-quarter:])
        seen = f"{min(values)}" if min(values) == max(values) else f"{min(values)}-{max(values)}"
        said = f"{name}: {what} {start:g} at first, {end:g} in the end (seen: {seen})"
        found.append(Verdict(end <= start, said))
    return found
