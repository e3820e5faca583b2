"""The independent router and gateway against each other: the yardstick itself is straight."""

from __future__ import annotations

import socket
from collections.abc import Callable
from random import Random

import pytest

from tests.interop.classic_frames import AUTH, HEART_BEAT, REGISTER, icmp_echo, ipv4, ipv6
from tests.interop.classic_gateway import ClassicClient, ClassicGateway
from tests.interop.classic_links import Pump, connect
from tests.interop.classic_router import ClassicRouter

KEY = "123456"
SCHEMES = pytest.mark.parametrize("scheme", ["kcp", "tls"])


@pytest.fixture
def router(pump: Pump) -> ClassicRouter:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    udp.bind(("127.0.0.1", 0))
    tcp.bind(("127.0.0.1", 0))
    return pump.add(ClassicRouter(udp, tcp))


def address(router: ClassicRouter, scheme: str) -> tuple[str, int]:
    own = router.udp if scheme == "kcp" else router.tcp
    assert own is not None
    host, port = own.getsockname()
    return host, port


def gateway_at(pump: Pump, router: ClassicRouter, scheme: str) -> Callable[..., ClassicGateway]:
    def make(own: str, networks: list[str]) -> ClassicGateway:
        return pump.add(
            ClassicGateway(
                lambda: connect(scheme, address(router, scheme)),
                key=KEY,
                gateway=own,
                networks=networks,
            )
        )

    return make


@SCHEMES
def test_two_gateways(pump: Pump, router: ClassicRouter, scheme: str) -> None:
    make = gateway_at(pump, router, scheme)
    a, b = make("10.8.0.1", ["192.168.1.0/24"]), make("10.8.0.2", ["192.168.2.0/24"])
    pump.until(lambda: a.registered and b.registered, "both registered")
    packets = [icmp_echo("192.168.1.9", "192.168.2.9", size) for size in (0, 56, 1400, 1472)]
    for packet in packets:
        a.send_packet(packet)
    pump.until(lambda: len(b.packets) == len(packets), "packets")
    assert b.packets == packets
    assert (router.violations, a.violations, b.violations) == ([], [], [])
    a.link.close()
    pump.until(lambda: len(router.live) == 1, "close seen")
    assert router.connections[0].ended == "close_notify"


@SCHEMES
def test_wrong_key(pump: Pump, router: ClassicRouter, scheme: str) -> None:
    client = pump.add(ClassicClient.connect(scheme, address(router, scheme)))
    client.auth("wrong")
    pump.until(lambda: client.link.closed, "closed")
    assert client.link.closed == "close_notify"
    assert client.of(AUTH)[0].payload == b'{"error":"invalid key"}'


def test_lossy_kcp(pump: Pump, router: ClassicRouter) -> None:
    make = gateway_at(pump, router, "kcp")
    a, b = make("10.8.0.1", []), make("10.8.0.2", [])
    pump.until(lambda: a.registered and b.registered, "both registered")
    random = Random(1)
    for peer in (a, b):
        peer.link.lose_incoming = lambda _: random.random() < 0.1  # type: ignore[union-attr]
        peer.link.lose_outgoing = lambda _: random.random() < 0.1  # type: ignore[union-attr]
    packets = [ipv4("10.8.0.1", "10.8.0.2", bytes([n]) * 1000) for n in range(200)]
    for packet in packets:
        a.send_packet(packet)
    pump.until(lambda: len(b.packets) == len(packets), "packets", 20)
    assert b.packets == packets
    assert (router.violations, a.violations, b.violations) == ([], [], [])


@SCHEMES
def test_violations_are_seen(pump: Pump, router: ClassicRouter, scheme: str) -> None:
    client = pump.add(ClassicClient.connect(scheme, address(router, scheme)))
    client.auth(KEY)
    client.send(HEART_BEAT, b"payload")
    client.send(9)
    client.send(3, ipv6("fd00::1", "fd00::2", bytes(20)))
    client.register("10.8.0.1", ["10.0.0.1/8"])
    pump.until(lambda: client.of(REGISTER), "answer")
    assert len(router.violations) == 5


@SCHEMES
def test_one_login_at_a_time(pump: Pump, router: ClassicRouter, scheme: str) -> None:
    first = pump.add(ClassicClient.connect(scheme, address(router, scheme)))
    pump.until(lambda: first.link.established, "handshake")
    second = pump.add(ClassicClient.connect(scheme, address(router, scheme)))
    second.auth(KEY)
    pump.run(0.2)
    assert second.frames == []
    first.auth(KEY)
    pump.until(lambda: first.of(AUTH) and second.of(AUTH), "both in")


@SCHEMES
def test_same_gateway_again(pump: Pump, router: ClassicRouter, scheme: str) -> None:
    make = gateway_at(pump, router, scheme)
    old = make("10.8.0.1", [])
    pump.until(lambda: old.registered, "registered")
    old.beat = 1000.0
    new = make("10.8.0.1", [])
    pump.until(lambda: new.registered, "registered anew")
    assert old.link.closed == "close_notify"
    new.register("10.8.0.1", [], key=KEY)
    pump.until(lambda: new.link.closed, "registered twice on one connection")


def test_idle_check(pump: Pump, router: ClassicRouter) -> None:
    router.idle_timeout, router.idle_check = 0.3, 0.1
    client = pump.add(ClassicClient.connect("tls", address(router, "tls")))
    client.auth(KEY)
    pump.until(lambda: client.link.closed, "idle")
    assert router.connections[0].ended == "idle"


def test_heartbeats_and_reconnect(pump: Pump, router: ClassicRouter) -> None:
    router.answer_heartbeats = False
    made = pump.add(
        ClassicGateway(
            lambda: connect("kcp", address(router, "kcp")),
            key=KEY,
            gateway="10.8.0.1",
            networks=[],
            beat=0.1,
        )
    )
    pump.until(lambda: made.reconnects == 2, "two reconnects")
    assert router.connections[0].ended == "close_notify"
    assert router.violations == []
