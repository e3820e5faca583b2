"""The lab of the benchmarks of our router alone: two real gateways, and machines for others.

The two gateways are those of the side-by-side benchmarks, with TUN devices, so the same traffic
runs between them. Further machines hold programs that are gateways without a TUN device.

::

    first 198.18.1.2 ----+          +---- 198.18.2.2 second
                         +- router -+
    198.18.3.2, ... -----+
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.case_by_case.crowd import AT_ONCE
from bench.side_by_side.network import RunFailed, Tunnel
from bench.side_by_side.ours import KEY, Ours
from polevpn_trio.lab.namespaces import STOP_TIMEOUT, Host, Lab, Process
from polevpn_trio.lab.overlay import PORT, python_path

SETTLE = 1.0
"""Seconds for what was started to get going."""

LOGIN_TIMEOUT = 120.0
"""Seconds for a crowd to log in."""

_FIRST_MACHINE = 3


@attrs.frozen
class Logins:
    """A crowd that is logged in, and how long that took."""

    process: Process
    size: int
    seconds: float


@attrs.frozen
class Machine:
    """A machine beside the two gateways'."""

    host: Host
    number: int
    url: str
    """Of the router, as this machine reaches it."""

    @property
    def address(self) -> str:
        """Its own, on the cable to the router."""
        return f"198.18.{self.number}.2"

    @property
    def router_interface(self) -> str:
        """The router's end of the cable."""
        return f"site{self.number}"

    def start(self, module: str, options: Sequence[str]) -> Process:
        """Start one of the programs of this folder here.

        It is given the router's URL, a file with the key, and ``options``.
        """
        key = self.host.write_file("key", KEY, mode=0o600)
        program = [sys.executable, "-m", f"bench.case_by_case.{module}"]
        words = [*program, self.url, str(key), *options]
        return self.host.start(words, name=self.host.name, environment=python_path())


class Stage:
    """A router with two real gateways over one transport, in a lab."""

    def __init__(self, lab: Lab, transport: str) -> None:
        """Start the programs and wait for a first packet. Raises RunFailed."""
        self.lab = lab
        self.transport = transport
        self.tunnel = Tunnel.start(lab, Ours(transport))
        self._machines = 0

    @property
    def router(self) -> Process:
        """The router's process."""
        return self.tunnel.programs.all[0]

    def machine(self, name: str) -> Machine:
        """Add a machine with a cable to the router."""
        router = self.tunnel.network.router
        number = _FIRST_MACHINE + self._machines
        self._machines += 1
        host = self.lab.host(name)
        self.lab.connect(host, "wan", router, f"site{number}")
        router.add_addresses(f"site{number}", f"198.18.{number}.1/24")
        host.add_addresses("wan", f"198.18.{number}.2/24")
        return Machine(host, number, f"{self.transport}://198.18.{number}.1:{PORT}")

    def start(self, module: str, name: str, options: Sequence[str]) -> Process:
        """Start one of the programs of this folder on a machine of its own."""
        return self.machine(name).start(module, options)

    def log_in(self, size: int, at_once: int = AT_ONCE) -> Logins:
        """Let a crowd of gateways log in. Raises RunFailed."""
        options = ["--size", str(size), "--at-once", str(at_once)]
        crowd = self.start("crowd", "crowd", options)
        said = first_words(crowd, LOGIN_TIMEOUT)
        return Logins(crowd, size, float(said["seconds"]))

    def check(self, *others: Process) -> None:
        """Raise RunFailed if a program has ended."""
        self.tunnel.check()
        for each in others:
            if each.returncode is not None:
                raise RunFailed(f"{each.name} ended: {each.log_tail(3)}")


def first_words(process: Process, timeout: float) -> dict[str, float]:
    """Wait for the first line of a program, a JSON object. Raises RunFailed."""
    try:
        process.wait_for_output("}\n", timeout)
    except (TimeoutError, ChildProcessError) as error:
        raise RunFailed(f"{process.name} says nothing: {process.log_tail(3)}") from error
    said: dict[str, float] = _words(process, process.log().splitlines()[0])
    return said


def last_words(process: Process, timeout: float = STOP_TIMEOUT) -> dict[str, Any]:
    """End a program, which may take so many seconds; return its last line, a JSON object.

    Raises RunFailed.
    """
    process.stop(timeout)
    return _words(process, process.log_tail(1))


def _words(process: Process, line: str) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise RunFailed(f"{process.name} says {line!r}") from error
    return said


def settle() -> None:
    """Give what was started a moment to get going."""
    time.sleep(SETTLE)


def proportional_mib(process: Process) -> float:
    """Memory of a program, shared pages divided among those who share them (PSS)."""
    for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "Pss":
            return int(value.split()[0]) / 1024
    raise RunFailed("the kernel does not tell the memory of a program")


def pin(process: Process, cores: set[int]) -> None:
    """Keep a program, with the threads that it has, to some processor cores."""
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        os.sched_setaffinity(int(thread), cores)
