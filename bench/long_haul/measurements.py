"""What is measured of one subject on one path, and how it is called."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Literal

import attrs

from bench.long_haul import voice
from bench.long_haul.profiles import PROFILES, Profile
from bench.long_haul.subjects import carries_packets
from bench.side_by_side import traffic
from bench.side_by_side.command import Part, Settings
from bench.side_by_side.network import SECOND, Network, RunFailed, Subject, Tunnel
from bench.side_by_side.results import Measure
from polevpn_trio.lab import probes
from polevpn_trio.lab.namespaces import Lab
from polevpn_trio.lab.wan.cable import WanStatistics

START_TIMEOUT = 60.0
"""Seconds for the programs to start and to carry a first packet; two in five may be lost."""

SETTLE = 1.0
"""Seconds between the start of programs or traffic and the first look."""

IDLE_PINGS, IDLE_INTERVAL = 600, 0.01
LOADED_INTERVAL = 0.02
PING_SIZE = 84
"""Bytes of an echo request as an IP packet."""

STRAGGLER_TIMEOUT = 2.0
"""Seconds to wait for replies after the last request; a reply that takes longer is a lost one."""

VOICE_SHARE = 2.0
"""Length of a call, as a multiple of a transfer's."""

VOICE_SLACK = 0.03
"""Seconds beyond half a round trip within which speech has to arrive: RTT/2 + 30 ms."""

LARGEST_SEGMENT = 1448
"""Bytes of TCP payload in a packet of 1,500 bytes: what a packet carries at most."""


@attrs.frozen
class Figure:
    """One figure, the same on every path."""

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower"]

    def measure(self, profile: str, title: str) -> Measure:
        return Measure(f"{profile}.{self.name}", f"{title}: {self.title}", self.unit, self.better)


FIGURES = (
    Figure("cubic", "CUBIC inside", "Mbit/s", "higher"),
    Figure("bbr", "BBR inside", "Mbit/s", "higher"),
    Figure("idle_lost", "pings lost, idle", "%", "lower"),
    Figure("idle_p50", "ping p50, idle", "ms", "lower"),
    Figure("idle_p95", "ping p95, idle", "ms", "lower"),
    Figure("idle_p99", "ping p99, idle", "ms", "lower"),
    Figure("idle_max", "ping longest, idle", "ms", "lower"),
    Figure("loaded_lost", "pings lost beside CUBIC", "%", "lower"),
    Figure("loaded_p50", "ping p50 beside CUBIC", "ms", "lower"),
    Figure("loaded_p95", "ping p95 beside CUBIC", "ms", "lower"),
    Figure("loaded_p99", "ping p99 beside CUBIC", "ms", "lower"),
    Figure("loaded_max", "ping longest beside CUBIC", "ms", "lower"),
    Figure("packets", "packets on the wire per packet carried", "", "lower"),
    Figure("bytes", "bytes on the wire per byte carried", "", "lower"),
    Figure("back", "bytes on the wire the other way per byte carried", "", "lower"),
    Figure("overrun", "packets lost by sending too much", "%", "lower"),
    Figure("overrun_bbr", "packets lost by sending too much, BBR inside", "%", "lower"),
    Figure("late", "the emulator was late, 99 %", "ms", "lower"),
    Figure("voice", "speech in time, forward", "%", "higher"),
    Figure("voice_back", "speech in time, backward", "%", "higher"),
)


def start(profile: Profile, lab: Lab, subject: Subject) -> Tunnel:
    """Build the network with the path's conditions, and start the subject under them."""
    network = Network(lab, long_haul=True, seed=1)
    network.wan.change(profile.forward, profile.backward)
    reply_timeout = 2 * profile.round_trip + SETTLE
    tunnel = Tunnel.over(network, subject, timeout=START_TIMEOUT, reply_timeout=reply_timeout)
    time.sleep(SETTLE)
    return tunnel


def idle(profile: Profile, tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """Ping with nothing else on the way."""
    tunnel.network.wan.restart()
    echo = tunnel.network.first.call(
        probes.ping, SECOND, count=IDLE_PINGS, interval=IDLE_INTERVAL, timeout=STRAGGLER_TIMEOUT
    )
    return _checked(profile, tunnel, _echo_figures("idle", echo))


def bulk(profile: Profile, tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """Transfer by CUBIC with pings beside it, then by BBR without."""
    wan = tunnel.network.wan
    seconds = max(settings.seconds, profile.least_seconds, 2 * SETTLE + 1)
    figures: dict[str, float] = {}
    problems = []
    pings = 0
    before = wan.statistics()
    wan.restart()
    transfer = traffic.Bulk.start(tunnel, seconds, ["-C", "cubic"])
    if carries_packets(tunnel.subject):
        time.sleep(SETTLE)
        echo = tunnel.network.first.call(
            probes.ping,
            SECOND,
            count=round((seconds - 2 * SETTLE) / LOADED_INTERVAL),
            interval=LOADED_INTERVAL,
            timeout=STRAGGLER_TIMEOUT,
        )
        figures |= _echo_figures("loaded", echo)
        pings = echo.sent
    try:
        carried = transfer.transfer()
    except RunFailed as error:
        problems.append(f"CUBIC: {error}")
    else:
        figures["cubic"] = carried.megabits_per_second
        figures |= wire_figures(before, wan.statistics(), carried, pings)
    if carries_packets(tunnel.subject):
        wan.restart()
        before = wan.statistics()
        try:
            figures["bbr"] = traffic.Bulk.start(tunnel, seconds, ["-C", "bbr"]).finish()
        except RunFailed as error:
            problems.append(f"BBR: {error}")
        else:
            figures["overrun_bbr"] = _overrun(before, wan.statistics())
    if problems:
        raise RunFailed("; ".join(problems), _named(profile.name, figures))
    return _checked(profile, tunnel, figures)


def speech(profile: Profile, tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """Speak in both directions, nothing else being on the way."""
    tunnel.network.wan.restart()
    within = profile.round_trip / 2 + VOICE_SLACK
    forward, backward = (
        one.share_within(within) * 100 for one in voice.call(tunnel, VOICE_SHARE * settings.seconds)
    )
    return _checked(profile, tunnel, {"voice": forward, "voice_back": backward})


def wire_figures(
    before: WanStatistics, after: WanStatistics, carried: traffic.Transfer, pings: int
) -> dict[str, float]:
    """What a transfer and the pings beside it cost on the wire, by the emulator's counters."""
    start, end = before.forward.path, after.forward.path
    packets = end.packets_in - start.packets_in
    if not packets or not carried.transferred:
        return {}
    segment = min(carried.segment or LARGEST_SEGMENT, LARGEST_SEGMENT)
    carried_packets = carried.transferred / segment + pings
    carried_bytes = carried.transferred + pings * PING_SIZE
    back = after.backward.path.bytes_in - before.backward.path.bytes_in
    return {
        "packets": packets / carried_packets,
        "bytes": (end.bytes_in - start.bytes_in) / carried_bytes,
        "back": back / carried_bytes,
        "overrun": _overrun(before, after),
        "late": max(each.late_percentile(99) for each in (end, after.backward.path)) * 1000,
    }


def _overrun(before: WanStatistics, after: WanStatistics) -> float:
    """Give the share of packets, in per cent, that was lost since there were too many."""
    start, end = before.forward.path, after.forward.path
    lost = end.lost_queue + end.lost_policer + end.lost_knee
    lost -= start.lost_queue + start.lost_policer + start.lost_knee
    return lost / max(end.packets_in - start.packets_in, 1) * 100


def _echo_figures(name: str, echo: probes.EchoResult) -> dict[str, float]:
    figures = {f"{name}_lost": echo.lost / echo.sent * 100}
    if echo.received:
        figures |= {f"{name}_p{percent}": echo.percentile(percent) for percent in (50, 95, 99)}
        figures[f"{name}_max"] = echo.maximum
    return figures


def _checked(profile: Profile, tunnel: Tunnel, figures: Mapping[str, float]) -> dict[str, float]:
    """Name the figures; raise RunFailed if a program ended or the emulator did not keep up."""
    named = _named(profile.name, figures)
    tunnel.check()
    statistics = tunnel.network.wan.statistics()
    missed = statistics.forward.missed + statistics.backward.missed
    if missed:
        raise RunFailed(f"the emulator was too slow for {missed} packets", named)
    return named


def _named(profile: str, figures: Mapping[str, float]) -> dict[str, float]:
    return {f"{profile}.{name}": value for name, value in figures.items()}


MEASURES = tuple(
    figure.measure(profile.name, profile.title) for profile in PROFILES for figure in FIGURES
)


def _parts(profile: Profile) -> tuple[Part, ...]:
    begin = partial(start, profile)
    return (
        Part("idle", partial(idle, profile), True, profile.name, begin, carries_packets),
        Part("bulk", partial(bulk, profile), True, profile.name, begin),
        Part("speech", partial(speech, profile), True, profile.name, begin, carries_packets),
    )


PARTS = tuple(part for profile in PROFILES for part in _parts(profile))
