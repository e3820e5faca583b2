"""Packets handled the moment the kernel wakes us, before Trio has scheduled any task.

On an otherwise idle machine most of the time that a lone packet spends in a Python program is
Trio's way from the wake-up to the task that waits for it, through code that no processor cache
holds any more. So whoever reads packets from a descriptor may register here, beside the task
that waits for it in the ordinary way: a function that takes what is there and hands it on, as far
as that goes without waiting. The task then finds nothing left to do, or what had to wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import trio

Handler = Callable[[], object]

_current: trio.lowlevel.RunVar[EagerReads | None] = trio.lowlevel.RunVar("eager_reads", None)


class EagerReads(trio.abc.Instrument):
    """Calls its handlers each time Trio returns from waiting for the kernel.

    A handler must not wait, must bound what it does in one call, and asks the kernel itself
    whether there is anything: one call in vain is the price, so this is for the few descriptors
    that carry most packets. What one raises comes out of the ``nursery``; none is called after.
    """

    def __init__(self) -> None:
        self.nursery: trio.Nursery | None = None
        self._handlers: tuple[Handler, ...] = ()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Be at work for the current Trio run inside of the block."""
        _current.set(self)
        trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)
            _current.set(None)

    def after_io_wait(self, timeout: float) -> None:
        """Trio has returned from waiting for the kernel."""
        try:
            for handler in self._handlers:
                handler()
        except Exception as error:
            self._handlers = ()
            assert self.nursery is not None
            self.nursery.start_soon(_raise, error)

    def add(self, handler: Handler) -> None:
        """Call ``handler`` from now on."""
        self._handlers = (*self._handlers, handler)

    def remove(self, handler: Handler) -> None:
        """Do not call ``handler`` any more."""
        self._handlers = tuple(kept for kept in self._handlers if kept != handler)


async def _raise(error: Exception) -> NoReturn:
    raise error


@contextmanager
def reading_eagerly(handler: Handler) -> Iterator[None]:
    """Have ``handler`` called eagerly inside of the block, where the Trio run provides for it."""
    reads = _current.get()
    if reads is None:
        yield
        return
    reads.add(handler)
    try:
        yield
    finally:
        reads.remove(handler)
