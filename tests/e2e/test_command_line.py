"""Mistakes and obstacles end the programs with one clear message and the right exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polevpn_trio.lab.overlay import TRANSPORTS, Overlay, python_path

GATEWAY = {"route_server": "kcp://192.0.2.1:443", "key": "k" * 16, "gateway": "10.8.0.2"}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "polevpn_trio", *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": "/usr/bin:/bin", **python_path()},
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"gatway": "10.8.0.2"}, "gatway"),
        ({"route_networks": ["192.168.1.0/33"]}, "route_networks"),
        ({"route_server": "kcp://192.0.2.1:99999"}, "route_server"),
        ({"route_server": "udp://192.0.2.1:443"}, "route_server"),
        ({"key": 5}, "key"),
    ],
)
def test_mistakes_in_a_gateways_file(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    file = tmp_path / "gateway.json"
    file.write_text(json.dumps({**GATEWAY, **change}))
    for words in (("gateway", "-config", str(file)), ("check", str(file))):
        done = run(*words)
        assert done.returncode == 2
        assert f"{file}: {expected}" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("role", ["router", "gateway"])
@pytest.mark.parametrize("content", [None, "{", "[]", ""], ids=["missing", "cut", "list", "empty"])
def test_files_that_are_no_configuration(tmp_path: Path, role: str, content: str | None) -> None:
    file = tmp_path / "config.json"
    if content is not None:
        file.write_text(content)
    done = run(role, "--config", str(file))
    assert done.returncode == 2
    assert str(file) in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.needs_root_lab
def test_port_that_is_taken(overlay: Overlay) -> None:
    overlay.start_router()
    overlay.wait_for_listener("kcp")
    second = overlay.start_router()
    assert second.wait(10) == 1
    assert "443" in second.log_tail(1)
    assert "Traceback" not in second.log()


@pytest.mark.needs_root_lab
def test_gateway_with_the_wrong_key_says_so_and_goes_on(overlay: Overlay) -> None:
    site = overlay.add_site("site")
    router = overlay.start_router()
    overlay.wait_for_listener("kcp")
    config = overlay.gateway_config(site, overlay.url("kcp"), key="not the right key")
    gateway = overlay.start_gateway(site, config)
    gateway.wait_for_output("refused our login: unknown site or wrong key", 10)
    router.wait_for_output("ended without a login: wrong key", 10)
    assert gateway.returncode is None
    for process in overlay.programs():
        assert "not the right key" not in process.log()
        assert overlay.key not in process.log()


@pytest.mark.needs_root_lab
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_demo(transport: str) -> None:
    done = run("demo", "--transport", transport, "--seconds", "0.5", "--json")
    assert done.returncode == 0, done.stdout
    document = json.loads(done.stdout)
    assert document["passed"] is True
    assert document["transport"] == transport
    assert document["tcp_a_to_b"]["intact"]
    assert document["tcp_b_to_a"]["intact"]
