"""Tells operators which certificates a program shows, and until when they are good."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from polevpn_trio.control.certificates import Unfit, expiry
from polevpn_trio.control.config import GatewayConfig, RouterConfig
from polevpn_trio.management.answers import CertificateStatus


def certificates_of(config: RouterConfig | GatewayConfig) -> tuple[CertificateStatus, ...]:
    """Tell of each by the section or key that names it; one that cannot be read is left out."""
    files: dict[str, tuple[Path, bytes]] = {}
    if isinstance(config, RouterConfig):
        for use, listener in (("kcp", config.kcp), ("tls", config.tls)):
            if listener is not None:
                files[use] = listener.cert_file, listener.pair_digest
        page = config.dashboard
        if page is not None and page.cert_file is not None:
            files["dashboard"] = page.cert_file, page.pair_digest
    elif config.certificate is not None:
        files["cert_file"] = config.certificate.cert_file, config.certificate.digest
    expiries = ((use, _expiry(file, digest)) for use, (file, digest) in files.items())
    return tuple(CertificateStatus(use, expires) for use, expires in expiries if expires)


@lru_cache(maxsize=8)
def _expiry(file: Path, digest: bytes) -> float | None:
    """Read it once for each time it was loaded: what is in the file by now is not in use yet."""
    try:
        return expiry(file).timestamp()
    except Unfit:
        return None
