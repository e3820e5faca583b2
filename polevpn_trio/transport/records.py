# cython: annotation_typing=False
"""DTLS 1.2 records, sealed and opened in batches (RFC 6347, RFC 5288); sans-IO.

OpenSSL does the handshake; afterwards the records are ours, because a call into it per
packet costs more than the encryption itself. A record under AES-GCM::

    | type u8 | version u16 | epoch u16 | sequence u48 | length u16 |     the header
    | explicit nonce u64 | ciphertext ... | tag 16 bytes |                length bytes

All integers are big-endian. The nonce of the cipher is the 4-byte secret IV of the
direction followed by the explicit nonce; the additional data is epoch, sequence, type,
version, and the length of the plaintext (RFC 5246 section 6.2.3.3).

A nonce used twice under one key gives away the key stream and lets anyone forge records.
The handshake uses the same keys, so :class:`RecordSealer` is told where to count from.
"""

from __future__ import annotations

import hashlib
import hmac
from array import array

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from polevpn_trio.batch import DatagramBuffer
from polevpn_trio.errors import LinkLost
from polevpn_trio.transport import libcrypto

# RFC 6347 and RFC 5288.
CHANGE_CIPHER_SPEC = 20
ALERT = 21
HANDSHAKE = 22
APPLICATION_DATA = 23
HEADER_BYTES = 13
EXPLICIT_NONCE_BYTES = 8
TAG_BYTES = 16
OVERHEAD_BYTES = HEADER_BYTES + EXPLICIT_NONCE_BYTES + TAG_BYTES
SEQUENCE_LIMIT = 1 << 48
# The classic router ends a session over a record of more plaintext than this.
MAX_PLAINTEXT_BYTES = 1500
# Records this far behind the highest one are refused unseen. RFC 6347 asks for 64 at least;
# a burst of segmented sends reordered by the network needs much more.
REPLAY_WINDOW = 4032
_WINDOW_WORDS = 64
# Buffers grow to the batches that come, by steps of this size.
_BUFFER_STEP_BYTES = 16384

# Copies that the compiled build holds as C integers, which other modules cannot import.
_CHANGE_CIPHER_SPEC = CHANGE_CIPHER_SPEC
_ALERT = ALERT
_HANDSHAKE = HANDSHAKE
_APPLICATION_DATA = APPLICATION_DATA
_HEADER = HEADER_BYTES
_NONCE = EXPLICIT_NONCE_BYTES
_TAG = TAG_BYTES
_OVERHEAD = OVERHEAD_BYTES
_MAX_PLAINTEXT = MAX_PLAINTEXT_BYTES
_REPLAY_WINDOW = REPLAY_WINDOW
# A literal as large as this would make the compiled build calculate with Python's integers.
_MASK64 = 0xFFFFFFFFFFFFFFFF

# OpenSSL's name of each suite: its key length in bytes and the hash of its PRF.
SUITES = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": (16, "sha256"),
    "ECDHE-RSA-AES128-GCM-SHA256": (16, "sha256"),
    "ECDHE-ECDSA-AES256-GCM-SHA384": (32, "sha384"),
    "ECDHE-RSA-AES256-GCM-SHA384": (32, "sha384"),
}


class RecordKeys:
    """The key block of one session: a write key and a 4-byte IV per direction."""

    def __init__(
        self, client_key: bytes, server_key: bytes, client_iv: bytes, server_iv: bytes
    ) -> None:
        self.client_key = client_key
        self.server_key = server_key
        self.client_iv = client_iv
        self.server_iv = server_iv


def pseudo_random(secret: bytes, label: bytes, seed: bytes, length: int, hash_name: str) -> bytes:
    """Return ``length`` bytes of the TLS 1.2 PRF (RFC 5246 section 5)."""
    digest = getattr(hashlib, hash_name)
    labelled = label + seed
    chain = labelled
    result = b""
    while len(result) < length:
        chain = hmac.new(secret, chain, digest).digest()
        result += hmac.new(secret, chain + labelled, digest).digest()
    return result[:length]


def derive_keys(
    master_secret: bytes, client_random: bytes, server_random: bytes, cipher_name: str
) -> RecordKeys:
    """Derive the key block (RFC 5246 section 6.3) for a suite by its OpenSSL name.

    Raises KeyError if the suite is none of :data:`SUITES`.
    """
    size, hash_name = SUITES[cipher_name]
    block = pseudo_random(
        master_secret, b"key expansion", server_random + client_random, 2 * size + 8, hash_name
    )
    return RecordKeys(
        block[:size], block[size : 2 * size], block[2 * size : 2 * size + 4], block[2 * size + 4 :]
    )


def open_record(key: bytes, fixed_iv: bytes, record: bytes) -> bytes | None:
    """Decrypt one whole record of any type; None if it was not sealed under this key."""
    if len(record) < OVERHEAD_BYTES:
        return None
    length = len(record) - OVERHEAD_BYTES
    additional = record[3:11] + record[:3] + length.to_bytes(2, "big")
    body = HEADER_BYTES + EXPLICIT_NONCE_BYTES
    try:
        return AESGCM(key).decrypt(fixed_iv + record[HEADER_BYTES:body], record[body:], additional)
    except InvalidTag:
        return None


def _capacity(needed: int) -> int:
    return (needed + _BUFFER_STEP_BYTES - 1) // _BUFFER_STEP_BYTES * _BUFFER_STEP_BYTES


class RecordSealer:
    """Turns datagrams into records, one record each, under one key.

    The record with sequence number s carries the explicit nonce ``nonce_base`` + s (modulo
    2^64), starting with s = ``first_sequence``. No sequence number is ever used twice.
    The results are in ``datagrams`` (back to back) and ``sizes``, valid until the next call,
    be it that of a sealer which shares the ``output``.
    """

    def __init__(
        self,
        key: bytes,
        fixed_iv: bytes,
        first_sequence: int,
        nonce_base: int,
        output: DatagramBuffer | None = None,
    ) -> None:
        self._buffer = DatagramBuffer() if output is None else output
        self.sequence = first_sequence
        self.nonce_base = nonce_base
        self.sealed = 0
        self.sealed_bytes = 0
        self._context = libcrypto.new_gcm(key, True)
        if self._context == 0:
            self._encrypt_into = AESGCM(key).encrypt_into
        # Kept as what the compiled build looks at memory through: to make one costs as much as
        # sealing or opening half a record.
        self._nonce = memoryview(bytearray(fixed_iv) + bytearray(_NONCE))
        self._additional = memoryview(bytearray(_HEADER))
        self._output: bytearray | None = None
        self._output_sizes: array[int] | None = None

    def __del__(self) -> None:
        libcrypto.free_gcm(self._context)

    @property
    def datagrams(self) -> bytearray:
        """The records made last, back to back."""
        return self._buffer.datagrams

    @property
    def sizes(self) -> array[int]:
        """How many bytes each of them has."""
        return self._buffer.sizes

    def seal_batch(self, datagrams: object, sizes: array[int], count: int) -> int:
        """Seal the first ``count`` datagrams, which lie back to back in ``datagrams``.

        Returns ``count``. Raises ValueError if a datagram has more than
        :data:`MAX_PLAINTEXT_BYTES` or the sizes exceed the buffer, and LinkLost when the
        sequence numbers of the session are used up.
        """
        total = self._seal(datagrams, sizes, count, _APPLICATION_DATA)
        self.sealed += count
        self.sealed_bytes += total
        return count

    def seal_alert(self, level: int, description: int) -> bytes:
        """Return one sealed alert record (RFC 5246 section 7.2).

        Overwrites the results of the last :meth:`seal_batch`.
        """
        self._seal(bytes((level, description)), array("H", [2]), 1, _ALERT)
        self.sealed += 1
        return bytes(self._buffer.datagrams[: 2 + _OVERHEAD])

    def _seal(self, datagrams: object, sizes: array[int], count: int, kind: int) -> int:
        """Make records of type ``kind``; return how many bytes of plaintext they hold."""
        view = memoryview(datagrams)  # type: ignore[arg-type]  # any buffer; checked by it
        source = view
        lengths = sizes
        if count < 0 or count > len(lengths):
            raise ValueError(f"{count} datagrams announced, {len(lengths)} sizes given")
        total = 0
        for index in range(count):
            length = lengths[index]
            if length > _MAX_PLAINTEXT:
                raise ValueError(f"a datagram of {length} bytes does not fit a record")
            total += length
        if total > len(source):
            raise ValueError("the sizes exceed the buffer of datagrams")
        if self.sequence + count >= SEQUENCE_LIMIT:
            raise LinkLost("all sequence numbers of the DTLS session are used up")
        buffer = self._buffer
        buffer.reserve(_capacity(total + count * _OVERHEAD), count)
        if self._output is not buffer.datagrams or self._output_sizes is not buffer.sizes:
            self._output = buffer.datagrams
            self._output_sizes = buffer.sizes
            self._out = buffer.datagrams
            self._out_sizes = buffer.sizes
        out = self._out
        out_sizes = self._out_sizes
        nonce = self._nonce
        additional = self._additional
        start = 0
        offset = 0
        for index in range(count):
            length = lengths[index]
            self._write_prefix(out, nonce, additional, offset, kind, length)
            body = offset + _HEADER + _NONCE
            if self._context == 0:
                self._encrypt_into(
                    self._nonce,
                    view[start : start + length],
                    self._additional,
                    buffer.view[body : body + length + _TAG],
                )
            elif not libcrypto.seal_gcm(
                self._context, nonce, additional, source, start, length, out, body
            ):
                raise LinkLost("OpenSSL could not seal a record")
            out_sizes[index] = length + _OVERHEAD
            start += length
            offset += length + _OVERHEAD
        return total

    def _write_prefix(
        self,
        out: bytearray,
        nonce: memoryview,
        additional: memoryview,
        offset: int,
        kind: int,
        length: int,
    ) -> None:
        """Take a sequence number; write header and nonce, and the additional data."""
        sequence = self.sequence
        explicit = (self.nonce_base + sequence) & _MASK64
        self.sequence = sequence + 1
        body = length + _NONCE + _TAG
        out[offset] = kind
        out[offset + 1] = 0xFE
        out[offset + 2] = 0xFD
        out[offset + 3] = 0
        out[offset + 4] = 1
        out[offset + 11] = body >> 8
        out[offset + 12] = body & 0xFF
        additional[0] = 0
        additional[1] = 1
        additional[8] = kind
        additional[9] = 0xFE
        additional[10] = 0xFD
        additional[11] = length >> 8
        additional[12] = length & 0xFF
        for place in range(6):
            byte = (sequence >> (40 - 8 * place)) & 0xFF
            out[offset + 5 + place] = byte
            additional[2 + place] = byte
        for place in range(8):
            byte = (explicit >> (56 - 8 * place)) & 0xFF
            out[offset + 13 + place] = byte
            nonce[4 + place] = byte


class RecordOpener:
    """Opens the records of one direction, each sequence number once.

    The plaintexts are in ``datagrams`` (back to back) and ``sizes``, valid until the next call,
    be it that of an opener which shares the ``output``. ``peer_alert`` is (level, description)
    of the first authenticated alert, or None. The other attributes count records
    (``malformed``: datagrams), by what became of them.
    """

    def __init__(self, key: bytes, fixed_iv: bytes, output: DatagramBuffer | None = None) -> None:
        self._buffer = DatagramBuffer() if output is None else output
        self.peer_alert: tuple[int, int] | None = None
        self.opened = 0
        self.opened_bytes = 0
        self.replayed = 0
        self.bad_tag = 0
        self.malformed = 0
        self.epoch0_ignored = 0
        self.other_epoch_ignored = 0
        self.handshake_ignored = 0
        self.unknown_ignored = 0
        self._context = libcrypto.new_gcm(key, False)
        if self._context == 0:
            self._decrypt_into = AESGCM(key).decrypt_into
        # Kept as what the compiled build looks at memory through: to make one costs as much as
        # sealing or opening half a record.
        self._nonce = memoryview(bytearray(fixed_iv) + bytearray(_NONCE))
        self._additional = memoryview(bytearray(_HEADER))
        self._output: bytearray | None = None
        self._output_sizes: array[int] | None = None
        # Bit s & 63 of word (s >> 6) & 63 tells whether sequence number s was seen; _next is
        # one above the highest seen (the ring of words of RFC 6479).
        self._next = 0
        self._seen = array("Q", bytes(8 * _WINDOW_WORDS))

    def __del__(self) -> None:
        libcrypto.free_gcm(self._context)

    @property
    def datagrams(self) -> bytearray:
        """The plaintexts opened last, back to back."""
        return self._buffer.datagrams

    @property
    def sizes(self) -> array[int]:
        """How many bytes each of them has."""
        return self._buffer.sizes

    def open_batch_untrusted(self, data: bytes, segment_size: int) -> int:
        """Open all application records in a batch of received datagrams.

        ``data`` holds datagrams of ``segment_size`` bytes each, the last one possibly
        shorter. Returns how many plaintexts are in ``datagrams`` and ``sizes``. A datagram
        whose record lengths do not add up is dropped as a whole, and what does not open is
        dropped alone: anyone can send such things, so they never raise.
        """
        total = len(data)
        if segment_size < 1:
            segment_size = total
        buffer = self._buffer
        buffer.reserve(_capacity(total), total // _OVERHEAD + 1)
        records = data
        source = memoryview(data) if self._context == 0 else data
        if self._output is not buffer.datagrams or self._output_sizes is not buffer.sizes:
            self._output = buffer.datagrams
            self._output_sizes = buffer.sizes
            self._out = buffer.datagrams
            self._out_sizes = buffer.sizes
        out = self._out
        out_sizes = self._out_sizes
        nonce = self._nonce
        additional = self._additional
        seen = self._seen
        count = 0
        written = 0
        start = 0
        while start < total:
            end = start + segment_size
            if end > total:
                end = total
            if not self._lengths_add_up(records, start, end):
                self.malformed += 1
                start = end
                continue
            while start < end:
                length = (records[start + 11] << 8) | records[start + 12]
                if self._takes(records, start, length):
                    size = length - _NONCE - _TAG
                    if self._open(
                        records, source, start, length, out, written, nonce, additional, seen
                    ):
                        if records[start] == _ALERT:
                            self._note_alert(out, written, size)
                        else:
                            out_sizes[count] = size
                            self.opened += 1
                            self.opened_bytes += size
                            written += size
                            count += 1
                start += _HEADER + length
        return count

    def _lengths_add_up(self, records: bytes, start: int, end: int) -> bool:
        while start < end:
            if end - start < _HEADER:
                return False
            start += _HEADER + ((records[start + 11] << 8) | records[start + 12])
        return start == end

    def _takes(self, records: bytes, start: int, length: int) -> bool:
        """Whether this is a record for us; count it if not."""
        kind = records[start]
        epoch = (records[start + 3] << 8) | records[start + 4]
        if epoch == 0:
            # Neither sealed nor authenticated: anyone could have sent it.
            self.epoch0_ignored += 1
        elif kind in (_HANDSHAKE, _CHANGE_CIPHER_SPEC):
            self.handshake_ignored += 1
        elif kind not in (_APPLICATION_DATA, _ALERT):
            self.unknown_ignored += 1
        elif epoch != 1:
            self.other_epoch_ignored += 1
        elif records[start + 1] != 0xFE or records[start + 2] != 0xFD or length < _NONCE + _TAG:
            self.malformed += 1
        else:
            return True
        return False

    def _open(
        self,
        records: bytes,
        source: bytes | memoryview,
        start: int,
        length: int,
        out: bytearray,
        written: int,
        nonce: memoryview,
        additional: memoryview,
        seen: array[int],
    ) -> bool:
        sequence = 0
        for place in range(6):
            sequence = (sequence << 8) | records[start + 5 + place]
        if not self._is_new(seen, sequence):
            self.replayed += 1
            return False
        size = length - _NONCE - _TAG
        for place in range(8):
            additional[place] = records[start + 3 + place]
            nonce[4 + place] = records[start + 13 + place]
        additional[8] = records[start]
        additional[9] = 0xFE
        additional[10] = 0xFD
        additional[11] = size >> 8
        additional[12] = size & 0xFF
        body = start + _HEADER + _NONCE
        if self._context == 0:
            try:
                self._decrypt_into(
                    self._nonce,
                    source[body : body + size + _TAG],
                    self._additional,
                    self._buffer.view[written : written + size],
                )
            except InvalidTag:
                self.bad_tag += 1
                return False
        elif not libcrypto.open_gcm(
            self._context, nonce, additional, records, body, size, out, written
        ):
            # What was written is garbage, but not counted as a plaintext: the next overwrites it.
            self.bad_tag += 1
            return False
        self._mark_seen(seen, sequence)
        return True

    def _note_alert(self, out: bytearray, at: int, size: int) -> None:
        if size != 2:
            self.malformed += 1
        elif self.peer_alert is None:
            self.peer_alert = (out[at], out[at + 1])

    def _is_new(self, seen: array[int], sequence: int) -> bool:
        if sequence >= self._next:
            return True
        if self._next - sequence > _REPLAY_WINDOW:
            return False
        return (seen[(sequence >> 6) & 63] >> (sequence & 63)) & 1 == 0

    def _mark_seen(self, seen: array[int], sequence: int) -> None:
        one = 1
        if sequence >= self._next:
            word = (self._next - 1) >> 6 if self._next > 0 else 0
            last = sequence >> 6
            if last - word > _WINDOW_WORDS:
                word = last - _WINDOW_WORDS
            while word < last:
                word += 1
                seen[word & 63] = 0
            self._next = sequence + 1
        seen[(sequence >> 6) & 63] |= one << (sequence & 63)
