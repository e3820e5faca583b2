"""The route table by itself: what a lookup and a registration cost as it fills.

Half of the networks are IPv4 (/16 to /28), the others IPv6 (/48 to /64), drawn from a seed.
Processor time of the best of several passes, since all that disturbs makes it longer.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from bench.case_by_case.command import Case, Outcome
from bench.case_by_case.targets import Target
from bench.side_by_side.results import Measure
from polevpn_trio.batch import SEQUENCES_ZERO, FrameBatch
from polevpn_trio.forwarding.forwarder import Forwarder
from polevpn_trio.forwarding.prefix_table import Network, PrefixTable
from polevpn_trio.frames.codec import S2C_IPDATA, FrameRun

SIZES = (10, 1_000, 100_000)

MEASURES = (
    Measure("lookup", "Longest prefix found", "ns", "lower"),
    Measure("miss", "Forwarding a run, destination not in the cache", "ns", "lower"),
    Measure("hit", "Forwarding a run, destination in the cache", "ns", "lower"),
    Measure("register", "Registering a gateway of four networks", "us", "lower"),
    Measure("unregister", "Unregistering it", "us", "lower"),
    Measure("disturbed", "A run after a registration, 1,000 destinations in use", "ns", "lower"),
)

SEED = 7
PASSES = 5
DESTINATIONS = 1_000
"""Addresses that are looked up, all different, all of them in the table."""
WIDEST = 1 << 16
"""How many addresses of a network may be among them."""
REGISTRATIONS = 50
FLAT = 2.0
"""By how much a cost may grow with the table: caches of the processor hold less of it."""


class _Sink:
    """A peer that takes everything."""

    takes_ipv6 = True
    sequences = SEQUENCES_ZERO

    def enqueue_nowait(self, batch: FrameBatch) -> bool:
        return True

    def flush(self) -> None:
        """Do nothing."""

    def note_refused(self, reason: str, packets: int, source: bytes) -> None:
        """Do nothing."""


def networks(count: int) -> list[Network]:
    """Draw ``count`` different networks, always the same ones."""
    source = random.Random(SEED)
    found: dict[Network, None] = {}
    while len(found) < count:
        if len(found) % 2:
            length = source.randint(48, 64)
            value = (0xFD << 120) | source.getrandbits(56) << 64
            found[IPv6Network((value >> (128 - length) << (128 - length), length))] = None
        else:
            length = source.randint(16, 28)
            value = source.getrandbits(32)
            found[IPv4Network((value >> (32 - length) << (32 - length), length))] = None
    return list(found)


def destinations(table: Sequence[Network]) -> list[bytes]:
    """Draw addresses inside of the networks of a table."""
    source = random.Random(SEED)
    found: dict[bytes, None] = {}
    while len(found) < DESTINATIONS:
        network = source.choice(table)
        found[network[source.randrange(min(network.num_addresses, WIDEST))].packed] = None
    return list(found)


def _best(action: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> float:
    """Seconds of processor time that the fastest of several passes takes."""
    times = []
    for _ in range(PASSES):
        prepare()
        began = time.process_time_ns()
        action()
        times.append(time.process_time_ns() - began)
    return min(times) / 1e9


def with_prefixes(size: int, options: argparse.Namespace) -> Outcome:
    """Measure a table of ``size`` networks."""
    table: PrefixTable[int] = PrefixTable()
    drawn = networks(size)
    for number, network in enumerate(drawn):
        table.set(network, number)
    addresses = destinations(drawn)

    def look_up() -> None:
        for address in addresses:
            table.lookup(address)

    forwarder = Forwarder(source_check=False)
    owners = [_Sink() for _ in range(max(size // 4, 1))]
    for number, owner in enumerate(owners):
        forwarder.register(owner, [IPv4Address(number)], drawn[number * 4 : number * 4 + 4])
    sender, newcomer = _Sink(), _Sink()
    frames = memoryview(bytes(28))
    runs = [
        FrameRun(S2C_IPDATA, 0, 4 if len(each) == 4 else 6, each, frames, 1) for each in addresses
    ]
    own = [IPv4Network(f"203.0.113.{n}/32") for n in range(4)]
    address = IPv4Address("198.51.100.1")

    def forward() -> None:
        for run in runs:
            forwarder.route_batch([run], sender)

    def register() -> None:
        forwarder.register(newcomer, [address], own)

    def unregister() -> None:
        forwarder.unregister(newcomer)

    def disturb() -> None:
        register()
        unregister()

    registering, unregistering = [], []
    for _ in range(REGISTRATIONS):
        registering.append(_timed(register))
        unregistering.append(_timed(unregister))
    looking = _best(look_up) / DESTINATIONS * 1e9
    missing = _best(forward, forwarder._cache.clear) / DESTINATIONS * 1e9
    hitting = _best(forward, forward) / DESTINATIONS * 1e9
    disturbed = _best(forward, disturb) / DESTINATIONS * 1e9
    return Outcome(
        {
            "lookup": looking,
            "miss": missing,
            "hit": hitting,
            "register": min(registering) * 1e6,
            "unregister": min(unregistering) * 1e6,
            "disturbed": disturbed,
        }
    )


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def cases(options: argparse.Namespace) -> Sequence[Case]:
    """Give a case for each size of the table."""
    return [
        Case(_prefixes(size), f"{size:,} networks", partial(with_prefixes, size)) for size in SIZES
    ]


def targets(options: argparse.Namespace) -> Sequence[Target]:
    """What should come with the largest table."""
    largest = _prefixes(SIZES[-1])
    return [Target(measure.name, largest, "at most", FLAT, "ratio") for measure in MEASURES]


def _prefixes(size: int) -> str:
    return f"{size:,} prefixes"


REFERENCE = _prefixes(SIZES[0])
