"""Records against recorded sessions of other implementations, and under attack."""

from __future__ import annotations

import hashlib
import json
import random
from array import array
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.batch import DatagramBuffer
from polevpn_trio.errors import LinkLost
from polevpn_trio.transport import records
from polevpn_trio.transport.records import (
    MAX_PLAINTEXT_BYTES,
    OVERHEAD_BYTES,
    REPLAY_WINDOW,
    RecordOpener,
    RecordSealer,
    derive_keys,
    open_record,
    pseudo_random,
)

SESSIONS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "dtls_keys.json").read_text()
)["sessions"]
KEY = bytes(range(16))
IV = b"\x01\x02\x03\x04"
KEY_SIZES = [16, 24, 32]
"""No suite has keys of 24 bytes: with one, compiled kernels do without the machine's libcrypto."""


def openssl_name(suite: str) -> str:
    """Turn the IANA name of a suite into OpenSSL's."""
    exchange, _, rest = suite.removeprefix("TLS_").partition("_WITH_")
    return f"{exchange}-{rest}".replace("_", "-").replace("AES-", "AES")


def sealer(first: int = 1 << 16, base: int = 1 << 63, key: bytes = KEY) -> RecordSealer:
    return RecordSealer(key, IV, first, base)


def seal(sealing: RecordSealer, *plaintexts: bytes) -> list[bytes]:
    sizes = array("H", [len(plaintext) for plaintext in plaintexts])
    assert sealing.seal_batch(b"".join(plaintexts), sizes, len(plaintexts)) == len(plaintexts)
    return cut(sealing.datagrams, sealing.sizes, len(plaintexts))


def cut(buffer: bytes | bytearray, sizes: array[int], count: int) -> list[bytes]:
    found = []
    at = 0
    for size in sizes[:count]:
        found.append(bytes(buffer[at : at + size]))
        at += size
    return found


def opened(opener: RecordOpener, datagram: bytes, segment_size: int | None = None) -> list[bytes]:
    count = opener.open_batch_untrusted(
        datagram, len(datagram) if segment_size is None else segment_size
    )
    return cut(opener.datagrams, opener.sizes, count)


@pytest.mark.parametrize("size", KEY_SIZES)
def test_sessions_may_share_the_buffers_for_their_records(size: int) -> None:
    sealed, plain = DatagramBuffer(), DatagramBuffer()
    keys = [bytes([number]) * size for number in range(3)]
    sealers = [RecordSealer(key, IV, 1 << 16, 0, sealed) for key in keys]
    openers = [RecordOpener(key, IV, plain) for key in keys]
    for length in (1, 1500, 40):
        for sealing, opener in zip(sealers, openers, strict=True):
            texts = [bytes([number]) * length for number in range(60)]
            assert opened(opener, b"".join(seal(sealing, *texts)), length + 37) == texts
    assert all(each.datagrams is sealed.datagrams for each in sealers)
    assert all(each.datagrams is plain.datagrams for each in openers)


# --- Other implementations ---------------------------------------------------------------


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session["name"])
def test_keys_of_recorded_sessions(session: dict[str, Any]) -> None:
    keys = derive_keys(
        bytes.fromhex(session["master_secret"]),
        bytes.fromhex(session["client_random"]),
        bytes.fromhex(session["server_random"]),
        openssl_name(session["cipher_suite"]),
    )
    expected = session["key_block"]
    assert keys.client_key.hex() == expected["client_write_key"]
    assert keys.server_key.hex() == expected["server_write_key"]
    assert keys.client_iv.hex() == expected["client_write_iv"]
    assert keys.server_iv.hex() == expected["server_write_iv"]


def direction_keys(session: dict[str, Any], direction: str) -> tuple[bytes, bytes]:
    side = "client" if direction == "c2s" else "server"
    block = session["key_block"]
    return bytes.fromhex(block[f"{side}_write_key"]), bytes.fromhex(block[f"{side}_write_iv"])


@pytest.mark.parametrize("direction", ["c2s", "s2c"])
@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session["name"])
def test_recorded_application_records_open_once(session: dict[str, Any], direction: str) -> None:
    opener = RecordOpener(*direction_keys(session, direction))
    ours = [record for record in session["app_records"] if record["dir"] == direction]
    assert ours
    for record in ours:
        assert opened(opener, bytes.fromhex(record["record_hex"])) == [
            bytes.fromhex(record["plaintext_hex"])
        ]
    for record in ours:
        assert opened(opener, bytes.fromhex(record["record_hex"])) == []
    assert opener.opened == opener.replayed == len(ours)
    assert opener.bad_tag == opener.malformed == 0


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session["name"])
def test_recorded_alerts_are_noticed(session: dict[str, Any]) -> None:
    for alert in session["alerts"]:
        opener = RecordOpener(*direction_keys(session, alert["dir"]))
        assert opened(opener, bytes.fromhex(alert["record_hex"])) == []
        assert opener.peer_alert == tuple(bytes.fromhex(alert["plaintext_hex"]))


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session["name"])
def test_recorded_finished_messages_open_and_verify(session: dict[str, Any]) -> None:
    """The Finished of the client covers all handshake messages before it (RFC 5246, 7.4.9)."""
    hash_name = records.SUITES[openssl_name(session["cipher_suite"])][1]
    messages: dict[tuple[int, int], dict[int, bytes]] = {}
    heads: dict[tuple[int, int], bytes] = {}
    order = []
    for datagram in session["handshake_datagrams"]:
        data = bytes.fromhex(datagram["hex"])
        while data:
            length = int.from_bytes(data[11:13], "big")
            record, data = data[: 13 + length], data[13 + length :]
            body = record[13:]
            if record[0] != records.HANDSHAKE or record[3:5] != b"\0\0":
                continue
            while body:
                size = int.from_bytes(body[9:12], "big")
                # Before the cookie was given, nothing counts.
                name = (datagram["dir"] == "c2s", int.from_bytes(body[4:6], "big"))
                if name not in messages:
                    order.append(name)
                heads[name] = body[:1]
                offset = int.from_bytes(body[6:9], "big")
                messages.setdefault(name, {})[offset] = body[12 : 12 + size]
                body = body[12 + size :]
    transcript = b""
    hello_verify = next(name for name in order if heads[name] == b"\x03")
    for name in order:
        if name == hello_verify or (name == order[0] and heads[order[0]] == b"\x01"):
            continue
        whole = b"".join(part for _, part in sorted(messages[name].items()))
        length_bytes = len(whole).to_bytes(3, "big")
        transcript += heads[name] + length_bytes + name[1].to_bytes(2, "big")
        transcript += bytes(3) + length_bytes + whole
    digest = getattr(hashlib, hash_name)(transcript).digest()
    secret = bytes.fromhex(session["master_secret"])
    for finished in session["finished"]:
        key, iv = direction_keys(session, finished["dir"])
        plaintext = open_record(key, iv, bytes.fromhex(finished["record_hex"]))
        assert plaintext is not None
        assert plaintext.hex() == finished["plaintext_hex"]
        if finished["dir"] == "c2s":
            expected = pseudo_random(secret, b"client finished", digest, 12, hash_name)
            assert plaintext[-12:] == expected


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session["name"])
def test_sealing_with_the_recorded_numbers_gives_the_recorded_bytes(
    session: dict[str, Any],
) -> None:
    compared = 0
    for record in session["app_records"]:
        plaintext = bytes.fromhex(record["plaintext_hex"])
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            continue
        base = (int(record["explicit_nonce"], 16) - record["seq"]) % 2**64
        sealing = RecordSealer(*direction_keys(session, record["dir"]), record["seq"], base)
        assert seal(sealing, plaintext)[0].hex() == record["record_hex"]
        compared += 1
    for record in session["alerts"]:
        base = (int(record["explicit_nonce"], 16) - record["seq"]) % 2**64
        sealing = RecordSealer(*direction_keys(session, record["dir"]), record["seq"], base)
        alert = sealing.seal_alert(*bytes.fromhex(record["plaintext_hex"]))
        assert alert.hex() == record["record_hex"]
    assert compared > 10


def test_prf_stretches_over_several_blocks() -> None:
    long = pseudo_random(b"secret", b"label", b"seed", 200, "sha384")
    assert len(long) == 200
    assert pseudo_random(b"secret", b"label", b"seed", 50, "sha384") == long[:50]


def test_foreign_suites_have_no_keys() -> None:
    with pytest.raises(KeyError):
        derive_keys(bytes(48), bytes(32), bytes(32), "ECDHE-RSA-CHACHA20-POLY1305")


# --- Seal and open -----------------------------------------------------------------------


@given(
    st.lists(st.binary(max_size=MAX_PLAINTEXT_BYTES), min_size=1, max_size=46),
    st.sampled_from(KEY_SIZES),
    st.integers(0, 2**48 - 100),
    st.integers(0, 2**64 - 1),
)
def test_what_is_sealed_opens(
    plaintexts: list[bytes], key_size: int, first: int, base: int
) -> None:
    key = bytes(range(key_size))
    sealing = RecordSealer(key, IV, first, base)
    datagrams = seal(sealing, *plaintexts)
    opener = RecordOpener(key, IV)
    for index, (datagram, plaintext) in enumerate(zip(datagrams, plaintexts, strict=True)):
        number = first + index
        assert len(datagram) == len(plaintext) + OVERHEAD_BYTES
        assert datagram[:5] == b"\x17\xfe\xfd\x00\x01"
        assert int.from_bytes(datagram[5:11], "big") == number
        assert int.from_bytes(datagram[13:21], "big") == (base + number) % 2**64
        # The library by itself agrees.
        additional = datagram[3:11] + datagram[:3] + len(plaintext).to_bytes(2, "big")
        assert AESGCM(key).decrypt(IV + datagram[13:21], datagram[21:], additional) == plaintext
    if first >= 4096:
        random.Random(len(plaintexts)).shuffle(datagrams)
    got = [plaintext for datagram in datagrams for plaintext in opened(opener, datagram)]
    assert sorted(got) == sorted(plaintexts)
    assert opener.opened_bytes == sealing.sealed_bytes == sum(map(len, plaintexts))


def test_a_received_batch_opens_in_one_call() -> None:
    plaintexts = [bytes([n]) * 1350 for n in range(45)] + [b"the shorter end"]
    batch = b"".join(seal(sealer(), *plaintexts))
    assert opened(RecordOpener(KEY, IV), batch, 1350 + OVERHEAD_BYTES) == plaintexts


def test_batches_of_changing_sizes_share_the_buffers() -> None:
    """The views kept from one batch must not leak into the next one."""
    sealing, opener = sealer(), RecordOpener(KEY, IV)
    chooser = random.Random(5)
    for _ in range(60):
        count = chooser.randrange(1, 47)
        common = chooser.choice([0, 1, 100, 1350, 1350, 1350])
        plaintexts = [
            chooser.randbytes(common if chooser.random() < 0.9 else chooser.randrange(1500))
            for _ in range(count)
        ]
        datagrams = seal(sealing, *plaintexts)
        got = [plaintext for datagram in datagrams for plaintext in opened(opener, datagram)]
        assert got == plaintexts
        batch = b"".join(seal(sealing, *plaintexts[:1] * count))
        assert opened(opener, batch, len(datagrams[0])) == plaintexts[:1] * count


@pytest.mark.parametrize("sizes", [[10, 5, 15, 10], [10, 0, 20, 10, 10], [1, 2, 0, 1, 1]])
def test_sizes_that_add_up_like_equal_ones(sizes: list[int]) -> None:
    plaintexts = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    datagrams = seal(sealer(), *plaintexts)
    assert opened(RecordOpener(KEY, IV), b"".join(datagrams)) == plaintexts


def test_several_records_in_one_datagram() -> None:
    datagrams = seal(sealer(), b"one", b"", b"three")
    assert opened(RecordOpener(KEY, IV), b"".join(datagrams)) == [b"one", b"", b"three"]


def test_very_many_tiny_records_in_one_batch() -> None:
    sealing = sealer()
    tiny = b"".join(seal(sealing, *[b""] * 1700))
    assert opened(RecordOpener(KEY, IV), tiny) == [b""] * 1700


def test_a_datagram_whose_lengths_do_not_add_up_is_dropped_whole() -> None:
    first, second, third = seal(sealer(), b"first", b"second", b"third")
    opener = RecordOpener(KEY, IV)
    assert opened(opener, first + second[:-1]) == []
    assert opened(opener, first + second + b"\x17") == []
    assert opener.malformed == 2
    assert opener.opened == 0
    # The others of the same batch are not concerned.
    size = len(second)
    broken = second[:11] + b"\xff\xff" + second[13:]
    assert opened(opener, second + broken + third, size) == [b"second", b"third"]
    assert opener.malformed == 3


def test_oversized_datagrams_are_refused() -> None:
    sealing = sealer()
    with pytest.raises(ValueError, match="does not fit"):
        seal(sealing, bytes(MAX_PLAINTEXT_BYTES + 1))
    with pytest.raises(ValueError, match="exceed"):
        sealing.seal_batch(b"short", array("H", [6]), 1)
    with pytest.raises(ValueError, match="announced"):
        sealing.seal_batch(b"short", array("H", [5]), 2)
    with pytest.raises(ValueError, match="announced"):
        sealing.seal_batch(b"short", array("H", [5]), -1)
    assert sealing.sequence == 1 << 16
    assert seal(sealing, bytes(MAX_PLAINTEXT_BYTES))


def test_sequence_numbers_are_never_used_twice_even_at_their_end() -> None:
    sealing = sealer(first=2**48 - 3)
    seal(sealing, b"1", b"2")
    with pytest.raises(LinkLost):
        seal(sealing, b"3")
    with pytest.raises(LinkLost):
        sealing.seal_alert(1, 0)
    assert sealing.sequence == 2**48 - 1


def test_alert_is_sealed_under_the_next_number() -> None:
    sealing, opener = sealer(), RecordOpener(KEY, IV)
    seal(sealing, b"data")
    alert = sealing.seal_alert(1, 0)
    assert len(alert) == 39
    assert alert[0] == records.ALERT
    assert int.from_bytes(alert[5:11], "big") == (1 << 16) + 1
    (after,) = seal(sealing, b"more")
    assert opened(opener, alert) == []
    assert opener.peer_alert == (1, 0)
    assert opened(opener, after) == [b"more"]


def test_an_alert_in_a_batch_does_not_hide_the_data_around_it() -> None:
    sealing, opener = sealer(), RecordOpener(KEY, IV)
    (before,) = seal(sealing, b"before")
    alert = sealing.seal_alert(2, 40)
    (after,) = seal(sealing, b"after")
    assert opened(opener, before + alert + after) == [b"before", b"after"]
    assert opener.peer_alert == (2, 40)


# --- Anti-replay -------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3 * REPLAY_WINDOW) | st.integers(0, 2**48 - 2), max_size=60))
def test_each_number_opens_once_and_only_inside_the_window(numbers: list[int]) -> None:
    opener = RecordOpener(KEY, IV)
    seen: set[int] = set()
    for number in numbers:
        (datagram,) = seal(sealer(first=number), b"x")
        highest = max(seen, default=-1)
        expected = number not in seen and number > highest - REPLAY_WINDOW
        assert (opened(opener, datagram) == [b"x"]) == expected
        if expected:
            seen.add(number)
    assert opener.opened == len(seen)
    assert opener.replayed == len(numbers) - len(seen)


def test_window_over_a_long_shuffled_run() -> None:
    chooser = random.Random(9)
    datagrams = []
    sealing = sealer(first=0)
    for _ in range(150):
        datagrams += seal(sealing, *[b"y"] * 46)
    for start in range(0, len(datagrams), 1000):
        part = datagrams[start : start + 1000]
        chooser.shuffle(part)
        datagrams[start : start + 1000] = part
    opener = RecordOpener(KEY, IV)
    assert sum(len(opened(opener, datagram)) for datagram in datagrams) == len(datagrams)
    assert sum(len(opened(opener, datagram)) for datagram in datagrams) == 0


@pytest.mark.parametrize("key_size", KEY_SIZES)
def test_a_forged_record_does_not_move_the_window(key_size: int) -> None:
    key = bytes(range(key_size))
    (datagram,) = seal(sealer(first=5, key=key), b"genuine")
    forged = datagram[:5] + (2**47).to_bytes(6, "big") + datagram[11:]
    opener = RecordOpener(key, IV)
    assert opened(opener, forged) == []
    assert opener.bad_tag == 1
    assert opened(opener, datagram) == [b"genuine"]


@pytest.mark.parametrize("key_size", KEY_SIZES)
def test_one_wrong_record_among_good_ones_is_left_out(key_size: int) -> None:
    key = bytes(range(key_size))
    datagrams = seal(sealer(key=key), b"first", b"wrong", b"third")
    datagrams[1] = datagrams[1][:-1] + bytes([datagrams[1][-1] ^ 1])
    opener = RecordOpener(key, IV)
    assert opened(opener, b"".join(datagrams), len(datagrams[0])) == [b"first", b"third"]
    assert (opener.opened, opener.bad_tag) == (2, 1)


# --- What anyone may send ----------------------------------------------------------------


def test_every_flipped_bit_is_noticed() -> None:
    (datagram,) = seal(sealer(), b"payload")
    opener = RecordOpener(KEY, IV)
    for bit in range(len(datagram) * 8):
        broken = bytearray(datagram)
        broken[bit // 8] ^= 1 << bit % 8
        assert opened(opener, bytes(broken)) == []
    assert opener.peer_alert is None
    assert opened(opener, datagram) == [b"payload"]


@pytest.mark.parametrize(
    ("record", "counter"),
    [
        ("15fefd0000000000000005000201 00", "epoch0_ignored"),
        ("15fefd0000000000000005000202 28", "epoch0_ignored"),
        ("17fefd0000000000000005000568656c6c6f", "epoch0_ignored"),
        ("63fefd0000000000000005000568656c6c6f", "epoch0_ignored"),
        ("14fefd00000000000000050001 01", "epoch0_ignored"),
        ("16fefd000100000000000500020000", "handshake_ignored"),
        ("14fefd0001000000000005000101", "handshake_ignored"),
        ("63fefd0001000000000005000101", "unknown_ignored"),
        ("17fefd000200000000000500010a", "other_epoch_ignored"),
        ("17fefd0001000000000005000a00112233445566778899", "malformed"),
        ("17feff000100000000000500180011223344556677000102030405060708090a0b0c0d0e0f", "malformed"),
        ("17fefd000100000001000500180011223344556677000102030405060708090a0b0c0d0e0f", "bad_tag"),
        ("17fefd", "malformed"),
    ],
)
def test_foreign_records_are_ignored_and_counted(record: str, counter: str) -> None:
    opener = RecordOpener(KEY, IV)
    (before, after) = seal(sealer(), b"before", b"after")
    assert opened(opener, before) == [b"before"]
    assert opened(opener, bytes.fromhex(record)) == []
    assert getattr(opener, counter) == 1
    assert opener.peer_alert is None
    assert opened(opener, after) == [b"after"]


def test_an_empty_batch_is_nothing() -> None:
    assert opened(RecordOpener(KEY, IV), b"", 0) == []
    assert opened(RecordOpener(KEY, IV), b"", 100) == []


@given(st.binary(max_size=200), st.integers(-1, 250))
def test_garbage_opens_to_nothing(garbage: bytes, segment_size: int) -> None:
    assert opened(RecordOpener(KEY, IV), garbage, segment_size) == []


@given(st.data())
def test_mutated_batches_never_raise_and_never_lie(data: st.DataObject) -> None:
    plaintexts = [bytes([65 + n]) * 20 for n in range(4)]
    batch = bytearray(b"".join(seal(sealer(), *plaintexts)))
    for _ in range(data.draw(st.integers(1, 4))):
        action = data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        at = data.draw(st.integers(0, len(batch) - 1)) if batch else 0
        if action == "flip" and batch:
            batch[at] ^= data.draw(st.integers(1, 255))
        elif action == "cut":
            del batch[at : at + data.draw(st.integers(1, 60))]
        elif action == "insert":
            batch[at:at] = data.draw(st.binary(min_size=1, max_size=40))
        else:
            batch[at:at] = batch[at : at + 57]
    segment_size = data.draw(st.sampled_from([57, 57, 114, 400, 1]))
    got = opened(RecordOpener(KEY, IV), bytes(batch), segment_size)
    assert len(set(got)) == len(got)
    assert set(got) <= set(plaintexts)
