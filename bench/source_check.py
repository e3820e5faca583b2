"""What a packet costs at a router's table, with and without the check of its source.

Run ``./run bench source_check [--json] [--packets N]``. Batches of about 64 KiB of one site are
read, decided on, and given to a peer that forgets them; encryption and system calls, which cost
far more, are left out. The passes with and without the check alternate, and the best of each
counts.
"""

from __future__ import annotations

import argparse
import json
import random
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
from polevpn_trio.frames.codec import C2S_IPDATA, GROUP_BY_DESTINATION, S2C_IPDATA, FrameReader

PASSES = 7
BATCHES = 32


@attrs.frozen
class Shape:
    """Packets of ``size`` bytes from so many ``hosts`` of the site to as many of another one."""

    name: str
    size: int
    hosts: int
    super_packets: bool = False
    forged: bool = False


SHAPES = (
    Shape("one host, 1,400 bytes", 1400, 1),
    Shape("one host, 100 bytes", 100, 1),
    Shape("one host, super-packets of 64 KB", 65_000, 1, super_packets=True),
    Shape("200 hosts, 1,400 bytes", 1400, 200),
    Shape("200 hosts, 100 bytes", 100, 200),
    Shape("50,000 hosts, 100 bytes", 100, 50_000),
    Shape("forged at random, 100 bytes", 100, 1 << 24, forged=True),
)


@attrs.frozen
class Result:
    """Nanoseconds of processor time per frame."""

    shape: str
    unchecked: float
    checked: float

    @property
    def more(self) -> float:
        """What the check adds."""
        return self.checked - self.unchecked


def _frame(shape: Shape, chance: random.Random) -> bytes:
    source = (10 if not shape.forged else 11) << 24 | chance.randrange(shape.hosts)
    destination = 12 << 24 | chance.randrange(min(shape.hosts, 200))
    return tcp_frame(source, destination, (1024, 443), shape.size, super_packet=shape.super_packets)


def measure(shape: Shape, packets: int) -> Result:
    """Route ``packets`` frames in each pass."""
    chance = random.Random(1)
    count = frames_in_batch(shape.size)
    batches = [b"".join(_frame(shape, chance) for _ in range(count)) for _ in range(BATCHES)]
    best = {False: float("inf"), True: float("inf")}
    rounds = max(packets // count, 1)
    for _ in range(PASSES):
        for check in best:
            forwarder, sender, receiver = Forwarder(source_check=check), Sink(), Sink()
            forwarder.register(sender, [], [IPv4Network("10.0.0.0/8")])
            forwarder.register(receiver, [], [IPv4Network("12.0.0.0/8")])
            reader = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
            reader.sequences = SEQUENCES_OFFLOAD
            began = time.thread_time_ns()
            for index in range(rounds):
                runs = reader.receive_data_untrusted(batches[index % BATCHES])
                forwarder.route_batch(runs, sender)
            best[check] = min(best[check], (time.thread_time_ns() - began) / rounds / count)
    return Result(shape.name, round(best[False], 1), round(best[True], 1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--packets", type=int, default=100_000, help="frames per pass")
    options = parser.parse_args(arguments)
    results = [measure(shape, options.packets) for shape in SHAPES]
    if options.json:
        found = [attrs.asdict(result) for result in results]
        print(json.dumps({"compiled": all(kernels.compiled().values()), "results": found}))
        return
    print("ns per frame                        unchecked   checked      more")
    for result in results:
        print(
            f"{result.shape:<34} {result.unchecked:10.1f} {result.checked:9.1f} {result.more:9.1f}"
        )


if __name__ == "__main__":
    main()
