"""TLS 1.3 records against RFC 8448 and another implementation of AES-GCM, and under attack."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.transport.tls_records import (
    ALERT,
    APPLICATION_DATA,
    BAD_RECORD_MAC,
    HANDSHAKE,
    HEADER_BYTES,
    MOST_CIPHERTEXT,
    MOST_CONTENT,
    OVERHEAD_BYTES,
    RECORD_OVERFLOW,
    UNEXPECTED_MESSAGE,
    TlsOpener,
    TlsSealer,
    sealed_size,
)

# RFC 8448 section 3: the client's first keys, and what it sends under them.
RFC_KEY = bytes.fromhex("17422dda596ed5d9acd890e3c63f5051")
RFC_IV = bytes.fromhex("5b78923dee08579033e523d9")
RFC_RECORD = bytes.fromhex(
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e"
    "2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4"
)
IV = bytes(range(100, 112))
KEY = bytes(range(16))
KEY_SIZES = [16, 24, 32]
"""No suite has keys of 24 bytes: with one, compiled kernels do without the machine's libcrypto."""


def seal(sealer: TlsSealer, data: bytes, kind: int = APPLICATION_DATA) -> bytes:
    target = bytearray(sealed_size(len(data)))
    assert sealer.seal_into(kind, data, target) == len(target)
    return bytes(target)


def by_hand(plaintext: bytes, number: int = 0, key: bytes = KEY) -> bytes:
    """Make a record of any plaintext, as RFC 8446 section 5.2 says."""
    header = bytes((APPLICATION_DATA, 3, 3)) + (len(plaintext) + 16).to_bytes(2, "big")
    nonce = (int.from_bytes(IV, "big") ^ number).to_bytes(12, "big")
    return header + AESGCM(key).encrypt(nonce, plaintext, header)


def open_all(opener: TlsOpener, received: bytes) -> bytes:
    source = bytearray(received)
    target = bytearray(len(source))
    return bytes(target[: opener.open_untrusted(source, 0, len(source), target, 0)])


def test_the_record_of_the_rfc_is_sealed_and_opened() -> None:
    payload = bytes(range(50))
    assert seal(TlsSealer(RFC_KEY, RFC_IV), payload) == RFC_RECORD
    opener = TlsOpener(RFC_KEY, RFC_IV)
    assert open_all(opener, RFC_RECORD) == payload
    assert (opener.consumed, opener.sequence, opener.failure) == (len(RFC_RECORD), 1, 0)


@pytest.mark.parametrize("key_size", KEY_SIZES)
@given(
    sizes=st.lists(
        st.sampled_from([0, 1, 15, 16, 17, 1400, 16383, 16384, 16385, 40000]), max_size=6
    ),
    pieces=st.lists(st.integers(1, 30000), min_size=1, max_size=8),
)
def test_what_is_sealed_opens_however_it_is_cut(
    key_size: int, sizes: list[int], pieces: list[int]
) -> None:
    key = bytes(range(key_size))
    sealer, opener = TlsSealer(key, IV), TlsOpener(key, IV)
    data = [random.Random(size).randbytes(size) for size in sizes]
    stream = b"".join(seal(sealer, each) for each in data)
    opened = held = b""
    turn = 0
    while stream:
        size = pieces[turn % len(pieces)]
        turn += 1
        held += stream[:size]
        stream = stream[size:]
        opened += open_all(opener, held)
        held = held[opener.consumed :]
    assert opened == b"".join(data)
    assert held == b""
    assert (opener.kind, opener.failure) == (0, 0)
    assert (
        opener.sequence == sealer.sequence == sum(-(-size // MOST_CONTENT) or 1 for size in sizes)
    )


@pytest.mark.parametrize("key_size", KEY_SIZES)
@pytest.mark.parametrize("first", [0, 1, 255, 256, 2**32 - 1, 2**63])
def test_records_are_numbered_as_another_numbers_them(key_size: int, first: int) -> None:
    key = bytes(range(key_size))
    sealer = TlsSealer(key, IV, first)
    expected = [by_hand(bytes((n, APPLICATION_DATA)), first + n, key) for n in range(3)]
    assert [seal(sealer, bytes((n,))) for n in range(3)] == expected


@pytest.mark.parametrize("key_size", KEY_SIZES)
def test_padding_and_other_types_are_seen(key_size: int) -> None:
    key = bytes(range(key_size))
    opener = TlsOpener(key, IV)
    records = [
        by_hand(b"data\x17" + bytes(100), 0, key),
        by_hand(b"zeros\0\0\0\x17", 1, key),
        by_hand(b"\x01\0\x15\0\0", 2, key),
        by_hand(b"more\x17", 3, key),
    ]
    received = b"".join(records)
    assert open_all(opener, received) == b"datazeros\0\0\0"
    assert (opener.kind, opener.control, opener.failure) == (ALERT, b"\x01\0", 0)
    assert opener.consumed == len(received) - len(records[3])
    assert open_all(opener, records[3]) == b"more"
    assert opener.kind == 0


@pytest.mark.parametrize("key_size", KEY_SIZES)
@pytest.mark.parametrize("place", [3, 4, 5, 20, 40, 60])
def test_a_changed_record_and_all_after_it_are_refused(key_size: int, place: int) -> None:
    key = bytes(range(key_size))
    sealer, opener = TlsSealer(key, IV), TlsOpener(key, IV)
    first, second, third = (seal(sealer, bytes((n,)) * 40) for n in range(3))
    changed = bytearray(second)
    changed[place] ^= 1
    assert open_all(opener, first + bytes(changed) + third) == bytes(40)
    assert opener.failure in ({BAD_RECORD_MAC} if place != 3 else {0, BAD_RECORD_MAC})
    if place == 3:
        # It claims to be longer: the rest is waited for, and it fails then.
        open_all(opener, bytes(changed) + bytes(300))
    assert opener.failure == BAD_RECORD_MAC
    assert open_all(opener, second) == b""


@pytest.mark.parametrize("order", [(1, 0), (0, 0), (0, 2), (0, 1, 0)])
def test_records_out_of_order_repeated_or_missing_are_refused(order: Iterable[int]) -> None:
    sealer, opener = TlsSealer(KEY, IV), TlsOpener(KEY, IV)
    made = [seal(sealer, b"%d" % n) for n in range(3)]
    opened = open_all(opener, b"".join(made[n] for n in order))
    assert opened in (b"", b"0", b"01")
    assert opener.failure == BAD_RECORD_MAC


@pytest.mark.parametrize(
    ("received", "alert"),
    [
        (by_hand(bytes(5)), UNEXPECTED_MESSAGE),
        (by_hand(b""), BAD_RECORD_MAC),
        (by_hand(bytes(MOST_CONTENT + 1) + b"\x17"), RECORD_OVERFLOW),
        (by_hand(bytes(MOST_CONTENT) + b"\x17"), 0),
        (by_hand(bytes(MOST_CONTENT) + b"\x17" + bytes(200)), 0),
        (b"\x17\3\3" + (MOST_CIPHERTEXT + 1).to_bytes(2, "big"), RECORD_OVERFLOW),
        (b"\x17\3\3\0\0", BAD_RECORD_MAC),
        (b"\x15\3\3\0\2\1\0", UNEXPECTED_MESSAGE),
        (b"\x14\3\3\0\1\1", UNEXPECTED_MESSAGE),
        (b"GET / HTTP/1.1\r\n", UNEXPECTED_MESSAGE),
    ],
    ids=str,
)
def test_what_no_record_may_be_earns_its_alert(received: bytes, alert: int) -> None:
    opener = TlsOpener(KEY, IV)
    opened = open_all(opener, received)
    assert opener.failure == alert
    assert len(opened) == (0 if alert else MOST_CONTENT)


def test_the_beginning_of_a_record_is_left_for_later() -> None:
    record = seal(TlsSealer(KEY, IV), b"later")
    opener = TlsOpener(KEY, IV)
    for size in range(len(record)):
        assert open_all(opener, record[:size]) == b""
        assert (opener.consumed, opener.failure, opener.sequence) == (0, 0, 0)
    assert open_all(opener, record) == b"later"


def test_buffers_that_are_too_small_are_refused() -> None:
    sealer, opener = TlsSealer(KEY, IV), TlsOpener(KEY, IV)
    with pytest.raises(ValueError, match="no room"):
        sealer.seal_into(APPLICATION_DATA, bytes(10), bytearray(10 + OVERHEAD_BYTES - 1))
    record = bytearray(seal(sealer, bytes(10)))
    for end, target in ((len(record) + 1, bytearray(100)), (len(record), bytearray(HEADER_BYTES))):
        with pytest.raises(ValueError, match="too small"):
            opener.open_untrusted(record, 0, end, target, 0)
    assert sealer.sequence == 1


def test_handshake_messages_are_sealed_as_such() -> None:
    opener = TlsOpener(KEY, IV)
    assert open_all(opener, seal(TlsSealer(KEY, IV), b"\x18\0\0\1\0", HANDSHAKE)) == b""
    assert (opener.kind, opener.control) == (HANDSHAKE, b"\x18\0\0\1\0")
