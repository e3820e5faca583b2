"""What every way to reach a peer offers: a reliable stream of frames, both ways."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, NoReturn, Protocol

import attrs
import trio

from polevpn_trio.control.session_identity import SessionIdentity
from polevpn_trio.coroutines import of_python
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport import key_limits

Buffer = bytes | bytearray | memoryview

Consume = Callable[[StreamBuffer], Awaitable[None] | None]
"""Takes what it can of the peer's stream, to which something was added, at once; or returns what is
left to be awaited before there is more."""

ConsumePackets = Callable[[bytearray], Awaitable[None] | None]
"""Takes whole frames with IP packets in a buffer that it may keep and change; as `Consume` else."""

SEND_BATCH_BYTES = 65_536
"""What a link takes from its source at a time, at most: about the largest amount that one system
call moves (a UDP_SEGMENT send, four TLS records), so that taking more only adds latency."""


class Source(Protocol):
    """Where a link gets the frames that it sends, when it has room for them."""

    @property
    def waiting(self) -> bool:
        """Whether there is anything to take."""

    def take(self, most_bytes: int, now: float) -> list[Buffer]:
        """Take whole frames of about ``most_bytes``; the buffers do not change afterwards.

        ``now`` is Trio's time. There may be none, although some waited.
        """

    def follow_path(self, rtt: float) -> None:
        """Let what waits stand as long as a path with this least round trip, in seconds, needs."""


@attrs.frozen
class LinkStatistics:
    """Counters of one link, as far as all transports have them.

    ``smoothed_rtt`` is in seconds, None where the transport does not measure it. ``detail``
    holds what only this transport knows (retransmissions, records opened, ...).
    """

    transport: str
    peer: str
    bytes_sent: int
    bytes_received: int
    smoothed_rtt: float | None = None
    detail: tuple[object, ...] = ()


class Link:
    """One connection to a peer, carrying frames in order and complete.

    One task may receive while others send, and must: acknowledgements are heard by receiving, so
    nothing that was sent makes progress without. So the task that receives never sends while
    others do: it would wait for itself. Everything but `close` raises
    `~polevpn_trio.errors.LinkLost` once the link is gone, whoever ended it.
    """

    carries_datagrams: ClassVar[bool] = False
    """Whether `open_datagrams` may be called."""

    scheme: str
    """``kcp``, ``tls`` or ``wss``."""
    peer: str
    """Address of the other end, for people."""

    heard: float
    """When the peer last gave an authentic sign of life, in Trio's time."""

    def __init__(self, identity: SessionIdentity) -> None:
        self.identity = identity
        self._closed = trio.Event()
        self.admitted = False
        self.heard = trio.current_time()

    @abstractmethod
    @of_python
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do what must be done beside sending and receiving, such as timers.

        Runs in the connection's nursery until the link is closed, or cancelled.
        """

    def open_datagrams(self, command: int, *, repair: bool, whole: bool = False) -> None:
        """Let IP packets travel beside the stream from now on, as agreed with the peer.

        Only where `carries_datagrams`. ``command`` is that of the frames that come so,
        ``repair`` tells whether the peer makes use of repairs, ``whole`` whether packets may also
        travel in the stream, with super-packets uncut, and super-packets be given to this link.
        """
        raise NotImplementedError

    @property
    def largest_packet(self) -> int | None:
        """Bytes of the largest IP packet that travels in one piece; None if all do."""
        return None

    @abstractmethod
    @of_python
    async def send_batch(self, buffers: Sequence[Buffer]) -> None:
        """Send whole frames; wait while the link has as much under way as it may.

        The buffers must not change afterwards.
        """

    @abstractmethod
    @of_python
    async def receive(self) -> StreamBuffer:
        """Wait for the next piece of the peer's stream; return that, with at least a byte more.

        It is the same each time: what is not taken out of it stays there.
        """

    @of_python
    async def receive_each(
        self, consume: Consume, consume_packets: ConsumePackets | None = None
    ) -> NoReturn:
        """Call ``consume`` after each piece of the peer's stream, until the link is lost.

        ``consume_packets`` is called with whole frames of the IP packets that did not come in the
        stream; after `open_datagrams` it must be given.

        A link may do so the moment that data arrives, from whatever finds it, instead of waking
        the task that waits here: that is worth three quarters of the time that a lone packet
        spends in this program. What ``consume`` raises ends the link and comes out here.
        """
        while True:
            rest = consume(await self.receive())
            if rest is not None:
                await rest

    @property
    def room(self) -> int:
        """Bytes that `send_nowait` may give: 0 while others send, or the link takes no more."""
        raise NotImplementedError

    @abstractmethod
    def send_nowait(self, buffers: Sequence[Buffer]) -> None:
        """Take whole frames, as `send_batch` does; only while the link has `room`.

        They leave with the next `flush`, at the latest.
        """

    @abstractmethod
    def pull_from(self, source: Source | None) -> None:
        """From now on take frames from ``source`` as soon as there is room for them, and no sooner.

        Call `flush` when something has come to an empty source. With None, take no more.
        """

    @abstractmethod
    def flush(self) -> None:
        """Let leave what was given to `send_nowait`, and what the source has, if there is room.

        Errors end the link, no more.
        """

    @abstractmethod
    @of_python
    async def drain(self) -> None:
        """Wait until all that was sent has reached the peer, as far as we can know it.

        For the receiving task, before a close: what the peer says meanwhile is lost.
        """

    def ask(self) -> None:
        """Ask the peer for a sign of life, beside the stream; only if it has ``probe``."""
        raise NotImplementedError

    @of_python
    async def settle(self) -> None:
        """Wait until the peer has all packets that were given to the link beside its stream.

        Those in the stream arrive in order with whatever follows there. Any task may wait, while
        nobody gives the link more.
        """
        await trio.lowlevel.checkpoint()

    @property
    def key_use(self) -> float:
        """How much of what may be protected under the link's keys has been, as a share of it."""
        counted = self.statistics()
        return key_limits.stream_share(max(counted.bytes_sent, counted.bytes_received))

    @property
    def slowest_rtt(self) -> float | None:
        """The round trip in seconds that a sign of life may take; None if nothing measures it."""
        return self.statistics().smoothed_rtt

    @abstractmethod
    def statistics(self) -> LinkStatistics:
        """Return the counters."""

    def close(self) -> None:
        """Say goodbye to the peer and end the link; harmless when it is ended already."""
        self._closed.set()

    def admit(self) -> None:
        """Note that the peer has logged in: it may make us hold as much as is configured."""
        self.admitted = True

    @of_python
    async def wait_closed(self) -> None:
        """Wait until this side has closed the link."""
        await self._closed.wait()
