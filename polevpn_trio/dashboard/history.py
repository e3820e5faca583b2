"""The history as tasks use it: a `HistoryStore` in a thread of its own, with deadlines.

Nobody waits for a slow disk: what could not be written in time is counted and forgotten, and a
file that cannot be had at all is replaced by memory, with a warning.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from polevpn_trio.control.line_limit import LineLimit
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.dashboard.store import IN_MEMORY, Damaged, HistoryStore, set_aside
from polevpn_trio.dashboard.tiers import Batch, Point

log = ContextLogger(logging.getLogger(__name__))

_DISK_ADVICE = "see whether the disk is full or failing"

T = TypeVar("T")

CALL_SECONDS = 5.0
"""How long the disk may take for one thing; opening a large file takes longest."""

OPEN_SECONDS = 30.0

PRUNE_SECONDS = 600.0
"""Between two searches for what is too old or too much."""

LINE_SECONDS = 600.0
"""Between two lines about a file that cannot be written."""


class Busy(Exception):
    """The disk did not answer in time."""


@attrs.frozen
class HistoryStatistics:
    """Batches written, and those that were lost because the disk was slow or full."""

    written: int
    lost: int


class History:
    """One file of history; reads and writes take turns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store: HistoryStore | None = None
        # A call that took too long still has the store: others wait for it, and give up too.
        self._turn = trio.CapacityLimiter(1)
        self._lines = LineLimit(3, LINE_SECONDS)
        self._written = 0
        self._pruned = -math.inf
        self._lost = 0

    def statistics(self) -> HistoryStatistics:
        """Return the counters."""
        return HistoryStatistics(self._written, self._lost)

    async def open(self) -> None:
        """Open the file, or do without it."""
        given_up = threading.Event()

        def opened() -> HistoryStore:
            store = _open(self._path)
            if given_up.is_set():
                # Nobody would close it any more.
                store.close()
            return store

        try:
            self._store = await self._call(opened, OPEN_SECONDS)
        except (sqlite3.Error, OSError, Busy) as error:
            log.warning(
                "%s: %s: history is kept in memory, and lost when the program ends",
                self._path,
                getattr(error, "strerror", None) or error,
                advice="see who has the file open, and whether its folder can be written",
            )
            self._store = HistoryStore(IN_MEMORY)
        finally:
            given_up.set()

    async def write(self, batch: Batch, now: float) -> None:
        """Add a batch, and forget what is too old at ``now`` (seconds since 1970)."""
        store = self._store
        if store is None or not batch:
            return
        try:
            await self._call(partial(store.write, batch), CALL_SECONDS)
            if not self._pruned <= now < self._pruned + PRUNE_SECONDS:
                self._pruned = now
                await self._call(partial(store.prune, now), CALL_SECONDS)
        except (sqlite3.Error, Busy) as error:
            self._lost += 1
            if self._lines.take(trio.current_time()) is not None:
                log.warning(
                    "%s: %s: some history is lost",
                    self._path,
                    error,
                    advice=_DISK_ADVICE,
                )
        else:
            self._written += 1

    async def read(self, site: str, tier: int, since: float) -> list[Point]:
        """The points of a site. Raises Busy, or sqlite3.Error."""
        store = self._store
        if store is None:
            return []
        return await self._call(partial(store.read, site, tier, since), CALL_SECONDS)

    async def close(self) -> None:
        """Write everything out."""
        store, self._store = self._store, None
        if store is not None:
            try:
                await self._call(store.close, CALL_SECONDS)
            except (sqlite3.Error, Busy) as error:
                log.warning(
                    "%s: %s: some history may be lost", self._path, error, advice=_DISK_ADVICE
                )

    async def _call(self, function: Callable[[], T], seconds: float) -> T:
        with trio.move_on_after(seconds):
            return await trio.to_thread.run_sync(
                function, abandon_on_cancel=True, limiter=self._turn
            )
        raise Busy(f"the disk took more than {seconds:g} s")


def _open(path: Path) -> HistoryStore:
    try:
        return HistoryStore(path)
    except Damaged as damage:
        aside = set_aside(path, int(time.time()))
        log.warning(
            "%s: %s: set aside as %s, history begins anew",
            path,
            damage,
            aside.name,
            advice="delete that file, unless sqlite3 can recover what you need of it",
        )
        return HistoryStore(path)
