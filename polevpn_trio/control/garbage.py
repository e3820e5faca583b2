"""When Python's garbage collector may look at everything: seldom, since nothing else runs then.

Each gateway is some hundred objects that live for days. Left to itself the collector walks over
all of them whenever a quarter as many young ones have survived, which a full queue of packets is
enough for: with 1,000 gateways that stops the router for 0.2 s, time and again. Our own objects
are freed without it, by their reference counts; so the young generations are collected as ever,
and the oldest only when memory has grown as if something were left there.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

LOOK_SECONDS = 60.0
"""How often the memory is looked at, which costs less than a millisecond."""

GROWTH = 2.0
"""Growth of the number of allocated blocks since the last full collection that calls for another:
while the number of gateways grows to a thousand there will be about ten."""

RESIDENT_GROWTH = 1.5
"""The same of the resident memory: a few objects may hold large buffers, which are no blocks."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")

_NEVER = 1 << 30
"""A threshold that is not reached."""


@contextmanager
def without_full_collections() -> Iterator[None]:
    """Inside of the block the collector leaves its oldest generation alone."""
    thresholds = gc.get_threshold()
    gc.set_threshold(thresholds[0], thresholds[1], _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


class Growth:
    """Judges by the number of allocated blocks and the memory whether a full collection is due."""

    def __init__(self, blocks: int, resident: int) -> None:
        """``resident`` is in bytes."""
        self.collected(blocks, resident)

    def is_due(self, blocks: int, resident: int) -> bool:
        """Whether there is so much more of one of them than after the last collection."""
        # Unless it is not known.
        grown = resident >= self._resident * RESIDENT_GROWTH > 0
        return grown or blocks >= self._blocks * GROWTH

    def collected(self, blocks: int, resident: int) -> None:
        """Note how much is left after a collection."""
        self._blocks = blocks
        self._resident = resident


async def collect_when_grown() -> None:
    """Task "garbage": run a full collection when memory has grown by much. Runs for ever."""
    growth = Growth(sys.getallocatedblocks(), resident_bytes())
    while True:
        await trio.sleep(LOOK_SECONDS)
        if growth.is_due(sys.getallocatedblocks(), resident_bytes()):
            gc.collect()
            growth.collected(sys.getallocatedblocks(), resident_bytes())


def resident_bytes() -> int:
    """Return the memory that this process holds; 0 where the kernel does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE
    except OSError:
        return 0
