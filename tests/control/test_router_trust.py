"""Which router is the right one: each way says yes to that one, and no to all others."""

from __future__ import annotations

import datetime
import ipaddress
import logging
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from polevpn_trio.control import known_routers
from polevpn_trio.control.fingerprint import fingerprint_of, format_fingerprint
from polevpn_trio.control.router_trust import (
    Authority,
    FirstUse,
    Insecure,
    Pinned,
    RouterTrust,
    router_url,
)
from polevpn_trio.errors import Untrusted

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
RIGHT, WRONG = b"right certificate", b"wrong certificate"


def check(trust: RouterTrust, *chain: bytes, host: str = "vpn.example.org") -> None:
    trust.check("kcp", host, 443, chain, NOW)


@pytest.mark.parametrize("trust", [Insecure(), Pinned((bytes(32),)), FirstUse(Path("/none"))])
def test_a_router_without_a_certificate_is_nobody(trust: RouterTrust) -> None:
    with pytest.raises(Untrusted, match="no certificate"):
        check(trust)


def test_insecure_takes_any() -> None:
    check(Insecure(), WRONG)


def test_a_pin_takes_its_certificate_first_in_the_chain_and_no_other() -> None:
    old, new = fingerprint_of(b"old"), fingerprint_of(RIGHT)
    trust = Pinned((old, new))
    check(trust, RIGHT, WRONG)
    with pytest.raises(Untrusted) as caught:
        check(trust, WRONG, RIGHT)
    for digest in (old, new, fingerprint_of(WRONG)):
        assert format_fingerprint(digest) in str(caught.value)
    with pytest.raises(Untrusted):
        check(Pinned(()), RIGHT)


# --- First use


def test_the_first_router_is_taken_and_remembered_and_then_only_that_one(tmp_path: Path) -> None:
    file = tmp_path / "known"
    trust = FirstUse(file)
    check(trust, RIGHT)
    assert not file.exists(), "before the login nothing is known about it"
    trust.learn("kcp", "vpn.example.org", 443, fingerprint_of(RIGHT))
    for each in (trust, FirstUse(file)):
        check(each, RIGHT)
        with pytest.raises(Untrusted) as caught:
            check(each, WRONG)
        said = str(caught.value)
        assert f"{file}, line 2" in said
        assert format_fingerprint(fingerprint_of(RIGHT)) in said
        assert format_fingerprint(fingerprint_of(WRONG)) in said
        assert "HAS CHANGED" in said
        assert "delete that line" in said
        assert "kcp://vpn.example.org:443" in said


def test_learning_never_replaces_what_is_known(tmp_path: Path) -> None:
    trust = FirstUse(tmp_path / "known")
    trust.learn("kcp", "vpn.example.org", 443, fingerprint_of(RIGHT))
    trust.learn("kcp", "vpn.example.org", 443, fingerprint_of(WRONG))
    with pytest.raises(Untrusted):
        check(trust, WRONG)


def test_each_router_is_learned_beside_those_that_are_known(tmp_path: Path) -> None:
    trust = FirstUse(tmp_path / "known")
    trust.learn("kcp", "other.example.org", 443, fingerprint_of(WRONG))
    trust.learn("kcp", "vpn.example.org", 443, fingerprint_of(RIGHT))
    check(trust, RIGHT)
    with pytest.raises(Untrusted):
        check(trust, WRONG)


def test_after_its_line_is_deleted_a_router_is_new_again(tmp_path: Path) -> None:
    file = tmp_path / "known"
    trust = FirstUse(file)
    trust.learn("kcp", "vpn.example.org", 443, fingerprint_of(WRONG))
    file.write_text("")
    check(trust, RIGHT)
    trust.learn("kcp", "vpn.example.org", 443, fingerprint_of(RIGHT))
    with pytest.raises(Untrusted):
        check(trust, WRONG)


def test_a_router_may_have_several_lines(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text(
        "".join(
            f"kcp://vpn.example.org:443 {format_fingerprint(fingerprint_of(each))}\n"
            for each in (b"old", RIGHT)
        )
    )
    check(FirstUse(file), RIGHT)
    check(FirstUse(file), b"old")
    with pytest.raises(Untrusted):
        check(FirstUse(file), WRONG)


def test_listeners_are_told_apart_and_wss_is_that_of_tls(tmp_path: Path) -> None:
    trust = FirstUse(tmp_path / "known")
    trust.learn("tls", "vpn.example.org", 443, fingerprint_of(RIGHT))
    with pytest.raises(Untrusted):
        trust.check("wss", "VPN.example.org", 443, (WRONG,), NOW)
    trust.check("kcp", "vpn.example.org", 443, (WRONG,), NOW)
    trust.check("tls", "vpn.example.org", 444, (WRONG,), NOW)
    assert router_url("wss", "2001:db8::1", 443) == "tls://[2001:db8::1]:443"


def test_a_file_that_cannot_be_read_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text("garbage\n")
    with pytest.raises(Untrusted, match="line 1"):
        check(FirstUse(file), RIGHT)


def test_what_cannot_be_written_is_remembered_while_we_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(known_routers, "add", fail)
        trust = FirstUse(tmp_path / "known")
        for _ in range(2):
            trust.learn("kcp", "vpn.example.org", 443, fingerprint_of(RIGHT))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "No space left" in record.getMessage()
    check(trust, RIGHT)
    with pytest.raises(Untrusted, match="since this program started"):
        check(trust, WRONG)
    # Once it can be written, the file alone counts.
    trust.learn("kcp", "vpn.example.org", 443, fingerprint_of(RIGHT))
    with pytest.raises(Untrusted, match="line 2"):
        check(trust, WRONG)
    (tmp_path / "known").write_text("")
    check(trust, WRONG)
    trust.learn("kcp", "vpn.example.org", 443, fingerprint_of(RIGHT))
    assert len(known_routers.read(tmp_path / "known")) == 1


# --- Authority


@attrs.frozen
class Issuer:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def issue(
    name: str,
    issuer: Issuer | None = None,
    *,
    names: Sequence[x509.GeneralName] = (),
    begins: datetime.datetime = NOW - DAY,
    ends: datetime.datetime = NOW + DAY,
) -> Issuer:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer or Issuer(None, key)  # type: ignore[arg-type]  # it signs itself
    is_authority = not names
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), False
        )
    )
    if is_authority:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True).add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Issuer(builder.sign(signer.key, hashes.SHA256()), key)


def der(*issuers: Issuer) -> tuple[bytes, ...]:
    return tuple(each.certificate.public_bytes(Encoding.DER) for each in issuers)


ROOT = issue("root")
MIDDLE = issue("middle", ROOT)
NAMES = [
    x509.DNSName("vpn.example.org"),
    *(x509.IPAddress(ipaddress.ip_address(each)) for each in ("192.0.2.7", "fe80::7")),
]
LEAF = issue("router", MIDDLE, names=NAMES)


def test_an_authority_vouches_for_the_names_in_the_certificate() -> None:
    trust = Authority((ROOT.certificate,))
    # The zone of an address (RFC 4007) is the gateway's own business.
    for host in ("vpn.example.org", "192.0.2.7", "fe80::7", "fe80::7%eth0"):
        check(trust, *der(LEAF, MIDDLE), host=host)
    named = Authority((ROOT.certificate,), name="vpn.example.org")
    check(named, *der(LEAF, MIDDLE), host="203.0.113.9")


@pytest.mark.parametrize(
    ("chain", "host"),
    [
        (der(LEAF, MIDDLE), "other.example.org"),
        (der(LEAF, MIDDLE), "192.0.2.8"),
        (der(LEAF, MIDDLE), "fe80::8%eth0"),
        (der(LEAF), "vpn.example.org"),
        (der(issue("router", ROOT, names=NAMES, ends=NOW - DAY / 2)), "vpn.example.org"),
        (der(issue("router", ROOT, names=NAMES, begins=NOW + DAY / 2)), "vpn.example.org"),
        (der(issue("router", issue("root"), names=NAMES)), "vpn.example.org"),
        ((b"no certificate",), "vpn.example.org"),
        (der(LEAF, MIDDLE), "x" * 70 + ".example.org"),
    ],
    ids=[
        "name",
        "address",
        "zone",
        "gap",
        "expired",
        "early",
        "another root",
        "garbage",
        "no name",
    ],
)
def test_an_authority_vouches_for_nothing_else(chain: tuple[bytes, ...], host: str) -> None:
    trust = Authority((ROOT.certificate,), file=Path("ca.pem"))
    with pytest.raises(Untrusted, match=r"ca\.pem does not vouch for") as caught:
        check(trust, *chain, host=host)
    assert "\n" not in str(caught.value)
