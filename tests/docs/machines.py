"""The machines that the documentation speaks of, and what its commands do on them.

::

    office-pc    192.168.1.20 --- office  198.51.100.10  \\
    branch-pc    192.168.2.20 --- branch  198.51.100.22 --- internet --- router   203.0.113.5
    database     172.31.0.20  --- cloud   198.51.100.30  /          \\-- website  203.0.113.81
    machine-room 10.20.0.20   --- room, behind a NAT at 198.51.100.42

The same with IPv6: 2001:db8:N::2 outside (N being 5 for the router, 81 for the website, else the
last number of the IPv4 address), fd00:1::/64, fd00:2::/64 and fd00:31::/64 in the LANs.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
import shutil
import sys
import time

import pytest

from polevpn_trio.lab import probes
from polevpn_trio.lab.namespaces import Host, Lab, Process
from polevpn_trio.lab.overlay import python_path
from polevpn_trio.tun import nat

from .page import Command, File

PATIENCE = 20.0
"""Seconds for a ping to be answered the first time, for a program to end."""

_OUTSIDE = {
    "router": "203.0.113.5",
    "website": "203.0.113.81",
    "office": "198.51.100.10",
    "branch": "198.51.100.22",
    "cloud": "198.51.100.30",
    "nat": "198.51.100.42",
}
_LANS = {
    "office": ("office-pc", "192.168.1.", "fd00:1::"),
    "branch": ("branch-pc", "192.168.2.", "fd00:2::"),
    "cloud": ("database", "172.31.0.", "fd00:31::"),
    "room": ("machine-room", "10.20.0.", "fd00:20::"),
}


class Machines:
    """All machines of the documentation, in one lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._running: list[Process] = []
        self._join_strings: dict[str, str] = {}
        """By site; the machine of a site has its name."""
        internet = lab.host("internet")
        internet.forward_packets()
        self.hosts: dict[str, Host] = {}
        for number, (name, address) in enumerate(_OUTSIDE.items(), 1):
            host = self.hosts[name] = lab.host(name)
            lab.connect(host, "eth0", internet, f"port{number}")
            last = address.rpartition(".")[2]
            far = ipaddress.ip_address(address) - 1
            internet.add_addresses(f"port{number}", f"{far}/30", f"2001:db8:{last}::1/64")
            host.add_addresses("eth0", f"{address}/30", f"2001:db8:{last}::2/64")
            host.add_route("0.0.0.0/0", via=str(far))
            host.add_route("::/0", via=f"2001:db8:{last}::1")
        self._add_room_behind_nat()
        for gateway, (name, lan, lan6) in _LANS.items():
            host = self.hosts[name] = lab.host(name)
            lab.connect(self.hosts[gateway], "lan", host, "eth0")
            self.hosts[gateway].add_addresses("lan", f"{lan}1/24", f"{lan6}1/64")
            host.add_addresses("eth0", f"{lan}20/24", f"{lan6}20/64")
            host.add_route("0.0.0.0/0", via=f"{lan}1")
            host.add_route("::/0", via=f"{lan6}1")

    def _add_room_behind_nat(self) -> None:
        box = self.hosts.pop("nat")
        room = self.hosts["room"] = self._lab.host("room")
        self._lab.connect(box, "inside", room, "eth0")
        box.add_addresses("inside", "100.64.0.1/24")
        box.forward_packets()
        box.call(nat.add_masquerade, "inside")
        room.add_addresses("eth0", "100.64.0.2/24")
        room.add_route("0.0.0.0/0", via="100.64.0.1")

    # --- Steps

    def write(self, file: File) -> None:
        """Write a file, as only its owner may read."""
        self._host(file).write_file(file.name, file.content, mode=0o600)

    def give(self, command: Command) -> None:
        """Do what a command of a page does; AssertionError if it is not what the page says."""
        words = [word for word in shlex.split(command.text) if word != "sudo"]
        if words[0] == "ping":
            self._ping(command, words)
        elif words[:2] in (["polevpn-trio", "router"], ["polevpn-trio", "gateway"]):
            self._start(command, words)
        else:
            self._run(command, words)

    def check_running(self) -> None:
        """Programs that were started run on: AssertionError with the log of one that does not."""
        for process in self._running:
            assert process.returncode is None, f"{process.host.name}: {process.log()}"

    def _host(self, step: File | Command) -> Host:
        assert step.machine in self.hosts, f"line {step.line}: no machine {step.machine}"
        return self.hosts[step.machine]

    def _ping(self, command: Command, words: list[str]) -> None:
        host = self._host(command)
        address = str(ipaddress.ip_address(words[-1]))
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if host.call(probes.ping, address, timeout=0.5).received:
                return
            self.check_running()
        raise AssertionError(f"line {command.line}: {command.text}: no answer\n{self.logs()}")

    def _start(self, command: Command, words: list[str]) -> None:
        host = self._host(command)
        for running in [
            each for each in self._running if (each.host, each.name) == (host, words[1])
        ]:
            # Its reader has ended it before starting it anew, as the page says.
            assert running.stop() == 0, running.log()
            self._running.remove(running)
        process = host.start(
            ["sh", "-c", _in_folder([*_product(), *words[1:]])],
            name=words[1],
            environment=_environment(),
        )
        self._running.append(process)
        for line in command.output:
            _wait_for(process, line)

    def _run(self, command: Command, words: list[str]) -> None:
        # It tells by its status that there is something to look at.
        good = (0, 1) if words[:2] == ["polevpn-trio", "doctor"] else (0,)
        if words[0] == "polevpn-trio":
            words = [*_product(), *words[1:]]
        elif shutil.which(words[0]) is None:
            pytest.skip(f"{words[0]} is not installed")
        line = _in_folder(words)
        if command.text.startswith("polevpn-trio join"):
            # As its reader does, who is asked for what the router has printed.
            line = f"printf %s {self._join_strings[command.machine]} | ({line})"
        done = self._host(command).run(
            ["sh", "-c", line], timeout=PATIENCE, environment=_environment()
        )
        printed = done.stdout + done.stderr
        if command.text.startswith("polevpn-trio keys site "):
            self._join_strings[words[len(_product()) + 2]] = done.stdout.strip()
        where = f"line {command.line}: {command.text}"
        assert done.returncode in good, f"{where}: status {done.returncode}\n{printed}"
        at = 0
        for line in command.output:
            found = _pattern(line).search(printed, at)
            assert found is not None, f"{where}: expected {line!r} in\n{printed}"
            at = found.end()

    def logs(self) -> str:
        """What all programs have said."""
        return "\n".join(f"--- {each.host.name}\n{each.log()}" for each in self._running)


def _product() -> list[str]:
    return [sys.executable, "-m", "polevpn_trio"]


def _environment() -> dict[str, str]:
    # Control sockets are in the /run that each machine has of its own.
    return {**python_path(), "RUNTIME_DIRECTORY": ""}


def _in_folder(words: list[str]) -> str:
    return f"cd {Host.FILES} && exec {shlex.join(words)}"


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part.strip()) for part in line.split("...")))


def _wait_for(process: Process, line: str) -> None:
    until = time.monotonic() + PATIENCE
    while not _pattern(line).search(process.log()):
        assert process.returncode is None, process.log()
        assert time.monotonic() < until, f"expected {line!r} in\n{process.log()}"
        time.sleep(0.02)
