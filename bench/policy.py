"""What a batch costs at a router's table with a policy: no rules, one, a hundred, a thousand.

Run ``./run bench policy [--json] [--rounds N]``. Batches of about 64 KiB of one site are read,
decided on, and given to a peer that forgets them; encryption and system calls, which cost far more,
are left out. The rules are about other ports, so that the last one decides. The passes with and
without a policy alternate, and the best of each counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

import attrs

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.forwarding.peers import Sink, frames_in_batch, tcp_frame
from polevpn_trio import kernels
from polevpn_trio.batch import SEQUENCES_OFFLOAD
from polevpn_trio.forwarding.forwarder import Forwarder
from polevpn_trio.forwarding.policy.guard import PolicyGuard
from polevpn_trio.forwarding.policy.rules import TCP, Policy, Rule
from polevpn_trio.frames.codec import C2S_IPDATA, GROUP_BY_DESTINATION, S2C_IPDATA, FrameReader

PASSES = 7
BATCHES = 32
RULES = (None, 0, 1, 100, 1000)
"""None: no policy; 0: one without rules, which allows everything."""
PORT, OTHER_PORT = 443, 22


@attrs.frozen
class Shape:
    """Packets of ``size`` bytes, of so many ``flows`` in a batch; ``fresh``: all of new flows."""

    name: str
    size: int
    flows: int
    super_packets: bool = False
    fresh: bool = False
    denied: bool = False


SHAPES = (
    Shape("one flow, 1,400 bytes", 1400, 1),
    Shape("one flow, super-packets of 64 KB", 65_000, 1, super_packets=True),
    Shape("one flow, 100 bytes", 100, 1),
    Shape("600 flows, 100 bytes", 100, 600),
    Shape("all of new flows, 100 bytes", 100, 600, fresh=True),
    Shape("all denied, 100 bytes", 100, 600, denied=True),
)


@attrs.frozen
class Result:
    """Microseconds of processor time per batch of ``packets`` frames, by the number of rules."""

    shape: str
    packets: int
    without: float
    allowing: float
    one: float
    hundred: float
    thousand: float


def _policy(rules: int, port: int) -> Policy:
    """Rules of which none matches but the last."""
    others = [
        Rule(f"rule {n}", True, ("a",), ("b",), frozenset({TCP}), ((10_000 + n, 10_000 + n),))
        for n in range(rules - 1)
    ]
    last = Rule(
        "last", True, ("a",), (IPv4Network("12.0.0.0/8"),), frozenset({TCP}), ((port, port),)
    )
    return Policy((*others, last), default_allows=False) if rules else Policy()


def _batch(shape: Shape, number: int) -> bytes:
    """One batch for one host; each has flows of its own if all are to be new."""
    frames = []
    for index in range(frames_in_batch(shape.size)):
        ports = (1024 + index % shape.flows, PORT)
        source = 10 << 24 | (number << 8 if shape.fresh else 1)
        frames.append(
            tcp_frame(source, 12 << 24 | 1, ports, shape.size, super_packet=shape.super_packets)
        )
    return b"".join(frames)


def _pass(shape: Shape, rules: int | None, batches: Sequence[bytes], rounds: int) -> float:
    """Microseconds per batch."""
    forwarder, sender, receiver = Forwarder(), Sink(), Sink()
    for peer, name, network in ((sender, "a", "10.0.0.0/8"), (receiver, "b", "12.0.0.0/8")):
        forwarder.name(peer, name)
        forwarder.register(peer, [], [IPv4Network(network)])
    if rules is not None:
        policy = _policy(rules, OTHER_PORT if shape.denied else PORT)
        forwarder.guard = PolicyGuard(policy, seed=1)
    reader = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
    reader.sequences = SEQUENCES_OFFLOAD
    spent = 0
    for index in range(rounds):
        # What is to be new has been forgotten by then.
        now = 1.0 if not shape.fresh else 10_000.0 * (1 + index // len(batches))
        began = time.thread_time_ns()
        runs = reader.receive_data_untrusted(batches[index % len(batches)])
        forwarder.route_batch(runs, sender, now)
        spent += time.thread_time_ns() - began
    return spent / rounds / 1000


def measure(shape: Shape, rounds: int) -> Result:
    """Route so many batches in each pass."""
    batches = [_batch(shape, number) for number in range(BATCHES)]
    best = dict.fromkeys(RULES, float("inf"))
    for _ in range(PASSES):
        for rules in RULES:
            best[rules] = min(best[rules], _pass(shape, rules, batches, rounds))
    packets = frames_in_batch(shape.size)
    return Result(shape.name, packets, *(round(best[rules], 1) for rules in RULES))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=320, help="batches per pass")
    options = parser.parse_args(arguments)
    results = [measure(shape, options.rounds) for shape in SHAPES]
    if options.json:
        found = [attrs.asdict(result) for result in results]
        print(json.dumps({"compiled": all(kernels.compiled().values()), "results": found}))
        return
    print(
        "us per batch                     packets no policy  allows all    1 rule     100   1,000"
    )
    for each in results:
        numbers = (each.without, each.allowing, each.one, each.hundred, each.thousand)
        print(
            f"{each.shape:<34}{each.packets:6}" + "".join(f"{number:10.1f}" for number in numbers)
        )


if __name__ == "__main__":
    main()
