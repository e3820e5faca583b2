"""Full collections are for when memory has grown, and for nothing else."""

from __future__ import annotations

import gc
import sys
import weakref

import trio
import trio.testing

from polevpn_trio.control import garbage
from polevpn_trio.control.garbage import Growth, collect_when_grown, without_full_collections


class Knot:
    """Refers to itself, so that only the collector can free it."""

    def __init__(self) -> None:
        self.itself = self


def test_a_collection_is_due_when_there_are_twice_the_blocks_since_the_last_one() -> None:
    growth = Growth(1000, 100)
    assert not growth.is_due(1999, 100)
    assert growth.is_due(2000, 100)
    growth.collected(1500, 100)
    assert not growth.is_due(2999, 100)
    assert growth.is_due(3000, 100)


def test_a_collection_is_due_when_few_objects_hold_much_memory() -> None:
    growth = Growth(1000, 100)
    assert not growth.is_due(1000, 149)
    assert growth.is_due(1000, 150)
    growth.collected(1000, 140)
    assert not growth.is_due(1000, 209)
    assert growth.is_due(1000, 210)


def test_memory_that_is_not_known_calls_for_nothing() -> None:
    assert not Growth(1000, 0).is_due(1000, 0)


def test_the_young_are_collected_as_ever_and_the_old_are_left_alone() -> None:
    before = gc.get_threshold()
    with without_full_collections():
        young, middle, old = gc.get_threshold()
        assert (young, middle) == before[:2]
        assert old > 1_000_000
    assert gc.get_threshold() == before


def test_what_survived_is_collected_once_memory_has_grown() -> None:
    reference = weakref.ref(Knot())
    ballast: list[object] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect_when_grown)
            await trio.sleep(garbage.LOOK_SECONDS * 1.5)
            assert reference() is not None
            ballast.extend(object() for _ in range(2 * sys.getallocatedblocks()))
            await trio.sleep(garbage.LOOK_SECONDS)
            assert reference() is None
            nursery.cancel_scope.cancel()

    gc.disable()
    try:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        gc.enable()
