"""Runs the real programs, `python -m polevpn_trio router|gateway`, for the interop tests."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from polevpn_trio.commands.client import ControlClient
from polevpn_trio.lab.namespaces import Lab, Process
from tests.interop.classic_dtls import certificate

ROOT = Path(__file__).parent.parent.parent
KEY = "123456"
START_SECONDS = 20.0
STOP_SECONDS = 8.0
SERIOUS = re.compile(r"Traceback|ExceptionGroup|ResourceWarning|\bCRITICAL\b")

_loopback_hosts = iter(range(2, 250))


def loopback_host() -> str:
    """An address of 127/8 that no other test run on this machine uses at the same time."""
    pid = os.getpid()
    return f"127.{64 + (pid >> 8 & 0x3F)}.{pid & 0xFF}.{next(_loopback_hosts)}"


def command(role: str, config: Path) -> list[str]:
    return [
        sys.executable,
        "-W",
        "error::ResourceWarning",
        "-m",
        "polevpn_trio",
        role,
        "--config",
        str(config),
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDEVMODE": "", "PYTHONUNBUFFERED": "1"}


def write_certificate(folder: Path, kind: str = "rsa") -> tuple[str, str]:
    key, chain = certificate(kind)
    (folder / "key.pem").write_bytes(key)
    (folder / "cert.pem").write_bytes(chain)
    (folder / "key.pem").chmod(0o600)
    return "cert.pem", "key.pem"


class RouterProcess:
    """Our router on the loopback interface, one port for kcp and tls alike."""

    def __init__(self, folder: Path, *, kind: str = "rsa", **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        cert_file, key_file = write_certificate(folder, kind)
        self.host, self.port = loopback_host(), 4443
        listener = {
            "enable": True,
            "listen": f"{self.host}:{self.port}",
            "cert_file": cert_file,
            "key_file": key_file,
        }
        # Routers of the originals let anybody send from anywhere, and so do tests that follow them.
        values = {"source_check": False, "key": KEY, "kcp": listener, "tls": listener}
        values["log_level"] = "debug"
        self.control = folder / "control"
        values["control"] = {"socket": str(self.control)}
        config = folder / "router.json"
        config.write_text(json.dumps(values | settings))
        config.chmod(0o600)
        self.log_file = folder / "router.log"
        self.terminated = False
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command("router", config), stdout=log, stderr=log, cwd=folder, env=environment()
            )
        self._wait_for_ports()

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def _wait_for_ports(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not (self._bound(socket.SOCK_STREAM) and self._bound(socket.SOCK_DGRAM)):
            if self.process.poll() is not None:
                raise AssertionError(f"the router ended: {self.log()}")
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the router does not listen: {self.log()}")
            time.sleep(0.02)

    def _bound(self, kind: socket.SocketKind) -> bool:
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(self.address)
            except OSError as error:
                return error.errno == errno.EADDRINUSE
        return False

    def dropped(self, site: str) -> int:
        """Ask how many packets for a site were dropped on their way out, for whatever reason."""
        with ControlClient(self.control) as client:
            sites = client.call("status")["sites"]
        [drops] = [each["link"]["drops"] for each in sites if each["name"] == site]
        return int(sum(drops.values()))

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")[-6000:]

    def terminate(self) -> None:
        self.terminated = True
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process.poll() is None and not self.terminated:
            self.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the router does not end on SIGTERM: {self.log()}") from None

    def complaints(self) -> list[str]:
        return [line for line in self.log().splitlines() if SERIOUS.search(line)]


class GatewayRun:
    """Our gateway on a lab host of its own, with sockets for a classic router on the same host."""

    OWN, LAN, FAR = "10.8.0.2", "192.168.10.0/24", "10.9.0.0/16"
    PORT = 4443

    def __init__(self, lab: Lab, name: str, scheme: str) -> None:
        self.host = lab.host(name)
        self.scheme = scheme
        self.process: Process | None = None

    def bind(self, kind: socket.SocketKind) -> socket.socket:
        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, kind)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(("127.0.0.1", self.PORT))
            return made

        return self.host.call(make)

    def start(self, **settings: Any) -> None:
        config = {
            "route_server": f"{self.scheme}://127.0.0.1:{self.PORT}",
            "key": KEY,
            "classic": True,
            "gateway": self.OWN,
            "local_networks": [self.LAN],
            "route_networks": [self.FAR],
            "acls": [self.FAR],
            "interface": "tun7",
            "log_level": "debug",
        }
        path = self.host.write_file("gateway.json", json.dumps(config | settings))
        self.host.call(path.chmod, 0o600)
        self.process = self.host.start(
            command("gateway", path), name="gateway", environment=environment()
        )

    @property
    def running(self) -> Process:
        assert self.process is not None
        return self.process

    def log(self) -> str:
        return f"exit status {self.running.returncode}\n{self.running.log_tail(60)}"

    def complaints(self) -> list[str]:
        return [line for line in self.running.log().splitlines() if SERIOUS.search(line)]

    def send_udp(
        self,
        destination: str,
        payload: bytes,
        family: int = socket.AF_INET,
        port: int = 0,
    ) -> None:
        """From the host's own kernel, as any program on it would, from any port unless told."""

        def send() -> None:
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.bind(("", port))
                sender.sendto(payload, (destination, 9))

        self.host.call(send)
