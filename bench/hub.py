"""Throughput, latency, CPU and memory through the hub: two gateways and a router.

Three namespaces joined by two cables, the real programs in them, one TCP stream between the
tunnel addresses of the gateways: by iperf3 where it is installed, else by the lab's own probe.
Needs root (or user namespaces) and /dev/net/tun. Run as ``python bench/hub.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console
from rich.table import Table

from polevpn_trio import kernels
from polevpn_trio.lab import probes
from polevpn_trio.lab.certificate import make_certificate
from polevpn_trio.lab.namespaces import (
    Host,
    Lab,
    Process,
    become_root_in_user_namespace,
    check_permitted,
    wait_until,
)
from polevpn_trio.lab.overlay import program, python_path

TRANSPORTS = ("kcp", "tls", "wss")
KEY = "benchmark"
FIRST, SECOND = "10.8.0.2", "10.8.0.3"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@attrs.frozen
class Figures:
    """What one transport did in one run."""

    transport: str
    megabits: float
    reverse_megabits: float
    ping_average_ms: float
    ping_p99_ms: float
    cpu_seconds_per_gigabyte: float
    router_mib: float
    gateway_mib: float
    router_idle_percent: float
    gateway_idle_percent: float


class Hub:
    """A router and two gateways, each in a namespace of its own, over one transport."""

    def __init__(self, lab: Lab, transport: str, extra: dict[str, Any]) -> None:
        self.router_host = lab.host("router")
        self.first = lab.host("first")
        self.second = lab.host("second")
        for number, host in enumerate((self.first, self.second), 1):
            lab.connect(host, "wan", self.router_host, f"site{number}")
            self.router_host.add_addresses(f"site{number}", f"198.18.{number}.1/24")
            host.add_addresses("wan", f"198.18.{number}.2/24")
        self._lab = lab
        self._extra = extra
        made = make_certificate("router.example")
        listener = {
            "listen": "0.0.0.0:443",
            "cert_file": str(self.router_host.write_file("router.crt", made.certificate)),
            "key_file": str(self.router_host.write_file("router.key", made.key, mode=0o600)),
        }
        config = {"kcp": listener, "tls": listener, "key": KEY, **extra}
        self.router = self._start(self.router_host, "router", config)
        wait_until(
            lambda: self.router_host.listens("udp" if transport == "kcp" else "tcp", 443),
            20.0,
            "the router to listen",
        )
        self.gateways = [
            self._start(
                host,
                "gateway",
                {
                    "route_server": f"{transport}://198.18.{number}.1:443",
                    "key": KEY,
                    "gateway": address,
                    "route_networks": ["10.8.0.0/24"],
                    **extra,
                },
            )
            for number, (host, address) in enumerate(
                ((self.first, FIRST), (self.second, SECOND)), 1
            )
        ]
        wait_until(self._carries_packets, 20.0, "a first packet through the hub")

    def _carries_packets(self) -> bool:
        for each in self.programs:
            if each.returncode is not None:
                raise SystemExit(f"a program ended by itself:\n{each.log_tail()}")
        try:
            return self.first.call(probes.ping, SECOND, timeout=0.2).received > 0
        except OSError:
            # The route into the tunnel is not there yet.
            return False

    @staticmethod
    def _start(host: Host, role: str, config: dict[str, Any]) -> Process:
        file = host.write_file(f"{role}.json", json.dumps(config), mode=0o600)
        return program(host, [role, "--config", str(file)], role)

    @property
    def programs(self) -> list[Process]:
        return [self.router, *self.gateways]


def cpu_seconds(process: Process) -> float:
    """Processor time that a program has used so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(process: Process) -> float:
    """Resident memory of a program."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * PAGE / 2**20


def transfer(hub: Hub, seconds: float, *, reverse: bool) -> tuple[float, float]:
    """Move data for some seconds; return Mbit/s and bytes moved."""
    if shutil.which("iperf3"):
        server = hub.second.start(["iperf3", "-s", "-1"], name="iperf3")
        wait_until(lambda: hub.second.listens("tcp", 5201), 5.0, "iperf3 to listen")
        words = ["iperf3", "-c", SECOND, "-t", str(seconds), "-J", *(["-R"] if reverse else [])]
        done = hub.first.run(words, timeout=seconds + 30)
        server.stop()
        if done.returncode:
            raise SystemExit(f"iperf3 failed: {done.stdout[-500:]}{done.stderr[-500:]}")
        end = json.loads(done.stdout)["end"]["sum_received"]
        return end["bits_per_second"] / 1e6, end["bytes"]
    command = [sys.executable, "-m", "polevpn_trio.lab.probes"]
    server = hub.second.start([*command, "tcp-server", "5201"], environment=python_path())
    wait_until(lambda: hub.second.listens("tcp", 5201), 5.0, "the probe to listen")
    words = [*command, "tcp", SECOND, "5201", "--direction", "down" if reverse else "up"]
    done = hub.first.run(
        [*words, "--seconds", str(seconds)], timeout=seconds + 30, environment=python_path()
    )
    server.stop()
    result = probes.TransferResult.from_json(json.loads(done.stdout))
    return result.megabits_per_second, result.transferred


def measure(transport: str, seconds: float, idle_seconds: float, extra: dict[str, Any]) -> Figures:
    """Build the hub, measure, and take it down again."""
    with Lab() as lab:
        hub = Hub(lab, transport, extra)
        time.sleep(1.0)
        before = [cpu_seconds(each) for each in hub.programs]
        time.sleep(idle_seconds)
        idle = [
            (cpu_seconds(each) - used) / idle_seconds * 100
            for each, used in zip(hub.programs, before, strict=True)
        ]
        echo = hub.first.call(probes.ping, SECOND, count=500, interval=0.01)
        before = [cpu_seconds(each) for each in hub.programs]
        forward, moved = transfer(hub, seconds, reverse=False)
        used = sum(cpu_seconds(each) for each in hub.programs) - sum(before)
        backward, _ = transfer(hub, seconds, reverse=True)
        return Figures(
            transport=transport,
            megabits=forward,
            reverse_megabits=backward,
            ping_average_ms=echo.average,
            ping_p99_ms=echo.percentile(99),
            cpu_seconds_per_gigabyte=used / (moved / 1e9),
            router_mib=memory_mib(hub.router),
            gateway_mib=memory_mib(hub.gateways[0]),
            router_idle_percent=idle[0],
            gateway_idle_percent=idle[1],
        )


def median(runs: Sequence[Figures]) -> Figures:
    """Take the median of each figure over several runs of one transport."""
    values = {
        field.name: statistics.median(getattr(run, field.name) for run in runs)
        for field in attrs.fields(Figures)
        if field.name != "transport"
    }
    return Figures(transport=runs[0].transport, **values)


def main() -> None:
    """Measure the transports in turn, as often as asked, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=TRANSPORTS, action="append", dest="transports")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each transfer")
    parser.add_argument("--idle-seconds", type=float, default=5.0, help="for the idle CPU")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--classic", action="store_true", help="switch the native dialect off")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    become_root_in_user_namespace()
    check_permitted()
    extra: dict[str, Any] = {"native": False} if options.classic else {}
    runs: dict[str, list[Figures]] = {}
    for _ in range(options.runs):
        for transport in options.transports or TRANSPORTS:
            figures = measure(transport, options.seconds, options.idle_seconds, extra)
            runs.setdefault(transport, []).append(figures)
            if not options.json:
                print(f"{transport}: {figures.megabits:.0f} Mbit/s", file=sys.stderr)
    medians = [median(each) for each in runs.values()]
    compiled = all(kernels.compiled().values())
    machine = {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "compiled": compiled,
        "generator": "iperf3" if shutil.which("iperf3") else "probe",
        "runs": options.runs,
        "seconds": options.seconds,
    }
    if options.json:
        print(json.dumps({"machine": machine, "medians": [attrs.asdict(m) for m in medians]}))
        return
    table = Table(
        title="Through the hub, medians: " + ", ".join(f"{k} {v}" for k, v in machine.items())
    )
    for field in attrs.fields(Figures):
        table.add_column(field.name.replace("_", " "), justify="right")
    for figures in medians:
        table.add_row(*(v if isinstance(v, str) else f"{v:.2f}" for v in attrs.astuple(figures)))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
