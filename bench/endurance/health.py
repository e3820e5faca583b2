"""What a running program holds of its machine: memory, descriptors, threads, tasks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from bench.side_by_side.network import cpu_seconds, memory_mib
from polevpn_trio.commands.client import ControlClient
from polevpn_trio.lab.namespaces import Process

SOCKETS = Path("/run/polevpn_trio")
"""Where programs that run as root have their control sockets, on each host of a lab."""

GATEWAYS = 2
"""Peers of the router in a soak and in the scene of a fault."""


@attrs.frozen
class Health:
    """One reading of a program."""

    memory: float
    """Resident, MiB."""
    descriptors: int
    """Without those of `GATEWAYS` sockets at most that busy peers were given for themselves."""
    threads: int
    tasks: int
    """Nurseries and tasks of its tree."""
    cpu: float
    """Seconds of processor time so far."""

    @classmethod
    def of(cls, process: Process) -> Health:
        """Read it from /proc and from the control socket, the only one of the process's host.

        Raises OSError if the program has ended, NoAnswer if it does not answer.
        """
        # Before the question, which is a connection and a task of its own for a moment.
        descriptors = open_descriptors(process.pid)
        return cls(
            memory=memory_mib(process),
            descriptors=descriptors,
            threads=len(os.listdir(f"/proc/{process.pid}/task")),
            tasks=count_tasks(process.host.call(ask, "tree")),
            cpu=cpu_seconds(process),
        )


def open_descriptors(pid: int) -> int:
    """Count them, but not those of sockets that peers have for themselves beside a shared one.

    A router gives one to a peer when it is busy, be it that the machine was, and leaves it to it.
    """
    folder = Path(f"/proc/{pid}")
    files = []
    for file in (folder / "fd").iterdir():
        # One that was just closed is none.
        with suppress(FileNotFoundError):
            files.append(os.readlink(file))
    shared, given = set(), []
    for table in ("udp", "udp6"):
        for line in (folder / "net" / table).read_text().splitlines()[1:]:
            _, local, remote, *_, inode = line.split()[:10]
            if f"socket:[{inode}]" not in files:
                continue
            port = local.rpartition(":")[2]
            if remote.rpartition(":")[2] == "0000":
                shared.add(port)
            else:
                given.append(port)
    return len(files) - min(sum(port in shared for port in given), GATEWAYS)


def ask(method: str) -> Mapping[str, Any]:
    """Ask the only program of this host something. Raises NoAnswer, ValueError without a socket."""
    (socket,) = SOCKETS.glob("*.sock")
    with ControlClient(socket) as client:
        return client.call(method)


def count_tasks(tree: Mapping[str, Any]) -> int:
    """Count the nodes of an answer of the method ``tree``."""
    return 1 + sum(count_tasks(child) for child in tree["children"])
