"""How true the lab's emulated wide-area path is: delay, rate and loss against what they should be.

Run ``python bench/wan.py [--json] [--seconds N]``. Two directions of 50 ms round trip and
100 Mbit/s lie between the router and the second gateway of the side-by-side benchmarks. Round
trips, rate and loss are observed from outside, by ping, by the far kernel's counters, and by
iperf3's sequence numbers: first with the path alone, then while a kcp tunnel of ours carries
traffic in both directions on the same machine. Needs root (or user namespaces) and iperf3.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.side_by_side import machine, traffic
from bench.side_by_side.network import SECOND, Network, Tunnel
from bench.side_by_side.ours import Ours
from polevpn_trio.errors import HostError
from polevpn_trio.lab import probes
from polevpn_trio.lab.namespaces import (
    Host,
    Lab,
    Process,
    become_root_in_user_namespace,
    check_permitted,
    wait_until,
)
from polevpn_trio.lab.wan import path
from polevpn_trio.lab.wan.conditions import ETHERNET_HEADER, Conditions

RATE = 100e6
LOSS = 0.05
CONDITIONS = Conditions(rate=RATE, queue=0.05, delay=0.025)
QUEUELESS = attrs.evolve(CONDITIONS, rate=None)
"""Round trips beside traffic are taken here: what they vary by is not a queue's doing."""
LOSSY = attrs.evolve(CONDITIONS, queue=1.0, loss=LOSS)
"""With a queue that never fills, so that no other loss is in the figure."""

FAR = "198.18.2.2"
"""The second gateway's outer address: pings and datagrams to it go beside the tunnel."""

PORT, TUNNEL_PORT = 5301, 5302
TUNNEL_LOAD = 40e6
"""Bits per second that the tunnel carries in each direction, as payload of UDP datagrams."""
PING_INTERVAL = 0.005
SETTLE = 1.0
"""Seconds between the start of traffic and the first look."""

OPENINGS = 5
OPENING_SECONDS = 10.0
"""Attempts to open a stream over a path that loses, and seconds beyond its own for each."""

MODEL_PACKETS = 200_000


@attrs.frozen
class Accuracy:
    """What was observed; round trips in milliseconds."""

    silent: probes.EchoResult
    """With nothing else on the path; empty where a tunnel is busy."""
    loaded: probes.EchoResult
    """Beside datagrams that fill half of the path."""
    rate: float
    """Bits per second at the far end of a flooded path, framing included."""
    loss: float
    """Share that iperf3 missed."""
    loss_deviation: float
    """Standard deviation that chance alone gives such a share."""
    late_p50: float
    """Seconds that the emulator was late to hand packets over, median."""
    late_p99: float
    missed: int
    """Packets lost because the emulator was too late to read them: must be none."""
    processor: float
    """Of a core that the emulator used while flooded, the far kernel's receiving included."""


def model_cost() -> float:
    """Measure processor time per packet of the model alone, in microseconds."""
    one = path.Path(LOSSY, random.Random(1), 0.0)
    packets = [bytes(1500)] * 2
    now = 0.0
    started = time.thread_time()
    for _ in range(MODEL_PACKETS // 2):
        now += 0.00025
        one.receive_packets(packets, now)
        one.poll_timeout()
        one.poll_packets(now)
    return (time.thread_time() - started) / MODEL_PACKETS * 1e6


def _over_loss(near: Host, far: Host, seconds: int, options: list[str]) -> Process:
    """Send until it is done; begin again while the datagram is lost that opens iperf3's stream.

    iperf3 does not send that one again. Raises subprocess.TimeoutExpired when none arrives.
    """
    attempt = 0
    while True:
        attempt += 1
        server = _serve(far, PORT)
        client = _start(near, FAR, PORT, seconds, options)
        try:
            client.wait(seconds + OPENING_SECONDS)
        except subprocess.TimeoutExpired:
            if attempt == OPENINGS:
                raise
        else:
            return client
        client.stop()
        server.stop()


def observe(seconds: int, *, busy: bool) -> Accuracy:
    """Look at the path for a few times ``seconds``, in a lab of its own."""
    with Lab() as lab:
        network = Network(lab, long_haul=True, seed=1)
        network.wan.change(CONDITIONS, CONDITIONS)
        near, far = network.router, network.second
        silent = probes.EchoResult(0, 0, 0, 0, 0, ())
        if busy:
            Tunnel.over(network, Ours("kcp"))
            _serve(far, TUNNEL_PORT)
            options = ["-u", "-b", str(TUNNEL_LOAD), "-l", "1200", "--bidir"]
            _start(network.first, SECOND, TUNNEL_PORT, 3 * seconds + 10 * SETTLE, options)
            time.sleep(SETTLE)
        else:
            silent = _ping(near, seconds)

        # The two ways together leave room for the tunnel, where there is one.
        share = 0.2 if busy else 0.5
        with_pacing = ["-u", "-l", "1400", "--pacing-timer", "100"]
        network.wan.change(QUEUELESS, QUEUELESS)
        _serve(far, PORT)
        load = [*with_pacing, "-b", str(share * RATE), "--bidir"]
        client = _start(near, FAR, PORT, seconds + 2 * SETTLE, load)
        time.sleep(SETTLE)
        loaded = _ping(near, seconds)
        client.wait(30)

        network.wan.change(LOSSY, LOSSY)
        client = _over_loss(near, far, seconds, [*with_pacing, "-b", str(share * RATE)])
        received = json.loads(client.log())["end"]["sum_received"]

        network.wan.change(CONDITIONS, CONDITIONS)
        _serve(far, PORT)
        client = _start(
            near, FAR, PORT, seconds + 2 * SETTLE, [*with_pacing, "-b", str(1.2 * RATE)]
        )
        time.sleep(SETTLE)
        before = _arrived(far), time.monotonic(), network.wan.statistics()
        time.sleep(seconds)
        after = _arrived(far), time.monotonic(), network.wan.statistics()
        client.wait(30)
        passed = after[1] - before[1]
        used = after[2].processor_seconds - before[2].processor_seconds
        statistics = network.wan.statistics()
        return Accuracy(
            silent=silent,
            loaded=loaded,
            rate=(after[0] - before[0]) * 8 / passed,
            loss=received["lost_packets"] / received["packets"],
            loss_deviation=math.sqrt(LOSS * (1 - LOSS) / received["packets"]),
            late_p50=statistics.forward.path.late_percentile(50),
            late_p99=statistics.forward.path.late_percentile(99),
            missed=statistics.forward.missed + statistics.backward.missed,
            processor=used / passed,
        )


def _ping(host: Host, seconds: float) -> probes.EchoResult:
    count = round(seconds / PING_INTERVAL)
    return host.call(probes.ping, FAR, count=count, interval=PING_INTERVAL)


def _arrived(host: Host) -> int:
    counters = host.counters("wan")
    return counters["rx_bytes"] + ETHERNET_HEADER * counters["rx_packets"]


def _serve(host: Host, port: int) -> Process:
    server = host.start(["iperf3", "-s", "-1", "-p", str(port)])
    wait_until(lambda: host.listens("tcp", port), 10, "iperf3 to listen")
    return server


def _start(host: Host, address: str, port: int, seconds: float, options: Sequence[str]) -> Process:
    words = ["iperf3", "-c", address, "-p", str(port), "-t", str(round(seconds)), "-J", *options]
    return host.start(words)


def _lines(found: Accuracy, name: str) -> list[str]:
    rows = [("round trip, silent", found.silent), ("round trip, loaded", found.loaded)]
    lines = [f"{name}:"]
    lines += [
        f"  {title}: min {echo.minimum:.2f}, p50 {echo.percentile(50):.2f}, "
        f"p99 {echo.percentile(99):.2f}, max {echo.maximum:.2f} ms "
        f"({echo.lost} of {echo.sent} lost)"
        for title, echo in rows
        if echo.sent
    ]
    off = (found.loss - LOSS) / found.loss_deviation
    return [
        *lines,
        f"  rate: {found.rate / 1e6:.3f} Mbit/s ({found.rate / RATE - 1:+.3%})",
        f"  loss: {found.loss:.3%} for {LOSS:.0%} ({off:+.1f} standard deviations)",
        f"  late: p50 {found.late_p50 * 1e6:.0f}, p99 {found.late_p99 * 1e6:.0f} us; "
        f"missed {found.missed} packets",
        f"  processor: {found.processor:.0%} of a core while flooded",
    ]


def _as_json(found: Accuracy) -> dict[str, Any]:
    members = attrs.asdict(found)
    for name, echo in (("silent", found.silent), ("loaded", found.loaded)):
        members[name] = {
            "sent": echo.sent,
            "lost": echo.lost,
            **{
                f"p{percent}": echo.percentile(percent) for percent in (0, 50, 99, 100) if echo.sent
            },
        }
    return members


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=int, default=8, help="of each observation (8)")
    options = parser.parse_args()
    if not traffic.has_iperf3():
        print("wan: needs iperf3", file=sys.stderr)
        return 1
    try:
        become_root_in_user_namespace()
        check_permitted()
    except HostError as error:
        print(f"wan: {error}", file=sys.stderr)
        return 1
    facts = machine.look()
    cost = model_cost()
    found = {
        "the path alone": observe(options.seconds, busy=False),
        "beside a busy tunnel": observe(options.seconds, busy=True),
    }
    if options.json:
        results = {name: _as_json(each) for name, each in found.items()}
        print(json.dumps({"machine": attrs.asdict(facts), "model_us": cost, "results": results}))
        return 0
    print("\n".join(facts.lines()))
    print(f"the model: {cost:.2f} us per packet")
    for name, each in found.items():
        print("\n".join(_lines(each, name)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
