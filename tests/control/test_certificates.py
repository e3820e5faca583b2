"""Certificates and keys: which pairs a listener takes, and why it refuses the others."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from polevpn_trio.control.certificates import MAX_FILE, Unfit, check_pair

NOW = datetime.datetime(2030, 6, 15, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)

Key = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | dsa.DSAPrivateKey
)


def key_pem(key: Key, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def certificate_pem(
    key: Key, start: datetime.datetime = NOW - DAY, end: datetime.datetime = NOW + DAY
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "router")])
    edwards = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(end)
        .sign(key, None if edwards else hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


@attrs.frozen
class Folder:
    path: Path

    def check(self, certificate: bytes, key: bytes, *, dtls: bool = False) -> str:
        cert_file, key_file = self.path / "server.crt", self.path / "server.key"
        cert_file.write_bytes(certificate)
        key_file.write_bytes(key)
        return check_pair(cert_file, key_file, dtls=dtls, now=NOW)

    def refusal(self, certificate: bytes, key: bytes, *, dtls: bool = False) -> tuple[str, str]:
        with pytest.raises(Unfit) as caught:
            self.check(certificate, key, dtls=dtls)
        assert "expected" in caught.value.problem
        return caught.value.member, caught.value.problem.replace(f"{self.path}/", "")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


P256 = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize("dtls", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: P256,
        lambda: ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["rsa", "p256", "p384"],
)
def test_rsa_and_ec_suit_both_listeners(
    folder: Folder, make: Callable[[], Key], dtls: bool
) -> None:
    key = make()
    assert folder.check(certificate_pem(key), key_pem(key), dtls=dtls) == ""


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: ED25519, "Ed25519 key, expected RSA or EC for kcp"),
        (lambda: ec.generate_private_key(ec.SECP521R1()), "EC key on the curve secp521r1"),
    ],
    ids=["ed25519", "p521"],
)
def test_some_keys_suit_tls_only(folder: Folder, make: Callable[[], Key], problem: str) -> None:
    key = make()
    assert folder.check(certificate_pem(key), key_pem(key)) == ""
    member, found = folder.refusal(certificate_pem(key), key_pem(key), dtls=True)
    assert member == "key_file"
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), "RSA key of 1024 bits, expected 2048"),
        (ed448.Ed448PrivateKey.generate, "server.key holds a key of another kind"),
        (lambda: dsa.generate_private_key(1024), "server.key holds a key of another kind"),
    ],
    ids=["rsa1024", "ed448", "dsa"],
)
def test_some_keys_suit_nothing(folder: Folder, make: Callable[[], Key], problem: str) -> None:
    key = make()
    member, found = folder.refusal(certificate_pem(key), key_pem(key))
    assert member == "key_file"
    assert found.startswith(problem)


def test_a_key_of_another_certificate_is_refused(folder: Folder) -> None:
    member, found = folder.refusal(certificate_pem(P256), key_pem(OTHER))
    assert member == "key_file"
    assert found == ("does not belong to the certificate server.crt, expected its private key")
    assert folder.refusal(certificate_pem(P256), key_pem(ED25519))[1] == found


def test_the_own_certificate_comes_first_in_a_chain(folder: Folder) -> None:
    own, issuer = certificate_pem(P256), certificate_pem(OTHER)
    assert folder.check(own + issuer, key_pem(P256)) == ""
    member, found = folder.refusal(issuer + own, key_pem(P256))
    assert member == "cert_file"
    assert "not the first one" in found


def test_swapped_files_are_recognised(folder: Folder) -> None:
    member, found = folder.refusal(key_pem(P256), certificate_pem(P256))
    assert member == "cert_file"
    assert "swapped" in found
    member, found = folder.refusal(certificate_pem(P256), certificate_pem(P256))
    assert member == "key_file"
    assert "swapped" in found


@pytest.mark.parametrize("junk", [b"", b"\x00\xff" * 50, b"-----BEGIN CERTIFICATE-----\nAA"])
def test_junk_is_refused(folder: Folder, junk: bytes) -> None:
    member, found = folder.refusal(junk, key_pem(P256))
    assert member == "cert_file"
    assert "holds no certificate that can be read" in found
    assert folder.refusal(certificate_pem(P256), b"x" + junk)[0] == "key_file"


def test_a_protected_key_is_refused(folder: Folder) -> None:
    protected = key_pem(P256, BestAvailableEncryption(b"phrase"))
    member, found = folder.refusal(certificate_pem(P256), protected)
    assert member == "key_file"
    assert "protected by a passphrase" in found


def test_a_huge_file_is_refused(folder: Folder) -> None:
    member, found = folder.refusal(certificate_pem(P256), b" " * (MAX_FILE + 1))
    assert member == "key_file"
    assert f"larger than {MAX_FILE} bytes" in found


def test_files_that_cannot_be_opened_are_named(folder: Folder) -> None:
    missing = folder.path / "nowhere.crt"
    with pytest.raises(Unfit, match=r"nowhere\.crt cannot be read: No such file or directory"):
        check_pair(missing, missing, dtls=False, now=NOW)
    with pytest.raises(Unfit, match="Is a directory"):
        check_pair(folder.path, missing, dtls=False, now=NOW)
    with pytest.raises(Unfit, match="not a file name"):
        check_pair(Path("a\0b"), missing, dtls=False, now=NOW)


def test_the_period_of_validity_is_only_a_warning(folder: Folder) -> None:
    expired = certificate_pem(P256, NOW - 2 * DAY, NOW - DAY)
    assert folder.check(expired, key_pem(P256)) == "certificate expired on 2030-06-14"
    future = certificate_pem(P256, NOW + DAY, NOW + 2 * DAY)
    assert folder.check(future, key_pem(P256)) == "certificate is not valid before 2030-06-16"
