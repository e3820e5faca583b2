"""Looks at the program every other second: for all browsers that watch, and for the history.

There is one task that looks, however many watch. Each look reads the same counters as `status`
does on the control socket.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from polevpn_trio.dashboard.history import History
from polevpn_trio.dashboard.tiers import Batch, add, cells
from polevpn_trio.management import writing
from polevpn_trio.management.answers import DOWN, Status
from polevpn_trio.management.view import View

LOOK_SECONDS = 2.0
SITES_PER_SECOND = 100
"""Looking at a site costs some 0.1 ms, twice: so that this takes two per cent of a core at most."""

LONGEST_LOOK = 30.0

KEPT_RECENT = 60
"""Looks that small charts show, and the page keeps itself from then on."""

WRITE_SECONDS = 10.0
"""Between two writes to the disk."""

CLOSING_SECONDS = 3.0
"""For the last of the history, when the program ends."""

CELLS = 64
"""Sites that are remembered before others get their turn: a millisecond's worth."""

PIECES = 64
"""Pieces of JSON that are made before others get their turn."""


class Recorder:
    """The newest status of a program, and the history that it leaves."""

    def __init__(self, view: View, history: History) -> None:
        self.view = view
        self.history = history
        self._newest: Status | None = None
        self._news = trio.Event()
        self._text: tuple[Status, bytes] | None = None
        self.recent: dict[str, deque[float | None]] = {}
        """What each site's link carried of late, in bytes per second; None while it was down."""

    async def run(self) -> None:
        """Look, again and again; the history is written out at the end."""
        batch: Batch = {}
        try:
            written = trio.current_time()
            while True:
                status = await self.view.status(self._pause())
                self._publish(status)
                for number, (name, cell) in enumerate(cells(status), 1):
                    add(batch, status.time, name, cell)
                    if number % CELLS == 0:
                        await trio.lowlevel.checkpoint()
                if trio.current_time() - written >= WRITE_SECONDS:
                    written = trio.current_time()
                    # Whatever becomes of it, it is not written a second time.
                    batch, full = {}, batch
                    await self.history.write(full, status.time)
        finally:
            with trio.move_on_after(CLOSING_SECONDS, shield=True):
                await self.history.write(batch, time.time())
                await self.history.close()

    def _pause(self) -> float:
        sites = len(self._newest.sites) if self._newest is not None else 0
        return min(max(LOOK_SECONDS, sites / SITES_PER_SECOND), LONGEST_LOOK)

    def _publish(self, status: Status) -> None:
        recent: dict[str, deque[float | None]] = {}
        for site in status.sites:
            rates = site.link.rates
            carried = None
            if rates is not None and site.state != DOWN:
                carried = round(rates.bytes_sent + rates.bytes_received)
            recent[site.name] = self.recent.get(site.name, deque(maxlen=KEPT_RECENT))
            recent[site.name].append(carried)
        # Without those that the router has forgotten.
        self.recent = recent
        self._newest = status
        self._news.set()
        self._news = trio.Event()

    async def newer(self, than: Status | None) -> Status:
        """Wait until there is a newer status than this one."""
        while self._newest is None or self._newest is than:
            await self._news.wait()
        return self._newest

    async def text(self, status: Status) -> bytes:
        """A status as JSON, made once for all who watch."""
        if self._text is None or self._text[0] is not status:
            self._text = status, await encoded(status)
        return self._text[1]


async def encoded(answer: object) -> bytes:
    """An answer of the API as JSON, with turns for others while it is made."""
    pieces: list[str] = []
    for number, piece in enumerate(writing.pieces(answer), 1):
        pieces.append(piece)
        if number % PIECES == 0:
            await trio.lowlevel.checkpoint()
    return "".join(pieces).encode()


@asynccontextmanager
async def recording(view: View, history: History) -> AsyncIterator[Recorder]:
    """Have a recorder at work, as long as the block lasts."""
    recorder = Recorder(view, history)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.run)
        yield recorder
        nursery.cancel_scope.cancel()
