"""`doctor` as it is called, on machines that are well, and with what may be wrong with them."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from polevpn_trio.__main__ import main
from polevpn_trio.doctor import examination
from polevpn_trio.lab.namespaces import Host, Lab
from polevpn_trio.lab.overlay import Overlay, Site, python_path

PATIENCE = 60.0
"""Seconds after which a program counts as stuck."""


@attrs.frozen
class Network:
    """A router that runs, and a site whose gateway does not yet."""

    overlay: Overlay
    site: Site

    @property
    def gateway(self) -> Host:
        return self.site.gateway

    def config(self, *schemes: str, **changes: Any) -> dict[str, Any]:
        servers = [self.overlay.url(scheme) for scheme in schemes or ("kcp", "tls")]
        known = {"known_routers": "/run/lab/known_routers"}
        config = self.overlay.gateway_config(self.site, servers)
        return {**config, **known, **changes}


@attrs.frozen
class Examined:
    status: int
    findings: list[dict[str, str]]
    errors: str

    def ills(self) -> list[dict[str, str]]:
        return [each for each in self.findings if each["status"] not in ("ok", "skip")]

    def of(self, check: str) -> list[dict[str, str]]:
        return [each for each in self.findings if each["check"] == check]


def doctor(host: Host, config: dict[str, Any], *words: str) -> Examined:
    file = host.write_file("examined.json", json.dumps(config), mode=0o600)
    done = host.run(
        [sys.executable, "-m", "polevpn_trio", "doctor", "--json", *words, str(file)],
        timeout=PATIENCE,
        environment=python_path(),
    )
    assert done.stdout, done.stderr
    sections = json.loads(done.stdout)["sections"]
    found = [each for section in sections for each in section["findings"]]
    return Examined(done.returncode, found, done.stderr)


@pytest.fixture(scope="module")
def network(lab_obstacle: str | None) -> Iterator[Network]:
    if lab_obstacle:
        pytest.skip(lab_obstacle)
    with Lab() as lab:
        overlay = Overlay(lab)
        site = overlay.add_site("site A")
        overlay.start_router()
        overlay.wait_for_listener("kcp")
        overlay.wait_for_listener("tls")
        yield Network(overlay, site)


def well(found: Examined, kernel_build: str) -> bool:
    """Whether nothing is to mend, but for kernels that this run wants uncompiled."""
    ills = [each for each in found.ills() if each["check"] != "kernels"]
    return not ills and found.status == (0 if kernel_build == "compiled" else 1)


@pytest.mark.needs_root_lab
def test_a_site_that_is_well_ends_with_zero(network: Network, kernel_build: str) -> None:
    found = doctor(network.gateway, network.config())
    assert well(found, kernel_build), found.ills()
    assert found.errors == ""
    assert {"tun", "udp", "tcp", "path-mtu", "clock-skew", "routes"} <= {
        each["check"] for each in found.findings
    }
    assert "not met before" in found.of("router-certificate")[0]["text"]
    assert "1500 bytes or more" in found.of("path-mtu")[0]["text"]


@pytest.mark.needs_root_lab
def test_a_router_that_runs_is_well(network: Network) -> None:
    found = doctor(network.overlay.router, network.overlay.router_config())
    # The lab's certificates are made for a day.
    assert {each["check"] for each in found.ills()} - {"kernels"} == {"certificate"}
    assert all("seems to be running" in each["text"] for each in found.of("port"))


@pytest.mark.needs_root_lab
def test_ipv6_leads_to_the_router_as_well(network: Network, kernel_build: str) -> None:
    servers = [network.overlay.url(scheme, ipv6=True) for scheme in ("kcp", "wss")]
    found = doctor(network.gateway, network.config(route_server=servers))
    assert well(found, kernel_build), found.ills()
    assert "1500 bytes or more" in found.of("path-mtu")[0]["text"]


@pytest.mark.needs_root_lab
def test_udp_that_is_blocked_is_told_with_what_to_do(network: Network) -> None:
    with network.overlay.internet.dropping("udp"):
        found = doctor(network.gateway, network.config())
        alone = doctor(network.gateway, network.config("kcp"))
    [udp] = found.of("udp")
    assert udp["status"] == "warn"
    assert udp["meaning"] == "the gateway takes another of route_server, which answers"
    assert found.status == 1
    [udp] = alone.of("udp")
    assert udp["status"] == "fail"
    assert '"tls://198.18.1.2:443"' in udp["remedy"]


@pytest.mark.needs_root_lab
def test_a_gateway_that_runs_is_well_and_not_disturbed(network: Network, kernel_build: str) -> None:
    config = network.config("kcp", route_networks=["10.8.0.0/24", "192.168.9.0/24"])
    program = network.overlay.start_gateway(network.site, config)
    program.wait_for_output("registered", PATIENCE)
    before = network.gateway.state()
    found = doctor(network.gateway, config)
    assert network.gateway.state() == before
    assert program.returncode is None
    program.stop()
    assert well(found, kernel_build), found.ills()
    assert "is the right router" in found.of("router-certificate")[0]["text"]


@pytest.mark.needs_root_lab
def test_an_interrupted_examination_is_not_called_well(network: Network) -> None:
    file = network.gateway.write_file("x.json", json.dumps(network.config("kcp")), mode=0o600)
    with network.overlay.internet.dropping("udp"):
        program = network.gateway.start(
            [sys.executable, "-m", "polevpn_trio", "doctor", str(file)],
            name="doctor",
            environment=python_path(),
        )
        program.wait_for_output("ClientHello", PATIENCE)
        program.send_signal(signal.SIGINT)
        assert program.wait(PATIENCE) == 130
    program.stopped = True


def test_so_it_is_whichever_task_the_interruption_meets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def interrupted(*_: object) -> None:
        async def ask() -> None:
            signal.raise_signal(signal.SIGINT)
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)

    monkeypatch.setattr(examination, "examine_routers", interrupted)
    file = tmp_path / "gateway.json"
    file.write_text(
        json.dumps({"route_server": "kcp://198.51.100.1:443", "key": "k", "gateway": "10.8.0.2"})
    )
    file.chmod(0o600)
    assert main(["doctor", str(file)]) == 130
    assert capsys.readouterr().out == ""


@pytest.mark.needs_root_lab
def test_tcp_that_is_blocked_is_told(network: Network) -> None:
    with network.overlay.internet.dropping("tcp"):
        found = doctor(network.gateway, network.config("tls"))
    [tcp] = found.of("tcp")
    assert tcp["status"] == "fail"
    assert "no answer" in tcp["text"]


@pytest.mark.needs_root_lab
def test_a_port_where_nothing_listens_is_told(network: Network) -> None:
    address = network.overlay.router_uplink.address
    servers = [f"{scheme}://{address}:444" for scheme in ("kcp", "tls")]
    found = doctor(network.gateway, network.config(route_server=servers))
    for check in ("udp", "tcp"):
        [answer] = found.of(check)
        assert answer["status"] == "fail"
        assert "nothing listens" in answer["text"]
    assert doctor(network.gateway, network.config(route_server=servers), "--offline").ills() == [
        each for each in found.ills() if each["check"] == "kernels"
    ]


@pytest.mark.needs_root_lab
def test_a_narrow_hop_that_says_so_is_found_to_the_byte(network: Network) -> None:
    internet = network.overlay.internet
    internet.set_link("machine-1", mtu=1390)
    try:
        found = doctor(network.gateway, network.config("kcp"))
    finally:
        internet.set_link("machine-1", mtu=1500)
    [path] = found.of("path-mtu")
    assert path["status"] == "warn"
    assert "packets of 1390 bytes pass" in path["text"]
    # 20 bytes of IPv4, 8 of UDP, 37 of a DTLS record.
    assert '"mtu": 1325' in path["remedy"]


@pytest.mark.needs_root_lab
@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
def test_a_narrow_hop_that_keeps_silent_is_found_to_the_byte(network: Network) -> None:
    internet = network.overlay.internet
    rules = "table ip x {\nchain y {\ntype filter hook forward priority 0; "
    file = internet.write_file("rules.nft", f"{rules}meta length > 1401 drop\n}}\n}}")
    assert internet.run(["nft", "-f", str(file)], timeout=30).returncode == 0
    try:
        found = doctor(network.gateway, network.config("kcp"))
    finally:
        internet.run(["nft", "flush", "ruleset"], timeout=30)
    [path] = found.of("path-mtu")
    assert path["status"] == "warn"
    assert "packets of 1401 bytes pass" in path["text"]


@pytest.mark.needs_root_lab
def test_a_narrow_link_of_this_machine_is_well(network: Network, kernel_build: str) -> None:
    network.gateway.set_link("wan", mtu=1390)
    try:
        found = doctor(network.gateway, network.config("kcp"))
    finally:
        network.gateway.set_link("wan", mtu=1500)
    assert "packets of 1390 bytes pass" in found.of("path-mtu")[0]["text"]
    assert well(found, kernel_build), found.ills()


@pytest.mark.needs_root_lab
def test_another_router_than_the_one_meant_is_told(network: Network) -> None:
    pin = "sha256:" + "00" * 32
    found = doctor(network.gateway, network.config(verify_router=pin))
    told = found.of("router-certificate")
    assert [each["status"] for each in told] == ["fail", "fail"]
    shown = told[0]["remedy"].partition('"verify_router": ')[2].strip('"')
    found = doctor(network.gateway, network.config(verify_router=shown))
    assert [each["status"] for each in found.of("router-certificate")] == ["ok", "ok"]


SLOW_CLOCK = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
with socket.create_server(("", 8443)) as server:
    print("ready", flush=True)
    plain, _ = server.accept()
    with context.wrap_socket(plain, server_side=True) as stream:
        stream.recv(4096)
        stream.sendall(b"HTTP/1.1 404 No\\r\\nDate: Sat, 01 Jan 2000 00:00:00 GMT\\r\\n\\r\\n")
"""


@pytest.mark.needs_root_lab
def test_a_router_whose_clock_is_wrong_is_told(network: Network) -> None:
    overlay = network.overlay
    files = [str(overlay.cert_file), str(overlay.key_file)]
    server = overlay.router.start([sys.executable, "-c", SLOW_CLOCK, *files], name="slow-clock")
    server.wait_for_output("ready", PATIENCE)
    servers = [f"tls://{overlay.router_uplink.address}:8443"]
    found = doctor(network.gateway, network.config(route_server=servers))
    server.stop()
    [skew] = found.of("clock-skew")
    assert skew["status"] == "warn"
    assert "behind this one" in skew["text"]


@pytest.mark.needs_root_lab
def test_many_ills_are_told_at_once(network: Network) -> None:
    gateway = network.gateway
    config = network.config(
        forward=False, route_networks=["198.18.2.0/24"], gateway="192.168.1.77", key="easy"
    )
    gateway.set_sysctl("net.ipv4.ip_forward", "0")
    found = doctor(gateway, config, "--offline")
    checks = {each["check"] for each in found.ills()} - {"kernels"}
    assert checks == {"config", "forwarding", "networks"}
    for ill in found.ills():
        assert ill["meaning"]
        assert ill["remedy"]
    assert found.status == 1


def run(*words: str, stderr: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "polevpn_trio", "doctor", *words],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, **python_path()},
    )


def test_without_a_configuration_only_the_machine_is_looked_at(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor"]) in (0, 1)
    text = capsys.readouterr().out
    assert "machine: ok: clock: " in text
    assert "configuration: skip: config: no configuration was named" in text


def test_mistakes_of_a_configuration_have_their_own_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gateway.json"
    file.write_text('{"route_server": "kcp://192.0.2.1:443", "key": "x"}')
    assert main(["doctor", str(file)]) == 2
    assert "configuration: fail: config: " in capsys.readouterr().out
    assert main(["doctor", "--json", str(tmp_path / "none.json")]) == 2
    assert json.loads(capsys.readouterr().out)["state"] == "fail"


def test_progress_goes_to_stderr_as_plain_lines_if_that_is_no_terminal(tmp_path: Path) -> None:
    file = tmp_path / "gateway.json"
    # Nothing listens there: port 9 of loopback (discard).
    config = {"route_server": ["kcp://127.0.0.1:9", "tls://127.0.0.1:9"], "gateway": "10.8.0.2"}
    file.write_text(json.dumps({**config, "key": "a long secret of the test"}))
    done = run(str(file), stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "kcp://127.0.0.1:9: looking for its address",
        "kcp://127.0.0.1:9: ClientHello",
        "tls://127.0.0.1:9: TLS handshake",
    ]
    assert "udp: 127.0.0.1 udp port 9: nothing listens there" in done.stdout


def test_a_terminal_gets_a_drawing() -> None:
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "polevpn_trio", "doctor"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, **python_path(), "TERM": "xterm"},
    )
    os.close(theirs)
    text = b""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 1)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                break
            if not piece:
                break
            text += piece
    os.close(ours)
    assert program.wait(PATIENCE) in (0, 1)
    assert "✓".encode() in text
    assert b"\x1b[" in text
