"""Labs for the end-to-end tests, and what they ask of a path through the tunnel.

Each test builds its own hosts and starts the real command lines on them. When it fails, pytest
shows the logs of all programs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from polevpn_trio.lab import probes
from polevpn_trio.lab.namespaces import Host, Lab, Process
from polevpn_trio.lab.overlay import Overlay, python_path

SERVER_PORT = 7001

START_TIMEOUT = 10.0
"""Seconds for a probe's server to come up on a busy machine."""

TRANSFER_SIZE = 2_000_000
"""Bytes: some hundred times the windows and buffers on the way."""

OverlayMaker = Callable[..., Overlay]
PathCheck = Callable[[Host, Host, str], None]


@pytest.fixture
def make_overlay() -> Iterator[OverlayMaker]:
    """Build an `Overlay`; takes its keyword arguments."""
    with ExitStack() as stack:
        overlays: list[Overlay] = []

        def make(mtu: int = 1500) -> Overlay:
            overlays.append(Overlay(stack.enter_context(Lab()), mtu=mtu))
            return overlays[-1]

        yield make
        for overlay in overlays:
            for process in overlay.programs():
                print(f"--- {process.name} on {process.host.name}\n{process.log()}")


@pytest.fixture
def overlay(make_overlay: OverlayMaker) -> Overlay:
    return make_overlay()


@pytest.fixture
def check_path() -> PathCheck:
    """Check that two hosts talk: ping, and TCP both ways with nothing changed on the way."""
    servers: dict[Host, Process] = {}

    def check(origin: Host, target: Host, address: str) -> None:
        if target not in servers:
            servers[target] = target.start(
                [sys.executable, "-m", "polevpn_trio.lab.probes", "tcp-server", str(SERVER_PORT)],
                name="tcp-server",
                environment=python_path(),
            )
            servers[target].wait_for_output("listening", START_TIMEOUT)
        echo = origin.call(probes.ping, address, count=10, interval=0.01)
        assert (echo.received, echo.duplicates, echo.corrupted) == (10, 0, 0)
        for direction in ("up", "down"):
            result = origin.call(
                probes.transfer, address, SERVER_PORT, size=TRANSFER_SIZE, direction=direction
            )
            assert (result.transferred, result.intact) == (TRANSFER_SIZE, True)

    return check
