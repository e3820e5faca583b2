"""Makes certificates that vouch for themselves: a router's, which gateways know by fingerprint.

ECDSA on P-256, which suits TLS and DTLS 1.2 and every peer (with Ed25519, OpenSSL finds no cipher
suite for DTLS). Strangers may look at it: it holds the names that it was given, and nothing that
tells what it is for.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from ipaddress import ip_address

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLOCK_SKEW = datetime.timedelta(hours=1)
"""How far before now the validity starts."""

MAX_COMMON_NAME = 64
"""Characters (RFC 5280, upper bounds in appendix A)."""


@attrs.frozen
class NewCertificate:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes = attrs.field(repr=False)


def make_certificate(
    names: Sequence[str], valid_for: datetime.timedelta, now: datetime.datetime
) -> NewCertificate:
    """Make a key and have it vouch for itself as a server with these names, one at least.

    They are host names or addresses (`addresses.is_host`).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    first = names[0]
    # Without a subject, the alternative names are critical (RFC 5280, section 4.2.1.6).
    fits = len(first) <= MAX_COMMON_NAME
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, first)] if fits else [])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + valid_for)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_DIGITAL_SIGNATURE, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(map(_general_name, names)), critical=not fits)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return NewCertificate(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


_DIGITAL_SIGNATURE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name.removesuffix("."))
