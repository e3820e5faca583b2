"""The configuration and the files that it names."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from polevpn_trio.control.config import load_gateway, load_router
from polevpn_trio.doctor.files import (
    CertificateFacts,
    certificate_files,
    judge_certificate,
    judge_mistakes,
    judge_secret,
    judge_secrets,
    judge_warnings,
    look_at_certificate,
    look_at_file,
)
from polevpn_trio.doctor.finding import Status
from polevpn_trio.errors import ConfigError
from tests.conftest import Certificates

from .machines import GATEWAY, gateway, ills, router

NOW = datetime.datetime(2027, 6, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.mark.parametrize(
    ("mode", "status", "remedy"),
    [
        (0o600, Status.OK, ""),
        (0o640, Status.OK, ""),
        (0o644, Status.WARN, "chmod 600"),
        (0o602, Status.WARN, "chmod 600"),
        (0o660, Status.WARN, "chmod g-w"),
    ],
)
def test_a_secret_is_to_be_kept_from_others(
    mode: int, status: Status, remedy: str, tmp_path: Path
) -> None:
    file = tmp_path / "router.key"
    file.touch()
    file.chmod(mode)
    found = judge_secret(look_at_file(file))
    assert found.status is status
    assert found.remedy == (f"{remedy} {file}" if remedy else "")


def test_a_secret_that_is_no_file_is_not_judged(tmp_path: Path) -> None:
    assert judge_secret(look_at_file(tmp_path)).status is Status.SKIP
    assert judge_secret(look_at_file(tmp_path / "none")).status is Status.SKIP


def test_keys_and_the_configuration_are_secret_and_certificates_are_not(
    certificates: Certificates, tmp_path: Path
) -> None:
    pair = certificates.ecdsa
    config = router(pair.cert_file, pair.key_file)
    assert config.secret_files == (Path("router.json"), pair.key_file)
    assert list(certificate_files(config)) == [pair.cert_file]
    config_of_site = gateway(
        name="site", cert_file=str(pair.cert_file), key_file=str(pair.key_file)
    )
    assert config_of_site.secret_files == (Path("gateway.json"), pair.key_file)
    assert list(certificate_files(config_of_site)) == [pair.cert_file]
    assert list(certificate_files(gateway())) == []


def test_a_router_with_sites_in_files_of_their_own_has_its_secrets_there(
    certificates: Certificates, tmp_path: Path
) -> None:
    listed, shown = certificates.ecdsa, certificates.rsa
    listener = {"cert_file": str(listed.cert_file), "key_file": str(listed.key_file)}
    (tmp_path / "sites").mkdir()
    site = tmp_path / "sites" / "berlin.json"
    site.write_text(json.dumps({"certificate": "sha256:" + "ab" * 32, "addresses": ["10.8.0.2"]}))
    token = tmp_path / "dashboard.token"
    token.write_text("t" * 32)
    file = tmp_path / "router.json"
    page = {"token_file": token.name, "cert_file": str(shown.cert_file)}
    values = {
        "kcp": {**listener, "listen": ":443"},
        "gateways_directory": "sites",
        "dashboard": {**page, "key_file": str(shown.key_file)},
    }
    file.write_text(json.dumps(values))
    file.chmod(0o644)
    token.chmod(0o644)
    site.chmod(0o600)
    config = load_router(file)
    assert set(config.secret_files) == {site, listed.key_file, shown.key_file, token}
    assert list(certificate_files(config)) == [listed.cert_file, shown.cert_file]
    judged = judge_secrets([look_at_file(each) for each in config.secret_files])
    assert any(each.text.startswith(f"{token} can be read by every user") for each in judged)


def test_many_files_that_are_kept_from_others_are_told_as_one(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.json" for number in range(10)]
    for file in files:
        file.touch(0o600)
    files[3].chmod(0o644)
    texts = [each.text for each in judge_secrets([look_at_file(file) for file in files])]
    assert texts[0] == "9 files with secrets are kept from others"
    assert len(texts) == 2
    assert "3.json can be read by every user" in texts[1]


@pytest.mark.parametrize(
    ("begins", "ends", "status", "word"),
    [
        (-10, 90, Status.OK, "90 more days"),
        (-10, 5, Status.WARN, "expires in 5 days"),
        (-10, -1, Status.FAIL, "expired on 2027-05-31"),
        (1, 90, Status.FAIL, "not valid before 2027-06-02"),
    ],
)
def test_a_certificate_is_judged_by_its_dates(
    begins: int, ends: int, status: Status, word: str
) -> None:
    facts = CertificateFacts(Path("router.crt"), NOW + begins * DAY, NOW + ends * DAY)
    found = judge_certificate(facts, NOW)
    assert found.status is status
    assert word in found.text
    assert bool(found.remedy) == (status is not Status.OK)


def test_the_dates_are_those_in_the_file(certificates: Certificates) -> None:
    facts = look_at_certificate(certificates.rsa.cert_file)
    assert facts.not_after - facts.not_before == 31 * DAY


def test_all_mistakes_are_told(tmp_path: Path) -> None:
    file = tmp_path / "gateway.json"
    file.write_text(json.dumps({**GATEWAY, "mtu": 1, "gateway": "nowhere"}))
    with pytest.raises(ConfigError) as raised:
        load_gateway(file)
    found = judge_mistakes(raised.value)
    assert {each.status for each in found} == {Status.FAIL}
    assert [word for each in found for word in ("mtu", "gateway:") if word in each.text] == [
        "gateway:",
        "mtu",
    ]


def test_warnings_are_told_but_not_those_that_are_findings_of_their_own(
    certificates: Certificates, tmp_path: Path
) -> None:
    pair = certificates.ecdsa
    file = tmp_path / "router.json"
    listener = {"listen": ":443", "cert_file": str(pair.cert_file), "key_file": str(pair.key_file)}
    file.write_text(json.dumps({"kcp": listener, "key": "easy"}))
    file.chmod(0o644)
    config = load_router(file)
    assert len(config.warnings) > 1
    [found] = ills(judge_warnings(config))
    assert "easy to guess" in found.text
    assert not ills(judge_warnings(gateway()))
