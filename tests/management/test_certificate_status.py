"""Which certificates operators hear of."""

from __future__ import annotations

from pathlib import Path

import attrs

from polevpn_trio.control.certificates import expiry
from polevpn_trio.control.config import ListenerConfig, RouterConfig
from polevpn_trio.control.dashboard_config import DashboardConfig
from polevpn_trio.management.certificate_status import certificates_of
from tests.conftest import Certificates


def router(cert_file: Path, digest: bytes = b"1") -> RouterConfig:
    listener = ListenerConfig("", 443, cert_file, Path("unread"), pair_digest=digest)
    return RouterConfig(Path("router.json"), "secret", kcp=listener, tls=listener)


def test_each_listener_tells_when_its_certificate_expires(certificates: Certificates) -> None:
    file = certificates.ecdsa.cert_file
    found = certificates_of(router(file))
    assert [each.use for each in found] == ["kcp", "tls"]
    assert {each.expires for each in found} == {expiry(file).timestamp()}
    without = attrs.evolve(router(file), kcp=None)
    assert [each.use for each in certificates_of(without)] == ["tls"]
    page = DashboardConfig("", 8443, "token", Path("unread"), cert_file=file)
    with_page = attrs.evolve(without, dashboard=page)
    assert [each.use for each in certificates_of(with_page)] == ["tls", "dashboard"]
    plain = attrs.evolve(page, cert_file=None)
    assert certificates_of(attrs.evolve(without, dashboard=plain)) == certificates_of(without)


def test_what_is_in_the_file_counts_once_it_has_been_loaded(
    tmp_path: Path, certificates: Certificates
) -> None:
    file = tmp_path / "server.crt"
    file.write_bytes(certificates.ecdsa.cert_file.read_bytes())
    before = certificates_of(router(file))
    assert len(before) == 2
    file.unlink()
    assert certificates_of(router(file)) == before
    # Loaded anew, and gone again before anybody asked.
    assert certificates_of(router(file, b"2")) == ()
