"""Our gateway as the Go router sees it: real program and TUN device, independent classic router."""

from __future__ import annotations

import itertools
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import pytest

from polevpn_trio.lab.namespaces import Lab
from tests.interop.classic_frames import (
    AUTH,
    C2S_IPDATA,
    CLIENT_CLOSED,
    HEART_BEAT,
    REGISTER,
    S2C_IPDATA,
    addresses,
    frame,
    go_json,
    icmp_echo,
    ipv6,
)
from tests.interop.classic_gateway import ClassicClient
from tests.interop.classic_links import KcpLink, Pump
from tests.interop.classic_router import ClassicRouter, Connection
from tests.interop.product import KEY, GatewayRun

pytestmark = pytest.mark.needs_root_lab
SCHEMES = pytest.mark.parametrize("scheme", ["kcp", "tls"])
FAR = "10.9.0.5"


class Pair:
    """A classic router and our gateway on one host."""

    def __init__(self, lab: Lab, pump: Pump, scheme: str) -> None:
        self.run = GatewayRun(lab, f"gateway-{scheme}", scheme)
        self.pump = pump
        self.router = pump.add(
            ClassicRouter(
                self.run.bind(socket.SOCK_DGRAM), self.run.bind(socket.SOCK_STREAM), key=KEY
            )
        )
        self.echoes = 0

    def describe(self) -> str:
        return self.run.log() if self.run.process else ""

    def still_running(self) -> bool:
        return self.run.process is None or self.run.process.returncode is None

    def registered(self, seconds: float = 15.0) -> Connection:
        """The live connection on which the gateway has registered."""

        def find() -> Connection | None:
            done = [c for c in self.router.live if c.gateways]
            return done[0] if done else None

        found: Connection = self.pump.until(find, "gateway registered", seconds)
        return found

    def answers_echo(self, connection: Connection, size: int = 56, source: str = FAR) -> None:
        """A ping through the tunnel is answered by the gateway's kernel."""
        self.echoes += 1
        number = self.echoes
        connection.send_packet(icmp_echo(source, self.run.OWN, size, number=number))
        wanted = struct.pack(">HH", 0x7A7A, number)

        def answered() -> bool:
            return any(
                p[9] == 1 and p[20] == 0 and p[24:28] == wanted and len(p) == 28 + size
                for p in connection.packets
            )

        self.pump.until(answered, f"ping {number} answered")

    def end(self) -> None:
        """SIGTERM: goodbye said, exit status 0, nothing left behind, nothing violated."""
        live = self.router.live
        self.pump.still_running = lambda: True
        self.run.running.send_signal(15)
        self.pump.until(lambda: self.run.running.returncode is not None, "gateway ended", 10)
        self.pump.run(0.05)
        assert self.run.running.returncode == 0, self.run.log()
        assert {c.ended for c in live} <= {"close_notify"}
        assert self.run.complaints() == []
        assert "tun7" not in self.run.host.call(lambda: [n for _, n in socket.if_nameindex()])


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture
def pair(lab: Lab, pump: Pump) -> Callable[[str], Pair]:
    def make(scheme: str) -> Pair:
        made = Pair(lab, pump, scheme)
        pump.describe, pump.still_running = made.describe, made.still_running
        return made

    return make


@SCHEMES
def test_login_traffic_and_goodbye(pair: Callable[[str], Pair], scheme: str) -> None:
    tested = pair(scheme)
    tested.run.start()
    connection = tested.registered()
    assert [f.command for f in connection.frames][:2] == [AUTH, REGISTER]
    assert connection.auth_body["key"] == KEY
    if isinstance(connection.link, KcpLink):
        assert connection.link.dtls.ssl.get_cipher_name() == "ECDHE-RSA-AES128-GCM-SHA256"
    assert set(connection.auth_body) <= {"key", "native"}
    assert connection.frames[1].payload == go_json(
        {"gateway": "10.8.0.2", "key": KEY, "network": ["192.168.10.0/24"]}
    )
    for size in (0, 1, 56, 1400, 1472):
        tested.answers_echo(connection, size)

    # Several frames in one write, and one frame in many.
    pings = [icmp_echo(FAR, "10.8.0.2", n, number=1000 + n) for n in range(20)]
    stream = b"".join(frame(S2C_IPDATA, p) for p in pings)
    stream += frame(S2C_IPDATA, icmp_echo(FAR, "10.8.0.2", 700, number=2000))
    connection.link.write(stream[:900])
    for start in range(900, len(stream), 50):
        connection.link.write(stream[start : start + 50])

    def replies(low: int, high: int) -> int:
        return sum(
            low <= int.from_bytes(p[26:28], "big") <= high
            for p in connection.packets
            if p[9] == 1 and p[20] == 0
        )

    tested.pump.until(lambda: replies(1000, 2000) == 21, "21 replies")

    # What the Go gateway ignores or dies of is survived: odd commands, junk, foreign sources.
    for command in (AUTH, C2S_IPDATA, 6, 9, 0xFFFF):
        connection.send(command, b"odd")
    connection.send(REGISTER, b'{"unknown":1}trailing')
    connection.send(HEART_BEAT, b"unsolicited", 77)
    for junk in (
        b"",
        bytes(10),
        bytes(84),
        ipv6("fd00::1", "fd00::2", bytes(30)),
        b"\x65" + pings[0][1:],
        pings[5][:-1],
        pings[5] + b"x",
        Random(1).randbytes(60),
    ):
        connection.send_packet(junk)
    connection.send_packet(icmp_echo("10.77.0.1", "10.8.0.2", number=3000))
    tested.answers_echo(connection)
    assert replies(3000, 3000) == 0

    # From the host into the tunnel, IPv4 only: the Go router would misread IPv6.
    tested.run.host.set_sysctl("net.ipv6.conf.tun7.disable_ipv6", "0")
    tested.run.host.add_addresses("tun7", "fd00:8::2/64")
    tested.run.send_udp("fd00:8::99", b"six", socket.AF_INET6)
    for size in (1, 500, 1472, 4000):
        tested.run.send_udp("10.9.3.4", bytes(size))
    tested.pump.until(
        lambda: sum(addresses(p)[1] == "10.9.3.4" for p in connection.packets) >= 6, "sent packets"
    )
    assert {addresses(p) for p in connection.packets if p[9] == 17} == {("10.8.0.2", "10.9.3.4")}
    tested.end()
    assert tested.router.violations == []


@SCHEMES
def test_bare_auth_and_escapes(pair: Callable[[str], Pair], scheme: str) -> None:
    tested = pair(scheme)
    tested.router.key = key = '<a&b> "q" \\ \u2028 é'
    tested.run.start(native=False, key=key, local_networks=[])
    connection = tested.registered()
    assert connection.frames[0].payload == go_json({"key": key})
    assert connection.frames[1].payload == go_json(
        {"gateway": "10.8.0.2", "key": key, "network": []}
    )
    tested.end()
    assert tested.router.violations == []


@SCHEMES
def test_refused_key_is_retried(pair: Callable[[str], Pair], scheme: str) -> None:
    tested = pair(scheme)
    tested.router.key = "another key"
    tested.run.start()
    tested.pump.until(
        lambda: sum(c.ended == "invalid key" for c in tested.router.connections) >= 2,
        "two tries",
        15,
    )
    tested.router.key = KEY
    connection = tested.registered()
    tested.answers_echo(connection)
    ports = [c.peer[1] for c in tested.router.connections]
    assert len(set(ports)) == len(ports)
    assert tested.router.violations == []


@SCHEMES
def test_router_closes(pair: Callable[[str], Pair], scheme: str) -> None:
    """By close_notify, by command 5, by errors: each time a new connection from a new port."""
    tested = pair(scheme)
    tested.run.start()
    first = tested.registered()
    tested.router.end(first, "test")
    second = tested.registered()
    second.send(CLIENT_CLOSED)
    tested.pump.until(lambda: second.ended, "reconnect after command 5", 12)
    third = tested.registered()
    third.link.write(struct.pack(">HHI", 7, HEART_BEAT, 0))
    tested.pump.until(lambda: third.ended, "closed after a bad frame")
    fourth = tested.registered()
    tested.answers_echo(fourth)
    ports = [c.peer[1] for c in tested.router.connections]
    assert len(set(ports)) == len(ports)
    tested.end()
    assert tested.router.violations == []


def test_unanswered_register(lab: Lab, pump: Pump) -> None:
    """A Go router with a dead old connection never answers: beat on, or come again."""
    pairs = [Pair(lab, pump, scheme) for scheme in ("kcp", "tls")]
    pump.describe = lambda: "\n".join(each.describe() for each in pairs)
    pump.still_running = lambda: all(each.still_running() for each in pairs)
    for each in pairs:
        each.router.answer_register = False
        each.run.start()
    pump.until(lambda: all(len(p.router.connections) >= 2 for p in pairs), "second attempt", 20)
    for each in pairs:
        each.router.answer_register = True
    for each in pairs:
        connection = pump.until(
            lambda each=each: next(
                (c for c in each.router.live if each.echoes or c.gateways), None
            ),  # type: ignore[misc]
            "registered",
            20,
        )
        assert each.run.running.returncode is None
        assert connection.of(AUTH)
        assert each.router.violations == []


@SCHEMES
def test_odd_answers(pair: Callable[[str], Pair], scheme: str) -> None:
    """AUTH answered by another command, data ahead of REGISTER's answer, extra members."""
    tested = pair(scheme)
    tested.router.auth_answer = b' {"x":[1],"error":7} trailing'
    tested.router.register_answer = b'{"error":"first time"}'
    tested.run.start()
    tested.pump.until(
        lambda: any(c.ended for c in tested.router.connections if c.gateways), "gives up", 15
    )
    tested.router.register_answer = b'{"y":null}\n\n'
    tested.router.answer_register = False
    early = icmp_echo(FAR, "10.8.0.2", number=4000)

    def registering() -> Connection | None:
        waiting = [c for c in tested.router.live if c.gateways]
        return waiting[0] if waiting else None

    connection: Connection = tested.pump.until(registering, "REGISTER sent", 15)
    connection.link.write(
        frame(S2C_IPDATA, early) + frame(REGISTER, tested.router.register_answer, 0)
    )
    tested.answers_echo(connection)
    tested.end()
    assert tested.router.violations == []


@pytest.mark.parametrize("scheme", ["kcp"])
def test_vanished_router(pair: Callable[[str], Pair], scheme: str) -> None:
    """It holds the old association but is deaf to it: only a new source port helps."""
    tested = pair(scheme)
    tested.run.start()
    first = tested.registered()
    tested.answers_echo(first)
    tested.router.deaf = lambda peer: peer == first.peer

    def anew() -> bool:
        tested.run.send_udp("10.9.3.4", b"is anybody there")
        return any(c.gateways for c in tested.router.live if c is not first)

    tested.pump.until(anew, "a new connection", 30)
    second = next(c for c in tested.router.live if c is not first)
    assert second.peer != first.peer
    tested.answers_echo(second)
    assert tested.router.violations == []


@SCHEMES
def test_accept_blocked_by_another_client(
    pair: Callable[[str], Pair], pump: Pump, scheme: str
) -> None:
    """The Go router takes one login at a time.

    Given-up attempts must say so: one that just vanishes would hold the slot for 30 s more.
    """
    tested = pair(scheme)
    address = ("127.0.0.1", tested.run.PORT)
    blocker = tested.run.host.call(lambda: ClassicClient.connect(scheme, address))
    pump.add(blocker)
    pump.until(lambda: blocker.link.established, "the blocker's handshake")
    tested.run.start(connect_timeout=0.6)

    def attempts() -> int:
        router = tested.router
        waiting = [c for c in router.associations.values() if c not in router.connections]
        return len(waiting) if scheme == "kcp" else len(router.backlog)

    pump.until(lambda: attempts() >= 3, "attempts that wait", 20)
    blocker.link.close()
    connection = tested.registered(15)
    tested.answers_echo(connection)
    assert [v for c in tested.router.connections if c.gateways for v in c.violations] == []


def test_heartbeats_under_load(lab: Lab, pump: Pump) -> None:
    """Every ten seconds whatever the traffic, since only they keep the connection alive."""
    pairs = [Pair(lab, pump, scheme) for scheme in ("kcp", "tls")]
    pump.describe = lambda: "\n".join(each.describe() for each in pairs)
    pump.still_running = lambda: all(each.still_running() for each in pairs)
    for each in pairs:
        each.run.start()
    connections = [each.registered() for each in pairs]

    def beaten() -> bool:
        for each, connection in zip(pairs, connections, strict=True):
            for _ in range(5):
                each.run.send_udp("10.9.3.4", bytes(1200))
            connection.send_packet(icmp_echo(FAR, each.run.OWN, 1000))
        return all(
            connection.times_of(HEART_BEAT)[-1:] > [connection.times_of(REGISTER)[0] + 9.0]
            for connection in connections
        )

    pump.until(beaten, "heartbeat at 10 s", 12)
    for each, connection in zip(pairs, connections, strict=True):
        beats = [connection.times_of(REGISTER)[0], *connection.times_of(HEART_BEAT)]
        gaps = [later - earlier for earlier, later in itertools.pairwise(beats)]
        assert max(gaps) < 10.6, gaps
        assert len(connection.packets) > 200
        assert each.router.violations == []


@pytest.mark.parametrize("scheme", ["kcp"])
def test_lossy_path_and_small_window(pair: Callable[[str], Pair], scheme: str) -> None:
    tested = pair(scheme)
    tested.run.start()
    connection = tested.registered()
    link = connection.link
    assert isinstance(link, KcpLink)
    random = Random(3)
    link.lose_incoming = lambda _: random.random() < 0.1
    link.lose_outgoing = lambda _: random.random() < 0.1
    link.kcp.window = 16
    pings = 200
    for number in range(pings):
        # From as many hosts, so that each answer is a flow of its own, of which none is dropped
        # however long the path keeps it waiting.
        connection.send_packet(
            icmp_echo(f"10.9.1.{number + 1}", tested.run.OWN, 1400, number=5000 + number)
        )

    def replies() -> list[int]:
        found = [int.from_bytes(p[26:28], "big") for p in connection.packets if p[20] == 0]
        return [n for n in found if n >= 5000]

    tested.pump.until(lambda: len(replies()) >= pings, "all replies", 25)
    assert sorted(replies()) == list(range(5000, 5000 + pings))
    # Without loss from here: a lost WINS is made good by the next probe only, seven seconds later.
    link.lose_incoming = link.lose_outgoing = lambda _: False
    link.kcp.reading = False
    for _ in range(60):
        tested.run.send_udp("10.9.3.4", bytes(1400))
    tested.pump.until(lambda: link.kcp.unused_window() == 0, "window full")
    link.kcp.reading = True
    tested.pump.until(
        lambda: sum(addresses(p)[1] == "10.9.3.4" for p in connection.packets) == 60, "the rest"
    )
    assert tested.router.violations == []


@pytest.mark.parametrize("scheme", ["kcp"])
def test_listener_that_loses_bursts(pair: Callable[[str], Pair], scheme: str) -> None:
    """The Go listener's receive ring drops runs of datagrams while it grows.

    Flows take turns at the gateway, so only the order inside of each is kept; and of one that
    stands there for long it drops some, but never the only packet.
    """
    tested = pair(scheme)
    tested.router.loses_bursts = True
    tested.run.start()
    connection = tested.registered()
    for batch in range(40):
        number = batch.to_bytes(2, "big")
        for _ in range(25):
            tested.run.send_udp("10.9.3.4", number * 600)
        tested.run.send_udp("10.9.3.5", number * 600, port=7007)
        tested.pump.turn()

    def arrived(destination: str) -> list[int]:
        found = [p for p in connection.packets if addresses(p)[1] == destination]
        return [int.from_bytes(p[28:30], "big") for p in found]

    # Each from another port, and so a flow of its own. But a few of a thousand share a bucket of
    # the queue with another, and where they stand for long, as on a busy machine, one of them goes.
    # What is lost on the way is a hole in the stream, behind which nothing would come.
    tested.pump.until(lambda: len(arrived("10.9.3.4")) >= 950, "nearly all packets", 20)
    came = Counter(arrived("10.9.3.4"))
    assert set(came) == set(range(40))
    assert max(came.values()) <= 25
    one_flow = arrived("10.9.3.5")
    assert one_flow
    assert one_flow == sorted(set(one_flow))
    assert tested.router.violations == []
