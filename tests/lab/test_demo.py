"""The demo's course and account, with plain routes in the programs' place.

That the programs themselves carry the traffic is for the end-to-end tests to show.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from rich.console import Console

from polevpn_trio.errors import HostError
from polevpn_trio.lab import demo
from polevpn_trio.lab.account import Steps, show_account
from polevpn_trio.lab.namespaces import Lab, Process
from polevpn_trio.lab.overlay import Overlay, Site, python_path

lab_test = pytest.mark.needs_root_lab


@pytest.fixture
def plain_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the internet route the LANs, and start a sleeping program for each of ours."""

    def start_router(overlay: Overlay, *rest: object) -> Process:
        return overlay.router.start(["sleep", "60"], name="router")

    def start_gateway(overlay: Overlay, site: Site, config: dict[str, Any]) -> Process:
        site.gateway.forward_packets()
        overlay.internet.add_route(site.lan, via=site.uplink.address)
        return site.gateway.start(["sleep", "60"], name=f"gateway-{site.number}")

    monkeypatch.setattr(Overlay, "start_router", start_router)
    monkeypatch.setattr(Overlay, "start_gateway", start_gateway)


@pytest.fixture
def broken_gateway(monkeypatch: pytest.MonkeyPatch, plain_routes: None) -> None:
    def start_gateway(overlay: Overlay, site: Site, config: dict[str, Any]) -> Process:
        return site.gateway.start(["/bin/sh", "-c", "echo no way; exit 3"], name="gateway")

    monkeypatch.setattr(Overlay, "start_gateway", start_gateway)


@lab_test
@pytest.mark.usefixtures("plain_routes")
def test_json_is_all_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--json", "--seconds", "0.1", "--transport", "wss"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    document = json.loads(printed.out)
    assert document["passed"] is True
    assert document["transport"] == "wss"
    assert document["router"] == "wss://198.18.1.2:443"
    assert document["ping"]["received"] == document["ping"]["sent"] == demo.PINGS
    for direction in ("tcp_a_to_b", "tcp_b_to_a"):
        assert document[direction]["intact"] is True
        assert document[direction]["mbit_per_s"] > 0
    assert document["sites"]["site B"]["lan"] == "192.168.2.0/24"


@lab_test
@pytest.mark.usefixtures("plain_routes")
def test_account_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--seconds", "0.1"]) == 0
    printed = capsys.readouterr().out
    for text in (
        "198.18.1.2",
        "192.168.2.10",
        "192.168.2.0/24",
        "KCP in DTLS 1.2 over UDP",
        "min / avg / p99",
        "Traffic passed both ways, intact.",
        "--transport wss",
    ):
        assert text in printed
    assert all(len(line) <= 80 for line in printed.splitlines())


@lab_test
@pytest.mark.usefixtures("broken_gateway")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_failure_shows_the_logs(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(options) == 1
    printed = capsys.readouterr().out
    assert "gateway on site A gateway ended with status 3" in printed
    if options:
        document = json.loads(printed)
        assert document["passed"] is False
        assert document["logs"]["gateway on site A gateway"] == "no way"
    else:
        assert "last lines of gateway on site A gateway\nno way" in printed


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_machine_that_cannot(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise HostError("/dev/net/tun is missing")

    monkeypatch.setattr(demo, "become_root_in_user_namespace", lambda: None)
    monkeypatch.setattr(demo, "check_permitted", refuse)
    assert demo.main(options) == 1
    printed = capsys.readouterr()
    assert printed.err == "polevpn-trio demo: /dev/net/tun is missing\n"
    if options:
        assert json.loads(printed.out)["error"] == "/dev/net/tun is missing"


@pytest.mark.parametrize("words", [["--seconds", "0"], ["--seconds", "x"], ["--transport", "udp"]])
def test_misuse(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        demo.main(words)
    assert raised.value.code == 2
    assert "usage:" in capsys.readouterr().err


@contextmanager
def running_demo(*options: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", WITH_PLAIN_ROUTES, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **python_path()},
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


WITH_PLAIN_ROUTES = """
import sys
from polevpn_trio.lab import demo
from polevpn_trio.lab.overlay import Overlay
def start(overlay, *rest):
    program = overlay.router.start(["sleep", "60"])
    print("pid", program.pid, flush=True)
    return program
Overlay.start_router = Overlay.start_gateway = start
sys.exit(demo.main(sys.argv[1:]))
"""


@lab_test
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_cleans_up(number: signal.Signals) -> None:
    with running_demo() as process:
        assert process.stdout is not None
        pids = []
        for line in process.stdout:
            if line.startswith("pid "):
                pids.append(int(line.split()[1]))
            if "waiting" in line:
                break
        process.send_signal(number)
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == demo.INTERRUPTED
        assert errors == "interrupted\n"
    assert len(pids) == 3
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@lab_test
@pytest.mark.usefixtures("plain_routes")
def test_terminal_sees_steps_and_a_picture() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=80, color_system=None)
    with Steps(console, silent=False) as steps, Lab() as lab:
        demonstration = demo.demonstrate(lab, "tls", 0.05, steps.step)
    show_account(console, demonstration)
    assert demonstration.passed
    assert "✓" in output.getvalue()
    assert "<-tls->" in output.getvalue()
