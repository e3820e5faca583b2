"""The live tree, and the one place where a connection's errors end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio
import trio.testing

from polevpn_trio.errors import BadPacket, LinkLost
from polevpn_trio.nursery_tree import open_root, run_connection
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport.base import Buffer, Link, LinkStatistics, Source
from tests.memory_links import IDENTITY


class QuietLink(Link):
    """A link on which nothing happens."""

    scheme = "kcp"
    peer = "192.0.2.1:443"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self.wait_closed()

    room = 0

    def send_nowait(self, buffers: Sequence[Buffer]) -> None:
        raise AssertionError("a link without room was given frames")

    def pull_from(self, source: Source | None) -> None:
        pass

    def flush(self) -> None:
        pass

    async def send_batch(self, buffers: Sequence[Buffer]) -> None:
        raise LinkLost("nobody there")

    async def receive(self) -> StreamBuffer:
        raise LinkLost("nobody there")

    async def drain(self) -> None:
        await trio.lowlevel.checkpoint()

    def statistics(self) -> LinkStatistics:
        return LinkStatistics("kcp", self.peer, 1, 2)


def ends_with(*tasks: Callable[[], Awaitable[None]]) -> Exception:
    async def main() -> Exception:
        async with open_root("router") as root:
            link = QuietLink(IDENTITY)
            named = {f"task {number}": task for number, task in enumerate(tasks)}
            with trio.fail_after(5):
                reason = await run_connection(root, link, named, link.statistics)
                await link.wait_closed()
            assert root.snapshot().children == ()
            return reason

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def bad_packet() -> None:
    raise BadPacket("junk")


async def fault() -> None:
    raise ZeroDivisionError("a fault of ours")


async def end() -> None:
    await trio.sleep(1)


def test_a_peers_error_ends_the_connection_and_is_its_reason() -> None:
    reason = ends_with(trio.sleep_forever, bad_packet)
    assert isinstance(reason, BadPacket)
    assert str(reason) == "junk"


def test_a_task_that_ends_ends_the_connection() -> None:
    assert isinstance(ends_with(trio.sleep_forever, end), LinkLost)


def test_a_fault_of_ours_is_logged_and_ends_only_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        reason = ends_with(trio.sleep_forever, fault)
    assert str(reason) == "internal error"
    assert "ZeroDivisionError('a fault of ours')" in caplog.text


def test_cancellation_passes_through() -> None:
    async def main() -> None:
        async with open_root("router") as root:
            link = QuietLink(IDENTITY)
            with trio.move_on_after(1) as scope:
                await run_connection(root, link, {"task": trio.sleep_forever}, link.statistics)
            assert scope.cancelled_caught
            await link.wait_closed()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_tree_shows_names_ages_and_counters() -> None:
    async def main() -> None:
        async with open_root("router") as root:
            link = QuietLink(IDENTITY)

            async def connection() -> None:
                await run_connection(root, link, {"sender": trio.sleep_forever}, link.statistics)

            root.start_soon("listener", connection)
            await trio.sleep(7)
            tree = root.snapshot()
            names = {child.name: child for child in tree.children}
            assert set(names) == {"listener", "kcp 192.0.2.1:443"}
            shown = names["kcp 192.0.2.1:443"]
            assert shown.age == pytest.approx(7)
            assert shown.statistics is not None
            assert shown.statistics() == link.statistics()
            assert [child.name for child in shown.children] == ["sender"]
            assert tree.render().splitlines()[0] == "router  7 s"
            assert "      sender  7 s" in tree.render().splitlines()
            root.nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
