"""What links over a TLS stream have in common: how frames leave, and the counters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import trio

from polevpn_trio.coroutines import of_python
from polevpn_trio.errors import LinkLost
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport.base import Buffer, Link, LinkStatistics, Source
from polevpn_trio.transport.stream_sender import StreamSender
from polevpn_trio.transport.tls import TlsStream


class Joiner:
    """Gives frames the form that they have in the stream, and counts their bytes.

    It knows nothing of its link: two that know each other are freed by the garbage collector alone,
    with all their buffers, and on a router that may be much later.
    """

    def __init__(self) -> None:
        self.bytes_joined = 0

    @abstractmethod
    def join(self, buffers: Sequence[Buffer]) -> Buffer:
        """Return what is sent of whole frames."""


class TlsStreamLink(Link):
    """Frames in a TLS stream, in whatever form ``joiner`` gives them there."""

    def __init__(self, stream: TlsStream, peer: str, joiner: Joiner) -> None:
        super().__init__(stream.identity())
        self.peer = peer
        self._stream = stream
        self._joiner = joiner
        self._sender = StreamSender(stream, joiner.join)
        self._incoming = StreamBuffer()
        self._bytes_received = 0

    @abstractmethod
    def _fail(self, reason: str) -> None:
        """End this link, if it has not ended yet, for this reason."""

    @property
    def room(self) -> int:
        """What the stream takes at once."""
        return 0 if self._closed.is_set() else self._sender.room

    def send_nowait(self, buffers: Sequence[Buffer]) -> None:
        """Keep frames for the next flush, where they leave together."""
        self._sender.give(buffers)

    def pull_from(self, source: Source | None) -> None:
        """Take frames from ``source`` whenever the kernel has few left."""
        self._sender.pull_from(source)
        self.flush()

    def flush(self) -> None:
        """Send what is there; what goes wrong with that ends this link alone."""
        if self._closed.is_set():
            return
        try:
            self._sender.flush()
        except trio.BrokenResourceError as error:
            self._fail(f"cannot send: {error}")

    @of_python
    async def send_batch(self, buffers: Sequence[Buffer]) -> None:
        """Send whole frames together, past what is queued."""
        try:
            await self._stream.send_all(self._joiner.join(buffers))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkLost(f"cannot send: {error}") from error

    @of_python
    async def drain(self) -> None:
        """Return at once: what was sent is the kernel's to deliver, even after a close."""
        await trio.lowlevel.checkpoint()

    def statistics(self) -> LinkStatistics:
        """Return the counters."""
        return LinkStatistics(
            transport=self.scheme,
            peer=self.peer,
            bytes_sent=self._joiner.bytes_joined,
            bytes_received=self._bytes_received,
            detail=self._stream.statistics(),
        )
