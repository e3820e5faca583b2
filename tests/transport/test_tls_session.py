"""The hand-over from OpenSSL to our TLS records, and what a peer may say afterwards."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from polevpn_trio.transport import tls_session
from polevpn_trio.transport.tls import TlsStream, client_context, server_context
from polevpn_trio.transport.tls_records import (
    ALERT,
    APPLICATION_DATA,
    HANDSHAKE,
    TlsSealer,
    sealed_size,
)
from polevpn_trio.transport.tls_session import (
    MOST_KEY_UPDATES,
    OpenSslRecords,
    OwnRecords,
    TlsHandshake,
    TlsSession,
    count_sealed,
    expand_label,
)

SUITE = "TLS_AES_128_GCM_SHA256"
OURS, THEIRS = bytes(range(32)), bytes(range(32, 64))
CLOSE = b"\x01\x00"


class Peer:
    """The other end, which seals whatever it likes under the right keys."""

    def __init__(self, secret: bytes = THEIRS) -> None:
        self.secret = secret
        self._sealer = self._new_sealer()

    def _new_sealer(self) -> TlsSealer:
        return TlsSealer(
            expand_label(self.secret, "key", 16, "sha256"),
            expand_label(self.secret, "iv", 12, "sha256"),
        )

    def say(self, kind: int, content: bytes) -> bytes:
        target = bytearray(sealed_size(len(content)))
        return bytes(target[: self._sealer.seal_into(kind, content, target)])

    def update_key(self, wanted: int = 0) -> bytes:
        told = self.say(HANDSHAKE, bytes((24, 0, 0, 1, wanted)))
        self.secret = expand_label(self.secret, "traffic upd", 32, "sha256")
        self._sealer = self._new_sealer()
        return told


def our_end(*, client: bool = False) -> OwnRecords:
    return (
        OwnRecords.of_client(SUITE, OURS, THEIRS) if client else OwnRecords(SUITE, OURS, THEIRS, 0)
    )


def their_end() -> OwnRecords:
    return OwnRecords(SUITE, THEIRS, OURS, 0)


def hear(session: TlsSession, received: bytes) -> bytes:
    target = bytearray(len(received) + 17_000)
    return bytes(target[: session.open_untrusted(bytearray(received), len(received), target)])


def shake_hands(
    client: TlsHandshake | SSL.Connection, server: TlsHandshake | SSL.Connection
) -> tuple[bytes, bytes]:
    """Finish a handshake in memory; return what neither has read, of the client and the server."""
    ends = (client, server)
    waiting = [b"", b""]
    for _ in range(20):
        for index, end in enumerate(ends):
            other = 1 - index
            if isinstance(end, TlsHandshake):
                waiting[index] += end.advance()
                while waiting[other] and not end.done:
                    size = end.wanted
                    end.feed_untrusted(waiting[other][:size])
                    waiting[other] = waiting[other][size:]
                    waiting[index] += end.advance()
                continue
            if waiting[other]:
                end.bio_write(waiting[other])
                waiting[other] = b""
            with contextlib.suppress(SSL.WantReadError):
                end.do_handshake()
            waiting[index] += taken_out(end)
    return waiting[0], waiting[1]


def taken_out(connection: SSL.Connection) -> bytes:
    try:
        return connection.bio_read(1 << 20)
    except SSL.WantReadError:
        return b""


def openssl_end(context: SSL.Context, *, client: bool) -> SSL.Connection:
    connection = SSL.Connection(context, None)
    if client:
        connection.set_connect_state()
    else:
        connection.set_accept_state()
    return connection


def read(connection: SSL.Connection, received: bytes) -> bytes:
    connection.bio_write(received)
    data = b""
    try:
        while True:
            data += connection.recv(100_000)
    except SSL.WantReadError:
        return data


def test_secrets_become_keys_as_in_rfc_8448() -> None:
    secret = bytes.fromhex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5")
    assert expand_label(secret, "key", 16, "sha256").hex() == "17422dda596ed5d9acd890e3c63f5051"
    assert expand_label(secret, "iv", 12, "sha256").hex() == "5b78923dee08579033e523d9"


@pytest.fixture(params=["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"])
def suite(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    monkeypatch.setattr("polevpn_trio.transport.tls._TLS_1_3_SUITES", name.encode("ascii"))
    return name


def test_our_server_goes_on_where_openssl_stopped(certificates: Any, suite: str) -> None:
    """Behind the tickets that it has sent: another number, and the client would refuse it."""
    pair = certificates.ecdsa
    ours = TlsHandshake(server_context(pair.cert_file, pair.key_file))
    theirs = openssl_end(client_context(), client=True)
    unread, _ = shake_hands(theirs, ours)
    session = ours.take_over()
    assert isinstance(session, OwnRecords)
    assert session._sealer.sequence == 2
    assert read(theirs, bytes(session.seal(b"x" * 50_000))) == b"x" * 50_000
    theirs.sendall(b"y" * 20_000)
    theirs.send(b"z")
    assert hear(session, unread + taken_out(theirs)) == b"y" * 20_000 + b"z"
    theirs.shutdown()
    assert hear(session, taken_out(theirs)) == b""
    assert session.ended
    theirs.bio_write(session.last_words())
    with pytest.raises(SSL.ZeroReturnError):
        theirs.recv(1)


def test_our_client_goes_on_where_openssl_stopped(certificates: Any, suite: str) -> None:
    pair = certificates.rsa
    ours = TlsHandshake(client_context(), "localhost")
    theirs = openssl_end(server_context(pair.cert_file, pair.key_file), client=False)
    _, tickets = shake_hands(ours, theirs)
    session = ours.take_over()
    assert isinstance(session, OwnRecords)
    assert tickets
    assert hear(session, tickets) == b""
    assert not session.failure
    theirs.send(b"from the server")
    assert hear(session, taken_out(theirs)) == b"from the server"
    assert read(theirs, bytes(session.seal(b"from us"))) == b"from us"


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("asks", [False, True])
def test_who_comes_back_shakes_hands_anew(asks: bool, version: int, certificates: Any) -> None:
    pair = certificates.ecdsa
    context = server_context(pair.cert_file, pair.key_file, ask_certificate=asks)
    context.set_max_proto_version(version)
    of_browser = SSL.Context(SSL.TLS_CLIENT_METHOD)
    remembered = None
    for _ in range(2):
        browser = openssl_end(of_browser, client=True)
        if remembered is not None:
            browser.set_session(remembered)
        server = TlsHandshake(context)
        shake_hands(browser, server)
        assert server.done
        session = server.take_over()
        assert read(browser, bytes(session.seal(b"page"))) == b"page"
        remembered = browser.get_session()
        # Else OpenSSL would not come back with it.
        browser.shutdown()
        if version == SSL.TLS1_3_VERSION:
            # As many tickets as for somebody new.
            assert isinstance(session, OwnRecords)
            assert session._sealer.sequence == 3


def test_both_know_the_same_of_the_session(certificates: Any) -> None:
    pair = certificates.ecdsa
    client = TlsHandshake(client_context(), "localhost")
    server = TlsHandshake(server_context(pair.cert_file, pair.key_file))
    _, tickets = shake_hands(client, server)
    assert client.identity() == server.identity()
    assert client.peer_chain()
    assert server.peer_chain() == ()
    one, other = client.take_over(), server.take_over()
    assert hear(one, tickets + other.seal(b"there")) == b"there"
    assert hear(other, bytes(one.seal(b"back"))) == b"back"


@pytest.mark.parametrize("reason", ["TLS 1.2", "another suite", "no secrets", "odd tickets"])
def test_openssl_keeps_the_sessions_that_are_not_ours(
    reason: str, certificates: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = certificates.ecdsa
    context = server_context(pair.cert_file, pair.key_file)
    if reason == "TLS 1.2":
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
    elif reason == "another suite":
        context.set_tls13_ciphersuites(b"TLS_CHACHA20_POLY1305_SHA256")
    elif reason == "no secrets":
        context.set_keylog_callback(lambda *_: None)
    else:
        monkeypatch.setattr(tls_session, "count_sealed", lambda *_: None)
    ours = TlsHandshake(context)
    theirs = openssl_end(client_context(), client=True)
    unread, _ = shake_hands(theirs, ours)
    session = ours.take_over()
    assert isinstance(session, OpenSslRecords)
    assert read(theirs, bytes(session.seal(b"x" * 50_000))) == b"x" * 50_000
    theirs.sendall(b"y" * 20_000)
    assert hear(session, unread + taken_out(theirs)) == b"y" * 20_000
    theirs.shutdown()
    assert hear(session, taken_out(theirs)) == b""
    assert session.ended
    assert session.last_words()


def test_openssl_says_why_it_refuses_a_record(certificates: Any) -> None:
    pair = certificates.ecdsa
    context = server_context(pair.cert_file, pair.key_file)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    ours = TlsHandshake(context)
    shake_hands(openssl_end(client_context(), client=True), ours)
    session = ours.take_over()
    assert hear(session, b"\x17\3\3\0\x30" + bytes(0x30)) == b""
    assert "record mac" in session.failure
    assert session.last_words()


def test_only_records_that_open_as_the_first_ones_are_counted() -> None:
    peer = Peer()
    made = [peer.say(HANDSHAKE, b"ticket"), peer.say(HANDSHAKE, b"another")]
    assert count_sealed(SUITE, THEIRS, b"".join(made)) == 2
    assert count_sealed(SUITE, THEIRS, b"") == 0
    for odd in (made[1], made[0] + made[0], made[0][:-1], b"\x14\3\3\0\1\1" + made[0]):
        assert count_sealed(SUITE, THEIRS, odd) is None


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-client\r\n",
        b"\x16\x03\x01\xff\xff" + bytes(99),
        # What is in this one looks like the header of one that has more.
        b"\x02\x03\x01\x00\x20" + 7 * b"\x16\x03\x03\x10\x00",
    ],
)
def test_a_stranger_that_speaks_something_else_gets_openssls_answer(
    said: bytes, certificates: Any
) -> None:
    pair = certificates.ecdsa
    handshake = TlsHandshake(server_context(pair.cert_file, pair.key_file))
    theirs = openssl_end(server_context(pair.cert_file, pair.key_file), client=False)
    theirs.bio_write(said)
    with pytest.raises(SSL.Error) as expected:
        theirs.do_handshake()

    def say_all() -> None:
        rest = said
        while rest:
            size = handshake.wanted
            handshake.feed_untrusted(rest[:size])
            rest = rest[size:]
            handshake.advance()

    with pytest.raises(SSL.Error) as caught:
        say_all()
    assert caught.value.args == expected.value.args
    assert handshake.outgoing() == taken_out(theirs)


def test_a_handshake_reads_nothing_of_the_next_record(certificates: Any) -> None:
    pair = certificates.ecdsa
    handshake = TlsHandshake(server_context(pair.cert_file, pair.key_file))
    client = TlsHandshake(client_context(), "localhost")
    hello = client.advance()
    assert handshake.wanted == 5
    handshake.feed_untrusted(hello[:3])
    assert handshake.wanted == 2
    handshake.feed_untrusted(hello[3:5])
    assert handshake.wanted == len(hello) - 5
    assert handshake.advance() == b""
    handshake.feed_untrusted(hello[5:])
    assert handshake.wanted == 5
    assert handshake.advance()


@pytest.mark.parametrize("wanted", [[0], [1], [1, 0]])
def test_a_peer_may_take_another_key(wanted: list[int]) -> None:
    session, peer, far = our_end(), Peer(), their_end()
    before = session._our_secret
    received = peer.say(APPLICATION_DATA, b"old") + b"".join(map(peer.update_key, wanted))
    received += peer.say(APPLICATION_DATA, b"new")
    assert hear(session, received) == b"oldnew"
    for text in (b"one", b"two"):
        assert hear(far, bytes(session.seal(text))) == text
    # Who is asked for it takes another key as well, and says so before it does.
    assert (session._our_secret != before) == (1 in wanted)
    assert session._our_secret == far._their_secret


def test_no_more_key_updates_than_that_without_data() -> None:
    session, peer = our_end(), Peer()
    for _ in range(2):
        received = b"".join(peer.update_key() for _ in range(MOST_KEY_UPDATES))
        received += peer.say(APPLICATION_DATA, b"data")
        assert hear(session, received) == b"data"
        assert not session.failure
    hear(session, b"".join(peer.update_key() for _ in range(MOST_KEY_UPDATES)))
    assert not session.failure
    hear(session, peer.update_key())
    assert "key update" in session.failure


def test_no_more_key_updates_than_that_in_one_go() -> None:
    session, peer = our_end(), Peer()
    pieces = [data(peer, b"x") + peer.update_key() for _ in range(MOST_KEY_UPDATES + 1)]
    assert hear(session, b"".join(pieces)) == b"x" * len(pieces)
    assert "key update" in session.failure


class ChaChaPeer(Peer):
    """The client of a session that stays OpenSSL's."""

    def __init__(self, certificates: Any) -> None:
        pair = certificates.ecdsa
        context = server_context(pair.cert_file, pair.key_file)
        context.set_tls13_ciphersuites(b"TLS_CHACHA20_POLY1305_SHA256")
        server, client = TlsHandshake(context), openssl_end(client_context(), client=True)
        secrets: dict[bytes, bytes] = {}
        client.set_app_data(secrets)
        shake_hands(client, server)
        self.session = server.take_over()
        super().__init__(secrets[b"CLIENT_TRAFFIC_SECRET_0"])

    def _new_sealer(self) -> Any:
        self._sequence = 0

    def say(self, kind: int, content: bytes) -> bytes:
        header = b"\x17\3\3" + (len(content) + 17).to_bytes(2, "big")
        iv = int.from_bytes(expand_label(self.secret, "iv", 12, "sha256"), "big")
        nonce = (iv ^ self._sequence).to_bytes(12, "big")
        self._sequence += 1
        cipher = ChaCha20Poly1305(expand_label(self.secret, "key", 32, "sha256"))
        return header + cipher.encrypt(nonce, content + bytes((kind,)), header)


def test_openssl_makes_no_answers_without_end_for_who_does_not_read_them(certificates: Any) -> None:
    peer = ChaChaPeer(certificates)
    session = peer.session
    for _ in range(100):
        assert hear(session, data(peer, b"x") + peer.update_key(1)) == b"x"
    assert not session.failure
    hear(session, b"".join(data(peer, b"x") + peer.update_key(1) for _ in range(100)))
    assert "too much to answer" in session.failure
    assert session.last_words() == b""


def test_openssl_does_not_work_without_end_for_who_sends_no_data(certificates: Any) -> None:
    peer = ChaChaPeer(certificates)
    session = peer.session

    def update_keys() -> bytes:
        return b"".join(peer.update_key() for _ in range(600))

    for _ in range(2):
        hear(session, update_keys())
        hear(session, update_keys())
        assert not session.failure
        assert hear(session, data(peer, b"x")) == b"x"
    for _ in range(5):
        hear(session, update_keys())
    assert session.failure.startswith("TLS: no data in ")


def test_tickets_are_skipped_wherever_they_are_cut() -> None:
    ticket = bytes((4, 0, 0, 200)) + bytes(200)
    for cut in range(1, len(ticket)):
        session, peer = our_end(client=True), Peer()
        received = data(peer, b"data") + message(peer, ticket[:cut].hex())
        received += message(peer, ticket[cut:].hex()) + message(peer, 2 * ticket.hex())
        assert hear(session, received + data(peer, b" and more")) == b"data and more"
        assert not session.failure


@pytest.mark.parametrize(
    ("client", "said"),
    [
        (False, [(HANDSHAKE, bytes((4, 0, 0, 1, 0)))]),
        (True, [(HANDSHAKE, bytes((4, 0, 0, 0, 0)))]),
        (True, [(HANDSHAKE, bytes((1, 0, 0, 1, 0)))]),
        (True, [(HANDSHAKE, b"")]),
        (True, [(HANDSHAKE, bytes((24, 0, 0, 1, 2)))]),
        (True, [(HANDSHAKE, bytes((24, 0, 0, 2, 0, 0)))]),
        (True, [(HANDSHAKE, bytes((24, 0, 0, 1, 0, 4)))]),
        (True, [(HANDSHAKE, bytes((4, 0, 0, 9))), (APPLICATION_DATA, b"data")]),
        (True, [(HANDSHAKE, bytes((4, 0))), (ALERT, CLOSE)]),
        (True, [(ALERT, b"\x02")]),
        (True, [(ALERT, b"")]),
        (True, [(20, b"\x01")]),
        (True, [(99, b"what")]),
    ],
    ids=str,
)
def test_what_a_peer_may_not_say_ends_the_session_with_an_alert(
    client: bool, said: list[tuple[int, bytes]]
) -> None:
    session, peer, far = our_end(client=client), Peer(), their_end()
    received = peer.say(APPLICATION_DATA, b"before")
    received += b"".join(peer.say(kind, content) for kind, content in said)
    received += peer.say(APPLICATION_DATA, b"after")
    assert hear(session, received) == b"before"
    assert session.failure
    assert not session.ended
    assert hear(session, peer.say(APPLICATION_DATA, b"later")) == b""
    assert hear(far, session.last_words()) == b""
    assert far.failure.startswith("TLS: the peer says ")


def data(peer: Peer, text: bytes = b"") -> bytes:
    return peer.say(APPLICATION_DATA, text)


def cancel(peer: Peer) -> bytes:
    return peer.say(ALERT, b"\x01\x5a")


def message(peer: Peer, text: str) -> bytes:
    return peer.say(HANDSHAKE, bytes.fromhex(text))


OF_STRANGERS: dict[str, Callable[[Peer], bytes]] = {
    "another version": lambda peer: b"\x17\3\1\0\x40",
    "another version, too long": lambda peer: b"\x17\3\4\xff\xff",
    "another version, another type": lambda peer: b"\x16\3\1\0\5",
    "too long": lambda peer: b"\x17\3\3\x41\1",
    "as long as may be": lambda peer: b"\x17\3\3\x41\0" + bytes(0x4100),
    "too short, its header": lambda peer: b"\x17\3\3\0\1",
    "too short": lambda peer: b"\x17\3\3\0\1x",
    "garbage": lambda peer: data(peer, b"data") + b"\x17\3\3\0\x20" + bytes(32),
    "a plain alert": lambda peer: b"\x15\3\3\0\2\1\0",
    "change_cipher_spec": lambda peer: b"\x14\3\3\0\1\1",
    "HTTP": lambda peer: b"GET / HTTP/1.1\r\n\r\n",
    "an unknown type": lambda peer: peer.say(99, b"what"),
    "32 empty records": lambda peer: b"".join(data(peer) for _ in range(32)) + data(peer, b"x"),
    "33 empty records": lambda peer: b"".join(data(peer) for _ in range(33)) + data(peer, b"x"),
    "40 empty records, but not in a row": lambda peer: b"".join(
        [data(peer) for _ in range(20)] + [cancel(peer)] + [data(peer) for _ in range(20)]
    ),
    "4 cancellations": lambda peer: b"".join(cancel(peer) for _ in range(4)) + data(peer, b"x"),
    "5 cancellations": lambda peer: b"".join(cancel(peer) for _ in range(5)) + data(peer, b"x"),
    "5 with an empty record": lambda peer: (
        cancel(peer) + cancel(peer) + data(peer) + cancel(peer) + cancel(peer) + cancel(peer)
    ),
    "4 and 4 cancellations": lambda peer: b"".join(
        [cancel(peer) for _ in range(4)] + [data(peer, b"x")] + [cancel(peer) for _ in range(4)]
    ),
    "4 and 4 cancellations around a key update": lambda peer: b"".join(
        [cancel(peer) for _ in range(4)] + [peer.update_key()] + [cancel(peer) for _ in range(4)]
    ),
    "an alert of no bytes": lambda peer: peer.say(ALERT, b""),
    "an alert of one byte": lambda peer: peer.say(ALERT, b"\1"),
    "two alerts in a record": lambda peer: peer.say(ALERT, b"\1\0\1\0"),
    "a key update of another kind": lambda peer: message(peer, "1800000102"),
    "an empty key update": lambda peer: message(peer, "18000000"),
    "an empty key update in a record": lambda peer: message(peer, "1800000000"),
    "a long key update": lambda peer: message(peer, "18000002"),
    "a key update in a record": lambda peer: message(peer, "180000010018"),
    "a key update in pieces": lambda peer: (
        message(peer, "1800") + message(peer, "0001") + message(peer, "00")
    ),
    "an empty record in a message": lambda peer: message(peer, "1800") + data(peer),
    "data in a message": lambda peer: message(peer, "1800") + data(peer, b"x"),
    "an empty record in a message, and nonsense": lambda peer: (
        message(peer, "1800") + data(peer) + b"\x17\3\1\0\x40"
    ),
    "garbage in a message": lambda peer: message(peer, "1800") + b"\x17\3\3\0\x20" + bytes(32),
    "an alert in a message": lambda peer: message(peer, "1800") + cancel(peer),
    "an alert behind the header of a message": lambda peer: (
        message(peer, "18000001") + cancel(peer) + message(peer, "00") + data(peer, b"x")
    ),
    "the end behind the header of a message": lambda peer: (
        message(peer, "18000001") + peer.say(ALERT, CLOSE) + data(peer, b"x")
    ),
    "the header of a ClientHello": lambda peer: message(peer, "01000100"),
    "the end of early data": lambda peer: message(peer, "05000000"),
    "the header of a ticket": lambda peer: message(peer, "04000010"),
    "a part of a header": lambda peer: message(peer, "010001"),
    "an alert of another level": lambda peer: peer.say(ALERT, b"\7\x28"),
    "data behind the end": lambda peer: peer.say(ALERT, CLOSE) + data(peer, b"x"),
}


@pytest.mark.parametrize("said", OF_STRANGERS.values(), ids=OF_STRANGERS.keys())
def test_a_stranger_hears_what_openssl_would_say(
    said: Callable[[Peer], bytes], certificates: Any
) -> None:
    compare_with_openssl([said], certificates)


PIECES: list[Callable[[Peer], bytes]] = [
    data,
    lambda peer: data(peer, b"x"),
    cancel,
    Peer.update_key,
    *(partial(message, text=text) for text in ("18", "0000", "01", "00", "1800000000", "01000100")),
    *(partial(Peer.say, kind=ALERT, content=bytes((1, code))) for code in (0, 40)),
    *(partial(Peer.say, kind=kind, content=b"\1") for kind in (0, 20, ALERT, 99)),
    *(
        partial(lambda _, head: head + bytes(head[4]), head=head)
        for head in (b"\x17\3\3\0\x20", b"\x17\3\1\0\5", b"\x16\3\3\0\1", b"\x17\3\3\x50\0")
    ),
]


@given(said=st.lists(st.sampled_from(PIECES), min_size=1, max_size=8))
def test_whatever_a_stranger_says_it_hears_what_openssl_would_say(
    said: list[Callable[[Peer], bytes]], certificates: Any
) -> None:
    compare_with_openssl(said, certificates)


def compare_with_openssl(said: list[Callable[[Peer], bytes]], certificates: Any) -> None:
    pair = certificates.ecdsa
    theirs = openssl_end(server_context(pair.cert_file, pair.key_file), client=False)
    secrets: dict[bytes, bytes] = {}
    theirs.set_app_data(secrets)
    shake_hands(openssl_end(client_context(), client=True), theirs)
    of_client, of_server = (secrets[b"%s_TRAFFIC_SECRET_0" % end] for end in (b"CLIENT", b"SERVER"))
    ours, peer = OwnRecords(SUITE, of_server, of_client, 2), Peer(of_client)
    received = b"".join(piece(peer) for piece in said)
    expected = b""
    theirs.bio_write(received)
    with contextlib.suppress(SSL.Error):
        while True:
            expected += theirs.recv(100_000)
    assert hear(ours, received) == expected
    # Under the same keys and numbers, the records of both are the same.
    assert (ours.last_words() if ours.failure else b"") == taken_out(theirs)
    if theirs.get_shutdown() & SSL.RECEIVED_SHUTDOWN:
        assert ours.ended or ours.failure.startswith("TLS: the peer says ")


def test_the_end_is_the_end() -> None:
    session, peer = our_end(), Peer()
    received = peer.say(APPLICATION_DATA, b"last") + peer.say(ALERT, b"\x01\x5a")
    received += peer.say(ALERT, CLOSE) + peer.say(APPLICATION_DATA, b"too late")
    assert hear(session, received) == b"last"
    assert (session.ended, session.failure) == (True, "")
    assert hear(session, peer.say(APPLICATION_DATA, b"far too late")) == b""


def test_an_alert_is_told_by_its_name_and_not_answered() -> None:
    session, peer = our_end(), Peer()
    assert hear(session, peer.say(ALERT, b"\x02\x74")) == b""
    assert session.failure == "TLS: the peer says certificate required"
    assert session.last_words() == b""
    hear(other := our_end(), Peer().say(ALERT, b"\x02\xee"))
    assert other.failure == "TLS: the peer says alert 238"


@given(
    said=st.lists(
        st.tuples(
            st.sampled_from([20, ALERT, HANDSHAKE, APPLICATION_DATA, APPLICATION_DATA, 99]),
            st.one_of(
                st.binary(max_size=40),
                st.just(bytes((24, 0, 0, 1, 1))),
                st.just(bytes((4, 0, 0, 2, 0, 0))),
                st.just(CLOSE),
            ),
        ),
        max_size=12,
    )
)
def test_whatever_an_authenticated_peer_says_does_not_raise(said: list[tuple[int, bytes]]) -> None:
    session, peer = our_end(client=True), Peer()
    received = b"".join(peer.say(kind, content) for kind, content in said)
    data = b"".join(content for kind, content in said if kind == APPLICATION_DATA)
    opened = hear(session, received)
    assert data.startswith(opened)
    if not (session.failure or session.ended):
        assert opened == data


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not here")
@pytest.mark.parametrize("key", [b"K", b"k"], ids=["both", "its own"])
def test_the_openssl_command_may_take_another_key(key: bytes, certificates: Any) -> None:
    """Its line K asks for ours, too; what is sent before and after it arrives, both ways."""
    pair = certificates.ecdsa

    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        port = listener.getsockname()[1]
        process = await trio.lowlevel.open_process(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            await trio.lowlevel.wait_readable(listener)
            plain, _ = listener.accept()
            context = server_context(pair.cert_file, pair.key_file)
            stream = await TlsStream.handshake(plain, context)
            assert process.stdin is not None
            assert process.stdout is not None
            for text, commands in ((b"before\n", b""), (b"after\n", key + b"\n")):
                if commands:
                    await process.stdin.send_all(commands)
                    await trio.sleep(0.2)
                await process.stdin.send_all(text)
                received = b""
                while not received.endswith(text):
                    data = await stream.receive_some()
                    assert data
                    received += data
                assert received == text
                answer = b"answer to " + text
                await stream.send_all(answer)
                printed = b""
                while answer not in printed:
                    printed += await process.stdout.receive_some()
            secrets = stream._session
            assert isinstance(secrets, OwnRecords)
            assert secrets._opener.sequence == 1
            assert (secrets._sealer.sequence == 1) == (key == b"K")
            stream.close()
        finally:
            process.kill()
            await process.wait()
            listener.close()

    async def bounded() -> None:
        with trio.fail_after(20):
            await main()

    trio.run(bounded)
