"""The section that switches the dashboard on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polevpn_trio.control.config import load_router
from polevpn_trio.control.dashboard_config import DashboardConfig
from polevpn_trio.control.state_directory import state_file
from polevpn_trio.errors import ConfigError
from tests.conftest import Certificate, Certificates

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def certificate(certificates: Certificates) -> Certificate:
    return certificates.ecdsa


def load(
    folder: Path, certificate: Certificate, section: object
) -> tuple[DashboardConfig | None, tuple[str, ...]]:
    token = folder / "token"
    if not token.exists():
        token.write_text(f"{TOKEN}\n")
        token.chmod(0o600)
    pair = {"cert_file": str(certificate.cert_file), "key_file": str(certificate.key_file)}
    if isinstance(section, dict) and section.pop("with_certificate", False):
        section |= pair
    values = {"key": "k" * 32, "tls": {"listen": ":443", **pair}, "dashboard": section}
    file = folder / "router.json"
    file.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))
    config = load_router(file)
    return config.dashboard, config.warnings


def test_it_is_off_unless_it_is_asked_for(tmp_path: Path, certificate: Certificate) -> None:
    assert load(tmp_path, certificate, None)[0] is None
    off = {"enable": False, "token_file": "token"}
    assert load(tmp_path, certificate, off)[0] is None


def test_a_token_is_all_that_it_takes(tmp_path: Path, certificate: Certificate) -> None:
    config, warnings = load(tmp_path, certificate, {"token_file": "token"})
    assert config == DashboardConfig("127.0.0.1", 8443, TOKEN, state_file("history.sqlite"))
    assert TOKEN not in repr(config)
    assert not [warning for warning in warnings if "token" in warning]


def test_others_see_it_only_by_tls(tmp_path: Path, certificate: Certificate) -> None:
    section = {"token_file": "token", "listen": "0.0.0.0:8443", "history": "h.sqlite"}
    with pytest.raises(ConfigError, match="is seen by others, expected"):
        load(tmp_path, certificate, dict(section))
    config, _ = load(tmp_path, certificate, {**section, "with_certificate": True})
    assert config is not None
    assert (config.host, config.cert_file) == ("0.0.0.0", certificate.cert_file)
    assert config.history == tmp_path / "h.sqlite"


@pytest.mark.parametrize("listen", ["127.0.0.1:80", "[::1]:8443", "localhost:8443"])
def test_the_machine_itself_does_without(
    tmp_path: Path, certificate: Certificate, listen: str
) -> None:
    config, _ = load(tmp_path, certificate, {"token_file": "token", "listen": listen})
    assert config is not None
    assert config.cert_file is None


def test_a_token_that_others_can_read_is_warned_of(
    tmp_path: Path, certificate: Certificate
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o644)
    _, warnings = load(tmp_path, certificate, {"token_file": "token"})
    assert any("the dashboard's token" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("section", "mistake"),
    [
        ({}, "dashboard.token_file: missing, expected the path of a file with a token"),
        ({"token_file": ""}, "dashboard.token_file: empty"),
        ({"token_file": 7}, "dashboard.token_file: a number"),
        ({"token_file": "none"}, '"none" cannot be read: No such file'),
        ({"token_file": "binary"}, '"binary" cannot be read: not a text'),
        ({"token_file": "short"}, "a token of 5 characters, expected 16 at least"),
        ({"token_file": "token", "listen": "8443"}, "dashboard.listen: "),
        ({"token_file": "token", "listen": ":8443"}, "is seen by others"),
        ({"token_file": "token", "history": ""}, "dashboard.history: empty"),
        ({"token_file": "token", "cert_file": "x"}, "dashboard.key_file: missing"),
        ({"token_file": "token", "tokn": 1}, "unknown key"),
        ("on", "dashboard: a string, expected an object"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, certificate: Certificate, section: object, mistake: str
) -> None:
    (tmp_path / "short").write_text("short")
    (tmp_path / "binary").write_bytes(b"\xff" * 32)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, certificate, section)
    told = [str(caught.value), *getattr(caught.value, "__notes__", [])]
    assert any(mistake in line for line in told), told
