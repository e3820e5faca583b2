# cython: annotation_typing=False
"""TLS 1.3 records, sealed and opened many at a time (RFC 8446 section 5); sans-IO.

OpenSSL does the handshake; afterwards the records are ours. It works record by record: two system
calls for each that it reads, one for each that it writes, and a call from Python for each of both.
Here one read of the socket brings many records, and many leave with one write. A record::

    | 23 u8 | 0x0303 u16 | length u16 | ciphertext ... | tag 16 bytes |

Its plaintext is content, one byte that tells the type of it, and any number of zeros. The nonce is
the secret IV of the direction, its last eight bytes exclusive-or'ed with the number of the record,
which counts from 0 under each key; the additional data is the header.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from polevpn_trio.errors import LinkLost
from polevpn_trio.transport import libcrypto

CHANGE_CIPHER_SPEC = 20
ALERT = 21
HANDSHAKE = 22
APPLICATION_DATA = 23
HEADER_BYTES = 5
TAG_BYTES = 16
MOST_CONTENT = 16_384
"""Bytes of content in a record."""
MOST_CIPHERTEXT = MOST_CONTENT + 256
"""Bytes that the length in a header may tell."""
MOST_RECORD_BYTES = HEADER_BYTES + MOST_CIPHERTEXT
OVERHEAD_BYTES = HEADER_BYTES + 1 + TAG_BYTES
"""What a record that is not padded has beside its content."""

MOST_EMPTY_RECORDS = 32
"""Records without content that a peer may send in a row; OpenSSL allows as many."""

# RFC 8446 section 6.
UNEXPECTED_MESSAGE = 10
BAD_RECORD_MAC = 20
RECORD_OVERFLOW = 22
DECODE_ERROR = 50

# Copies that the compiled build holds as C integers, which other modules cannot import.
_APPLICATION_DATA = APPLICATION_DATA
_HEADER = HEADER_BYTES
_TAG = TAG_BYTES
_MOST_CONTENT = MOST_CONTENT
_MOST_CIPHERTEXT = MOST_CIPHERTEXT
_OVERHEAD = OVERHEAD_BYTES
_MOST_EMPTY = MOST_EMPTY_RECORDS
_UNEXPECTED_MESSAGE = UNEXPECTED_MESSAGE
_BAD_RECORD_MAC = BAD_RECORD_MAC
_RECORD_OVERFLOW = RECORD_OVERFLOW
_DECODE_ERROR = DECODE_ERROR


def sealed_size(size: int) -> int:
    """Return how many bytes the records have in which ``size`` bytes of content leave."""
    return size + OVERHEAD_BYTES * (-(-size // MOST_CONTENT) or 1)


class TlsSealer:
    """Seals the records of one direction under one key of 16 or 32 bytes.

    ``sequence`` is the number of the next record; none is used twice.
    """

    def __init__(self, key: bytes, iv: bytes, first_sequence: int = 0) -> None:
        self.sequence = first_sequence
        self._context = libcrypto.new_gcm(key, True)
        if self._context == 0:
            self._encrypt_into = AESGCM(key).encrypt_into
        self._iv = bytearray(iv)
        self._nonce = bytearray(iv)
        self._header = bytearray((_APPLICATION_DATA, 3, 3, 0, 0))

    def __del__(self) -> None:
        libcrypto.free_gcm(self._context)

    def seal_into(self, kind: int, data: object, target: bytearray) -> int:
        """Seal ``data`` (bytes of any length) as content of type ``kind``, in as few records as do.

        They are written to ``target``, which must have room for `sealed_size` bytes. Returns how
        many those are. Raises LinkLost if the cipher fails, after which nothing may be sent.
        """
        source = memoryview(data)  # type: ignore[arg-type]  # any buffer; checked by it
        total = len(source)
        out = target
        nonce = self._nonce
        iv = self._iv
        header = self._header
        start = 0
        at = 0
        if len(out) < sealed_size(total):
            raise ValueError(f"{len(out)} bytes are no room for {total} that are sealed")
        while True:
            length = total - start
            if length > _MOST_CONTENT:
                length = _MOST_CONTENT
            self._write_prefix(out, nonce, iv, header, at, length)
            if self._context == 0:
                self._encrypt_into(
                    self._nonce,
                    bytes(source[start : start + length]) + bytes((kind,)),
                    self._header,
                    memoryview(out)[at + _HEADER : at + _OVERHEAD + length],
                )
            elif not libcrypto.seal_gcm(
                self._context,
                nonce,
                header,
                # There must be a first byte to point to, even where none is taken.
                source if length > 0 else header,
                start,
                length,
                out,
                at + _HEADER,
                kind,
            ):
                raise LinkLost("OpenSSL could not seal a record")
            at += length + _OVERHEAD
            start += length
            if start == total:
                return at

    def _write_prefix(
        self,
        out: bytearray,
        nonce: bytearray,
        iv: bytearray,
        header: bytearray,
        at: int,
        length: int,
    ) -> None:
        """Take a number; make the nonce, and write the header."""
        sequence = self.sequence
        self.sequence = sequence + 1
        body = length + 1 + _TAG
        header[3] = body >> 8
        header[4] = body & 0xFF
        for place in range(_HEADER):
            out[at + place] = header[place]
        for place in range(8):
            nonce[4 + place] = iv[4 + place] ^ ((sequence >> (56 - 8 * place)) & 0xFF)


class TlsOpener:
    """Opens the records of one direction under one key of 16 or 32 bytes.

    After `open_untrusted`, ``consumed`` says up to where the source is used up, ``opened`` how many
    records of application data that were, and one of these may hold: ``kind`` is that of a record
    with other content, which is in ``control`` then; or ``failure`` is the alert (RFC 8446 section
    6) that the peer has earned, 0 for none. After a failure nothing more may be opened.
    """

    def __init__(self, key: bytes, iv: bytes) -> None:
        self.sequence = 0
        self.consumed = 0
        self.opened = 0
        self.kind = 0
        self.control = b""
        self.failure = 0
        self._empty = 0
        self._context = libcrypto.new_gcm(key, False)
        if self._context == 0:
            self._decrypt_into = AESGCM(key).decrypt_into
        self._iv = bytearray(iv)
        self._nonce = bytearray(iv)
        self._header = bytearray(_HEADER)

    def __del__(self) -> None:
        libcrypto.free_gcm(self._context)

    def open_untrusted(
        self, source: bytearray, start: int, end: int, target: bytearray, at: int
    ) -> int:
        """Open the whole records in ``source[start:end]`` up to the first that holds no data.

        Writes application data to ``target`` from ``at`` on, where there must be as much room as
        the source has bytes; returns where it ends. What comes from the network never raises.

        What is wrong with a record is looked for in the order in which OpenSSL does, and earns the
        same alert: by that a stranger could otherwise tell us from a web server with OpenSSL.
        """
        out = target
        nonce = self._nonce
        iv = self._iv
        header = self._header
        if end > len(source) or at + end - start > len(out):
            raise ValueError("the buffers are too small for what is to be opened")
        self.kind = 0
        self.opened = 0
        while self.kind == 0 and self.failure == 0 and end - start >= _HEADER:
            length = (source[start + 3] << 8) | source[start + 4]
            if source[start] != _APPLICATION_DATA:
                self.failure = _UNEXPECTED_MESSAGE
            elif source[start + 1] != 3 or source[start + 2] != 3:
                self.failure = _DECODE_ERROR
            elif length > _MOST_CIPHERTEXT:
                self.failure = _RECORD_OVERFLOW
            elif end - start < _HEADER + length:
                break
            elif length <= _TAG or not self._decrypt(
                source, start, length, out, at, nonce, iv, header
            ):
                self.failure = _BAD_RECORD_MAC
            else:
                start += _HEADER + length
                at = self._take(out, at, length - _TAG)
        self.consumed = start
        return at

    def _decrypt(
        self,
        source: bytearray,
        start: int,
        length: int,
        out: bytearray,
        at: int,
        nonce: bytearray,
        iv: bytearray,
        header: bytearray,
    ) -> bool:
        sequence = self.sequence
        self.sequence = sequence + 1
        for place in range(_HEADER):
            header[place] = source[start + place]
        for place in range(8):
            nonce[4 + place] = iv[4 + place] ^ ((sequence >> (56 - 8 * place)) & 0xFF)
        if self._context == 0:
            body = memoryview(source)[start + _HEADER : start + _HEADER + length]
            plain = memoryview(out)[at : at + length - _TAG]
            try:
                self._decrypt_into(self._nonce, body, self._header, plain)
            except InvalidTag:
                return False
            return True
        return libcrypto.open_gcm(
            self._context, nonce, header, source, start + _HEADER, length - _TAG, out, at
        )

    def _take(self, out: bytearray, at: int, size: int) -> int:
        """See what is in the ``size`` bytes of plaintext at ``at``; return where data ends."""
        last = at + size - 1
        while last >= at and out[last] == 0:
            last -= 1
        if last < at:
            self.failure = _UNEXPECTED_MESSAGE
        elif last - at > _MOST_CONTENT:
            self.failure = _RECORD_OVERFLOW
        elif out[last] == _APPLICATION_DATA:
            self.opened += 1
            self._empty = self._empty + 1 if last == at else 0
            if self._empty > _MOST_EMPTY:
                self.failure = _UNEXPECTED_MESSAGE
            return last
        else:
            self._empty = 0
            self.kind = out[last]
            self.control = bytes(memoryview(out)[at:last])
        return at
