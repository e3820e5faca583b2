"""A router's certificate that expires, and is renewed."""

from __future__ import annotations

import datetime
import signal
import time

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bench.endurance.outcome import Outcome
from bench.endurance.scene import FIRST, ROUTER, SECOND, Circumstances, Scene
from polevpn_trio.lab.namespaces import Host

_NAME = "router.example"
_ROOT = "root.crt"
_DAY = datetime.timedelta(days=1)
_REFUSED = "does not vouch for"
_RENEWED_WITHIN = 4.0
"""Seconds from the reload with a good certificate: gateways try again every one and a half."""


@attrs.frozen
class Authority:
    """A root that vouches for routers."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls) -> Authority:
        """Make one that is good from two days ago to tomorrow."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root of the lab")])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            _builder(subject, subject, key.public_key(), now - 2 * _DAY, now + _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    def issue(self, begins: datetime.datetime, ends: datetime.datetime) -> tuple[bytes, bytes]:
        """Give a router a certificate and its key, both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
        builder = (
            _builder(subject, self.certificate.subject, key.public_key(), begins, ends)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(_NAME)]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
        )
        return (
            builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begins: datetime.datetime,
    ends: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def expire(scene: Scene, case: str) -> Outcome:
    """Let the router's certificate expire, start the router again with it, and renew it."""
    scene.add_sites()
    authority = Authority.make()
    now = datetime.datetime.now(datetime.UTC)
    root = authority.certificate.public_bytes(Encoding.PEM)
    for name in (FIRST, SECOND):
        scene.host(name).write_file(_ROOT, root)
    router = scene.overlay.router

    def show(begins: datetime.datetime, ends: datetime.datetime) -> None:
        certificate, key = authority.issue(begins, ends)
        router.write_file("router.crt", certificate)
        router.write_file("router.key", key, mode=0o600)

    show(now - _DAY, now + _DAY)
    trust = {"verify_router": {"ca_file": str(Host.FILES / _ROOT), "name": _NAME}}
    scene.start(Circumstances(gateways=trust))
    show(now - _DAY, now - datetime.timedelta(hours=1))
    scene.programs[ROUTER].send_signal(signal.SIGHUP)
    time.sleep(2)
    scene.recover("reload with an expired certificate, links as they were", 0.5)
    scene.programs[ROUTER].kill()
    scene.tend()
    for name in (FIRST, SECOND):
        scene.programs[name].wait_for_output(_REFUSED, 20)
    scene.expect(not scene.flows(), "gateways took a router whose certificate had expired")
    show(now - _DAY, now + _DAY)
    scene.programs[ROUTER].send_signal(signal.SIGHUP)
    scene.recover("reload with a new certificate", _RENEWED_WITHIN)
    return scene.outcome(case, scene.said("certificate expired on", _REFUSED))
