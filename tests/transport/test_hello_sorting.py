"""Which of the sockets of a UDP port gets what: real sockets on loopback, sorted by the kernel."""

from __future__ import annotations

import socket
from array import array
from collections.abc import Iterator

import pytest

from polevpn_trio.errors import HostError
from polevpn_trio.transport import hello_sorting, udp
from polevpn_trio.transport.handshake import is_client_hello_untrusted
from polevpn_trio.transport.hello_cookies import COOKIE_BYTES, HelloCookies
from polevpn_trio.transport.hello_sorting import MAIN, WITH_COOKIE, WITHOUT_COOKIE
from polevpn_trio.transport.udp import Address, UdpSocket
from tests.transport.test_hello_cookies import hello, with_cookie

HELLO = hello()
PROVEN = with_cookie(HELLO, bytes(COOKIE_BYTES))
RESUMING = HELLO[:59] + b"\x20" + bytes(32) + HELLO[60:]
CHALLENGE = HelloCookies(0.0).challenge_untrusted(HELLO, ("192.0.2.1", 1), 0.0) or b""
RECORD = b"\x17\xfe\xfd\0\1" + bytes(8) + bytes(100)

WHERE_TO = [
    ("a ClientHello", HELLO, WITHOUT_COOKIE),
    ("one that brings a cookie", PROVEN, WITH_COOKIE),
    ("one that would resume a session", RESUMING, WITHOUT_COOKIE),
    ("an answer to a ClientHello", CHALLENGE, MAIN),
    ("a record of a session", RECORD, MAIN),
    ("a handshake record of a session", b"\x16\xfe\xfd\0\1" + HELLO[5:], MAIN),
    ("another handshake message", HELLO[:13] + b"\x10" + HELLO[14:], MAIN),
    ("an alert that looks on like a ClientHello", b"\x15" + HELLO[1:], MAIN),
    ("a ClientHello that is cut short", HELLO[:59], MAIN),
    ("a ClientHello that is cut at its cookie", HELLO[:60], MAIN),
    ("a byte", b"\x16", MAIN),
    ("nothing", b"", MAIN),
]


@pytest.fixture(params=["127.0.0.1", "::"])
def listening(request: pytest.FixtureRequest) -> Iterator[UdpSocket]:
    if request.param == "::" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    sock = UdpSocket.bind(request.param, 0)
    sock.split_hellos()
    yield sock
    sock.close()


def sockets(listening: UdpSocket) -> list[UdpSocket]:
    return [listening, *listening.hello_sockets]


def caller(listening: UdpSocket) -> UdpSocket:
    return UdpSocket.connect(("127.0.0.1", listening.getsockname()[1]))


def say(sender: UdpSocket, datagram: bytes) -> None:
    sender.send_batch_nowait(datagram, array("H", [len(datagram)]), 1, ())


def heard(sock: UdpSocket) -> list[bytes]:
    return [data for data, _ in heard_from(sock)]


def heard_from(sock: UdpSocket) -> list[tuple[bytes, Address]]:
    received: list[tuple[bytes, Address]] = []
    while True:
        try:
            data, _, address = sock.receive_batch_nowait()
        except BlockingIOError:
            return received
        received.append((data, address))


def test_each_datagram_comes_to_its_socket(listening: UdpSocket) -> None:
    assert len(sockets(listening)) == 3
    peer = caller(listening)
    for what, datagram, where in WHERE_TO:
        say(peer, datagram)
        got = [heard(each) for each in sockets(listening)]
        assert got == [[datagram] if number == where else [] for number in range(3)], what
        if where != MAIN:
            assert is_client_hello_untrusted(datagram)
    peer.close()


def test_where_hellos_do_not_fit_any_more_records_still_do(listening: UdpSocket) -> None:
    stranger, peer = caller(listening), caller(listening)
    for _ in range(5000):
        say(stranger, HELLO)
    say(peer, RECORD)
    say(peer, PROVEN)
    main, without, with_one = sockets(listening)
    assert heard(main) == [RECORD]
    assert heard(with_one) == [PROVEN]
    assert 100 < len(heard(without)) < 4000
    stranger.close()
    peer.close()


def test_a_peer_with_a_socket_of_its_own_gets_all_there(listening: UdpSocket) -> None:
    peer, other = caller(listening), caller(listening)
    say(peer, RECORD)
    ((_, address),) = heard_from(listening)
    own = listening.split_off(address)
    assert own is not None
    say(peer, RECORD)
    say(peer, HELLO)
    say(other, HELLO)
    say(other, RECORD)
    assert heard(own) == [RECORD, HELLO]
    assert [heard(each) for each in sockets(listening)] == [[RECORD], [HELLO], []]
    for each in (own, peer, other):
        each.close()


def test_nobody_else_can_take_the_port(listening: UdpSocket) -> None:
    peer = caller(listening)
    say(peer, RECORD)
    own = listening.split_off(heard_from(listening)[0][1])
    assert own is not None
    host, port = listening.getsockname()[:2]
    with pytest.raises(HostError, match="in use"):
        UdpSocket.bind(host, port)
    with socket.socket(listening.family, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(listening.getsockname())
    own.close()
    peer.close()
    listening.close()
    # And it is free when all of them are closed.
    UdpSocket.bind(host, port).close()


def test_without_such_a_kernel_all_come_to_one_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: socket.socket) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(udp, "sort_hellos", refuse)
    sock = UdpSocket.bind("127.0.0.1", 0)
    sock.split_hellos()
    assert sock.hello_sockets == ()
    peers = [caller(sock) for _ in range(8)]
    for peer in peers:
        say(peer, HELLO)
        peer.close()
    assert heard(sock) == [HELLO] * 8
    sock.close()


def test_what_may_wait_is_what_is_written_down(listening: UdpSocket) -> None:
    main, *hellos = listening._socket, *(each._socket for each in listening.hello_sockets)
    sizes = [sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for sock in (main, *hellos)]
    assert sizes[1:] == [sizes[1]] * hello_sorting.HELLO_SOCKETS
    assert sizes[1] <= 2 * hello_sorting.HELLO_BUFFER_BYTES
    assert sizes[1] <= sizes[0]
