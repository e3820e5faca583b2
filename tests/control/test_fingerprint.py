"""Fingerprints as people paste them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.control.fingerprint import (
    fingerprint_of,
    format_fingerprint,
    parse_fingerprint,
)

DIGEST = bytes(range(32))


def test_a_fingerprint_is_the_sha256_of_the_certificate() -> None:
    assert fingerprint_of(b"DER") == hashlib.sha256(b"DER").digest()


@pytest.mark.parametrize(
    "text",
    [
        f"sha256:{DIGEST.hex()}",
        f" SHA256:{DIGEST.hex().upper()} ",
        f"sha256:{DIGEST.hex(':')}",
        f"sha256={DIGEST.hex(':').upper()}",
    ],
)
def test_the_usual_spellings_are_read(text: str) -> None:
    assert parse_fingerprint(text) == DIGEST


@pytest.mark.parametrize(
    "text",
    [
        "",
        DIGEST.hex(),
        "sha256:",
        f"sha256:{DIGEST.hex()[:-1]}",
        f"sha256:{DIGEST.hex()}0",
        f"sha256:{DIGEST.hex(':')}:",
        f"sha1:{DIGEST.hex()}",
        f"sha256:{'zz' * 32}",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="SHA-256 fingerprint"):
        parse_fingerprint(text)


@given(st.binary(min_size=32, max_size=32))
def test_what_is_written_is_read_back(digest: bytes) -> None:
    assert parse_fingerprint(format_fingerprint(digest)) == digest
