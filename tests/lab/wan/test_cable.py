"""Two hosts joined by an emulated path, with real devices and the real process in between."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator

import pytest

from polevpn_trio.lab import probes
from polevpn_trio.lab.namespaces import Host, Lab, wait_until
from polevpn_trio.lab.overlay import python_path
from polevpn_trio.lab.wan.cable import Wan
from polevpn_trio.lab.wan.conditions import Conditions

pytestmark = pytest.mark.needs_root_lab

FAR = "192.0.2.2"
PERFECT = Conditions()
NOTHING_PASSES = Conditions(loss=1.0)

UDP_SEGMENT = 103
"""Value of linux/udp.h: cut what is sent into datagrams of this size."""


@pytest.fixture
def joined() -> Iterator[tuple[Host, Host, Wan]]:
    with Lab() as lab:
        near, far = lab.host("near"), lab.host("far")
        for host in (near, far):
            # No router solicitations and the like among the packets that are counted.
            host.set_sysctl("net.ipv6.conf.default.disable_ipv6", "1")
        wan = Wan.lay(near, "wan", far, "wan", seed=1)
        near.add_addresses("wan", "192.0.2.1/24")
        far.add_addresses("wan", f"{FAR}/24")
        yield near, far, wan


def test_packets_pass_both_ways_and_are_counted(joined: tuple[Host, Host, Wan]) -> None:
    near, _, wan = joined
    echo = near.call(probes.ping, FAR, count=5, interval=0.001, size=100)
    assert echo.received == 5
    assert echo.corrupted == 0
    statistics = wan.statistics()
    for direction in (statistics.forward, statistics.backward):
        assert direction.path.packets_in == direction.path.packets_out == 5
        assert direction.path.bytes_in == 5 * (100 + 28 + 14)
        assert direction.missed == direction.refused == 0
    assert statistics.processor_seconds > 0


def test_each_direction_has_its_own_conditions(joined: tuple[Host, Host, Wan]) -> None:
    near, _, wan = joined
    wan.change(PERFECT, NOTHING_PASSES)
    assert near.call(probes.ping, FAR, count=3, interval=0.001, timeout=0.05).received == 0
    statistics = wan.statistics()
    assert statistics.forward.path.packets_out == 3
    assert statistics.backward.path.lost_random == 3
    wan.change(PERFECT, PERFECT)
    assert near.call(probes.ping, FAR, count=3, interval=0.001).received == 3


def test_the_delay_is_in_the_round_trip(joined: tuple[Host, Host, Wan]) -> None:
    near, _, wan = joined
    wan.change(Conditions(delay=0.03), Conditions(delay=0.02))
    echo = near.call(probes.ping, FAR, count=3, interval=0.001)
    assert echo.received == 3
    assert echo.minimum >= 50


def test_super_packets_reach_the_wire_as_datagrams(joined: tuple[Host, Host, Wan]) -> None:
    near, far, wan = joined

    def receiver() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((FAR, 7000))
        sock.settimeout(5)
        return sock

    def sender() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect((FAR, 7000))
        return sock

    content = os.urandom(1000)
    with far.call(receiver) as target, near.call(sender) as source:
        try:
            source.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
            source.send(content)
        except OSError as error:
            pytest.skip(f"this kernel cuts no datagrams for such a device: {error.strerror}")
        arrived = [target.recv(2000) for _ in range(10)]
    assert b"".join(arrived) == content
    assert wan.statistics().forward.path.packets_in == 10


def test_a_transfer_is_cut_to_the_mtu_and_arrives_intact(joined: tuple[Host, Host, Wan]) -> None:
    near, far, wan = joined
    server = far.start(
        [
            sys.executable,
            "-m",
            "polevpn_trio.lab.probes",
            "tcp-server",
            "7001",
            "--connections",
            "1",
        ],
        environment=python_path(),
    )
    wait_until(lambda: far.listens("tcp", 7001), 10, "the server to listen")
    wan.change(Conditions(loss=0.005), Conditions(loss=0.005))
    result = near.call(probes.transfer, FAR, 7001, size=10_000_000)
    assert server.wait(10) == 0
    assert result.intact
    statistics = wan.statistics()
    forward = statistics.forward.path
    assert forward.lost_random == forward.lost > 0
    assert forward.bytes_in <= 1514 * forward.packets_in
    assert result.transferred < forward.bytes_out
    assert statistics.forward.missed == statistics.backward.missed == 0


def test_the_emulator_that_died_is_named(joined: tuple[Host, Host, Wan]) -> None:
    _, _, wan = joined
    wan.process.send_signal(signal.SIGKILL)
    wan.process.wait(5)
    with pytest.raises(ChildProcessError, match="emulator"):
        wan.statistics()


def test_the_interfaces_end_with_the_emulator(joined: tuple[Host, Host, Wan]) -> None:
    near, far, wan = joined
    wan.process.stop()
    assert all("wan" not in host.state().links for host in (near, far))
