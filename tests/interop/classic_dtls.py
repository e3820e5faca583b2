"""DTLS 1.2 as pion speaks it, on OpenSSL with memory buffers; stricter than OpenSSL where pion is.

Sans-IO but for OpenSSL's handshake timer, which reads the clock by itself. A session ends on any
alert, on epoch-0 alerts, data or unknown records after the handshake, and on more than 1500 bytes
in a record. What the peer does wrong is kept in ``violations``.
"""

from __future__ import annotations

import datetime
import functools
import os
import struct
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

HEADER = struct.Struct(">BHHHIH")  # type, version, epoch, sequence (16 + 32 bit), length
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
LARGEST_PLAINTEXT = 1500
REPLAY_WINDOW = 64
PACKED_DATAGRAM = 1400

# Offered by the gateway in this order; the router takes any of them, in the client's order.
SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
)


@functools.cache
def certificate(kind: str = "rsa") -> tuple[bytes, bytes]:
    """(key, certificate) in PEM, self-signed and long expired as the originals' example is."""
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if kind == "rsa":
        key = rsa.generate_private_key(65537, 2048)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "classic.example")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2015, 1, 1))
        .not_valid_after(datetime.datetime(2016, 1, 1))
        .sign(key, hashes.SHA256())
    )
    return (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        built.public_bytes(serialization.Encoding.PEM),
    )


def make_context(*, server: bool, kind: str = "rsa", suites: str = SUITES) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_SERVER_METHOD if server else SSL.DTLS_CLIENT_METHOD)
    context.set_min_proto_version(0xFEFD)
    context.set_cipher_list(f"{suites}:@SECLEVEL=0".encode())
    for option in (SSL.OP_NO_TICKET, SSL.OP_NO_QUERY_MTU):
        assert option is not None
        context.set_options(option)
    context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    if server:
        key, chain = certificate(kind)
        context.use_certificate(x509.load_pem_x509_certificate(chain))
        loaded = serialization.load_pem_private_key(key, None)
        assert isinstance(loaded, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        context.use_privatekey(loaded)
        assert SSL.OP_COOKIE_EXCHANGE is not None
        context.set_options(SSL.OP_COOKIE_EXCHANGE)
        cookie = os.urandom(20)
        context.set_cookie_generate_callback(lambda _: cookie)
        context.set_cookie_verify_callback(lambda _, shown: shown == cookie)
    return context


@dataclass(frozen=True)
class Record:
    kind: int
    version: int
    epoch: int
    sequence: int
    body: bytes
    wire: bytes


def split_records(datagram: bytes) -> list[Record] | None:
    """None if the record lengths do not add up: then the whole datagram is dropped."""
    records = []
    position = 0
    while position < len(datagram):
        if len(datagram) - position < HEADER.size:
            return None
        kind, version, epoch, high, low, length = HEADER.unpack_from(datagram, position)
        end = position + HEADER.size + length
        if end > len(datagram):
            return None
        records.append(
            Record(
                kind,
                version,
                epoch,
                high << 32 | low,
                datagram[position + HEADER.size : end],
                datagram[position:end],
            )
        )
        position = end
    return records


def record(kind: int, body: bytes, *, epoch: int = 0, sequence: int = 0) -> bytes:
    """A plaintext record, as a stranger could forge it."""
    return (
        HEADER.pack(kind, 0xFEFD, epoch, sequence >> 32, sequence & 0xFFFF_FFFF, len(body)) + body
    )


def is_client_hello(datagram: bytes) -> bool:
    return len(datagram) > 13 and datagram[0] == HANDSHAKE and datagram[13] == 1


class ClassicDtls:
    def __init__(self, context: SSL.Context, *, server: bool) -> None:
        self.server = server
        self.ssl = SSL.Connection(context, None)
        self.ssl.set_ciphertext_mtu(PACKED_DATAGRAM)
        self.ssl.set_info_callback(self._on_info)
        if server:
            self.ssl.set_accept_state()
        else:
            self.ssl.set_tlsext_host_name(b"apple.com")
            self.ssl.set_connect_state()
        self.established = False
        self.ended: str | None = None
        self.outgoing: list[bytes] = []
        self.violations: list[str] = []
        self.alerts: list[tuple[int, int]] = []
        self.highest_sequence = -1
        self.nonces: dict[bytes, bytes] = {}
        self.sequences: dict[int, bytes] = {}
        self.largest_record = 0
        self.sent_close = False

    def start(self) -> None:
        self._handshake()

    def _on_info(self, _connection: SSL.Connection, where: int, value: int) -> None:
        if where & SSL.SSL_CB_READ_ALERT == SSL.SSL_CB_READ_ALERT:
            self.alerts.append((value >> 8, value & 0xFF))

    def _handshake(self) -> None:
        try:
            self.ssl.do_handshake()
            self.established = True
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self._end(f"handshake failed: {error}")
        self.collect()

    def collect(self) -> None:
        """Pack what OpenSSL wrote into datagrams of whole records."""
        try:
            wire = self.ssl.bio_read(1 << 20)
        except SSL.WantReadError:
            return
        pending = b""
        for item in split_records(wire) or []:
            alone = item.kind == APPLICATION_DATA
            if pending and (alone or len(pending) + len(item.wire) > PACKED_DATAGRAM):
                self.outgoing.append(pending)
                pending = b""
            pending += item.wire
        if pending:
            self.outgoing.append(pending)

    def _end(self, why: str) -> None:
        if self.ended is None:
            self.ended = why

    def timer(self) -> None:
        if self.ended is None and not self.established and self.ssl.DTLSv1_get_timeout() == 0:
            self.ssl.DTLSv1_handle_timeout()
            self.collect()

    def input(self, datagram: bytes) -> list[bytes]:
        """The plaintexts of the application records of one datagram."""
        if self.ended is not None:
            return []
        records = split_records(datagram)
        if records is None:
            self.violations.append(f"record lengths of a datagram of {len(datagram)} do not add up")
            return []
        if self.established:
            records = [item for item in records if self._admit(item)]
            if self.ended is not None:
                return []
        for item in records:
            if item.epoch:
                self._watch(item)
        if not records:
            return []
        self.ssl.bio_write(b"".join(item.wire for item in records))
        if not self.established:
            self._handshake()
        plaintexts = self._read() if self.established else []
        self.collect()
        if self.alerts:
            self._end(f"alert {self.alerts[0]}")
            if self.alerts[0] == (1, 0):
                self.ended = "close_notify"
            self.close()
        return plaintexts

    def _admit(self, item: Record) -> bool:
        """Epoch 0 after the handshake: pion lets anybody end the session so."""
        if item.epoch:
            return True
        if item.kind in (HANDSHAKE, CHANGE_CIPHER_SPEC):
            if is_client_hello(item.wire):
                self.violations.append("ClientHello from the port of a live association")
                return False
            return True
        self.violations.append(f"epoch 0 record of type {item.kind} in an established session")
        self._end(f"epoch 0 record of type {item.kind}")
        return False

    def _watch(self, item: Record) -> None:
        plaintext = len(item.body) - 24
        if item.kind == APPLICATION_DATA:
            self.largest_record = max(self.largest_record, plaintext)
        if plaintext > LARGEST_PLAINTEXT:
            self.violations.append(f"record of {plaintext} plaintext bytes")
            self._end("record too big")
        if item.sequence in self.sequences:
            if item.kind == HANDSHAKE and self.sequences[item.sequence] == item.wire:
                return  # a lost final flight may be repeated as it was
            self.violations.append(f"record sequence {item.sequence} used twice")
        self.sequences[item.sequence] = item.wire
        if self.highest_sequence - item.sequence >= REPLAY_WINDOW:
            self.violations.append(
                f"record {item.sequence} is {self.highest_sequence - item.sequence} late"
            )
        self.highest_sequence = max(self.highest_sequence, item.sequence)
        nonce = item.body[:8]
        if self.nonces.setdefault(nonce, item.wire) != item.wire:
            self.violations.append(f"AES-GCM nonce {nonce.hex()} used twice")

    def _read(self) -> list[bytes]:
        plaintexts = []
        while True:
            try:
                plaintexts.append(self.ssl.recv(1 << 16))
            except SSL.WantReadError:
                return plaintexts
            except SSL.ZeroReturnError:
                self._end("close_notify")
                self.close()
                return plaintexts
            except SSL.Error as error:
                self._end(f"alert or failure: {error}")
                return plaintexts

    def send(self, plaintext: bytes) -> None:
        if self.ended is None and self.established:
            self.ssl.send(plaintext)
            self.collect()

    def close(self) -> None:
        """Send close_notify, as a deliberate close and the answer to one do."""
        if self.established and not self.sent_close:
            self.sent_close = True
            try:
                self.ssl.shutdown()
            except SSL.Error:
                self._end("no shutdown any more")
            self.collect()
        self._end("closed by us")
