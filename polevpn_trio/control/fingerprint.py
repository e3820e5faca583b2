"""SHA-256 fingerprints of certificates, as people write them."""

from __future__ import annotations

import hashlib
import re

PREFIX = "sha256:"
EXPECTED = (
    'the SHA-256 fingerprint of a certificate such as "sha256:0f3a..." '
    "(openssl x509 -noout -fingerprint -sha256)"
)

_FINGERPRINT = re.compile(r"sha256[:= ](?:[0-9a-f]{64}|[0-9a-f]{2}(?::[0-9a-f]{2}){31})", re.ASCII)


def fingerprint_of(certificate: bytes) -> bytes:
    """Return the fingerprint of a certificate in DER, 32 bytes."""
    return hashlib.sha256(certificate).digest()


def parse_fingerprint(text: str) -> bytes:
    """Read ``sha256:`` and 64 hexadecimal digits, with or without colons in between.

    Raises ValueError.
    """
    lowered = text.strip().lower()
    if not _FINGERPRINT.fullmatch(lowered):
        raise ValueError(f"not {EXPECTED}")
    return bytes.fromhex(lowered[len(PREFIX) :].replace(":", ""))


def format_fingerprint(digest: bytes) -> str:
    """Write a fingerprint as `parse_fingerprint` reads it."""
    return f"{PREFIX}{digest.hex()}"
