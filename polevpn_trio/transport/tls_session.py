"""A TLS session without its socket: the handshake by OpenSSL, and then its records; sans-IO.

As the kernel does where it has TLS, the record layer of this package takes the keys over when the
handshake of TLS 1.3 is done, if the suite is one of AES-GCM (`OwnRecords`). Two things hold then:

* OpenSSL never writes another record under those keys: its connection is let go.
* Our records are numbered from behind those that OpenSSL sealed with these keys, which are a
  server's session tickets: those that open as the first, the second and so on are counted.

What a handshake may have before a session's first record is read record by record, so that OpenSSL
gets nothing that is ours to open. Sessions of TLS 1.2 and of other suites stay OpenSSL's
(`OpenSslRecords`), which carries bulk half as fast.
"""

from __future__ import annotations

import hashlib
import socket
from abc import abstractmethod

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL

from polevpn_trio.control.session_identity import SessionIdentity
from polevpn_trio.errors import LinkLost
from polevpn_trio.transport.base import Buffer
from polevpn_trio.transport.openssl import peer_chain, reason_of, session_identity
from polevpn_trio.transport.tls_records import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    DECODE_ERROR,
    HANDSHAKE,
    HEADER_BYTES,
    MOST_CIPHERTEXT,
    MOST_CONTENT,
    UNEXPECTED_MESSAGE,
    TlsOpener,
    TlsSealer,
    sealed_size,
)

SUITES = {
    "TLS_AES_128_GCM_SHA256": (16, "sha256"),
    "TLS_AES_256_GCM_SHA384": (32, "sha384"),
}
"""OpenSSL's names of suites that records can be made of here: key bytes, and the hash of HKDF."""

MOST_KEY_UPDATES = 32
"""New keys that a peer may take without any data in between, and in what is opened in one go: they
cost as much as hundreds of records. OpenSSL allows any number, Go 16 without data."""

MOST_CANCELLATIONS = 4
"""Alerts of the one kind that changes nothing, without data in between; OpenSSL allows as many."""

# RFC 8446 section 6.
_WARNING, _FATAL = 1, 2
_CLOSE_NOTIFY = 0
_ILLEGAL_PARAMETER = 47
_USER_CANCELED = 90

# RFC 8446 section 4.
_NEW_SESSION_TICKET = 4
_KEY_UPDATE = 24
_MESSAGE_HEADER_BYTES = 4

_ALERT_NAMES = {
    10: "unexpected message",
    20: "bad record mac",
    22: "record overflow",
    40: "handshake failure",
    42: "bad certificate",
    43: "unsupported certificate",
    44: "certificate revoked",
    45: "certificate expired",
    46: "certificate unknown",
    47: "illegal parameter",
    48: "unknown ca",
    49: "access denied",
    50: "decode error",
    51: "decrypt error",
    70: "protocol version",
    71: "insufficient security",
    80: "internal error",
    86: "inappropriate fallback",
    109: "missing extension",
    112: "unrecognized name",
    116: "certificate required",
    120: "no application protocol",
}

MOST_AT_ONCE = 131_072
"""Bytes that our records are read in at a time: eight full ones, about what a receive brings."""

MOST_FOR_OPENSSL = 16_384
"""The same where OpenSSL opens them: it takes 0.1 ms for each 27 bytes that change a key, and never
refuses to."""

MOST_UNFRUITFUL_BYTES = 65_536
"""Bytes without any data in them that OpenSSL is given: of a record, all comes in the end."""

MOST_ANSWER_BYTES = 4096
"""Bytes of answers of OpenSSL that may wait for a peer that does not read them."""

_LABELS = (b"CLIENT_TRAFFIC_SECRET_0", b"SERVER_TRAFFIC_SECRET_0")
"""Names of the secrets of each direction's first keys, as OpenSSL tells them."""

_sealed = bytearray()
"""Where the sessions of this process, all in one thread, seal their records."""


def expand_label(secret: bytes, label: str, length: int, hash_name: str) -> bytes:
    """Derive ``length`` bytes from a secret: HKDF-Expand-Label of no context (RFC 8446, 7.1)."""
    name = b"tls13 " + label.encode("ascii")
    info = length.to_bytes(2, "big") + bytes((len(name),)) + name + b"\0"
    algorithm = hashes.SHA256() if hash_name == "sha256" else hashes.SHA384()
    return HKDFExpand(algorithm, length, info).derive(secret)


class TlsSession:
    """What an established connection makes of received bytes, and of what is to be sent.

    ``most_at_once`` is how many bytes to receive at a time, beside the beginning of a record that
    was left.
    """

    def __init__(self, most_at_once: int) -> None:
        self.most_at_once = most_at_once
        self.consumed = 0
        """Up to where the last call of `open_untrusted` has used up what was received."""
        self.ended = False
        """Whether the peer has said that it will send no more."""
        self.failure = ""
        """Why nothing more can be received, "" if it can."""
        self.answers = b""
        """Records that are to be sent for what was received. They leave with the next data, unless
        somebody sends them before, and empties this."""

    @abstractmethod
    def open_untrusted(self, source: bytearray, size: int, target: bytearray, at: int = 0) -> int:
        """Open what ``source[:size]`` has, to ``target`` from ``at`` on; return where that ends.

        ``target`` needs room for a whole record beside what the source has. Never raises.
        """

    @abstractmethod
    def seal(self, data: Buffer) -> memoryview:
        """Return the records that carry ``data``, valid until the next call for any session.

        Raises LinkLost if they cannot be made.
        """

    @abstractmethod
    def last_words(self) -> bytes:
        """Return the alert that tells the peer of the `failure`, or else that we are done.

        b"" if there is nothing to be said. No more than once, and nothing is sealed after it.
        """


class OwnRecords(TlsSession):
    """Records by the kernel of this package, under the secrets of both directions."""

    def __init__(self, suite: str, ours: bytes, theirs: bytes, first_sequence: int) -> None:
        super().__init__(MOST_AT_ONCE)
        self._key_size, self._hash = SUITES[suite]
        self._our_secret = ours
        self._their_secret = theirs
        self._sealer = TlsSealer(*self._key_and_iv(ours), first_sequence)
        self._opener = TlsOpener(*self._key_and_iv(theirs))
        # What of a message of the handshake's protocol has come: its header, as far as it goes,
        # and how many bytes of its body are still to come.
        self._message = b""
        self._body_left = 0
        self._may_get_tickets = False
        self._updates = 0
        self._cancellations = 0
        self._update_owed = False
        self._alert = 0

    @classmethod
    def of_client(cls, suite: str, ours: bytes, theirs: bytes) -> OwnRecords:
        """Make the session of who has called, whom the server may send tickets."""
        session = cls(suite, ours, theirs, 0)
        session._may_get_tickets = True
        return session

    def _key_and_iv(self, secret: bytes) -> tuple[bytes, bytes]:
        return (
            expand_label(secret, "key", self._key_size, self._hash),
            expand_label(secret, "iv", 12, self._hash),
        )

    def _next_secret(self, secret: bytes) -> bytes:
        size = hashlib.new(self._hash).digest_size
        return expand_label(secret, "traffic upd", size, self._hash)

    def open_untrusted(self, source: bytearray, size: int, target: bytearray, at: int = 0) -> int:
        """Open what ``source[:size]`` has, up to the end that the peer may have set."""
        start = 0
        filled = at
        while not (self.ended or self.failure):
            opener = self._opener
            before = filled
            filled = opener.open_untrusted(source, start, size, target, filled)
            start = opener.consumed
            if filled > before:
                self._cancellations = 0
            if self._message and opener.opened:
                self._fail(UNEXPECTED_MESSAGE, "data within a handshake message")
                filled = before
            elif opener.failure:
                self._fail(opener.failure, _ALERT_NAMES[opener.failure])
            elif opener.kind == 0:
                break
            else:
                self._take_control_untrusted(opener.kind, opener.control)
        if filled > at:
            self._updates = 0
        self.consumed = start
        return filled

    def _fail(self, alert: int, reason: str) -> None:
        self._alert = alert
        self.failure = f"TLS: {reason}"

    def _take_control_untrusted(self, kind: int, content: bytes) -> None:
        """Take a record that carries no data."""
        if kind == HANDSHAKE and content:
            self._take_messages_untrusted(content)
        elif kind == ALERT and len(content) == 2 and self._at_a_border():
            self._take_alert_untrusted(content[1])
        else:
            self._fail(UNEXPECTED_MESSAGE, f"a record of type {kind} with {len(content)} bytes")

    def _at_a_border(self) -> bool:
        """Whether something else may come: OpenSSL lets it behind a message's header as well."""
        return len(self._message) in (0, _MESSAGE_HEADER_BYTES)

    def _take_alert_untrusted(self, description: int) -> None:
        if description == _CLOSE_NOTIFY:
            self.ended = True
        elif description == _USER_CANCELED:
            self._cancellations += 1
            if self._cancellations > MOST_CANCELLATIONS:
                self._fail(UNEXPECTED_MESSAGE, "too many alerts")
        else:
            # It is over already for who has sent this: nothing is said in return.
            name = _ALERT_NAMES.get(description, f"alert {description}")
            self.failure = f"TLS: the peer says {name}"

    def _take_messages_untrusted(self, content: bytes) -> None:
        """Take a piece of what continues the handshake: tickets, which nobody uses, and keys."""
        while content and not self.failure:
            if self._body_left:
                # Of a ticket.
                skipped = min(self._body_left, len(content))
                self._body_left -= skipped
                content = content[skipped:]
                if not self._body_left:
                    self._message = b""
                continue
            missing = _MESSAGE_HEADER_BYTES - len(self._message)
            self._message += content[:missing]
            content = content[missing:]
            if len(self._message) < _MESSAGE_HEADER_BYTES:
                return
            kind, length = self._message[0], int.from_bytes(self._message[1:], "big")
            what = f"handshake message {kind} of {length} bytes"
            if kind == _NEW_SESSION_TICKET and self._may_get_tickets and length:
                self._body_left = length
            elif kind != _KEY_UPDATE:
                self._fail(UNEXPECTED_MESSAGE, what)
            elif length > 1:
                self._fail(_ILLEGAL_PARAMETER, what)
            elif len(content) > length:
                self._fail(UNEXPECTED_MESSAGE, "a key update within a record")
            elif length == 0:
                self._fail(DECODE_ERROR, what)
            elif content:
                self._message = b""
                self._take_key_update_untrusted(content[0])
                return

    def _take_key_update_untrusted(self, wanted: int) -> None:
        """Expect the peer's next records under its next key (RFC 8446 section 4.6.3)."""
        self._updates += 1
        self._cancellations = 0
        if wanted > 1:
            self._fail(_ILLEGAL_PARAMETER, "a key update that cannot be")
            return
        if self._updates > MOST_KEY_UPDATES:
            self._fail(UNEXPECTED_MESSAGE, "too many key updates")
            return
        self._their_secret = self._next_secret(self._their_secret)
        self._opener = TlsOpener(*self._key_and_iv(self._their_secret))
        self._update_owed = self._update_owed or wanted == 1

    def seal(self, data: Buffer) -> memoryview:
        """Return the records that carry ``data``, behind a key update if the peer has asked."""
        if not self._update_owed:
            return self._seal(APPLICATION_DATA, data)
        self._update_owed = False
        told = bytes(self._seal(HANDSHAKE, bytes((_KEY_UPDATE, 0, 0, 1, 0))))
        self._our_secret = self._next_secret(self._our_secret)
        self._sealer = TlsSealer(*self._key_and_iv(self._our_secret))
        return memoryview(told + self._seal(APPLICATION_DATA, data))

    def _seal(self, kind: int, data: Buffer) -> memoryview:
        global _sealed
        needed = sealed_size(len(data))
        if needed > len(_sealed):
            _sealed = bytearray(needed)
        size = self._sealer.seal_into(kind, data, _sealed)
        return memoryview(_sealed)[:size]

    def last_words(self) -> bytes:
        """Return close_notify, or the alert that the peer has earned."""
        if self._alert:
            return bytes(self._seal(ALERT, bytes((_FATAL, self._alert))))
        if self.failure:
            return b""
        return bytes(self._seal(ALERT, bytes((_WARNING, _CLOSE_NOTIFY))))


class OpenSslRecords(TlsSession):
    """Records by OpenSSL, through buffers in memory."""

    def __init__(self, connection: SSL.Connection) -> None:
        super().__init__(MOST_FOR_OPENSSL)
        self._connection = connection
        self._unfruitful = 0

    def open_untrusted(self, source: bytearray, size: int, target: bytearray, at: int = 0) -> int:
        """Give OpenSSL all that was received, and take what data it has."""
        self.consumed = size
        filled = at
        try:
            if size:
                self._connection.bio_write(bytes(memoryview(source)[:size]))
            while True:
                filled += self._connection.recv_into(memoryview(target)[filled:], MOST_CONTENT)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.ended = True
        except SSL.Error as error:
            self.failure = reason_of(error)
        # Such as that it does not renegotiate.
        self.answers = self._taken_out()
        self._unfruitful = 0 if filled > at else self._unfruitful + size
        if len(self.answers) > MOST_ANSWER_BYTES:
            self.answers = b""
            self.failure = "TLS: too much to answer"
        elif self._unfruitful > MOST_UNFRUITFUL_BYTES and not self.failure:
            self.failure = f"TLS: no data in {self._unfruitful} bytes"
        return filled

    def seal(self, data: Buffer) -> memoryview:
        """Have OpenSSL make records of ``data``, and of what else it has to say."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._connection.send(left) :]
        except SSL.Error as error:
            raise LinkLost(reason_of(error)) from error
        return memoryview(self._taken_out())

    def last_words(self) -> bytes:
        """Return close_notify, or what OpenSSL has to say of the failure."""
        if not self.failure:
            try:
                self._connection.shutdown()
            except SSL.Error:
                return b""
        return self._taken_out()

    def _taken_out(self) -> bytes:
        """Return what OpenSSL means to send, behind what nobody has sent yet of it."""
        taken, self.answers = self.answers + _taken_out(self._connection), b""
        return taken


def _taken_out(connection: SSL.Connection) -> bytes:
    """Return what OpenSSL means to send."""
    taken = b""
    try:
        while True:
            taken += connection.bio_read(1 << 20)
    except SSL.WantReadError:
        return taken


class TlsHandshake:
    """The handshake of one connection. We are the server unless ``server_name`` says whom we call.

    Give it `wanted` bytes at a time, and send what it has to say each time, until it is `done`.
    Raises ValueError for a name that cannot be one.
    """

    def __init__(self, context: SSL.Context, server_name: str | None = None) -> None:
        self._connection = SSL.Connection(context, None)
        self._secrets: dict[bytes, bytes] = {}
        self._connection.set_app_data(self._secrets)
        self._is_client = server_name is not None
        self.done = False
        self.wanted = HEADER_BYTES
        """How many bytes there may be in the next piece: no more than up to a record's end."""
        self._header = b""
        # Whether all that was received looked like records.
        self._framed = True
        self._last_output = b""
        if server_name is None:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()
            if not _is_address(server_name):
                # RFC 6066 section 3: names only.
                self._connection.set_tlsext_host_name(server_name.encode("idna"))

    def feed_untrusted(self, data: bytes) -> None:
        """Take a piece of what was received."""
        self._connection.bio_write(data)
        if not self._framed:
            # OpenSSL says where this ends.
            return
        self.wanted -= len(data)
        if len(self._header) < HEADER_BYTES:
            self._header += data
            if self.wanted == 0:
                self.wanted = self._body_size()
        if self.wanted == 0:
            self._header = b""
            self.wanted = HEADER_BYTES

    def _body_size(self) -> int:
        """Return what follows the header; 0 if OpenSSL should see what this is."""
        kind, version, length = self._header[0], self._header[1], self._header[3:]
        size = int.from_bytes(length, "big")
        known = CHANGE_CIPHER_SPEC <= kind <= APPLICATION_DATA
        if known and version == 3 and 0 < size <= MOST_CIPHERTEXT:
            return size
        self._framed = False
        return 0

    def advance(self) -> bytes:
        """Go on as far as that goes; return what is to be sent. Sees if it is `done`.

        Raises SSL.Error if it failed; `outgoing` may have an alert then.
        """
        if self._header or self.done:
            return b""
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            pass
        else:
            self.done = True
        self._last_output = _taken_out(self._connection)
        return self._last_output

    def outgoing(self) -> bytes:
        """Return what OpenSSL still has to say after a failure."""
        return _taken_out(self._connection)

    def peer_chain(self) -> tuple[bytes, ...]:
        """Return the certificates that the peer has shown, in DER, its own first."""
        return peer_chain(self._connection)

    def identity(self) -> SessionIdentity:
        """Return what tells the session from all others; once it is `done`."""
        return session_identity(self._connection, client=self._is_client)

    def take_over(self) -> TlsSession:
        """Return the session, once it is `done`; this object is of no use any more."""
        connection = self._connection
        suite = connection.get_cipher_name() or ""
        client, server = (self._secrets.pop(label, b"") for label in _LABELS)
        if not (suite in SUITES and client and server and self._framed):
            return OpenSslRecords(connection)
        if self._is_client:
            return OwnRecords.of_client(suite, client, server)
        sealed = count_sealed(suite, server, self._last_output)
        if sealed is None:
            return OpenSslRecords(connection)
        return OwnRecords(suite, server, client, sealed)


def count_sealed(suite: str, secret: bytes, output: bytes) -> int | None:
    """Return how many records are in ``output``; None if not all are a secret's first."""
    size, hash_name = SUITES[suite]
    opener = TlsOpener(
        expand_label(secret, "key", size, hash_name), expand_label(secret, "iv", 12, hash_name)
    )
    source = bytearray(output)
    target = bytearray(len(source))
    while opener.consumed < len(source):
        before = opener.consumed
        opener.open_untrusted(source, before, len(source), target, 0)
        if opener.consumed == before:
            return None
    return opener.sequence


def watch_secrets(context: SSL.Context) -> None:
    """Have the handshakes of a context tell `TlsHandshake` the secrets of their sessions."""

    def note(connection: SSL.Connection, line: bytes) -> None:
        # Of the form that https://www.rfc-editor.org/rfc/rfc9850 describes.
        label, _, secret = line.split(b" ")
        secrets = connection.get_app_data()
        if label in _LABELS and secrets is not None:
            secrets[label] = bytes.fromhex(secret.decode("ascii"))

    context.set_keylog_callback(note)


def _is_address(name: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, name.partition("%")[0])
        except OSError:
            continue
        return True
    return False
