"""Packets handled the moment the kernel hands them over, without a turn of Trio's scheduler.

Most of the time that a lone packet spends in a Python program is Trio's way from the wake-up to
the task that waits for the packet, through code that no processor cache holds any more, and back
to waiting. `while_readable` therefore has a function called that takes what is there and hands it
on, as far as that goes without waiting; the task that called it wakes only when there is something
to wait for. `EagerReads` makes these calls in place of Trio's own wait for the kernel, and lets
Trio go on when Trio itself has something to do. Where it is not installed, the task makes them.

`Timer` does the same for deadlines that come with packets, such as those of acknowledgements.

Where datagrams of bulk come one by one over long paths, the wait is for several of them
(`polevpn_trio.transport.moderation`).
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import trio

from polevpn_trio.coroutines import of_python
from polevpn_trio.transport.moderation import Moderation

Handler = Callable[[], bool]
"""Takes what there is to read, a bounded amount of it, without waiting. False: do not call me any
more, something has to be waited for first."""

MOST_EVENTS = 16
"""Descriptors served in one go. The kernel's list of ready ones goes round."""

FORGETTING = 0.0625
"""By how much of the difference a crowd becomes a smaller one with each look at the kernel."""

_current: trio.lowlevel.RunVar[EagerReads | None] = trio.lowlevel.RunVar("eager_reads", None)


class EagerReads:
    """Waits for the kernel in Trio's place and serves what `while_readable` has registered.

    An instrument of Trio's (`trio.abc.Instrument`), made by `reading_eagerly`.
    """

    def __init__(self, trio_epoll: int) -> None:
        self._trio_epoll = trio_epoll
        self._token = trio.lowlevel.current_trio_token()
        # What Trio's clock is ahead of the one that is cheaper to read.
        self._ahead = trio.current_time() - time.perf_counter()
        # (when in Trio's time, a number to tell equals apart, timer); each timer has an entry
        # that is not later than its time, and perhaps outdated ones.
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._readers: dict[int, _Reader] = {}
        self._epoll = select.epoll()
        self._epoll.register(trio_epoll, select.EPOLLIN)
        self._poll = self._epoll.poll
        self._trio_must_run = False
        self.crowd = 1.0
        self.moderation = Moderation()

    def add(self, fd: int, reader: _Reader) -> None:
        """Call the reader whenever there is something to read, until `remove`."""
        if fd in self._readers:
            raise trio.BusyResourceError("another task is reading this descriptor")
        self._epoll.register(fd, select.EPOLLIN)
        self._readers[fd] = reader

    def close_descriptor(self, fd: int) -> None:
        """End the reader of a descriptor that is about to be closed."""
        reader = self._readers.get(fd)
        if reader is not None:
            self.remove(fd, reader)
            reader.failure = trio.ClosedResourceError("another task closed this descriptor")
            reader.ended.set()

    def remove(self, fd: int, reader: _Reader) -> None:
        """Call the reader no more; harmless if it is gone, even if its number has a new owner."""
        if self._readers.get(fd) is reader:
            del self._readers[fd]
            # One that was closed without a word has left by itself.
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)

    def queue(self, timer: Timer, when: float) -> None:
        """Look at the timer at ``when``, in Trio's time."""
        heapq.heappush(self._timers, (when, next(self._numbers), timer))

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """Note that a task has become runnable."""
        self._trio_must_run = True

    def before_io_wait(self, timeout: float) -> None:
        """Do what Trio is about to do: wait for the kernel, ``timeout`` seconds at most."""
        if timeout <= 0:
            self._serve(0)
            self._call_due(time.perf_counter())
            return
        self._trio_must_run = False
        now = time.perf_counter()
        deadline = now + timeout
        while not self._trio_must_run and now < deadline:
            until = deadline
            timers = self._timers
            while timers and timers[0][2].when == math.inf:
                # What it was for has come: to wake up for that would be in vain.
                entry, _, timer = heapq.heappop(timers)
                timer.forget(entry)
            if timers:
                until = min(until, timers[0][0] - self._ahead)
            wait = self.moderation.look(now + self._ahead)
            if wait > 0.0 and until > now:
                time.sleep(min(wait, until - now))
                now = time.perf_counter()
            if not self._serve(max(until - now, 0.0)):
                # Trio will find the same, and not wait.
                return
            now = time.perf_counter()
            self._call_due(now)
        # Trio still means to wait for as long as it did before.
        self._token.run_sync_soon(_nothing, idempotent=True)

    def _call_due(self, now: float) -> None:
        """Call the timers whose time has come."""
        timers = self._timers
        now += self._ahead
        # What they put in anew for now has its turn after the next look at the kernel.
        count = len(timers)
        while count > 0:
            count -= 1
            if not timers or timers[0][0] > now:
                return
            when, _, timer = heapq.heappop(timers)
            timer.look(when, now)

    def _serve(self, timeout: float) -> bool:
        """Serve what is or becomes readable within the time; False if Trio has some of it."""
        trio_waits = True
        events = self._poll(timeout, MOST_EVENTS)
        ready = len(events)
        self.crowd = max(ready, self.crowd - (self.crowd - ready) * FORGETTING)
        for fd, _ in events:
            if fd == self._trio_epoll:
                trio_waits = False
                continue
            reader = self._readers.get(fd)
            # Another that was served just before may have ended it.
            if reader is not None:
                reader.serve()
        return trio_waits

    def close(self) -> None:
        """Give the kernel's object back."""
        self._epoll.close()


def _nothing() -> None:
    """Make Trio's wait end at once."""


def _find_trio_epoll() -> int | None:
    """Return the descriptor on which Trio waits for the kernel.

    Trio does not offer it; None where it has none, or keeps it elsewhere than it does today.
    """
    from trio._core._run import GLOBAL_RUN_CONTEXT

    try:
        return GLOBAL_RUN_CONTEXT.runner.io_manager._epoll.fileno()
    except AttributeError:
        return None


@contextmanager
def reading_eagerly() -> Iterator[None]:
    """Have `while_readable` work eagerly in this Trio run, inside of the block."""
    trio_epoll = _find_trio_epoll()
    # Another clock than the system's may stand still while the kernel is waited for.
    timely = type(trio.lowlevel.current_clock()).__name__ == "SystemClock"
    if trio_epoll is None or not timely or _current.get() is not None:
        yield
        return
    reads = EagerReads(trio_epoll)
    _current.set(reads)
    instrument = cast(trio.abc.Instrument, reads)
    trio.lowlevel.add_instrument(instrument)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(instrument)
        _current.set(None)
        reads.close()


class _Reader:
    """One task in `while_readable`."""

    def __init__(self, reads: EagerReads, fd: int, handler: Handler) -> None:
        self._reads = reads
        self._fd = fd
        self._handler = handler
        self.ended = trio.Event()
        self.failure: Exception | None = None

    def serve(self) -> None:
        try:
            if self._handler():
                return
        except Exception as error:
            self.failure = error
        self._reads.remove(self._fd, self)
        self.ended.set()


@of_python
async def while_readable(fd: int, handler: Handler) -> None:
    """Call ``handler`` whenever ``fd`` has something to read, until it returns False.

    Raises what the handler raises, trio.ClosedResourceError after `notify_closing`, and
    trio.BusyResourceError if another task is reading there.
    """
    reads = _current.get()
    if reads is None:
        while True:
            await trio.lowlevel.wait_readable(fd)
            if not handler():
                return
    reader = _Reader(reads, fd, handler)
    reads.add(fd, reader)
    try:
        await reader.ended.wait()
    finally:
        reads.remove(fd, reader)
    failure, reader.failure = reader.failure, None
    if failure is not None:
        # It knows the frame of `serve`, and so the reader: kept there, it would leave all that the
        # handler knows to the garbage collector.
        try:
            raise failure
        finally:
            del failure


def notify_closing(fd: int) -> None:
    """Do what trio.lowlevel.notify_closing does, for `while_readable` too."""
    reads = _current.get()
    if reads is not None:
        reads.close_descriptor(fd)
    trio.lowlevel.notify_closing(fd)


def crowd() -> float:
    """Say how many descriptors had something to read at once of late, 1 at least."""
    reads = _current.get()
    return 1.0 if reads is None else max(reads.crowd, 1.0)


def note_path(rtt: float, now: float) -> None:
    """Tell what is read eagerly that a path with this least round trip is in use; 0 if unknown."""
    reads = _current.get()
    if reads is not None:
        reads.moderation.note_path(rtt, now)


class Timer:
    """Calls ``due`` at a time that may be moved often and cheaply, without waking a task.

    For as long as `run` runs, which is where an error of ``due`` comes out. Must be made inside
    of a Trio run.
    """

    def __init__(self, due: Callable[[], None]) -> None:
        self._due = due
        self._reads = _current.get()
        self._when = math.inf
        # The time of the entry by which we are going to be looked at.
        self._queued = math.inf
        self._stopped = trio.Event()
        self._stopped.set()
        self._scope = trio.CancelScope()
        self._failure: Exception | None = None

    @property
    def when(self) -> float:
        """When it is due, in Trio's time; infinite if not at all."""
        return self._when

    def set(self, when: float) -> None:
        """Be due at ``when``, in Trio's time, and not before."""
        self._when = when
        if self._reads is None:
            self._scope.deadline = when
        elif when < self._queued:
            self._queued = when
            self._reads.queue(self, when)

    def look(self, entry: float, now: float) -> None:
        """Call ``due`` if it is time, else be looked at again. For `EagerReads`."""
        if entry != self._queued:
            # Overtaken by an earlier one.
            return
        self._queued = math.inf
        if self._when > now:
            if self._when < math.inf:
                self.set(self._when)
        elif not self._stopped.is_set():
            self._when = math.inf
            try:
                self._due()
            except Exception as error:
                self._failure = error
                self._stopped.set()

    def forget(self, entry: float) -> None:
        """Know that an entry is gone, without a look at the time. For `EagerReads`."""
        if entry == self._queued:
            self._queued = math.inf

    @of_python
    async def run(self) -> None:
        """See to it that ``due`` is called, until `stop`. Raises what it raises."""
        self._stopped = trio.Event()
        self.set(self._when)
        while self._reads is None and not self._stopped.is_set():
            with trio.CancelScope(deadline=self._when) as self._scope:
                await self._stopped.wait()
            if self._when <= trio.current_time() and not self._stopped.is_set():
                self._when = math.inf
                self._due()
        await self._stopped.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Make `run` return, and call nothing until it is run again."""
        self._stopped.set()

    def close(self) -> None:
        """Stop for good, and let go of what was called."""
        self.stop()
        self._due = _nothing
