"""``kcp://``: frames in a KCP stream in DTLS records in UDP datagrams.

With a peer that has ``datagram``, only control frames travel in the stream (conversation 0), and IP
packets beside it, in a conversation of their own (`PacketChannel`); with one that also has
``whole``, packets travel in the stream while that is best (`Carriage`), super-packets uncut.

Everything that decides lives in the sans-IO conversations and record layer; this file moves
batches between them and the socket. Whatever happens (data to send, datagrams received, a
timer) ends in `KcpLink._flush`, which sends what is due and arms the one timer anew.
"""

from __future__ import annotations

import math
import random
import secrets
from array import array
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

import trio

from polevpn_trio.batch import DatagramBuffer
from polevpn_trio.control.config import KcpOptions
from polevpn_trio.coroutines import of_python
from polevpn_trio.errors import LinkLost
from polevpn_trio.forwarding.flow_queue import LIMIT_BYTES
from polevpn_trio.frames.codec import C2S_IPDATA, S2C_IPDATA
from polevpn_trio.frames.segmentation import Segmenter, holds_super_packets
from polevpn_trio.kcp.congestion.bbr import Bbr
from polevpn_trio.kcp.conversation import BATCH, Conversation
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport import eager
from polevpn_trio.transport.base import (
    SEND_BATCH_BYTES,
    Buffer,
    Consume,
    ConsumePackets,
    Link,
    LinkStatistics,
    Source,
)
from polevpn_trio.transport.carriage import Carriage
from polevpn_trio.transport.dtls_session import DtlsSession
from polevpn_trio.transport.packet_channel import PacketChannel

UNSENT_LIMIT = 131_072
"""Bytes that may wait inside the conversation before `KcpLink.send_batch` waits. Only what
goes past the source of packets can wait there at all."""

RECEIVE_BUDGET = 16
"""Socket batches (of at most 64 KiB) taken in before acknowledgements leave and other tasks
get their turn."""

FLUSH_BUDGET = 16
"""Datagram batches sent in one go before other tasks get their turn."""

RECORD_OVERHEAD = 13 + 8 + 16
"""Bytes that a DTLS record with AES-GCM adds: header, explicit nonce, tag (RFC 5288)."""

UDP_OVERHEAD = {4: 20 + 8, 6: 40 + 8}

SMALLEST_MTU = 512
"""No path is taken to be narrower; IP fragmentation must do there."""

ACK_DELAY = 0.005
"""Seconds that an acknowledgement may wait for a packet to travel with: less than any timeout of
the originals (30 ms), enough for the answer of a host behind the gateway. Each one saved spares
both programs a wake-up while the packet is under way."""

TAIL_WAIT = 0.0005
"""Seconds that the few datagrams after a full batch may wait for what follows. A super-packet is
somewhat longer than a batch, and the rest of it would cost all three programs as much again."""

DATAGRAM_WINDOW = 16_384
"""Datagrams with packets that may be under way: 300 ms at 600 Mbit/s."""

CHANNEL_ROOM = 1 << 20
"""Bytes that may be given at a time to the queue for packets beside the stream: more than any
batch has, since to wait in the link's queue first would only cost another copy."""

PATH_SECONDS = 0.01
"""How often the round trip of the way in use is told to who needs to know of it."""

CHANGE_SECONDS = 0.1
"""How long packets may be held back until those on the other way have arrived, which they must not
overtake. A change is for short paths, where that takes milliseconds."""

_IP_COMMANDS = (S2C_IPDATA, C2S_IPDATA)

_OUTPUT = DatagramBuffer()
"""Where the links of this process, all in one thread, make their datagrams."""

_SEGMENTER = Segmenter()
"""What cuts super-packets for all of them."""

STRANGER_WINDOW = 64
"""Segments that may wait for a gap to close before the peer has logged in: twice what a peer
assumes before it hears of our window, and 85 kB for each of those who never will."""

DEAD_LINK_SILENCE = 10.0
"""Seconds without anything from the peer after which a segment given up by KCP (sent 20
times) ends the link. KCP alone would end it after three seconds on a short path, too little
for a rebooting switch."""


class KcpLink(Link):
    """Conversations with one peer, over an established DTLS session."""

    carries_datagrams = True

    def __init__(
        self,
        session: DtlsSession,
        options: KcpOptions,
        release: Callable[[], None] | None = None,
        *,
        stranger: bool = False,
        queue_bytes: int = LIMIT_BYTES,
    ) -> None:
        """Use an established session; ``release`` is called once the link is closed.

        A ``stranger`` has a small receive window until `admit`. Of packets beside the stream at
        most ``queue_bytes`` wait.
        """
        super().__init__(session.identity)
        self.scheme = "kcp"
        self._options = options
        self._queue_bytes = queue_bytes
        self._release = release
        self.peer = format_address(session.peer_address)
        self._session = session
        self._packets: PacketChannel | None = None
        # Whether packets travel in the stream although there is a way beside it.
        self._in_stream = False
        self._carriage: Carriage | None = None
        # While they are held back, until when at most.
        self._held_until: float | None = None
        mtu = min(options.mtu, self._widest_datagram())
        self._congestion = Bbr(mtu + self._overhead(), random.Random(secrets.randbits(64)))
        self._conversation = Conversation(
            0,
            mtu,
            options.send_window,
            min(STRANGER_WINDOW, options.receive_window) if stranger else options.receive_window,
            ack_delay=ACK_DELAY,
            tail_wait=TAIL_WAIT,
            output=_OUTPUT,
            congestion=self._congestion,
            overhead=self._overhead(),
        )
        self._source: Source | None = None
        self._blocked = False
        self._failure: Exception | None = None
        # Set by `receive_each`; called at once while its task has nothing to do but wait.
        self._consume: Consume | None = None
        self._consume_packets: ConsumePackets | None = None
        self._at_leisure = False
        self._in_turn = False
        self._rest: Awaitable[None] | None = None
        self._progress = trio.Event()
        self._settled: trio.Event | None = None
        self._timer = eager.Timer(self.flush)
        # trio.current_time() without two calls in between, for what is done for each batch.
        self._time = trio.lowlevel.current_clock().current_time
        self._note_path_at = -math.inf
        self._bytes_sent = 0
        self._bytes_received = 0

    def _widest_datagram(self) -> int:
        """KCP bytes that fit a datagram on the path to the peer as the kernel knows it."""
        return max(self._session.path_mtu() - self._overhead(), SMALLEST_MTU)

    def _overhead(self) -> int:
        family = 6 if ":" in str(self._session.peer_address[0]).removeprefix("::ffff:") else 4
        return UDP_OVERHEAD[family] + RECORD_OVERHEAD

    def open_datagrams(self, command: int, *, repair: bool, whole: bool = False) -> None:
        """Let IP packets travel in a conversation of their own from now on."""
        if whole:
            self._carriage = Carriage(trio.current_time())
        self._packets = PacketChannel(
            command,
            mtu=self._options.mtu,
            widest=self._widest_datagram(),
            window=DATAGRAM_WINDOW,
            overhead=self._overhead(),
            output=_OUTPUT,
            repair_share=self._options.repair_budget / 100 if repair else None,
            queue_bytes=self._queue_bytes,
        )

    @property
    def largest_packet(self) -> int | None:
        """Bytes of the largest IP packet that travels in one piece; None if all do."""
        return None if self._packets is None else self._packets.largest_packet

    def admit(self) -> None:
        """Open the receive window as far as it is configured."""
        super().admit()
        self._conversation.widen_receive_window(self._options.receive_window)

    @of_python
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send when timers expire, and finish what the socket would not take at once."""
        task_status.started()
        while not self._closed.is_set():
            if self._blocked:
                await self._session.drain()
                self._blocked = False
            self.flush()
            if not self._blocked and not self._closed.is_set():
                await self._timer.run()

    @property
    def room(self) -> int:
        """What the window takes at once; packets beside the stream have a queue of their own."""
        return self._room()

    def _room(self) -> int:
        if self._closed.is_set():
            return 0
        if self._held_until is not None:
            return 0
        if self._packets is not None and not self._in_stream:
            return CHANNEL_ROOM if self._conversation.unsent_bytes < UNSENT_LIMIT else 0
        return 0 if self._blocked else self._conversation.room(self._time())

    def send_nowait(self, buffers: Sequence[Buffer]) -> None:
        """Put frames into the conversation they belong to; a buffer has those of one kind."""
        packets = None if self._in_stream else self._packets
        for buffer in buffers:
            self._bytes_sent += len(buffer)
            if packets is None or buffer[2] != 0 or buffer[3] not in _IP_COMMANDS:
                self._conversation.send(buffer)
                continue
            if self._carriage is not None and holds_super_packets(buffer, True, True):
                buffer = _SEGMENTER.segment_batch_untrusted(buffer)
            packets.enqueue(buffer, self._time())

    def pull_from(self, source: Source | None) -> None:
        """Take frames from ``source`` whenever the window opens."""
        self._source = source
        self.flush()

    def _pull(self, now: float) -> None:
        """Take frames for the next poll: what the window takes, and one socket batch at most.

        Packets that travel beside the stream have a queue of their own, which takes them all.
        """
        source = self._source
        if source is None:
            self._conversation.more = False
            return
        if self._packets is None:
            source.follow_path(self._congestion.least_rtt())
        while waits := source.waiting:
            most = min(self._room(), SEND_BATCH_BYTES - self._conversation.unsent_bytes)
            if most <= 0:
                break
            self.send_nowait(source.take(most, now))
        self._conversation.more = waits

    def flush(self) -> None:
        """Send what is due; what goes wrong with that ends this link alone."""
        if self._in_turn:
            # It ends in that.
            return
        try:
            self._flush()
        except Exception as error:
            self._fail(error)

    def _flush(self) -> None:
        """Send all that is due, and see to it that `run` wakes up for the rest."""
        if self._closed.is_set():
            return
        conversation = self._conversation
        packets = self._packets
        now = self._time()
        if packets is not None and packets.at_rest and self._only_heartbeats():
            self._send_stream(now)
            packets_due = math.inf
        else:
            packets_due = self._send_both(packets, now)
        if self._blocked:
            self._timer.stop()
        else:
            self._timer.set(min(self._next_turn(now), packets_due))
        self._progress.set()
        if self._settled is not None and (packets is None or packets.all_arrived):
            self._settled.set()
        if conversation.dead_link and now - self.heard > DEAD_LINK_SILENCE:
            self._fail(LinkLost("the peer acknowledges nothing"))

    def _only_heartbeats(self) -> bool:
        """Tell whether a channel at rest need not be looked at: with a thousand gateways, what is
        done for each heartbeat counts."""
        source = self._source
        in_use = self._in_stream or self._held_until is not None
        return not in_use and (source is None or not source.waiting)

    def _send_both(self, packets: PacketChannel | None, now: float) -> float:
        """Send what is due of packets and stream; tell when packets are due again."""
        carriage = self._carriage
        if carriage is not None and (now >= carriage.look_at or self._held_until is not None):
            self._choose_way(carriage, now)
        if packets is None:
            self._send_stream(now)
            packets_due = math.inf
        elif self._in_stream and (packets_due := packets.next_timeout()) > now:
            self._send_stream(now)
        else:
            self._send_packets(packets, now)
            self._send_stream(now)
            packets_due = packets.next_timeout()
        if now >= self._note_path_at:
            self._note_path_at = now + PATH_SECONDS
            eager.note_path(self._least_rtt(), now)
        return packets_due

    def _choose_way(self, carriage: Carriage, now: float) -> None:
        """Let packets travel the way that is best, once all that went the other way are there."""
        packets = self._packets
        assert packets is not None
        if now >= carriage.look_at and self._held_until is None:
            sent, lost, rtt = self._path_counters(packets)
            size = self._bytes_sent + self._bytes_received
            if carriage.judge(size, sent, lost, rtt, now) != self._in_stream:
                self._held_until = now + CHANGE_SECONDS
        if self._held_until is None:
            return
        if self._in_stream:
            arrived = self._conversation.unsent_bytes + self._conversation.in_flight == 0
        else:
            arrived = packets.all_arrived
        if arrived or (self._in_stream and now >= self._held_until):
            # What is stuck in the stream is overtaken rather than waited for.
            self._in_stream = not self._in_stream
            self._held_until = None
            sent, lost, _ = self._path_counters(packets)
            carriage.restart(sent, lost, now)
        elif now >= self._held_until:
            self._held_until = None
            carriage.give_up(now)

    def _least_rtt(self) -> float:
        """Give the least round trip of the way in use, in seconds; 0 before the first."""
        if self._packets is None or self._in_stream:
            return self._congestion.least_rtt()
        return self._packets.least_rtt()

    def _path_counters(self, packets: PacketChannel) -> tuple[int, int, float]:
        """Of the way in use: datagrams sent and lost, and the shortest round trip of late."""
        if not self._in_stream:
            return packets.path_counters()
        kcp = self._conversation.statistics()
        lost = kcp.resent_timeout + kcp.resent_fast + kcp.resent_early
        return kcp.segments_sent, lost, self._congestion.least_rtt()

    def _send_packets(self, packets: PacketChannel, now: float) -> None:
        """Send what goes beside the stream, but no more than others can wait for."""
        for _ in range(FLUSH_BUDGET):
            if self._blocked:
                break
            self._pull(now)
            count = packets.poll_datagrams(now)
            if count == 0:
                break
            self._blocked = not self._session.send_batch_nowait(
                packets.datagrams, packets.sizes, count
            )
        # Packets for which datagrams are too small go into the stream.
        conversation = self._conversation
        if conversation.unsent_bytes < UNSENT_LIMIT and (oversize := packets.take_oversize()):
            conversation.send(oversize)

    def _send_stream(self, now: float) -> None:
        """Send what the stream has, but no more than others can wait for."""
        conversation = self._conversation
        for _ in range(FLUSH_BUDGET):
            if self._blocked:
                return
            self._pull(now)
            count = conversation.poll_datagrams(now)
            if count == 0:
                return
            self._blocked = not self._session.send_batch_nowait(
                conversation.datagrams, conversation.sizes, count
            )
            if count < BATCH and not conversation.more:
                return

    def _next_turn(self, now: float) -> float:
        """When there is something to do again for the stream."""
        source = self._source
        due = self._conversation.next_timeout()
        if self._held_until is not None:
            due = min(due, self._held_until)
        elif source is not None and source.waiting:
            due = now if self._room() else min(due, self._conversation.next_room())
        return due

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._progress.set()
        self.close()

    def _check_open(self) -> None:
        if self._failure is not None:
            # What is raised knows the frames of those it went through, and they know us: kept
            # here, it would leave all of us to the garbage collector.
            failure, self._failure = self._failure, LinkLost(str(self._failure))
            try:
                raise failure
            finally:
                del failure
        if self._closed.is_set():
            raise LinkLost("the link was closed")

    @of_python
    async def send_batch(self, buffers: Sequence[Buffer]) -> None:
        """Send whole frames; wait while more than the window's worth is under way."""
        self._check_open()
        self.send_nowait(buffers)
        self._flush()
        # Those who send a lot wait for it in between, and that lets others run often enough.
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._conversation.unsent_bytes >= UNSENT_LIMIT:
            self._progress = trio.Event()
            await self._progress.wait()
            self._check_open()

    @of_python
    async def receive(self) -> StreamBuffer:
        """Wait for the next piece of the peer's stream."""
        while not await self._receive_datagrams():
            pass
        return self._conversation.stream

    @of_python
    async def receive_each(
        self, consume: Consume, consume_packets: ConsumePackets | None = None
    ) -> NoReturn:
        """Call ``consume`` after each piece of the stream, mostly straight from the socket."""
        self._consume = consume
        self._consume_packets = consume_packets
        self._session.owner = self
        try:
            while True:
                new = await self._receive_datagrams()
                rest, self._rest = self._rest, None
                if rest is not None:
                    await rest
                if new:
                    rest = consume(self._conversation.stream)
                    if rest is not None:
                        await rest
                rest = self._hand_on_packets()
                if rest is not None:
                    await rest
        finally:
            self._session.owner = None
            self._consume = None
            self._consume_packets = None

    def _hand_on_packets(self) -> Awaitable[None] | None:
        """Give packets that came beside the stream to who takes them; return what is left."""
        if self._packets is None or self._consume_packets is None:
            return None
        frames = self._packets.receive()
        if not frames:
            return None
        self._bytes_received += len(frames)
        return self._consume_packets(frames)

    def take_untrusted(self, data: bytes, segment_size: int) -> bool:
        """Take a batch from the socket, if the task that receives would do just that."""
        if not self._at_leisure:
            return False
        try:
            self._take_untrusted(data, segment_size, self._time())
        except Exception as error:
            self._fail(error)
        return True

    def end_turn(self) -> None:
        """Hand on what came in order, then acknowledge: whom it is for should not wait for that."""
        self._in_turn = True
        try:
            new = self._conversation.fetch()
            self._bytes_received += new
            if new and self._consume is not None:
                self._rest = self._consume(self._conversation.stream)
            if self._rest is None:
                self._rest = self._hand_on_packets()
            self._in_turn = False
            if self._rest is not None:
                self._at_leisure = False
                self._session.wake()
            self._flush()
            self._note_goodbye()
        except Exception as error:
            self._in_turn = False
            self._fail(error)

    def _note_goodbye(self) -> None:
        if self._session.peer_closed and self._failure is None:
            self._failure = LinkLost("the peer closed the link")

    @of_python
    async def _receive_datagrams(self) -> int:
        """Wait for datagrams, take in what has come, and acknowledge it.

        Returns how many bytes this has added to the stream.
        """
        self._check_open()
        incoming = self._session.incoming
        try:
            try:
                batch = incoming.receive_nowait()
                await trio.lowlevel.checkpoint()
            except trio.WouldBlock:
                self._at_leisure = self._consume is not None
                try:
                    batch = await incoming.receive()
                finally:
                    self._at_leisure = False
            now = trio.current_time()
            self._take_untrusted(batch[0], batch[1], now)
            for _ in range(RECEIVE_BUDGET - 1):
                batch = incoming.receive_nowait()
                self._take_untrusted(batch[0], batch[1], now)
        except trio.WouldBlock:
            pass
        except (trio.EndOfChannel, trio.ClosedResourceError):
            self._fail(LinkLost("the DTLS session ended"))
        new = self._conversation.fetch()
        self._bytes_received += new
        self._flush()
        self._note_goodbye()
        return new

    def _take_untrusted(self, data: bytes, segment_size: int, now: float) -> None:
        """Open the records of one socket batch and hand the segments to the conversation."""
        session = self._session
        count = session.open_batch_untrusted(data, segment_size)
        if not count:
            return
        self.heard = now
        datagrams, sizes = session.opener.datagrams, session.opener.sizes
        others = count
        if self._packets is not None:
            others = self._packets.receive_datagrams_untrusted(datagrams, sizes, count, now)
        if others == count:
            self._conversation.receive_datagrams_untrusted(datagrams, sizes, count, now)
        elif others:
            self._take_segments_untrusted(datagrams, sizes, count, now)

    def _take_segments_untrusted(
        self, datagrams: bytes | bytearray, sizes: array[int], count: int, now: float
    ) -> None:
        """Take those of conversation 0 from a batch in which there are others."""
        picked = []
        at = 0
        for size in sizes[:count]:
            if size and datagrams[at] == 0:
                picked.append(datagrams[at : at + size])
            at += size
        self._conversation.receive_datagrams_untrusted(
            b"".join(picked), array("H", map(len, picked)), len(picked), now
        )

    def ask(self) -> None:
        """Ask the peer for a sign of life."""
        self._conversation.ask(self._time())
        self.flush()

    @of_python
    async def drain(self) -> None:
        """Wait until everything sent is acknowledged."""
        while self._conversation.unsent_bytes or self._conversation.in_flight:
            await self._receive_datagrams()
            self._conversation.stream.take()

    @of_python
    async def settle(self) -> None:
        """Wait until every packet that travelled beside the stream is acknowledged."""
        self._check_open()
        self._settled = self._settled or trio.Event()
        self._flush()
        await self._settled.wait()
        self._settled = None
        self._check_open()

    @property
    def key_use(self) -> float:
        """The share of what may be protected that was, the most in either direction."""
        return self._session.key_use

    @property
    def slowest_rtt(self) -> float | None:
        """The longer of those that stream and packets have measured.

        What packets have may be old by now, where only signs of life have passed since.
        """
        rtt = self._conversation.statistics().smoothed_rtt / 1000
        if self._packets is not None:
            rtt = max(rtt, self._packets.smoothed_rtt)
        return rtt or None

    def close(self) -> None:
        """Send close_notify and end the link."""
        if not self._closed.is_set():
            self._session.close()
            if self._release is not None:
                self._release()
            self._timer.close()
            self._progress.set()
            if self._settled is not None:
                self._settled.set()
        super().close()

    def statistics(self) -> LinkStatistics:
        """Return the counters, those of KCP and of the record layer in ``detail``.

        Of the two ways that packets may travel, the one in use comes last.
        """
        kcp = self._conversation.statistics()
        smoothed_rtt = kcp.smoothed_rtt / 1000
        detail: tuple[object, ...] = (kcp, self._session.statistics())
        if self._packets is not None:
            packets = self._packets.statistics()
            if self._in_stream:
                detail = (packets, *detail)
            else:
                smoothed_rtt = self._packets.smoothed_rtt or smoothed_rtt
                detail = (*detail, packets)
        return LinkStatistics(
            transport=self.scheme,
            peer=self.peer,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
            smoothed_rtt=smoothed_rtt or None,
            detail=detail,
        )


def format_address(address: tuple[object, ...]) -> str:
    """Write a socket address as people do: ``host:port``, IPv6 in brackets."""
    host, port = str(address[0]).removeprefix("::ffff:"), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
