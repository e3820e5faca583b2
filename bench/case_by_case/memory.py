"""A program's resident memory over time, and how much a router may take for one that stalls."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from bench.side_by_side.network import memory_mib
from polevpn_trio.lab.namespaces import Process

INTERVAL = 0.1
"""Seconds between two looks at the memory."""


class Watch:
    """Looks at a program's memory, in a thread, inside of its ``with`` block.

    ``curve`` holds (seconds since the start, MiB), and may be read at any time.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._curve: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory", daemon=True)

    @property
    def curve(self) -> list[tuple[float, float]]:
        """What was seen so far."""
        return list(self._curve)

    def _look(self) -> None:
        started = time.monotonic()
        while True:
            self._curve.append((time.monotonic() - started, memory_mib(self._process)))
            if self._ended.wait(INTERVAL):
                return

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()


QUEUE_MIB = 4.0
"""Of packets for one gateway, by the default of ``queue_bytes``."""

SENDER_MIB = 4.0


def bound_mib(senders: int, transport: str) -> float:
    """Say how much memory a stalled gateway and its senders may cost the router at most."""
    return QUEUE_MIB + senders * SENDER_MIB + 12.0
