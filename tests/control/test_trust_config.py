"""How a gateway's file says by what its router is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polevpn_trio.control.config import GatewayConfig, load_gateway
from polevpn_trio.control.known_routers import usual_file
from polevpn_trio.control.router_trust import Authority, FirstUse, Insecure
from polevpn_trio.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path, certificates: Any) -> Path:
    (tmp_path / "rsa.crt").write_bytes(certificates.rsa.cert_file.read_bytes())
    (tmp_path / "rsa.key").write_bytes(certificates.rsa.key_file.read_bytes())
    return tmp_path


def load(folder: Path, **values: object) -> GatewayConfig:
    usual = {"route_server": "kcp://a.example", "key": "a long secret", "gateway": "10.8.0.2"}
    file = folder / "gateway.json"
    file.write_text(json.dumps(usual | values))
    file.chmod(0o600)
    return load_gateway(file)


def test_a_gateway_verifies_its_router_unless_told_not_to(folder: Path) -> None:
    assert load(folder).router_trust == FirstUse(usual_file())
    config = load(folder, verify_router="first-use", known_routers="met")
    assert config.router_trust == FirstUse(folder / "met")
    config = load(folder, verify_router="insecure")
    assert config.router_trust == Insecure()
    assert config.warnings == (
        "verify_router: insecure: anybody in between can pose as the router",
    )
    trust = load(
        folder, verify_router={"ca_file": "rsa.crt", "name": "vpn.example.org"}
    ).router_trust
    assert isinstance(trust, Authority)
    assert (len(trust.certificates), trust.name) == (1, "vpn.example.org")


MISTAKES = [
    ("known_routers", "", "known_routers: empty, expected the path of the file that"),
    ("known_routers", 1, "known_routers: a number, expected the path of the file that"),
    ("verify_router", "no", 'verify_router: "no", expected "first-use", "insecure", an object'),
    ("verify_router", False, 'verify_router: false, expected "first-use", "insecure", an object'),
    ("verify_router", [], 'verify_router: an empty list, expected "first-use", "insecure",'),
    ("verify_router", ["insecure"], 'verify_router[0]: "insecure", expected "first-use",'),
    ("verify_router", {}, "verify_router.ca_file: missing, expected the path of the cert"),
    ("verify_router", {"ca_file": "no.pem"}, "verify_router.ca_file: "),
    ("verify_router", {"ca_file": "rsa.key"}, "verify_router.ca_file: "),
    ("verify_router", {"ca_file": "rsa.crt", "name": "a b"}, 'verify_router.name: "a b", expe'),
    ("verify_router", {"ca_file": "rsa.crt", "names": "a"}, "verify_router.names: unknown key, "),
]


@pytest.mark.parametrize(("key", "value", "expected"), MISTAKES)
def test_each_mistake_is_one_line(key: str, value: object, expected: str, folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(folder, **{key: value})
    assert getattr(caught.value, "__notes__", []) == []
    assert str(caught.value).startswith(f"{folder / 'gateway.json'}: {expected}")
