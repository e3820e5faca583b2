"""Our router's KCP and DTLS as the Go gateways see them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from random import Random

import pytest

from tests.interop.classic_dtls import ALERT, APPLICATION_DATA, record
from tests.interop.classic_frames import (
    AUTH,
    HEART_BEAT,
    frame,
    go_json,
    ipv4,
)
from tests.interop.classic_gateway import ClassicClient
from tests.interop.classic_kcp import PUSH, ClassicKcp, Segment
from tests.interop.classic_links import KcpLink, Pump
from tests.interop.our_router import Counted, MakeGateway, ended, logged_in, still_served
from tests.interop.product import KEY, RouterProcess


@pytest.fixture(autouse=True)
def _router_survives(pump: Pump, router: RouterProcess) -> Iterator[None]:
    pump.describe = router.log
    pump.still_running = lambda: router.process.poll() is None
    yield
    assert router.process.poll() is None, router.log()


def test_lossy_path(pump: Pump, gateway: MakeGateway, router: RouterProcess) -> None:
    a, b = gateway("kcp", "10.1.7.1"), gateway("kcp", "10.1.7.2")
    random = Random(7)
    for made in (a, b):
        assert isinstance(made.link, KcpLink)
        made.link.lose_incoming = lambda _: random.random() < 0.1
        made.link.lose_outgoing = lambda _: random.random() < 0.1
    packets = [ipv4("10.1.7.1", "10.1.7.2", n.to_bytes(2, "big") * 600) for n in range(300)]
    for packet in packets:
        a.send_packet(packet)
    counted = Counted(pump, router, b, "10.1.7.2")
    counted.wait(len(packets), 20)
    counted.check(packets)
    assert (a.violations, b.violations) == ([], [])


def test_bulk_stays_in_window_and_record_size(
    pump: Pump, gateway: MakeGateway, router: RouterProcess
) -> None:
    a, b = gateway("kcp", "10.1.7.3"), gateway("tls", "10.1.7.4")
    packets = [ipv4("10.1.7.4", "10.1.7.3", n.to_bytes(2, "big") * 700) for n in range(1500)]
    counted = Counted(pump, router, a, "10.1.7.3")
    # No more at a time than may wait at the router without being dropped.
    for start in range(0, len(packets), 100):
        for packet in packets[start : start + 100]:
            b.send_packet(packet)
        counted.wait(start + 100, 15)
    counted.check(packets)
    link = a.link
    assert isinstance(link, KcpLink)
    assert 0 < link.dtls.largest_record <= 1500
    assert len(link.dtls.nonces) == len(link.dtls.sequences) > 1500
    assert (a.violations, b.violations) == ([], [])


def test_closed_window_holds_the_router(
    pump: Pump, gateway: MakeGateway, router: RouterProcess
) -> None:
    """The gateway stops reading: nothing beyond its window; a WINS starts the rest."""
    a, b = gateway("kcp", "10.1.7.5"), gateway("tls", "10.1.7.6")
    link = a.link
    assert isinstance(link, KcpLink)
    link.kcp.window = 8
    still_served(pump, a)
    link.kcp.reading = False
    packets = [ipv4("10.1.7.6", "10.1.7.5", bytes([n]) * 1200) for n in range(60)]
    for packet in packets:
        b.send_packet(packet)
    pump.until(lambda: link.kcp.unused_window() == 0, "window full")
    still_served(pump, b)
    link.kcp.reading = True
    counted = Counted(pump, router, a, "10.1.7.5")
    counted.wait(len(packets))
    counted.check(packets)
    assert [v for v in a.violations if "4711" not in v] == []


def raw_client(pump: Pump, router: RouterProcess) -> tuple[KcpLink, ClassicKcp]:
    link = KcpLink.connect(router.address)
    made = pump.add(ClassicClient(link))
    pump.until(lambda: link.established, "handshake")
    made.auth(KEY)
    pump.until(lambda: made.of(AUTH), "AUTH answered")
    return link, link.kcp


def test_fragments_duplicates_and_junk_segments(pump: Pump, router: RouterProcess) -> None:
    """What the Go router takes or ignores, ours takes or ignores too."""
    link = KcpLink.connect(router.address)
    made = pump.add(ClassicClient(link))
    pump.until(lambda: link.established, "handshake")
    auth = frame(AUTH, go_json({"key": KEY}), 9)
    for sn in range(8):
        link.kcp.sent_timestamps[sn] = {100 + sn}
    link.kcp.send_next = 8

    def push(sn: int, payload: bytes, frg: int = 0, conversation: int = 0) -> bytes:
        return Segment(
            PUSH, sn, payload, frg, 2048, 100 + sn, link.kcp.receive_next, conversation
        ).encode()

    link.dtls.send(push(1, auth[10:]) + push(0, auth[:10], 1))
    link.dtls.send(push(1, auth[10:]))
    link.flush_dtls()
    pump.until(lambda: made.of(AUTH), "fragments joined")
    beat = frame(HEART_BEAT, b"", 1)
    good = push(2, beat)
    for junk in (
        push(2, beat, conversation=7),
        good[:4] + bytes([85]) + good[5:],
        good[:20] + struct.pack("<I", 5000) + good[24:],
        good[:23],
        b"",
        bytes(24),
    ):
        if junk:
            link.dtls.send(junk)
    link.dtls.send(push(3, frame(HEART_BEAT, b"", 2)) + b"trailing")
    link.dtls.send(good)
    link.flush_dtls()
    pump.until(lambda: len(made.of(HEART_BEAT)) == 2, "heartbeats")
    assert [f.sequence for f in made.of(HEART_BEAT)] == [1, 2]
    assert made.violations == []


def test_strangers_records_do_not_end_a_session(pump: Pump, router: RouterProcess) -> None:
    """Plaintext records from the peer's own address, as anybody could forge them."""
    link, _ = raw_client(pump, router)
    made = pump.peers[-1]
    assert isinstance(made, ClassicClient)
    forged = [
        record(ALERT, b"\x01\x00"),
        record(ALERT, b"\x02\x28", sequence=99),
        record(APPLICATION_DATA, b"data"),
        record(24, b"?"),
        record(99, b"unknown"),
        record(ALERT, bytes(26), epoch=1, sequence=1 << 40),
        record(APPLICATION_DATA, bytes(60), epoch=1, sequence=1 << 40),
        record(ALERT, b"\x01\x00", epoch=2),
        record(20, b"\x01"),
        b"\x16",
        b"junk",
        b"\x17\xfe\xfd" + bytes(8) + b"\xff\xff",
        b"",
    ]
    for datagram in forged:
        link.transmit(datagram)
    still_served(pump, made)
    assert made.violations == []


def test_datagrams_of_strangers_have_no_effect(pump: Pump, router: RouterProcess) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.setblocking(False)
        for datagram in (
            record(ALERT, b"\x01\x00"),
            record(APPLICATION_DATA, bytes(40), epoch=1),
            b"junk",
            b"",
            record(22, b"\x02" + bytes(40)),
            b"\x16\xfe\xfd" + bytes(8) + b"\xff\xff",
        ):
            stranger.sendto(datagram, router.address)
        link, _ = raw_client(pump, router)
        with pytest.raises(BlockingIOError):
            stranger.recv(100)
    assert link.violations == []


def test_encrypted_alert_ends_the_session(pump: Pump, router: RouterProcess) -> None:
    link, _ = raw_client(pump, router)
    made = pump.peers[-1]
    assert isinstance(made, ClassicClient)
    link.dtls.ssl.shutdown()
    link.dtls.collect()
    link.flush_dtls()
    assert ended(pump, made) == "close_notify"


@pytest.mark.parametrize(
    "suite",
    [
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256",
    ],
)
def test_suites_of_the_originals(pump: Pump, router: RouterProcess, suite: str) -> None:
    link = KcpLink.connect(router.address, suites=suite)
    made = logged_in(pump, pump.add(ClassicClient(link)))
    assert link.dtls.ssl.get_cipher_name() == suite.split(":")[0]
    still_served(pump, made)
    assert made.violations == []
