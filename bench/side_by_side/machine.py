"""What a benchmark ran on: figures mean nothing without it."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
from importlib.metadata import version
from pathlib import Path

import attrs

import polevpn_trio
from bench.side_by_side import traffic
from polevpn_trio import kernels

QUIET_LOAD = 0.5
"""Load average above which something else runs on the machine and spoils the figures."""

_LIBRARIES = ("trio", "trio-websocket", "pyOpenSSL", "cryptography", "python-pytun")


@attrs.frozen
class Machine:
    """The machine, its software, and how busy it was before the first run."""

    kernel: str
    cpu: str
    cores: int
    """Those that this process may use."""
    python: str
    openssl: str
    libraries: dict[str, str]
    polevpn_trio: str
    revision: str
    """Commit of the source tree, ``+`` behind it if changed since; empty where unknown."""
    kernels: str
    """``compiled``, ``pure`` (plain Python) or ``mixed``."""
    tcp_congestion_control: str
    generator: str
    """The program that makes the traffic."""
    udp_buffer_bytes: int
    """Socket buffer of the traffic's UDP sockets."""
    load_average: float
    """Over the minute before the start."""

    @property
    def is_quiet(self) -> bool:
        return self.load_average <= QUIET_LOAD

    def lines(self) -> list[str]:
        """Say the most important in two lines for a title."""
        return [
            f"{self.cpu}, {self.cores} cores, Linux {self.kernel}, load {self.load_average:.2f}",
            f"polevpn_trio {' '.join(filter(None, (self.polevpn_trio, self.revision)))} "
            f"({self.kernels} kernels), Python {self.python}, {self.generator}",
        ]

    def warnings(self) -> list[str]:
        """Say what makes figures of this machine worth little."""
        found = []
        if not self.is_quiet:
            found.append(
                f"the load average is {self.load_average:.2f}, above {QUIET_LOAD}: "
                "something else runs here, the figures are worth little"
            )
        if self.kernels != "compiled":
            found.append(f"the kernels are {self.kernels}, not compiled")
        return found


def look() -> Machine:
    """Describe the machine as it is now."""
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    return Machine(
        kernel=platform.release(),
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        openssl=ssl.OPENSSL_VERSION,
        libraries={name: version(name) for name in _LIBRARIES},
        polevpn_trio=polevpn_trio.__version__,
        revision=_revision(),
        kernels=_build_in_use(),
        tcp_congestion_control=congestion.read_text().strip(),
        generator=traffic.generator(),
        udp_buffer_bytes=traffic.socket_buffer(),
        load_average=os.getloadavg()[0],
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return " ".join(value.split())
    return platform.machine()


def _build_in_use() -> str:
    compiled = kernels.compiled().values()
    if all(compiled):
        return "compiled"
    return "mixed" if any(compiled) else "pure"


def _revision() -> str:
    tree = Path(__file__).parents[2]
    if not (tree / ".git").exists():
        return ""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=tree,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return said.stdout.strip()
