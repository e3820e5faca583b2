"""How a tunnel shares a bottleneck: with another tunnel, and with a plain TCP flow.

All flows begin at the same time at site A or the router, and pass the emulated path to site B.
Their speeds are averages without the first seconds.
"""

from __future__ import annotations

import json
import subprocess
import time

import attrs

from bench.long_haul.profiles import SHARED
from bench.long_haul.subjects import carries_packets
from bench.side_by_side.command import Part, Settings
from bench.side_by_side.network import SECOND, Network, RunFailed, Subject, Tunnel
from bench.side_by_side.ours import Ours
from bench.side_by_side.results import Measure
from bench.side_by_side.traffic import END_TIMEOUT
from polevpn_trio.lab import probes
from polevpn_trio.lab.namespaces import Host, Lab, Process, wait_until

PROFILE = "sharing"

LEAST_SECONDS = 20
"""Length of the flows at least; they need some to find their balance."""

OMITTED = 5
"""Seconds at the begin that are not counted, on top of that length."""

THIRD = "10.8.0.4"
"""Address inside the tunnel of the third gateway."""

START_TIMEOUT = 20.0

_OWN_PORT, _OTHER_PORT = 5201, 5202


class SharedNetwork(Network):
    """The same with a third gateway, which reaches the router through the second one's machine.

    So both have the emulated path in common, and nothing else behind the router.
    """

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, long_haul=True, seed=1)
        self.third = lab.host("third")
        lab.connect(self.third, "wan", self.second, "lan")
        self.second.add_addresses("lan", "198.18.3.1/24")
        self.third.add_addresses("wan", "198.18.3.2/24")
        self.second.forward_packets()
        self.third.add_route("0.0.0.0/0", via="198.18.3.1")
        self.router.add_route("198.18.3.0/24", via="198.18.2.2")


@attrs.frozen
class _Flow:
    client: Process
    server: Process

    @classmethod
    def start(
        cls, source: Host, target: Host, address: str, port: int, seconds: int, congestion: str
    ) -> _Flow:
        server = target.start(["iperf3", "-s", "-1", "-p", str(port)], name="server")
        wait_until(lambda: target.listens("tcp", port), START_TIMEOUT, "the receiver to listen")
        words = ["iperf3", "-c", address, "-p", str(port), "-t", str(seconds), "-O", str(OMITTED)]
        client = source.start([*words, "-J", "-C", congestion], name="flow")
        return cls(client, server)

    def finish(self, seconds: int) -> float:
        """Wait for its end; return Mbit/s."""
        try:
            status = self.client.wait(seconds + OMITTED + END_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise RunFailed("a flow does not end") from error
        finally:
            self.client.stop()
            self.server.stop()
        if status:
            raise RunFailed(f"a flow failed: {self.client.log_tail(3)}")
        received = json.loads(self.client.log())["end"]["sum_received"]
        return float(received["bits_per_second"] / 1e6)


def start(lab: Lab, subject: Subject) -> Tunnel:
    """Build a network with a third gateway and start the subject; ours there, too."""
    network = SharedNetwork(lab)
    network.wan.change(SHARED, SHARED)
    tunnel = Tunnel.over(network, subject, timeout=START_TIMEOUT, reply_timeout=0.5)
    if isinstance(subject, Ours):
        subject.start_gateway(network.third, THIRD, network.hub_address(2))

        def replies() -> bool:
            return network.first.call(probes.ping, THIRD, timeout=0.5).received > 0

        wait_until(replies, START_TIMEOUT, "a first packet through the second tunnel")
    time.sleep(1.0)
    return tunnel


def two_tunnels(tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """One flow through either tunnel; without a tunnel, two plain flows."""
    network = tunnel.network
    target, address = network.second, SECOND
    if isinstance(network, SharedNetwork) and isinstance(tunnel.subject, Ours):
        target, address = network.third, THIRD
    return _share("two-tunnels", tunnel, settings, network.first, target, address, "cubic")


def beside_cubic(tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """One flow through the tunnel, and one of CUBIC beside it."""
    network = tunnel.network
    return _share(
        "beside-cubic", tunnel, settings, network.router, network.second, "198.18.2.2", "cubic"
    )


def beside_bbr(tunnel: Tunnel, settings: Settings) -> dict[str, float]:
    """One flow through the tunnel, and one of BBR beside it."""
    network = tunnel.network
    return _share(
        "beside-bbr", tunnel, settings, network.router, network.second, "198.18.2.2", "bbr"
    )


def _share(
    name: str,
    tunnel: Tunnel,
    settings: Settings,
    source: Host,
    target: Host,
    address: str,
    congestion: str,
) -> dict[str, float]:
    network = tunnel.network
    seconds = max(settings.seconds, LEAST_SECONDS)
    flows = [
        _Flow.start(network.first, network.second, SECOND, _OWN_PORT, seconds, "cubic"),
        _Flow.start(source, target, address, _OTHER_PORT, seconds, congestion),
    ]
    own, other = (flow.finish(seconds) for flow in flows)
    tunnel.check()
    return {
        f"{name}.own": own,
        f"{name}.other": other,
        f"{name}.share": own / (own + other) * 100,
    }


ROWS = (
    ("two-tunnels", "CUBIC through each of two tunnels"),
    ("beside-cubic", "CUBIC through a tunnel, beside plain CUBIC"),
    ("beside-bbr", "CUBIC through a tunnel, beside plain BBR"),
)

MEASURES = tuple(
    measure
    for name, title in ROWS
    for measure in (
        Measure(f"{name}.own", f"{title}: the first", "Mbit/s", "higher"),
        Measure(f"{name}.other", f"{title}: the second", "Mbit/s", "higher"),
        Measure(f"{name}.share", f"{title}: share of the first", "%", "higher"),
    )
)


def _can_be_two(subject: Subject) -> bool:
    return isinstance(subject, Ours) or subject.name == "plain"


PARTS = (
    Part("two-tunnels", two_tunnels, True, PROFILE, start, _can_be_two),
    Part("beside-cubic", beside_cubic, True, PROFILE, start, carries_packets),
    Part("beside-bbr", beside_bbr, True, PROFILE, start, carries_packets),
)
