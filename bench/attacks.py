"""What attackers cost the sites of a router that have logged in, and those that want to.

kcp: or tls:, or wss: if asked for: two gateways over it carry a TCP stream, with pings beside it,
twice before an attack, during it, and after it; a new site logs in over and over. That the two
phases before differ is the machine's doing, and says what a difference later may mean. The router
has a processor core to itself, and the attacker gets only the time on the others that nobody else
wants: what the victims lose, they lose because of what the attack costs the router, or the kernel.
An attacker that only burns its time is the reference.

Everything stays inside of network namespaces, and each attack is bounded in number and time.
The exit status is 1 if a promise was broken: a site's link was lost, the router's memory grew
beyond its bound, or it answered strangers with more bytes than they had sent it.

Needs root (or user namespaces), /dev/net/tun, iperf3 and two cores.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import attrs

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.case_by_case import forged_packets, victims
from bench.case_by_case.command import Benchmark, Case, Outcome, Series, at_least_one, main
from bench.case_by_case.flooder import SMALL
from bench.case_by_case.gateways import nth_address
from bench.case_by_case.memory import Watch
from bench.case_by_case.stage import Machine, Stage, first_words, last_words, settle
from bench.case_by_case.targets import Target
from bench.side_by_side import traffic
from bench.side_by_side.network import RunFailed, cpu_seconds
from bench.side_by_side.results import Measure
from polevpn_trio.lab.namespaces import Lab, Process
from polevpn_trio.lab.overlay import PORT, TRANSPORTS, python_path

MEASURES = (
    Measure("calm", "Stream in a second phase before, of the first", "%", "higher", plotted=False),
    Measure("kept", "Stream during the attack, of that before", "%", "higher"),
    Measure("regained", "Stream after it, of that before", "%", "higher", plotted=False),
    Measure("stream", "Stream during the attack", "Mbit/s", "higher"),
    Measure("ping_before", "Ping before, average", "ms", "lower", plotted=False),
    Measure("ping", "Ping during the attack, average", "ms", "lower", plotted=False),
    Measure("ping_p99_before", "Ping before, 99 %", "ms", "lower", plotted=False),
    Measure("ping_p99", "Ping during the attack, 99 %", "ms", "lower"),
    Measure("ping_lost", "Pings lost during the attack", "%", "lower", plotted=False),
    Measure("join_before", "New site logs in before, median", "ms", "lower", plotted=False),
    Measure("join", "New site logs in during the attack, median", "ms", "lower"),
    Measure("join_longest", "The longest of these", "ms", "lower", plotted=False),
    Measure("router_before", "Router's processor time before", "% of a core", "lower"),
    Measure("router", "Router's processor time during the attack", "% of a core", "lower"),
    Measure("each", "What of it each packet or try costs", "us", "lower", plotted=False),
    Measure("attacker", "Attacker's processor time", "% of a core", "lower", plotted=False),
    Measure("attack", "Packets, tries or frames of the attacker", "1/s", "higher"),
    Measure("refused", "Connections that the router turned away", "1/s", "higher", plotted=False),
    Measure("growth", "Growth of the router's memory", "MiB", "lower"),
    Measure("late", "Growth in the second half of it", "MiB", "lower", plotted=False),
    Measure("amplification", "Bytes answered per byte", "1", "lower", plotted=False),
)

REFERENCE = "nothing"

ATTACKER, NOWHERE = nth_address(1), nth_address(4000)
"""Addresses of a site that attacks, and of nobody."""

LOGIN_TIMEOUT = 20.0

LEAVE_TIMEOUT = 60.0
"""Seconds for an attacker to close ten thousand connections in the time that others leave."""

DEAF_PORT = 4430
"""A UDP port of the router's machine where a program listens and never reads."""

OWN_ADDRESSES = 40
"""From which an attacker calls, where he has to receive answers."""

MOST_GROWTH_MIB = 80.0
"""What 512 connections without a login, and their handshakes, may take, with the queues of a
site: see ``unauthenticated`` of the limits."""

MOST_RECORDED = 4096
RECORDING_SECONDS = 1.5


@attrs.frozen
class Attack:
    """One kind of attack."""

    description: str
    module: str
    """The program that attacks: ``attacker``, or a ``flooder``, which has logged in."""
    options: Sequence[str]
    transports: Sequence[str]
    unproven: bool = False
    """Whether it gets answers without proof of an address, which must be small then."""


ATTACKS: dict[str, Attack] = {
    REFERENCE: Attack("the attacker burns its processor time", "attacker", ["nothing"], TRANSPORTS),
    "half-open": Attack(
        "10,000 openings of TCP connections a second, from as many forged addresses, none of "
        "which is finished",
        "attacker",
        ["syn", "--rate", "10000"],
        TRANSPORTS,
    ),
    "silent": Attack(
        "10,000 TCP connections that say nothing, each opened anew when it is ended",
        "attacker",
        ["silent"],
        TRANSPORTS,
    ),
    "hello": Attack(
        "20,000 DTLS ClientHellos a second from 10,000 forged addresses",
        "attacker",
        ["hello"],
        TRANSPORTS,
        unproven=True,
    ),
    "cookie": Attack(
        "the same, with cookies that are made up", "attacker", ["cookie"], TRANSPORTS, unproven=True
    ),
    "control": Attack(
        "the same packets to a port where a program listens and never reads: what of it is the "
        "kernel's and the attacker's own cost",
        "attacker",
        ["hello", "--port", str(DEAF_PORT)],
        TRANSPORTS,
    ),
    "replay": Attack(
        "20,000 records a second that one of the victims has sent before, in its name",
        "attacker",
        ["replay"],
        ("kcp",),
        unproven=True,
    ),
    "guess": Attack("logins with a wrong key, 32 at a time", "attacker", ["guess"], TRANSPORTS),
    "slow-tls": Attack(
        "2,000 TLS handshakes, a byte every half a second",
        "attacker",
        ["slow-tls", "--count", "2000"],
        TRANSPORTS,
    ),
    "slow-upgrade": Attack(
        "2,000 requests for a WebSocket, a byte every half a second",
        "attacker",
        ["slow-upgrade", "--count", "2000"],
        TRANSPORTS,
    ),
    "site": Attack(
        f"a site that has logged in sends packets of {SMALL} bytes to nowhere, as fast as it can",
        "flooder",
        ["packets", "--size", str(SMALL), "--to", str(NOWHERE)],
        TRANSPORTS,
    ),
    "frames": Attack(
        "a site that has logged in sends frames of 64 KB of zeros, as fast as it can",
        "flooder",
        ["frames"],
        TRANSPORTS,
    ),
}

_CALLERS = ("silent", "slow-tls", "slow-upgrade")
"""Attacks that take many addresses of the attacker's own."""


def attacked(transport: str, kind: str, options: argparse.Namespace) -> Outcome:
    """Measure the victims before (twice), during and after one kind of attack."""
    if not traffic.has_iperf3():
        raise RunFailed("iperf3 is not installed")
    attack = ATTACKS[kind]
    with Lab() as lab, ExitStack() as stack:
        stage = Stage(lab, transport)
        stack.enter_context(victims.apart(stage))
        newcomer = stage.start("newcomer", "newcomer", [])
        first_words(newcomer, LOGIN_TIMEOUT)
        machine = stage.machine("attacker")
        _let_forged_packets_in(stage, machine)
        offered = victims.offered_rate(stage, options.share)
        words = [*attack.options, *_more_options(kind, stage, machine, stack)]
        settle()
        with Watch(stage.router) as watch:
            before, again = (_phase(stage, offered, options.seconds) for _ in range(2))
            calm = watch.curve
            turned_away = _turned_away(stage)
            attacker = machine.start(attack.module, [*words, "--idle-class"])
            first_words(attacker, LOGIN_TIMEOUT)
            settle()
            counters = _Counters.of(stage, machine, attacker)
            during = _phase(stage, offered, options.seconds)
            counted = _Counters.of(stage, machine, attacker).since(counters)
            stage.check(attacker, newcomer)
            said = last_words(attacker, LEAVE_TIMEOUT)
            refused = _turned_away(stage) - turned_away
            settle()
            after = _phase(stage, offered, options.seconds)
        stage.check(newcomer)
        logins = last_words(newcomer)["logins"]
        per_second = said["sent"] / said["seconds"]
        figures = {
            **_compared((before, again), during, after),
            **times_to_log_in(logins, attrs.evolve(before, ended=again.ended), during),
            "attacker": counted.attacker / counted.time * 100,
            "attack": per_second,
            "refused": refused / said["seconds"],
            **growth(watch.curve, calm),
        }
        if per_second:
            # A hundredth of a core's second is 10,000 us.
            figures["each"] = (figures["router"] - figures["router_before"]) * 1e4 / per_second
        if attack.unproven:
            figures["amplification"] = counted.answered / max(counted.received, 1)
        _insist(stage, figures)
    return Outcome(figures, {"router memory, MiB": watch.curve})


# --- The attacker's means


def _let_forged_packets_in(stage: Stage, machine: Machine) -> None:
    """Have the router take packets from wherever they come, as one with two uplinks must.

    Answers to forged addresses go to the attacker's machine, which drops them.
    """
    router = stage.tunnel.network.router
    for interface in ("all", machine.router_interface):
        router.set_sysctl(f"net.ipv4.conf.{interface}.rp_filter", "0")
    router.add_route(str(forged_packets.FORGED), machine.address)


def _more_options(kind: str, stage: Stage, machine: Machine, stack: ExitStack) -> list[str]:
    """Give the options that depend on the lab."""
    if ATTACKS[kind].module == "flooder":
        return ["--own", str(ATTACKER)]
    if kind in _CALLERS:
        own = [f"198.18.{machine.number}.{number}" for number in range(10, 10 + OWN_ADDRESSES)]
        machine.host.add_addresses("wan", *(f"{address}/24" for address in own))
        return [word for address in own for word in ("--source", address)]
    if kind == "replay":
        recorded = machine.host.write_file("recorded", "\n".join(_record(stage)))
        return ["--file", str(recorded)]
    if kind == "control":
        router = stage.tunnel.network.router
        deaf = router.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        stack.enter_context(deaf).bind(("0.0.0.0", DEAF_PORT))
    return []


def _record(stage: Stage) -> list[str]:
    """Record, in hexadecimal, what the first victim sends while a stream runs."""
    bulk = traffic.Bulk.start(stage.tunnel, RECORDING_SECONDS + 1)
    packets = stage.tunnel.network.router.call(
        forged_packets.record, "site1", PORT, MOST_RECORDED, RECORDING_SECONDS
    )
    bulk.finish()
    if not packets:
        raise RunFailed("the victim's records cannot be recorded")
    return [packet.hex() for packet in packets]


# --- What comes of it


@attrs.frozen
class Phase:
    """What the victims noticed in a span of time (monotonic clock)."""

    began: float
    ended: float
    figures: Mapping[str, float]


def _phase(stage: Stage, offered: float, seconds: int) -> Phase:
    began = time.monotonic()
    figures = victims.measure(stage, offered, seconds)
    return Phase(began, time.monotonic(), figures)


@attrs.frozen
class _Counters:
    """What is counted of an attacker: seconds, and bytes as the router's cable has them."""

    time: float
    attacker: float
    received: int
    answered: int

    @classmethod
    def of(cls, stage: Stage, machine: Machine, attacker: Process) -> _Counters:
        cable = stage.tunnel.network.router.counters(machine.router_interface)
        used = cpu_seconds(attacker)
        return cls(time.monotonic(), used, cable["rx_bytes"], cable["tx_bytes"])

    def since(self, start: _Counters) -> _Counters:
        pairs = zip(attrs.astuple(self), attrs.astuple(start), strict=True)
        return _Counters(*(now - then for now, then in pairs))


def _turned_away(stage: Stage) -> int:
    """Ask the router how many connections it has turned away or given up."""
    router = stage.tunnel.network.router
    command = [sys.executable, "-m", "polevpn_trio", "status", "--over", "0", "--json"]
    environment = {**python_path(), "RUNTIME_DIRECTORY": ""}
    said = router.run(command, timeout=LOGIN_TIMEOUT, environment=environment).stdout
    (program,) = json.loads(said)["programs"]
    return int(sum(program["limited"].values()) + sum(program["refused"].values()))


def _compared(before: tuple[Phase, Phase], during: Phase, after: Phase) -> dict[str, float]:
    names = before[0].figures
    calm = {name: statistics.fmean(one.figures[name] for one in before) for name in names}
    return {
        "calm": before[1].figures["stream"] / before[0].figures["stream"] * 100,
        "kept": during.figures["stream"] / calm["stream"] * 100,
        "regained": after.figures["stream"] / calm["stream"] * 100,
        "stream": during.figures["stream"],
        "ping_before": calm["ping"],
        "ping": during.figures["ping"],
        "ping_p99_before": calm["ping_p99"],
        "ping_p99": during.figures["ping_p99"],
        "ping_lost": during.figures["ping_lost"],
        "router_before": calm["router"],
        "router": during.figures["router"],
    }


def times_to_log_in(
    logins: Sequence[tuple[float, float, bool]], before: Phase, during: Phase
) -> dict[str, float]:
    """Say how long logins took that were begun in a phase, ms; what did not end, took longer."""

    def taken(phase: Phase) -> list[float]:
        begun = (each for each in logins if phase.began <= each[0] < phase.ended)
        return [seconds * 1000 for _, seconds, _ in begun]

    calm, attacked = taken(before), taken(during)
    if not calm:
        raise RunFailed("no new site logs in even before the attack")
    # One login that is under way all the time has begun before.
    attacked = attacked or [(during.ended - during.began) * 1000]
    return {
        "join_before": statistics.median(calm),
        "join": statistics.median(attacked),
        "join_longest": max(attacked),
    }


Curve = Sequence[tuple[float, float]]


def growth(curve: Curve, calm: Curve) -> dict[str, float]:
    """Compare the router's memory during and after an attack with that of the calm before."""
    start = max(mib for _, mib in calm)
    later = curve[len(calm) :]
    first_half = max(mib for _, mib in later[: len(later) // 2])
    highest = max(mib for _, mib in later)
    return {"growth": highest - start, "late": highest - first_half}


def _insist(stage: Stage, figures: Mapping[str, float]) -> None:
    """Raise RunFailed if a promise was broken."""
    broken = [
        f"a site lost its link: {gateway.log_tail(3)}"
        for gateway in stage.tunnel.programs.all[1:]
        if gateway.log().count("registered at") != 1
    ]
    if figures["growth"] > MOST_GROWTH_MIB:
        broken.append(f"the router grew by {figures['growth']:.0f} MiB")
    if figures.get("amplification", 0) >= 1:
        broken.append("strangers got more bytes than they had sent")
    if broken:
        raise RunFailed("; ".join(broken), figures)


# --- The command


def cases(transport: str, options: argparse.Namespace) -> Sequence[Case]:
    """Give a case for each attack that was asked for."""
    return [
        Case(name, attack.description, partial(attacked, transport, name))
        for name, attack in ATTACKS.items()
        if transport in attack.transports and (not options.attack or name in options.attack)
    ]


def targets(transport: str, options: argparse.Namespace) -> Sequence[Target]:
    """Say what the victims shall notice at the most."""
    return [
        target
        for case in cases(transport, options)
        if case.name != REFERENCE
        for target in (
            Target("kept", case.name, "at least", 95.0),
            Target("ping_lost", case.name, "at most", 0.0),
            Target("growth", case.name, "at most", MOST_GROWTH_MIB),
        )
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this benchmark may be told."""
    parser.add_argument(
        "--seconds", type=at_least_one, default=5, help="of each of the four phases (5)"
    )
    parser.add_argument(
        "--share",
        type=at_least_one,
        default=30,
        metavar="PERCENT",
        help="of what an unlimited stream carries, that the victims send (30); 100: no limit",
    )
    parser.add_argument(
        "--attack",
        action="append",
        choices=tuple(ATTACKS),
        help="only this one; may be repeated",
    )


BENCHMARK = Benchmark(
    name="attacks",
    description=__doc__,
    series=tuple(
        Series(
            name=transport,
            title=f"Two gateways over {transport} while somebody attacks the router",
            measures=MEASURES,
            cases=partial(cases, transport),
            reference=REFERENCE,
            targets=partial(targets, transport),
            # Its way in is that of tls, a handshake of HTTP apart.
            by_default=transport != "wss",
        )
        for transport in TRANSPORTS
    ),
    add_options=add_options,
    rounds=1,
)


if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
