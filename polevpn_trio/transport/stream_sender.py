"""Frames into a TLS stream, no more at a time than the kernel passes on soon.

What is in the kernel cannot be overtaken, so the rest stays in the source, where it can. The
kernel tells when it has little left (`TlsStream.takes_more`), and gets as much again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from polevpn_trio.coroutines import of_python
from polevpn_trio.transport.base import SEND_BATCH_BYTES, Buffer, Source
from polevpn_trio.transport.tls import TlsStream

TURN_BYTES = 1 << 20
"""Sent in one go before other tasks get their turn."""

ROOM_PORTIONS = 4
"""Portions of the stream that may go past the source when nothing waits there."""


class StreamSender:
    """What leaves on one TLS stream without a task that waits for it.

    ``build`` makes of some frames what the stream is to carry. `flush` and `finish` raise
    trio.BrokenResourceError when the connection failed.
    """

    def __init__(self, stream: TlsStream, build: Callable[[Sequence[Buffer]], Buffer]) -> None:
        self._stream = stream
        self._build = build
        self._given: list[Buffer] = []
        self._given_bytes = 0
        self._source: Source | None = None
        self._due = trio.Event()
        # trio.current_time() without two calls in between, for what is done for each batch.
        self._time = trio.lowlevel.current_clock().current_time

    @property
    def room(self) -> int:
        """Bytes that `give` may be given: 0 while others send, or the stream takes no more."""
        if not self._stream.ready:
            return 0
        return max(ROOM_PORTIONS * self._stream.portion - self._given_bytes, 0)

    def give(self, buffers: Sequence[Buffer]) -> None:
        """Keep frames for the next flush, where they share a record."""
        self._given += buffers
        self._given_bytes += sum(map(len, buffers))

    def pull_from(self, source: Source | None) -> None:
        """Send what ``source`` has from now on; nothing more with None."""
        self._source = source

    def flush(self) -> None:
        """Send what was given, and what waits in the source, as far as the stream takes it."""
        if self._given:
            given, self._given = self._given, []
            self._given_bytes = 0
            if not self._stream.send_nowait(self._build(given)):
                self._due.set()
        source = self._source
        now = self._time()
        if source is not None and source.waiting and not self._pull(source, now):
            self._due.set()
        self._stream.govern(now)

    def _pull(self, source: Source, now: float) -> bool:
        """Send what the source has; False if the stream, or others, must be waited for."""
        stream = self._stream
        left = TURN_BYTES
        while source.waiting:
            if left <= 0 or not stream.ready or not stream.takes_more():
                return False
            most = min(stream.portion, SEND_BATCH_BYTES)
            buffers = source.take(most, now)
            if buffers and not stream.send_nowait(self._build(buffers)):
                return False
            left -= most
        return True

    def wake(self) -> None:
        """Let `wait_due` return."""
        self._due.set()

    @of_python
    async def wait_due(self) -> None:
        """Wait until `finish` has something to do, or `wake`."""
        await self._due.wait()
        self._due = trio.Event()

    @of_python
    async def finish(self) -> None:
        """Wait until the stream takes what `flush` could not send, and send that."""
        await self._stream.finish()
        self.flush()
