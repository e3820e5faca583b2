"""What a packet costs in the flow queue: taken in and given out, in batches.

Run ``python bench/flow_queue.py [--json] [--packets N]``. Batches of 46 frames go in and come out
again at the same pace; ``waiting`` tells how many packets stand in the queue meanwhile. With 1
flow and with 1,000 the figure should be about the same: nothing is searched. The last line has
a queue that is always full, so that each packet that comes makes another one go.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import time

import attrs

from polevpn_trio import kernels
from polevpn_trio.forwarding.flow_queue import FlowQueue

BATCH = 46
SIZES = (1400, 100)
FLOWS = (1, 100, 1000)


@attrs.frozen
class Result:
    """Microseconds of processor time per packet."""

    size: int
    flows: int
    waiting: int
    packets: int
    dropped: int
    enqueue: float
    dequeue: float


def make_frame(flow: int, size: int) -> bytes:
    """Build a frame with a UDP packet of ``size`` bytes."""
    ip = struct.pack("!BBHIBBH", 0x45, 0, size, 0, 64, 17, 0) + b"\x0a\0\0\1\x0a\0\1\1"
    udp = struct.pack("!HHHH", 1024 + flow, 4000, size - 20, 0)
    return struct.pack("!HHI", 8 + size, 3, 0) + ip + udp + bytes(size - 28)


def measure(size: int, flows: int, packets: int, full: bool) -> Result:
    """Pass ``packets`` packets of ``flows`` flows through a queue."""
    chance = random.Random(flows)
    batches = [
        b"".join(make_frame(chance.randrange(flows), size) for _ in range(BATCH)) for _ in range(97)
    ]
    queue = FlowQueue(seed=1, target=50.0, interval=100.0)
    now = 1.0
    for index in range(1000):
        queue.enqueue_batch(batches[index % len(batches)], now)
        if not full and queue.queued >= 2 * 1000:
            break
    waiting = queue.queued
    most_bytes = BATCH * (8 + size)
    enqueue = dequeue = 0.0
    rounds = packets // BATCH
    for index in range(rounds):
        batch = batches[index % len(batches)]
        began = time.thread_time()
        queue.enqueue_batch(batch, now)
        between = time.thread_time()
        # A full queue stays full: it is given half of what comes.
        queue.dequeue_batch(most_bytes // 2 if full else most_bytes, now)
        ended = time.thread_time()
        enqueue += between - began
        dequeue += ended - between
        now += 0.001
    statistics = queue.statistics()
    return Result(
        size=size,
        flows=flows,
        waiting=waiting,
        packets=rounds * BATCH,
        dropped=statistics.dropped_full + statistics.dropped_codel,
        enqueue=round(enqueue / rounds / BATCH * 1e6, 3),
        dequeue=round(dequeue / rounds / (BATCH // 2 if full else BATCH) * 1e6, 3),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--packets", type=int, help="packets per measurement")
    options = parser.parse_args()
    compiled = kernels.compiled()["polevpn_trio.forwarding.flow_queue"]
    packets = options.packets or (400_000 if compiled else 10_000)
    results = [measure(size, flows, packets, False) for size in SIZES for flows in FLOWS]
    results.append(measure(SIZES[0], FLOWS[-1], packets, True))
    if options.json:
        print(json.dumps({"compiled": compiled, "results": [attrs.asdict(r) for r in results]}))
        return
    print(f"flow queue, {'compiled' if compiled else 'not compiled'}: microseconds per packet")
    print("bytes   flows   waiting   enqueue   dequeue   dropped")
    for result in results:
        print(
            f"{result.size:5d}  {result.flows:6d}  {result.waiting:8d}  {result.enqueue:8.3f}"
            f"  {result.dequeue:8.3f}  {result.dropped:8d}"
        )


if __name__ == "__main__":
    main()
