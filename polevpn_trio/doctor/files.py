"""The configuration and the files that it names: mistakes, who may read them, certificates."""

from __future__ import annotations

import datetime
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
from cryptography import x509

from polevpn_trio.control.config import GatewayConfig, RouterConfig
from polevpn_trio.control.members import READABLE_BY_ALL
from polevpn_trio.doctor.finding import Finding, Status, fail, ok, skip, warn
from polevpn_trio.errors import ConfigError

SOON = datetime.timedelta(days=30)

NAMED = 4
"""Files with secrets that are named one by one, if they are well; sites may be many."""


def judge_mistakes(error: ConfigError) -> list[Finding]:
    """A finding for each mistake of a file."""
    return [
        fail(
            "config",
            line,
            "neither role starts with this file",
            "correct what the line names; README.md and conf/ explain every key",
        )
        for line in (str(error), *getattr(error, "__notes__", ()))
    ]


def judge_warnings(config: RouterConfig | GatewayConfig) -> list[Finding]:
    """What the configuration itself warns of, but for permissions and dates (see below)."""
    found = [
        warn("config", warning, "allowed, but hardly meant", "change the key that the line names")
        for warning in config.warnings
        if READABLE_BY_ALL not in warning and "certificate" not in warning
    ]
    return found or [ok("config", f"{config.path} has no mistakes")]


@attrs.frozen
class FileFacts:
    file: Path
    mode: int | None
    """Permission bits; None if it cannot be looked at, or is no regular file."""
    uid: int = 0


def look_at_file(file: Path) -> FileFacts:
    try:
        found = file.stat()
    except OSError:
        return FileFacts(file, None)
    mode = stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) else None
    return FileFacts(file, mode, found.st_uid)


def judge_secrets(files: Sequence[FileFacts]) -> Iterator[Finding]:
    """A finding for each file with a secret; one for all that are well, if they are many."""
    found = [judge_secret(facts) for facts in files]
    well = sum(finding.status is Status.OK for finding in found)
    if well > NAMED:
        found = [finding for finding in found if finding.status is not Status.OK]
        yield ok("secrets", f"{well} files with secrets are kept from others")
    yield from found


def judge_secret(facts: FileFacts) -> Finding:
    if facts.mode is None:
        return skip("secrets", f"{facts.file} is no regular file: not looked at")
    if facts.mode & (stat.S_IROTH | stat.S_IWOTH):
        who = "read" if facts.mode & stat.S_IROTH else "written"
        return warn(
            "secrets",
            f"{facts.file} can be {who} by every user of this machine (mode {facts.mode:o})",
            "whoever knows what it holds can come in, or pose as the site or the router",
            f"chmod 600 {facts.file}",
        )
    if facts.mode & stat.S_IWGRP:
        return warn(
            "secrets",
            f"{facts.file} can be written by its group (mode {facts.mode:o})",
            "the group can take the tunnel over",
            f"chmod g-w {facts.file}",
        )
    return ok("secrets", f"{facts.file} is kept from others (mode {facts.mode:o})")


@attrs.frozen
class CertificateFacts:
    file: Path
    not_before: datetime.datetime
    not_after: datetime.datetime


def certificate_files(config: RouterConfig | GatewayConfig) -> Iterator[Path]:
    """The files of this side's certificates, each once."""
    if isinstance(config, RouterConfig):
        shown = [pair.cert_file for pair in (config.kcp, config.tls) if pair is not None]
        if config.dashboard is not None and config.dashboard.cert_file is not None:
            shown.append(config.dashboard.cert_file)
    else:
        shown = [config.certificate.cert_file] if config.certificate is not None else []
    yield from dict.fromkeys(shown)


def look_at_certificate(file: Path) -> CertificateFacts:
    """Read when a certificate is valid. Raises OSError, ValueError."""
    leaf = x509.load_pem_x509_certificates(file.read_bytes())[0]
    return CertificateFacts(file, leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def judge_certificate(facts: CertificateFacts, now: datetime.datetime) -> Finding:
    """That it belongs to its key is known by now: otherwise the configuration is not accepted."""
    meaning = (
        "peers that verify it by a CA refuse it; those that know its fingerprint must be told the "
        "new one"
    )
    remedy = f"put a new certificate for the same key into {facts.file}; polevpn-trio reload"
    if now > facts.not_after:
        return fail(
            "certificate",
            f"{facts.file} expired on {facts.not_after:%Y-%m-%d}",
            meaning,
            remedy,
        )
    if now < facts.not_before:
        return fail(
            "certificate",
            f"{facts.file} is not valid before {facts.not_before:%Y-%m-%d}",
            "peers that verify it by a CA refuse it; or this machine's clock is slow",
            f"timedatectl status; or {remedy}",
        )
    left = (facts.not_after - now).days
    if facts.not_after - now < SOON:
        return warn("certificate", f"{facts.file} expires in {left} days", meaning, remedy)
    return ok("certificate", f"{facts.file} belongs to its key and is valid for {left} more days")
