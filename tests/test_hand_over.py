"""One connection takes over from another: who may, and what is kept of whom."""

from __future__ import annotations

import gc
import weakref

import trio
import trio.testing

from polevpn_trio.hand_over import Succession
from polevpn_trio.transport.outgoing import OutgoingQueue
from tests.memory_links import link_pair


def succession() -> Succession:
    return Succession(link_pair()[0], OutgoingQueue(1 << 16))


def test_a_connection_has_one_successor_and_keeps_none_that_came_after_it() -> None:
    async def main() -> None:
        first, second = succession(), succession()
        assert second.take_over_from(first)
        assert second.take_over_from(first)
        assert not succession().take_over_from(first)
        with trio.move_on_after(60):
            await first.leave(first.passed)
        assert not succession().take_over_from(first)
        # A chain of all that followed would live as long as anybody knows the first.
        reference = weakref.ref(second)
        del second
        assert reference() is None

    gc.disable()
    try:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        gc.enable()
