"""Descriptors served in place of Trio's own wait, and by a task where that is not to be had."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import socket
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import trio
import trio.testing

from polevpn_trio.transport import eager
from polevpn_trio.transport.eager import Timer, reading_eagerly, while_readable
from polevpn_trio.transport.moderation import Moderation


@pytest.fixture(params=["eager", "by task"])
def mode(request: pytest.FixtureRequest) -> Callable[[], contextlib.AbstractContextManager[None]]:
    return reading_eagerly if request.param == "eager" else contextlib.nullcontext


Mode = Callable[[], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def test_all_is_read_in_order_and_timers_are_called_where_looks_wait_for_each_other(
    mode: Mode,
) -> None:
    async def main() -> None:
        got = bytearray()
        due: list[float] = []
        called = trio.Event()

        def be_due() -> None:
            due.append(trio.current_time() - start)
            called.set()

        def take() -> bool:
            eager.note_path(0.05, trio.current_time())
            got.extend(os.read(reading, 100))
            return got[-1] != 255

        def write() -> None:
            for number in range(256):
                os.write(writing, bytes((number,)))
                time.sleep(0.0001)

        with mode(), pipe() as (reading, writing):
            start = trio.current_time()
            timer = Timer(be_due)
            timer.set(start + 0.005)
            with trio.fail_after(20):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(timer.run)
                    nursery.start_soon(trio.to_thread.run_sync, write)
                    await while_readable(reading, take)
                    await called.wait()
                    timer.stop()
        assert got == bytes(range(256))
        [late] = due
        assert late >= 0.005

    trio.run(main)


def test_the_handler_is_called_for_each_arrival_until_it_declines(mode: Mode) -> None:
    async def main() -> None:
        got: list[bytes] = []

        def take() -> bool:
            got.append(os.read(reading, 100))
            return got[-1] != b"last"

        with mode(), pipe() as (reading, writing):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(while_readable, reading, take)
                for word in (b"first", b"second", b"last"):
                    await trio.testing.wait_all_tasks_blocked()
                    os.write(writing, word)
            assert got == [b"first", b"second", b"last"]
            # Nobody is called any more, and the next reader gets what comes.
            os.write(writing, b"later")
            await trio.testing.wait_all_tasks_blocked()
            assert got == [b"first", b"second", b"last"]
            await while_readable(reading, lambda: os.read(reading, 100) != b"later")

    trio.run(main)


def test_what_a_handler_raises_ends_the_wait(mode: Mode) -> None:
    async def main() -> None:
        def fail() -> bool:
            raise ZeroDivisionError

        with mode(), pipe() as (reading, writing):
            os.write(writing, b"something")
            with pytest.raises(ZeroDivisionError):
                await while_readable(reading, fail)

    trio.run(main)


def test_who_failed_needs_no_collector_to_be_freed(mode: Mode) -> None:
    class Owner:
        def fail(self) -> bool:
            raise ZeroDivisionError

    async def read(reading: int) -> weakref.ref[Owner]:
        owner = Owner()
        with contextlib.suppress(ZeroDivisionError):
            await while_readable(reading, owner.fail)
        return weakref.ref(owner)

    async def main() -> None:
        with mode(), pipe() as (reading, writing):
            os.write(writing, b"something")
            reference = await read(reading)
            assert reference() is None

    gc.disable()
    try:
        trio.run(main)
    finally:
        gc.enable()


def test_closing_ends_the_wait(mode: Mode) -> None:
    async def main() -> None:
        with mode(), pipe() as (reading, _), pytest.RaisesGroup(trio.ClosedResourceError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(while_readable, reading, bool)
                await trio.testing.wait_all_tasks_blocked()
                eager.notify_closing(reading)

    trio.run(main)


@pytest.mark.parametrize("new_first", [True, False])
def test_a_descriptor_closed_and_given_out_again_is_read_by_its_new_owner(
    mode: Mode, new_first: bool
) -> None:
    async def old(number: int) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await while_readable(number, bool)

    async def main() -> None:
        got: list[bytes] = []

        def take() -> bool:
            got.append(os.read(number, 100))
            return False

        with mode():
            number, writing = os.pipe()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(old, number)
                await trio.testing.wait_all_tasks_blocked()
                eager.notify_closing(number)
                if not new_first:
                    await trio.testing.wait_all_tasks_blocked()
                os.close(number)
                os.close(writing)
                with pipe() as (reading, writing):
                    # The kernel gives out the lowest number that is free.
                    assert reading == number
                    with trio.fail_after(5):
                        async with trio.open_nursery() as readers:
                            # In the same turn as the task that is told of the end.
                            readers.start_soon(while_readable, reading, take)
                            await trio.testing.wait_all_tasks_blocked()
                            os.write(writing, b"for the new one")
                assert got == [b"for the new one"]

    trio.run(main)


def test_two_tasks_cannot_read_one_descriptor(mode: Mode) -> None:
    async def main() -> None:
        with mode(), pipe() as (reading, _), pytest.RaisesGroup(trio.BusyResourceError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(while_readable, reading, bool)
                nursery.start_soon(while_readable, reading, bool)

    trio.run(main)


def test_a_cancelled_wait_leaves_the_descriptor_alone(mode: Mode) -> None:
    async def main() -> None:
        with mode(), pipe() as (reading, writing):
            with trio.move_on_after(0):
                await while_readable(reading, bool)
            os.write(writing, b"kept")
            await trio.testing.wait_all_tasks_blocked()
            assert os.read(reading, 100) == b"kept"

    trio.run(main)


def test_a_handler_that_wakes_a_task_lets_it_run_before_the_next_arrival(mode: Mode) -> None:
    """The kernel's events must not hold up Trio's own."""

    async def main() -> None:
        seen: list[int] = []
        send, receive = trio.open_memory_channel[int](1)

        def take() -> bool:
            # More is there at once: without turns for others, the channel would overflow.
            send.send_nowait(len(os.read(reading, 1)))
            return True

        async def count() -> None:
            async for number in receive:
                seen.append(number)
                if len(seen) == 100:
                    nursery.cancel_scope.cancel()

        with mode(), pipe() as (reading, writing):
            os.write(writing, bytes(100))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(count)
                nursery.start_soon(while_readable, reading, take)
        assert seen == [1] * 100

    trio.run(main)


def test_trios_own_descriptors_and_deadlines_are_not_forgotten() -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        with left, right, reading_eagerly(), pipe() as (reading, writing):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(while_readable, reading, lambda: bool(os.read(reading, 1)))
                with trio.move_on_after(0.01) as scope:
                    await trio.sleep_forever()
                assert scope.cancelled_caught
                left.setblocking(False)
                right.send(b"?")
                await trio.lowlevel.wait_readable(left)
                await trio.to_thread.run_sync(os.write, writing, b"!")
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_timer_calls_when_it_is_due_however_it_was_moved(mode: Mode) -> None:
    async def main() -> None:
        calls: list[tuple[str, bool]] = []

        def made(name: str) -> Timer:
            def due() -> None:
                calls.append((name, trio.current_time() >= times[name]))
                if len(calls) == 3:
                    nursery.cancel_scope.cancel()

            return Timer(due)

        with mode():
            timers = {name: made(name) for name in ("kept", "put off", "hurried", "never")}
            start = trio.current_time()
            times = {"kept": start + 0.02, "put off": start + 0.03, "hurried": start + 0.01}
            with trio.fail_after(20):
                async with trio.open_nursery() as nursery:
                    for timer in timers.values():
                        nursery.start_soon(timer.run)
                    timers["kept"].set(times["kept"])
                    timers["put off"].set(start + 0.005)
                    timers["put off"].set(times["put off"])
                    timers["hurried"].set(start + 3600)
                    timers["hurried"].set(times["hurried"])
                    timers["never"].set(start + 0.01)
                    timers["never"].set(math.inf)
        assert calls == [("hurried", True), ("kept", True), ("put off", True)]
        assert all(timer.when == math.inf for timer in timers.values())

    trio.run(main)


def test_a_timer_that_has_nothing_to_wait_for_any_more_wakes_nobody() -> None:
    looks: list[float] = []

    class Counting(Moderation):
        def look(self, now: float) -> float:
            looks.append(now)
            return super().look(now)

    async def main() -> None:
        calls: list[str] = []
        with reading_eagerly(), trio.fail_after(20):
            reads = eager._current.get()
            assert reads is not None
            reads.moderation = Counting()
            timer = Timer(lambda: calls.append("due"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(timer.run)
                await trio.sleep(0.01)
                timer.set(trio.current_time() + 0.02)
                timer.set(math.inf)
                looks.clear()
                await trio.sleep(0.1)
                assert len(looks) == 1
                timer.set(trio.current_time() + 0.02)
                await trio.sleep(0.05)
                assert calls == ["due"]
                timer.stop()

    trio.run(main)


def test_a_timer_that_was_stopped_waits_until_it_is_run_again(mode: Mode) -> None:
    async def main() -> None:
        def due() -> None:
            calls.append(running)
            timer.stop()

        calls: list[bool] = []
        running = False
        with mode():
            timer = Timer(due)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(timer.run)
                await trio.testing.wait_all_tasks_blocked()
                timer.set(trio.current_time() + 0.001)
                timer.stop()
            await trio.sleep(0.01)
            assert calls == []
            running = True
            with trio.fail_after(20):
                await timer.run()
            assert calls == [True]

    trio.run(main)


def test_what_a_timer_calls_may_fail_and_ends_nothing_else(mode: Mode) -> None:
    async def main() -> None:
        def fail() -> None:
            raise ZeroDivisionError

        with mode(), trio.fail_after(20):
            healthy = Timer(lambda: healthy.stop())
            failing = Timer(fail)
            now = trio.current_time()
            failing.set(now)
            healthy.set(now)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(healthy.run)
                with pytest.raises(ZeroDivisionError):
                    await failing.run()

    trio.run(main)


def test_a_timer_that_is_always_due_leaves_the_others_their_turns(mode: Mode) -> None:
    async def main() -> None:
        with mode(), pipe() as (reading, writing), trio.fail_after(20):
            eager_one = Timer(lambda: eager_one.set(trio.current_time()))
            eager_one.set(trio.current_time())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(eager_one.run)
                await trio.sleep(0.001)
                os.write(writing, b"!")
                await while_readable(reading, lambda: not os.read(reading, 1))
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_how_many_had_something_to_read_at_once_is_remembered_for_a_while() -> None:
    async def main() -> None:
        seen: list[float] = []

        def take(reading: int) -> bool:
            os.read(reading, 1)
            seen.append(eager.crowd())
            if len(seen) == 3:
                all_seen.set()
            return True

        all_seen = trio.Event()
        assert eager.crowd() == 1
        with contextlib.ExitStack() as stack, reading_eagerly(), trio.fail_after(20):
            pipes = [stack.enter_context(pipe()) for _ in range(3)]
            async with trio.open_nursery() as nursery:
                for reading, _ in pipes:
                    nursery.start_soon(while_readable, reading, partial(take, reading))
                await trio.testing.wait_all_tasks_blocked()
                for _, writing in pipes:
                    os.write(writing, b"x")
                await all_seen.wait()
                assert seen == [3, 3, 3]
                while seen[-1] > 1.5:
                    os.write(pipes[0][1], b"x")
                    await trio.sleep(0.001)
                assert seen == sorted(seen, reverse=True)
                assert len(seen) > 10
                for _ in range(30):
                    # In which nothing is there to read.
                    await trio.sleep(0.0001)
                assert eager.crowd() == 1
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_what_cannot_be_waited_for_is_not_remembered(mode: Mode) -> None:
    async def main() -> None:
        with mode(), tempfile.TemporaryFile() as file:
            for _ in range(2):
                # The kernel never says of a file when it has something.
                with pytest.raises(PermissionError):
                    await while_readable(file.fileno(), lambda: True)

    trio.run(main)


def test_another_clock_than_the_systems_is_left_to_trio() -> None:
    async def main() -> None:
        with reading_eagerly():
            timer = Timer(lambda: timer.stop())
            timer.set(trio.current_time() + 3600)
            await timer.run()
            assert trio.current_time() >= 3600

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_without_trios_descriptor_the_tasks_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with reading_eagerly(), pipe() as (reading, writing):
            os.write(writing, b"!")
            with trio.fail_after(5):
                await while_readable(reading, lambda: not os.read(reading, 1))

    monkeypatch.setattr(eager, "_find_trio_epoll", lambda: None)
    trio.run(main)
