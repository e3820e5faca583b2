"""Our router as the Go gateways see it: real program, independent classic peers."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.classic_frames import (
    AUTH,
    C2S_IPDATA,
    HEART_BEAT,
    REGISTER,
    S2C_IPDATA,
    frame,
    go_json,
    icmp_echo,
    ipv4,
    ipv6,
)
from tests.interop.classic_gateway import ClassicClient, ClassicGateway
from tests.interop.classic_links import KcpLink, Pump, TlsLink, connect
from tests.interop.our_router import (
    SCHEMES,
    Counted,
    MakeClient,
    MakeGateway,
    ended,
    logged_in,
    still_served,
)
from tests.interop.product import KEY, RouterProcess

if TYPE_CHECKING:
    from pathlib import Path

SHORTEST_IDLE = 15


class IdleWatch:
    """Clients of a router with a short idle timeout, looked after while other tests run."""

    def __init__(self, folder: Path) -> None:
        self.router = RouterProcess(folder, idle_timeout=SHORTEST_IDLE)
        self.pump = Pump()
        self.pump.describe = self.router.log
        self.silent: list[ClassicClient] = []
        self.beating: list[ClassicClient] = []
        for number, scheme in enumerate(("kcp", "tls")):
            for group, net in ((self.silent, 1), (self.beating, 2)):
                made = self.pump.add(ClassicClient.connect(scheme, self.router.address))
                group.append(logged_in(self.pump, made))
                made.register(f"10.{net}.9.{number}")
                self.pump.until(lambda made=made: made.of(REGISTER), "registered")  # type: ignore[misc]
        self.next_beat = time.monotonic()

    def tend(self) -> None:
        """Beat where it is due, and take in what has arrived."""
        if time.monotonic() >= self.next_beat:
            self.next_beat += 3.0
            for made in self.beating:
                made.send(HEART_BEAT)
        self.pump.turn()

    def wait_for_the_silent(self) -> None:
        def all_closed() -> bool:
            self.tend()
            return all(made.link.closed for made in self.silent)

        self.pump.until(all_closed, "silent ones closed", SHORTEST_IDLE + 8)


@pytest.fixture(scope="module")
def idle_watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdleWatch]:
    watch = IdleWatch(tmp_path_factory.mktemp("idle"))
    yield watch
    watch.pump.close()
    status = watch.router.stop()
    assert (status, watch.router.complaints()) == (0, [])


@pytest.fixture(autouse=True)
def _router_survives(pump: Pump, router: RouterProcess, idle_watch: IdleWatch) -> Iterator[None]:
    pump.describe = router.log
    pump.still_running = lambda: router.process.poll() is None
    idle_watch.tend()
    yield
    assert router.process.poll() is None, router.log()


# --- Login -------------------------------------------------------------------------------


@SCHEMES
def test_login(pump: Pump, gateway: MakeGateway, scheme: str) -> None:
    made = gateway(scheme, "10.1.0.1", ["192.168.1.0/24"])
    assert [f.payload for f in made.frames] == [b"{}", b"{}"]
    still_served(pump, made)
    assert [v for v in made.violations if "sequence 4711" not in v] == []


@SCHEMES
@pytest.mark.parametrize(
    "body",
    [
        b'{"key":"wrong"}',
        b"{}",
        b'{"key":123456}',
        b'["123456"]',
        b'{"Key":"123456"}',
        b'{"key":""}',
    ],
)
def test_refused_key(pump: Pump, client: MakeClient, scheme: str, body: bytes) -> None:
    made = client(scheme)
    made.send(AUTH, body, 9)
    assert ended(pump, made) == "close_notify"
    (answer,) = made.frames
    assert (answer.command, answer.sequence) == (AUTH, 9)
    assert answer.payload == b'{"error":"invalid key"}'
    assert made.violations == []


@SCHEMES
@pytest.mark.parametrize(
    "body",
    [
        b' { "zzz":[1,2] , "key" : "\\u0031\\u00323456" } ',
        b'{"key":"123456"}garbage',
        b'{"key":"123456","native":7}',
    ],
)
def test_accepted_key(pump: Pump, client: MakeClient, scheme: str, body: bytes) -> None:
    made = client(scheme)
    made.send(AUTH, body, 9)
    pump.until(lambda: made.frames, "AUTH answered")
    assert made.frames[0].encode() == frame(AUTH, b"{}", 9)
    still_served(pump, made)
    assert made.violations == []


@SCHEMES
@pytest.mark.parametrize(
    "first",
    [
        frame(AUTH, b"hello"),
        frame(AUTH, b""),
        frame(REGISTER, go_json({"gateway": "10.1.9.9", "key": KEY, "network": []})),
        frame(HEART_BEAT),
        frame(C2S_IPDATA, ipv4("10.1.9.9", "10.1.9.8")),
        b"\0\7\0\0\0\0\0",
        bytes(4),
    ],
)
def test_bad_first_frame_closes_without_answer(
    pump: Pump, client: MakeClient, scheme: str, first: bytes
) -> None:
    made = client(scheme)
    made.link.write(first)
    assert ended(pump, made) == "close_notify"
    assert made.frames == []
    assert made.violations == []


@SCHEMES
def test_pipelined_in_one_write(pump: Pump, client: MakeClient, scheme: str) -> None:
    made = client(scheme)
    body = go_json({"gateway": "10.1.0.2", "network": ["192.168.2.0/24"]})
    made.link.write(
        frame(AUTH, go_json({"key": KEY}), 1) + frame(REGISTER, body, 2) + frame(HEART_BEAT, b"", 3)
    )
    pump.until(lambda: len(made.frames) == 3, "three answers")
    assert b"".join(f.encode() for f in made.frames) == (
        frame(AUTH, b"{}", 1) + frame(REGISTER, b"{}", 2) + frame(HEART_BEAT, b"", 3)
    )
    assert made.violations == []


@SCHEMES
def test_frames_cut_anywhere(pump: Pump, client: MakeClient, scheme: str) -> None:
    made = client(scheme)
    wire = frame(AUTH, go_json({"key": KEY}), 1) + b"".join(
        frame(HEART_BEAT, b"data", n) for n in range(2, 12)
    )
    random = Random(2)
    while wire:
        size = random.randint(1, 9)
        made.link.write(wire[:size])
        wire = wire[size:]
    pump.until(lambda: len(made.frames) == 11, "all answers")
    assert [f.sequence for f in made.frames] == list(range(1, 12))
    assert {f.payload for f in made.of(HEART_BEAT)} == {b""}
    assert made.violations == []


# --- Registration ------------------------------------------------------------------------


@SCHEMES
def test_register_bodies(pump: Pump, client: MakeClient, scheme: str) -> None:
    made = logged_in(pump, client(scheme))
    good = [
        {"gateway": "10.1.1.1", "key": KEY, "network": ["192.168.3.0/24"]},
        {"gateway": "10.1.1.2", "key": "other", "network": "192.168.4.0/24"},
        {"gateway": "10.1.1.3", "key": KEY, "network": None},
        {"gateway": "10.1.1.4", "network": 5},
        {"gateway": "10.1.1.5", "network": ["bogus", 7, None, "192.168.50.0/24"]},
        {"gateway": "10.1.1.6", "unknown": {"a": [1]}},
    ]
    for number, body in enumerate(good):
        made.send(REGISTER, go_json(body) + b"trailing", 10 + number)
    pump.until(lambda: len(made.of(REGISTER)) == len(good), "answers")
    assert [f.encode() for f in made.of(REGISTER)] == [
        frame(REGISTER, b"{}", 10 + number) for number in range(len(good))
    ]
    for junk in (b"not json", b""):
        made.send(REGISTER, junk, 77)
    pump.until(lambda: len(made.of(REGISTER)) == len(good) + 2, "error answers")
    for answer in made.of(REGISTER)[-2:]:
        assert answer.sequence == 77
        assert answer.payload.startswith(b'{"error":"')
    still_served(pump, made)
    # All of them route: addresses of several gateways on one connection, array and string.
    other = logged_in(pump, client(scheme))
    wanted = [f"10.1.1.{n}" for n in (1, 2, 3, 4, 5, 6)]
    wanted += ["192.168.3.7", "192.168.4.7", "192.168.50.7"]
    for destination in wanted:
        other.send(C2S_IPDATA, ipv4("10.1.1.99", destination, b"x"))
    pump.until(lambda: len(made.packets) == len(wanted), "packets")
    assert [p[16:20] for p in made.packets] == [socket.inet_aton(d) for d in wanted]
    assert (made.violations, other.violations) == ([], [])


@SCHEMES
def test_same_gateway_from_new_connection(
    pump: Pump, gateway: MakeGateway, client: MakeClient, scheme: str
) -> None:
    old = gateway(scheme, "10.1.2.1", ["192.168.20.0/24"])
    new = logged_in(pump, client(scheme))
    order: list[str] = []
    new.register("10.1.2.1", ["192.168.20.0/24"], key=KEY, sequence=5)

    def both() -> bool:
        if old.link.closed and "old closed" not in order:
            order.append("old closed")
        if new.of(REGISTER) and "new answered" not in order:
            order.append("new answered")
        return len(order) == 2

    pump.until(both, "old one closed and new one answered")
    assert order[0] == "old closed"
    assert old.link.closed == "close_notify"
    assert new.of(REGISTER)[0].encode() == frame(REGISTER, b"{}", 5)
    new.send(C2S_IPDATA, ipv4("10.1.2.1", "10.1.2.1", b"to myself"))
    pump.until(lambda: new.packets, "own packet")
    assert (old.violations, new.violations) == ([], [])


@SCHEMES
def test_silent_old_connection_is_replaced(
    pump: Pump, gateway: MakeGateway, router: RouterProcess, scheme: str
) -> None:
    """The old one's host vanished: it neither reads nor closes."""
    old = gateway(scheme, "10.1.2.2", ["192.168.21.0/24"])
    pump.peers.remove(old)
    new = gateway(scheme, "10.1.2.2", ["192.168.21.0/24"])
    other = gateway(scheme, "10.1.2.3")
    packet = icmp_echo("10.1.2.3", "192.168.21.9")
    other.send_packet(packet)
    pump.until(lambda: new.packets == [packet], "packet at the new one")
    pump.add(old)
    assert (new.violations, other.violations) == ([], [])


@SCHEMES
def test_unknown_commands_are_ignored(pump: Pump, client: MakeClient, scheme: str) -> None:
    made = logged_in(pump, client(scheme))
    for command in (AUTH, S2C_IPDATA, 5, 6, 9, 0xFFFF):
        made.send(command, b'{"key":"wrong"}', 3)
    still_served(pump, made)
    assert [f.command for f in made.frames] == [AUTH, HEART_BEAT]
    assert made.violations == []


@SCHEMES
@pytest.mark.parametrize("length", [0, 1, 7])
def test_short_frame_closes(pump: Pump, client: MakeClient, scheme: str, length: int) -> None:
    made = logged_in(pump, client(scheme))
    made.link.write(struct.pack(">HHI", length, HEART_BEAT, 0))
    assert ended(pump, made) == "close_notify"
    assert made.violations == []


# --- Forwarding --------------------------------------------------------------------------


def flow_of(packet: bytes) -> bytes:
    """Protocol and addresses."""
    return packet[9:10] + packet[12:20]


@pytest.mark.parametrize("second", ["kcp", "tls"])
@pytest.mark.parametrize("first", ["kcp", "tls"])
def test_forwarding(
    pump: Pump, gateway: MakeGateway, router: RouterProcess, first: str, second: str
) -> None:
    a = gateway(first, "10.1.3.1", ["192.168.31.0/24"])
    b = gateway(second, "10.1.3.2", ["192.168.32.0/24"])
    packets = [icmp_echo("192.168.31.9", "192.168.32.9", n, number=n) for n in range(1400, 1473)]
    packets += [ipv4("192.168.31.9", "10.1.3.2", b""), ipv4("10.1.3.1", "10.1.3.2", bytes(3))]
    for packet in packets:
        a.send_packet(packet)
    counted = Counted(pump, router, b, "10.1.3.2")
    counted.wait(len(packets))
    # Flows take turns, so only the order inside of each is kept.
    counted.check(packets, flow_of)
    back = [icmp_echo("192.168.32.9", "192.168.31.9", n, number=n) for n in range(50)]
    for packet in back:
        b.send_packet(packet)
    counted = Counted(pump, router, a, "10.1.3.1")
    counted.wait(len(back))
    counted.check(back, flow_of)
    assert (a.violations, b.violations) == ([], [])


@pytest.mark.parametrize("second", ["kcp", "tls"])
@pytest.mark.parametrize("first", ["kcp", "tls"])
def test_largest_frame(pump: Pump, gateway: MakeGateway, first: str, second: str) -> None:
    a, b = gateway(first, "10.1.3.3"), gateway(second, "10.1.3.4")
    packet = ipv4("10.1.3.3", "10.1.3.4", bytes(range(256)) * 255 + bytes(65527 - 20 - 65280))
    assert len(packet) == 65527
    a.send_packet(packet)
    pump.until(lambda: b.packets, "the packet")
    assert b.packets == [packet]
    assert (a.violations, b.violations) == ([], [])


@SCHEMES
def test_sequence_and_length_are_kept(pump: Pump, client: MakeClient, scheme: str) -> None:
    made = logged_in(pump, client(scheme))
    made.register("10.1.3.5")
    packets = [ipv4("10.1.3.5", "10.1.3.5", bytes(n)) for n in range(5)]
    made.link.write(b"".join(frame(C2S_IPDATA, p, 1000 + n) for n, p in enumerate(packets)))
    pump.until(lambda: len(made.packets) == 5, "own packets")
    assert [f.encode() for f in made.of(S2C_IPDATA)] == [
        frame(S2C_IPDATA, p, 1000 + n) for n, p in enumerate(packets)
    ]


@SCHEMES
def test_only_wellformed_ipv4_reaches_a_classic_gateway(
    pump: Pump, gateway: MakeGateway, client: MakeClient, scheme: str
) -> None:
    """What would end the Go gateway's process or its connection is held back."""
    a = gateway(scheme, "10.1.4.1", ["0.0.0.0/0"])
    rude = logged_in(pump, client(scheme))
    good = icmp_echo("10.1.4.9", "10.1.4.1")
    header = good[:20]
    junk = [
        ipv6("fd00::1", "fd00::2", bytes(40)),
        ipv6("::a01:401", "::a01:401", bytes(40)),
        b"",
        good[:15],
        good[:19],
        good[:-1],
        b"\x55" + good[1:],
        b"\x44" + good[1:],
        b"\x4f" + header[1:],
        bytes(84),
        b"\x45" + bytes(15) + socket.inet_aton("10.1.4.1") + bytes(64),
    ]
    random = Random(4)
    junk += [random.randbytes(random.randint(1, 90)) for _ in range(200)]
    for packet in junk:
        if rude.link.closed:
            # The original closes the sender of less than 20 bytes; so may we.
            rude.link.close()
            rude = logged_in(pump, client(scheme))
        rude.send(C2S_IPDATA, packet)
    if not rude.link.closed:
        still_served(pump, rude)
    last = logged_in(pump, client(scheme))
    last.send(C2S_IPDATA, good)
    pump.until(lambda: good in a.packets, "the good packet")
    assert a.died is None
    assert a.packets == [good]
    assert a.violations == []


def test_native_and_ipv6_route_towards_classic(
    pump: Pump, gateway: MakeGateway, client: MakeClient
) -> None:
    """An IPv6 network registered by somebody classic brings nobody IPv6 packets."""
    a = gateway("tls", "10.1.4.3", ["fd00:4::/64"])
    sender = client("tls")
    offer = {"key": KEY, "native": {"version": 1, "features": ["ipv6"]}}
    sender.send(AUTH, go_json(offer))
    pump.until(lambda: sender.of(AUTH), "AUTH answered")
    sender.send(C2S_IPDATA, ipv6("fd00:5::1", "fd00:4::1", bytes(30)))
    still_served(pump, sender)
    good = ipv4("10.1.4.8", "10.1.4.3")
    sender.send(C2S_IPDATA, good)
    pump.until(lambda: a.packets, "packet")
    assert a.packets == [good]
    assert a.violations == []


@SCHEMES
def test_unregistered_client_may_send(
    pump: Pump, gateway: MakeGateway, client: MakeClient, scheme: str
) -> None:
    a = gateway(scheme, "10.1.4.4")
    sender = logged_in(pump, client(scheme))
    packet = icmp_echo("1.2.3.4", "10.1.4.4")
    sender.send(C2S_IPDATA, packet)
    pump.until(lambda: a.packets == [packet], "packet")
    assert (a.violations, sender.violations) == ([], [])


@SCHEMES
def test_route_ends_with_its_owner(
    pump: Pump, gateway: MakeGateway, client: MakeClient, scheme: str
) -> None:
    a = gateway(scheme, "10.1.5.1", ["192.168.51.0/24"])
    b = gateway(scheme, "10.1.5.2", ["192.168.0.0/16"])
    c = logged_in(pump, client(scheme))
    packet = icmp_echo("1.2.3.4", "192.168.51.1")
    c.send(C2S_IPDATA, packet)
    pump.until(lambda: a.packets, "longest prefix")
    a.link.close()

    def diverted() -> list[bytes]:
        c.send(C2S_IPDATA, packet)
        return b.packets

    pump.until(diverted, "next prefix")
    assert set(b.packets) == {packet}
    assert (b.violations, c.violations) == ([], [])


@SCHEMES
def test_registration_is_answered_before_data(
    pump: Pump, client: MakeClient, gateway: MakeGateway, scheme: str
) -> None:
    """While packets for a network pour in, its gateway registers, again and again."""
    sender = logged_in(pump, client(scheme))
    packet = icmp_echo("1.2.3.4", "192.168.61.1")
    for round_number in range(10):
        made = pump.add(
            ClassicGateway(
                lambda: connect(scheme, sender_address(sender)),
                key=KEY,
                gateway=f"10.1.6.{round_number}",
                networks=["192.168.61.0/24"],
            )
        )

        def flowing(made: ClassicGateway = made) -> bool:
            for _ in range(20):
                sender.send(C2S_IPDATA, packet)
            return bool(made.packets) or made.died is not None

        pump.until(flowing, "packets")
        assert made.violations == []
        made.link.close()
    assert sender.violations == []


def sender_address(made: ClassicClient) -> tuple[str, int]:
    link = made.link
    assert link.socket is not None
    host, port = link.socket.getpeername()
    return host, port


# --- Nobody waits for anybody ------------------------------------------------------------


def test_silent_clients_do_not_block_others(
    pump: Pump, client: MakeClient, gateway: MakeGateway, router: RouterProcess
) -> None:
    """TCP without TLS, TLS without AUTH, a lone ClientHello, DTLS without AUTH."""
    with socket.create_connection(router.address) as tcp_only:
        silent_tls, silent_kcp = client("tls"), client("kcp")
        pump.until(
            lambda: silent_tls.link.established and silent_kcp.link.established, "quiet ones"
        )
        lone = KcpLink.connect(router.address)
        for scheme, own in (("tls", "10.1.8.1"), ("kcp", "10.1.8.2")):
            made = gateway(scheme, own)
            still_served(pump, made)
        lone.close()
        assert tcp_only.fileno() >= 0


@SCHEMES
def test_full_queue_does_not_block_others(
    pump: Pump, gateway: MakeGateway, client: MakeClient, scheme: str
) -> None:
    """A dead gateway's packets are dropped; its replacement and others are served at once."""
    dead = gateway(scheme, "10.1.8.3")
    if isinstance(dead.link, TlsLink):
        dead.link.reading = False
    pump.peers.remove(dead)
    sender = logged_in(pump, client("tls"))
    packet = ipv4("1.2.3.4", "10.1.8.3", bytes(1400))
    burst = frame(C2S_IPDATA, packet) * 100
    for _ in range(80):
        sender.link.write(burst)
    pump.until(lambda: not sender.link.unacknowledged, "flood taken", 10)
    still_served(pump, sender)
    heir = gateway(scheme, "10.1.8.3")
    sender.send(C2S_IPDATA, packet)
    pump.until(lambda: heir.packets, "packet at the heir")
    dead.close()
    assert (heir.violations, sender.violations) == ([], [])


@SCHEMES
def test_abrupt_ends(pump: Pump, gateway: MakeGateway, client: MakeClient, scheme: str) -> None:
    """RST, FIN without close_notify, a vanished DTLS client: the route is free again."""
    first = gateway(scheme, "10.1.8.5")
    if isinstance(first.link, TlsLink):
        first.link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    first.link.close(silently=True)
    second = gateway(scheme, "10.1.8.5")
    still_served(pump, second)


# --- Ends --------------------------------------------------------------------------------


def test_sigterm_says_goodbye(pump: Pump, tmp_path: Path) -> None:
    """close_notify to every client, in DTLS and TLS, whether registered or not."""
    own = RouterProcess(tmp_path / "own")
    pump.describe = own.log
    made: list[ClassicClient] = []
    try:
        for number, scheme in enumerate(("kcp", "tls")):
            for registers in (True, False):
                client = pump.add(ClassicClient.connect(scheme, own.address))
                made.append(logged_in(pump, client))
                if registers:
                    client.register(f"10.1.9.{number}")
                    still_served(pump, client)
        own.terminate()
        pump.until(lambda: all(c.link.closed for c in made), "all closed")
        assert [c.link.closed for c in made] == ["close_notify"] * 4
    finally:
        status = own.stop()
    assert (status, own.complaints()) == (0, [])
    assert [v for c in made for v in c.violations] == []


def test_ecdsa_certificate(pump: Pump, tmp_path: Path) -> None:
    own = RouterProcess(tmp_path / "own", kind="ecdsa")
    pump.describe = own.log
    try:
        made = [
            logged_in(pump, pump.add(ClassicClient.connect(scheme, own.address)))
            for scheme in ("kcp", "tls")
        ]
        kcp: Any = made[0].link
        assert kcp.dtls.ssl.get_cipher_name() == "ECDHE-ECDSA-AES128-GCM-SHA256"
        for each in made:
            still_served(pump, each)
            assert each.violations == []
    finally:
        own.stop()


def test_idle_connections_end(idle_watch: IdleWatch) -> None:
    """The silent clients are closed, a heartbeat keeps the others."""
    idle_watch.wait_for_the_silent()
    assert [made.link.closed for made in idle_watch.silent] == ["close_notify"] * 2
    for made in idle_watch.beating:
        still_served(idle_watch.pump, made)
