"""Checks a listener's certificate and private key before OpenSSL meets them.

OpenSSL would refuse the same files, but with words that name neither the file nor the cure, and
some of them only when the first peer connects.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

MAX_FILE = 1 << 20
"""Bytes; certificate chains are a hundred times smaller."""

MIN_RSA_BITS = 2048
"""OpenSSL's security level 2, its default, takes no shorter keys."""

DTLS_CURVES = ("secp256r1", "secp384r1")
"""Curves that the peers' ClientHello lists; a certificate on another one suits no peer."""


_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class Unfit(Exception):
    """One of the two files cannot be used: ``member`` says which, ``problem`` why."""

    def __init__(self, member: str, problem: str) -> None:
        super().__init__(problem)
        self.member = member
        self.problem = problem


def check_pair(cert_file: Path, key_file: Path, *, dtls: bool, now: datetime.datetime) -> str:
    """Check that both files parse, belong together and suit TLS, or DTLS 1.2 if ``dtls``.

    Returns a warning about the certificate's period of validity, "" if there is none.
    Raises Unfit.
    """
    chain = _certificates(cert_file)
    key = _private_key(key_file)
    leaf = chain[0]
    own = _encoded(key.public_key())
    public = [_encoded(certificate.public_key()) for certificate in chain]
    if public[0] != own:
        if own in public:
            raise Unfit(
                "cert_file",
                "the certificate of key_file is not the first one in it, expected it first "
                "and the issuers' certificates after it",
            )
        raise Unfit(
            "key_file",
            f"does not belong to the certificate {cert_file}, expected its private key",
        )
    _check_algorithm(key, dtls=dtls)
    if now > leaf.not_valid_after_utc:
        return f"certificate expired on {leaf.not_valid_after_utc:%Y-%m-%d}"
    if now < leaf.not_valid_before_utc:
        return f"certificate is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}"
    return ""


def expiry(cert_file: Path) -> datetime.datetime:
    """Tell when the first certificate of a PEM file expires. Raises Unfit."""
    return _certificates(cert_file)[0].not_valid_after_utc


def read_authorities(file: Path) -> tuple[x509.Certificate, ...]:
    """Read the certificates of authorities, one at least, from a PEM file. Raises Unfit."""
    return tuple(_certificates(file))


def read_certificate(file: Path) -> x509.Certificate:
    """Read the first certificate of a PEM file, the one that a listener shows. Raises Unfit."""
    return _certificates(file)[0]


def _certificates(file: Path) -> list[x509.Certificate]:
    data = _read(file, "cert_file")
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        found = (
            "holds a private key (are cert_file and key_file swapped?)"
            if b"PRIVATE KEY-----" in data
            else "holds no certificate that can be read"
        )
        raise Unfit("cert_file", f"{file} {found}, expected a certificate in PEM form") from None


def _private_key(file: Path) -> _PrivateKey:
    data = _read(file, "key_file")
    expected = "expected an RSA or EC private key in PEM form, without a passphrase"
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise Unfit("key_file", f"{file} is protected by a passphrase, {expected}") from None
    except (ValueError, UnsupportedAlgorithm):
        found = (
            "holds a certificate (are cert_file and key_file swapped?)"
            if b"BEGIN CERTIFICATE" in data and b"PRIVATE KEY-----" not in data
            else "holds no private key that can be read"
        )
        raise Unfit("key_file", f"{file} {found}, {expected}") from None
    if not isinstance(key, _PrivateKey):
        raise Unfit("key_file", f"{file} holds a key of another kind, {expected}")
    return key


def _check_algorithm(key: _PrivateKey, *, dtls: bool) -> None:
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < MIN_RSA_BITS:
        raise Unfit(
            "key_file",
            f"RSA key of {key.key_size} bits, expected {MIN_RSA_BITS} or more "
            "(OpenSSL refuses shorter ones)",
        )
    if not dtls:
        return
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raise Unfit(
            "key_file",
            "Ed25519 key, expected RSA or EC for kcp (the cipher suites of its DTLS 1.2 "
            "authenticate by RSA or ECDSA only)",
        )
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name not in DTLS_CURVES:
        raise Unfit(
            "key_file",
            f"EC key on the curve {key.curve.name}, expected P-256 or P-384 for kcp "
            "(peers offer no other)",
        )


def _encoded(key: object) -> bytes:
    if not isinstance(key, _PublicKey):
        return b""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read(file: Path, member: str) -> bytes:
    what = "certificate" if member == "cert_file" else "private key"
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Unfit(member, f"{file} cannot be read: {reason}, expected a {what} file") from None
    except ValueError:
        raise Unfit(member, "not a file name, expected the path of a file") from None
    if len(data) > MAX_FILE:
        raise Unfit(
            member, f"{file} is larger than {MAX_FILE} bytes, expected a {what} in PEM form"
        )
    return data
