"""Certificates of routers: what is in them, and that OpenSSL and our own checks take them."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from polevpn_trio.control.certificates import check_pair
from polevpn_trio.control.new_certificate import NewCertificate, make_certificate

NOW = datetime.datetime(2027, 3, 1, 12, tzinfo=datetime.UTC)
DAYS = datetime.timedelta(days=30)


def made(*names: str) -> tuple[NewCertificate, x509.Certificate]:
    new = make_certificate(names, DAYS, NOW)
    return new, x509.load_pem_x509_certificate(new.certificate)


def test_it_has_the_extensions_of_a_server_that_is_no_authority() -> None:
    _, certificate = made("vpn.example.org", "203.0.113.5", "2001:db8::5", "b.example.")
    extensions = certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca) == (True, False)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    extended = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.SERVER_AUTH]
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert not names.critical
    assert names.value.get_values_for_type(x509.DNSName) == ["vpn.example.org", "b.example"]
    assert names.value.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("203.0.113.5"),
        ipaddress.ip_address("2001:db8::5"),
    ]
    identifier = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert identifier == x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    [common] = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert common.value == "vpn.example.org"
    assert certificate.not_valid_before_utc <= NOW
    assert certificate.not_valid_after_utc == NOW + DAYS
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


def test_nothing_in_it_says_what_it_is_for() -> None:
    _, certificate = made("localhost")
    assert b"pole" not in certificate.public_bytes(Encoding.DER).lower()


def test_a_name_too_long_for_a_subject_stands_among_the_critical_names() -> None:
    name = ".".join(["a" * 60] * 3)
    _, certificate = made(name)
    assert len(certificate.subject) == 0
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert names.value.get_values_for_type(x509.DNSName) == [name]


@pytest.mark.parametrize("dtls", [False, True])
def test_listeners_take_the_pair(tmp_path: Path, dtls: bool) -> None:
    new, _ = made("localhost")
    (tmp_path / "a.crt").write_bytes(new.certificate)
    (tmp_path / "a.key").write_bytes(new.key)
    assert check_pair(tmp_path / "a.crt", tmp_path / "a.key", dtls=dtls, now=NOW) == ""


def test_no_two_are_the_same() -> None:
    first, second = (made("localhost")[1] for _ in range(2))
    assert first.serial_number != second.serial_number
    assert first.public_key() != second.public_key()
