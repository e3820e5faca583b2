"""Proofs of a key: good for one key, one name, one session, one direction."""

from __future__ import annotations

import hashlib
import hmac

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.control.login_proof import SiteKey, Verifier
from polevpn_trio.control.session_identity import SessionIdentity

SESSION = SessionIdentity(exporter=bytes(range(32)), router_certificate=b"\x01" * 32)
KEY = SiteKey.derive("a key", "berlin")

OTHER_SESSIONS = [
    attrs.evolve(SESSION, exporter=bytes(32)),
    attrs.evolve(SESSION, router_certificate=bytes(32)),
]


def test_the_arithmetic_is_that_of_scram() -> None:
    """RFC 5802 section 3, written again from the formulas."""
    salted = hashlib.scrypt(
        b"a key", salt=b"site login 1\0berlin", n=16384, r=8, p=1, maxmem=1 << 26, dklen=32
    )
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    tail = bytes(range(32)) + b"\x01" * 32 + b"berlin"
    signature = hmac.digest(stored_key, b"gateway\0" + tail, "sha256")
    expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    assert KEY.prove(SESSION) == expected
    assert KEY.verifier == Verifier(stored_key, server_key)
    assert KEY.verifier.prove("berlin", SESSION) == hmac.digest(
        server_key, b"router\0" + tail, "sha256"
    )


def test_who_knows_the_key_is_believed_by_both_sides() -> None:
    assert KEY.verifier.check(KEY.prove(SESSION), "berlin", SESSION)
    assert KEY.check_router(KEY.verifier.prove("berlin", SESSION), SESSION)


@pytest.mark.parametrize("key", ["A key", "a key ", "", "another"])
def test_another_key_proves_nothing(key: str) -> None:
    other = SiteKey.derive(key, "berlin")
    assert not KEY.verifier.check(other.prove(SESSION), "berlin", SESSION)
    assert not KEY.check_router(other.verifier.prove("berlin", SESSION), SESSION)


@pytest.mark.parametrize("name", ["", "Berlin", "berlin2", "paris"])
def test_the_same_key_under_another_name_is_another_key(name: str) -> None:
    other = SiteKey.derive("a key", name)
    assert other.verifier != KEY.verifier
    assert not KEY.verifier.check(other.prove(SESSION), "berlin", SESSION)
    assert not KEY.verifier.check(KEY.prove(SESSION), name, SESSION)
    assert not KEY.check_router(KEY.verifier.prove(name, SESSION), SESSION)


@pytest.mark.parametrize("session", OTHER_SESSIONS)
def test_a_proof_is_worth_nothing_in_another_session(session: SessionIdentity) -> None:
    """Replayed later, or passed on by somebody in between."""
    assert not KEY.verifier.check(KEY.prove(session), "berlin", SESSION)
    assert not KEY.verifier.check(KEY.prove(SESSION), "berlin", session)
    assert not KEY.check_router(KEY.verifier.prove("berlin", session), SESSION)


def test_neither_sides_proof_passes_for_the_others() -> None:
    ours, theirs = KEY.prove(SESSION), KEY.verifier.prove("berlin", SESSION)
    assert not KEY.verifier.check(theirs, "berlin", SESSION)
    assert not KEY.check_router(ours, SESSION)


def test_what_the_router_keeps_is_not_enough_to_log_in() -> None:
    kept = KEY.verifier
    forged = SiteKey("berlin", kept.stored_key, kept)
    assert not kept.check(forged.prove(SESSION), "berlin", SESSION)
    forged = SiteKey("berlin", kept.server_key, kept)
    assert not kept.check(forged.prove(SESSION), "berlin", SESSION)


@given(st.binary(max_size=80))
def test_no_other_bytes_are_a_proof(proof: bytes) -> None:
    assert not KEY.verifier.check(proof, "berlin", SESSION)
    assert not KEY.check_router(proof, SESSION)


def test_a_verifier_is_read_back_and_shows_itself_only_when_asked() -> None:
    text = str(KEY.verifier)
    assert Verifier.from_text(text) == KEY.verifier
    assert text.partition(":")[2] not in repr(KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "scrypt1:",
        "scrypt1:AAAA",
        "a key",
        "scrypt2:" + "A" * 88,
        # Junk in between: 64 bytes if it is left out.
        str(KEY.verifier)[:20] + " " + str(KEY.verifier)[20:],
        str(KEY.verifier) + "\n",
    ],
)
def test_other_texts_are_no_verifier(text: str) -> None:
    with pytest.raises(ValueError, match="not the hash of a key"):
        Verifier.from_text(text)
