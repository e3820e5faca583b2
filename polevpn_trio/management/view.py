"""What the control socket asks of a role, whichever it is."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol

import attrs
import trio

from polevpn_trio import __version__, kernels
from polevpn_trio.control import advice
from polevpn_trio.forwarding.forwarder import Address
from polevpn_trio.management.answers import DEGRADED, UP, Explanation, Routes, Status, Trouble
from polevpn_trio.management.events import EventLog
from polevpn_trio.management.instances import ControlSocket
from polevpn_trio.nursery_tree import NodeSnapshot

SLICE = 32
"""Sites whose counters are read before other tasks get their turn: some milliseconds' worth."""


class View(Protocol):
    """A running router or gateway, as operators see it. Nothing here changes anything."""

    @property
    def program(self) -> Program:
        """Who answers."""

    async def status(self, over: float) -> Status:
        """Tell how everything is; with ``over`` seconds, wait for so long, and tell the rates."""

    def routes(self, offset: int, most: int) -> Routes:
        """Give at most ``most`` lines of the route table, from ``offset`` on."""

    async def explain(
        self,
        source: Address,
        destination: Address,
        protocol: int | None = None,
        port: int | None = None,
    ) -> Explanation:
        """Say what becomes of a packet."""

    def tree(self) -> NodeSnapshot:
        """Draw the live tree of nurseries and tasks."""


@attrs.define
class Program:
    """What is to be said of a program whatever its role; ``started`` in Trio's time.

    A reload changes ``warnings`` and ``notices``; all else stays the same as long as it runs.
    """

    role: str
    config_file: Path
    warnings: tuple[str, ...]
    events: EventLog
    socket: ControlSocket | None
    started: float = attrs.field(factory=trio.current_time)
    notices: tuple[Trouble, ...] = ()
    """What somebody should know about its configuration."""

    def status(self) -> Status:
        """A status without anything in it yet."""
        return Status(
            role=self.role,
            instance=self.socket.instance if self.socket is not None else "",
            version=__version__,
            pid=os.getpid(),
            time=time.time(),
            uptime=trio.current_time() - self.started,
            config=str(self.config_file),
            kernels=_kernels(),
            state=DEGRADED if self.notices else UP,
            troubles=(
                *self.notices,
                *(Trouble(warning, advice.CHECK) for warning in self.warnings),
            ),
            sites=(),
            servers=(),
            forwarded=None,
            drops={},
            strangers=None,
        )


def _kernels() -> str:
    found = set(kernels.compiled().values())
    if len(found) != 1:
        return "mixed"
    return "compiled" if found == {True} else "pure"
