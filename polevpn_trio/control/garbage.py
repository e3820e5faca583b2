"""When Python's garbage collector may look at everything: seldom, since nothing else runs then.

Each gateway is some hundred objects that live for days. Left to itself the collector walks over
all of them whenever a quarter as many young ones have survived, which a full queue of packets is
enough for: with 1,000 gateways that stops the router for 0.2 s, time and again. Our own objects
are freed without it, by their reference counts; so the young generations are collected as ever,
and the oldest only when memory has grown as if something were left there.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import trio

LOOK_SECONDS = 60.0
"""How often the memory is looked at, which costs less than a millisecond."""

GROWTH = 2.0
"""Growth of the number of allocated blocks since the last full collection that calls for another:
while the number of gateways grows to a thousand there will be about ten."""

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
    """Judges by the number of allocated blocks whether a full collection is due."""

    def __init__(self, blocks: int) -> None:
        self._settled = blocks

    def is_due(self, blocks: int) -> bool:
        """Whether there are so many more than after the last collection."""
        return blocks >= self._settled * GROWTH

    def collected(self, blocks: int) -> None:
        """Note how many are left after a collection."""
        self._settled = blocks


async def collect_when_grown() -> None:
    """Task "garbage": run a full collection when memory has grown by much. Runs for ever."""
    growth = Growth(sys.getallocatedblocks())
    while True:
        await trio.sleep(LOOK_SECONDS)
        if growth.is_due(sys.getallocatedblocks()):
            gc.collect()
            growth.collected(sys.getallocatedblocks())
