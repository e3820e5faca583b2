# cython: annotation_typing=False
"""KCP, the protocol: a reliable byte stream over datagrams that may be lost or reordered.

Wire-compatible with KCP in the "nodelay" mode of the PoleVPN originals (the segment layout
is in ``segment.py``); what differs is how the state is kept, so that a segment costs the same
in a window of 128 and of 8192:

* ``byte_queue`` holds the stream from ``send`` until the peer has it; a segment is a range of it;
* ``send_window`` knows the segments in flight and finds lost ones without a search;
* ``receive_window`` puts what arrives in order and remembers what to acknowledge;
* ``tail`` decides whether the rest after a full batch waits for what follows it;
* ``window_probe`` knows when to ask a peer for its window, or for a sign of life;
* ``round_trip`` derives the retransmission timeout;
* ``congestion`` says how much may be under way and how fast to send.

This module joins them: it reads and writes datagrams and decides what goes into the next one.
"""

from __future__ import annotations

import math
from array import array

from polevpn_trio.batch import DatagramBuffer
from polevpn_trio.kcp import receive_window, segment
from polevpn_trio.kcp.byte_queue import ByteQueue
from polevpn_trio.kcp.congestion.base import AckEvent, CongestionControl
from polevpn_trio.kcp.datagram.pacer import Pacer
from polevpn_trio.kcp.receive_window import ReceiveWindow
from polevpn_trio.kcp.round_trip import RoundTrip
from polevpn_trio.kcp.segment import SegmentHeader
from polevpn_trio.kcp.send_window import SLOT_BYTES, SendWindow
from polevpn_trio.kcp.send_window import SMALLEST as SMALLEST_WINDOW
from polevpn_trio.kcp.statistics import ConversationStatistics
from polevpn_trio.kcp.tail import Tail
from polevpn_trio.kcp.window_probe import WindowProbe

BATCH = 46
"""Datagrams that one poll fills at most: 46 of 1,400 bytes are what one send with UDP_SEGMENT
takes (65,000 bytes)."""

SMALLEST_MTU = 50
LARGEST_MTU = 1500
"""The originals end a connection on a datagram of more bytes than this."""

INITIAL_WINDOW = 32
"""Segments that may be in flight at first. The protocol wants this limit until the peer has
told its window. We go on from it by one for each segment acknowledged, since the receive ring
of the original router loses bursts until it has grown."""

ACK_EVERY = 8
"""Segments that make an acknowledgement due at once, even where it may be delayed."""

SHORT_TAIL = BATCH // 2
"""Segments after a full batch that are too few for a batch of their own."""

IDLE_SHRINK = 5.0
"""Seconds without a large window until its memory is given back."""

# Copies that the compiled build holds as C integers, which other modules cannot import.
_HEADER = segment.HEADER_SIZE
_PUSH = segment.PUSH
_ACK = segment.ACK
_WASK = segment.WASK
_WINS = segment.WINS
_IN_ORDER = receive_window.IN_ORDER
_EARLY = receive_window.EARLY
_DUPLICATE = receive_window.DUPLICATE
_OUTSIDE = receive_window.OUTSIDE
_BATCH = BATCH
_SMALLEST_WINDOW = SMALLEST_WINDOW
_IDLE_SHRINK = IDLE_SHRINK
_ACK_EVERY = ACK_EVERY
_SHORT_TAIL = SHORT_TAIL
_MASK32 = 0xFFFFFFFF
_HALF = 0x80000000
_NEVER = math.inf
_MOST_TIMEOUTS = 1000


class Conversation:
    """One end of a KCP conversation; does no I/O and reads no clock.

    Hand in what the application writes (``send``) and what arrives
    (``receive_datagrams_untrusted``), fetch what came in order (``receive``). After any of
    these, and at ``next_timeout()``, call ``poll_datagrams`` until it returns 0 and send what
    it gives. Hand in what has arrived before polling, or a late wake-up looks like a loss.
    ``now`` is in seconds of a clock that does not go back.

    ``mtu`` (50 to 1500) is the size of the largest datagram made, windows are in segments,
    ``interval`` is in seconds. ``nodelay`` lets the timeout of a segment begin at 30 instead
    of 100 ms at least, and grow by half instead of doubling. ``dead_link`` is how many sends
    of a segment without any progress make the link count as dead. Sequence numbers start at
    ``initial_sequence``, which the protocol fixes at 0. Acknowledgements of segments in order
    may wait ``ack_delay`` seconds for something to travel with (as in TCP, RFC 1122 section
    4.2.3.2); those of others, and every eighth, never do. What is left after a full batch may
    wait ``tail_wait`` seconds for more of the stream, if it is less than half a batch.
    Conversations of one thread may share their ``output``, where datagrams are made.
    ``congestion`` decides how much new data leaves, without it the windows alone do;
    ``overhead`` is what lower layers add to a datagram.

    Raises ValueError for parameters out of range.
    """

    def __init__(
        self,
        conversation_id: int = 0,
        mtu: int = 1350,
        send_window: int = 2048,
        receive_window: int = 2048,
        interval: float = 0.010,
        fast_resend: int = 2,
        nodelay: bool = True,
        dead_link: int = 20,
        initial_sequence: int = 0,
        ack_delay: float = 0.0,
        tail_wait: float = 0.0,
        output: DatagramBuffer | None = None,
        congestion: CongestionControl | None = None,
        overhead: int = 0,
    ) -> None:
        if not 0 <= conversation_id <= 0xFFFFFFFF:
            raise ValueError(f"conversation id {conversation_id} does not fit in 32 bits")
        if not 0 <= initial_sequence <= 0xFFFFFFFF:
            raise ValueError(f"initial sequence {initial_sequence} does not fit in 32 bits")
        if not (1 <= send_window <= 0xFFFF and 1 <= receive_window <= 0xFFFF):
            raise ValueError(
                f"send_window {send_window} or receive_window {receive_window} not in 1 to 65535"
            )
        if not (interval > 0 and 1 <= fast_resend <= 0xFFFF and dead_link >= 1):
            raise ValueError("interval, fast_resend and dead_link must be positive")
        self.conversation_id = conversation_id
        if output is None:
            output = DatagramBuffer()
        output.reserve(BATCH * LARGEST_MTU, BATCH)
        self.datagrams = output.datagrams
        self.sizes = output.sizes
        self._mtu = 0
        self._room = 0
        self._output = memoryview(self.datagrams)
        self._output_sizes = self.sizes
        self._output_at = 0
        self._output_start = 0
        self._output_count = 0
        self.set_mtu(mtu)

        self._queue = ByteQueue()
        self._overhead = _HEADER + overhead
        self._window = SendWindow(initial_sequence, fast_resend, nodelay, self._overhead)
        self.congestion = congestion if congestion is not None else CongestionControl()
        self._pacer = Pacer(mtu + overhead)
        # When a burst was last due: it may take more than one poll.
        self._burst_at = -1.0
        # Whether something was left waiting by the last poll.
        self._backlog = False
        self._event = AckEvent()
        self._arrived = ReceiveWindow(receive_window, initial_sequence)
        self.stream = self._arrived.stream
        """The peer's stream in order, as far as `fetch` has told."""
        self._round_trip = RoundTrip(interval * 1000, 30.0 if nodelay else 100.0)
        self._header = SegmentHeader()
        self._now = 0.0
        self._interval = interval
        self._ack_delay = ack_delay
        self._acks_due_at = _NEVER
        self._tail = Tail(tail_wait)
        self._fast_resend = fast_resend
        self._dead_link = dead_link

        # Up to where the stream was cut into segments.
        self._cut = 0
        self.more = False
        """Whether more of the stream will be handed in soon: small segments may wait for it."""
        self._send_window = send_window
        self._ramp = min(INITIAL_WINDOW, send_window)
        self._peer_window = INITIAL_WINDOW
        self._early_at = _NEVER
        self._probe = WindowProbe()
        self._tell_window = False
        # ACKs of the current flush that were sent or left out.
        self._acks_done = 0
        self._large_at = 0.0

        self._datagrams_sent = 0
        self._segments_sent = 0
        self._resent_timeout = 0
        self._resent_fast = 0
        self._resent_early = 0
        self._acks_sent = 0
        self._datagrams_received = 0
        self._segments_received = 0
        self._bytes_received = 0
        self._acks_received = 0
        self._early_received = 0
        self._duplicates = 0
        self._out_of_window = 0
        self._bad_conversation = 0
        self._bad_command = 0
        self._bad_length = 0
        self._bad_acknowledgement = 0

    @property
    def unsent_bytes(self) -> int:
        """Stream bytes handed in and not yet sent for the first time."""
        return self._queue.end - self._cut

    def room(self, now: float) -> int:
        """Stream bytes that would be sent at once, beside those that are handed in already."""
        self._pacer.refill(self.congestion.pacing_rate, now)
        if not (self._window_open() and self._may_leave(now)):
            return 0
        room = (self._send_limit() - (self._window.next - self._window.first)) * (
            self._mtu - _HEADER
        )
        if self.congestion.window - self._window.in_flight < room:
            room = self.congestion.window - self._window.in_flight
        credit = self._pacer.credit()
        if credit < room:
            room = int(credit)
        unsent = self._queue.end - self._cut
        if room > unsent:
            return room - unsent
        # What waits to become a full segment must not wait for ever.
        return 1 if unsent < self._mtu - _HEADER else 0

    def next_room(self) -> float:
        """Tell when there will be `room` if nothing is heard until then: inf if there will not."""
        return self._pacer.next_burst() if self._window_open() else _NEVER

    def _may_leave(self, now: float) -> bool:
        """Tell whether a burst is due, or going on; what nothing waits before need be no burst."""
        pacer = self._pacer
        return pacer.is_due() or (
            pacer.credit() > 0 and (self._burst_at == now or not self._backlog)
        )

    def _window_open(self) -> bool:
        window = self._window
        return (
            window.next - window.first < self._send_limit()
            and window.in_flight < self.congestion.window
        )

    @property
    def in_flight(self) -> int:
        """Segments sent, from the first that is not acknowledged on."""
        return self._window.next - self._window.first

    @property
    def mtu(self) -> int:
        """Size of the largest datagram made, in bytes."""
        return self._mtu

    @property
    def dead_link(self) -> bool:
        """Whether the peer was sent a segment, or asked, ``dead_link`` times without an answer."""
        return max(self._window.sends_in_vain(), self._probe.in_vain) >= self._dead_link

    def set_mtu(self, mtu: int) -> None:
        """Make later datagrams at most ``mtu`` (50 to 1500) bytes long.

        Segments that are in flight already keep their size when they must be sent again.
        Raises ValueError if out of range.
        """
        if not SMALLEST_MTU <= mtu <= LARGEST_MTU:
            raise ValueError(f"mtu {mtu} not in {SMALLEST_MTU} to {LARGEST_MTU}")
        if mtu > self._mtu:
            self._room = BATCH * mtu
        self._mtu = mtu

    def widen_receive_window(self, segments: int) -> None:
        """Let the peer have more under way from now on; what is sent next tells it so.

        Raises ValueError if the window does not fit the wire (1 to 65,535 segments).
        """
        if not 1 <= segments <= 0xFFFF:
            raise ValueError(f"receive window {segments} not in 1 to 65535")
        self._arrived.widen(segments)

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data`` to the stream; look at ``unsent_bytes`` for its backlog.

        It must not change any more: it stays where it is until the peer has it.
        """
        self._queue.append(data)

    def ask(self, now: float) -> None:
        """Ask the peer, one of ours, for a sign of life until there is an answer."""
        self._probe.ask(now)

    # --- Receiving -----------------------------------------------------------------------

    def receive_datagrams_untrusted(
        self,
        datagrams: bytes | bytearray | memoryview,
        sizes: array[int],
        count: int,
        now: float,
    ) -> None:
        """Take ``count`` datagrams that lie back to back in ``datagrams``.

        ``sizes`` (type code "H") has the length of each. Nothing of the arguments is kept.
        What is wrong in a datagram ends that datagram and is counted, nothing is raised for it;
        ValueError if the arguments do not fit together.
        """
        source = bytes(datagrams) if isinstance(datagrams, memoryview) else datagrams
        view = memoryview(source)
        lengths = sizes
        if count > len(lengths):
            raise ValueError(f"{count} datagrams but {len(lengths)} sizes")
        self._now = now
        milliseconds = int(now * 1000) & _MASK32
        available = len(view)
        at = 0
        index = 0
        while index < count:
            end = at + lengths[index]
            if end > available:
                raise ValueError(f"datagrams of {end} bytes or more in {available} bytes")
            self._receive_datagram(source, view, at, end, milliseconds)
            at = end
            index += 1
        if self._window.overtaken(1) < 0:
            self._early_at = _NEVER
        elif self._early_at == _NEVER:
            self._early_at = now + self._interval

    def _receive_datagram(
        self,
        source: bytes | bytearray,
        view: bytes | bytearray | memoryview,
        at: int,
        end: int,
        milliseconds: int,
    ) -> None:
        header = self._header
        window = self._window
        acknowledged = 0
        peer_window = -1
        echo = -1
        # The highest una counts for the whole datagram, at its end: a last ACK that una covers
        # still tells which transmission arrived.
        advance = 0
        self._datagrams_received += 1
        while end - at >= _HEADER:
            header.read(view, at)
            at += _HEADER
            if header.conversation_id != self.conversation_id:
                self._bad_conversation += 1
                break
            if header.length > end - at:
                self._bad_length += 1
                break
            command = header.command
            if command == _PUSH:
                self._receive_push(source, view, at, header.length)
            elif command == _ACK:
                self._acks_received += 1
                echo = header.timestamp
                if window.acknowledge(header.sequence, header.timestamp):
                    acknowledged += 1
            elif command == _WASK:
                self._tell_window = True
                self._probe.take_question_untrusted(header, self._round_trip)
            elif command == _WINS:
                self._probe.take_answer_untrusted(header, milliseconds, self._round_trip)
            else:
                self._bad_command += 1
                break
            at += header.length
            forward = (header.acknowledged - window.una) & _MASK32
            if forward <= window.next - window.una:
                if forward >= advance:
                    advance = forward
                    peer_window = header.window
            elif forward < _HALF:
                self._bad_acknowledgement += 1
        if echo >= 0:
            elapsed = (milliseconds - echo) & _MASK32
            if elapsed < _HALF:
                self._round_trip.add_sample(elapsed)
            window.end_event()
        if acknowledged or advance:
            acknowledged += window.acknowledge_before((window.una + advance) & _MASK32)
            self._queue.release(window.stream_position(self._cut))
            window.note_progress()
            self._ramp = min(self._ramp + acknowledged, self._send_window)
            self._event.clear(self._now)
            window.finish(self._event)
            self.congestion.take_event(self._event)
        # A segment with an una of the past was overtaken and knows no news of the window.
        if peer_window >= 0:
            self._probe.note_window(peer_window, self._peer_window, self._now)
            self._peer_window = peer_window

    def _receive_push(
        self, source: bytes | bytearray, view: bytes | bytearray | memoryview, at: int, size: int
    ) -> None:
        arrived = self._arrived
        header = self._header
        self._segments_received += 1
        fate = arrived.accept(header.sequence, source, view, at, size)
        if fate == _OUTSIDE:
            self._out_of_window += 1
            return
        if fate == _DUPLICATE:
            self._duplicates += 1
        elif fate == _EARLY:
            self._early_received += 1
        arrived.add_ack(header.sequence, header.timestamp)
        if fate != _IN_ORDER or arrived.acks >= _ACK_EVERY:
            self._acks_due_at = self._now
        elif self._acks_due_at == _NEVER:
            self._acks_due_at = self._now + self._ack_delay

    def fetch(self) -> int:
        """Make room for more of the stream; return how many bytes have come since last time."""
        arrived = self._arrived
        if arrived.unread == arrived.window:
            self._tell_window = True
        new = arrived.fetch()
        self._bytes_received += new
        return new

    def receive(self) -> bytes:
        """Fetch, and take all of the stream that is not read."""
        self.fetch()
        return self.stream.take()

    # --- Sending -------------------------------------------------------------------------

    def next_timeout(self) -> float:
        """Tell when ``poll_datagrams`` next has something to send: inf if never.

        A time that is not in the future means at once.
        """
        if self._has_news():
            return self._now
        earliest = min(
            self._window.next_timeout(self._round_trip.timeout / 1000),
            self._acks_due_at,
            self._early_at,
            self._tail.due,
            self._probe.next_due(self._queue.end > self._cut),
        )
        if self._has_segment() and self._window_open():
            earliest = min(earliest, self._pacer.next_burst())
        return earliest

    def _has_segment(self) -> bool:
        """Tell whether enough waits for a segment."""
        size = self._queue.end - self._cut
        if size == 0 or self._tail.waits(self._queue.end, self._now):
            return False
        return not self.more or size >= self._mtu - _HEADER

    def _has_news(self) -> bool:
        """Tell whether something is to be sent whatever the time."""
        return (
            self._tell_window
            or (self._has_segment() and self._window_open() and self._may_leave(self._now))
            or self._window.overtaken(self._fast_resend) >= 0
        )

    def poll_datagrams(self, now: float) -> int:
        """Make the datagrams that are due; returns how many, at most 46. Call it until it gives 0.

        They lie back to back in ``datagrams``, their lengths are in ``sizes``; both are
        overwritten by the next call, be it that of a conversation which shares the ``output``.
        Acknowledgements come first, then resends, then new segments: those of full size follow
        each other without a break.
        """
        header = self._header
        arrived = self._arrived
        window = self._window
        self._now = now
        self._tail.review(self._queue.end, now)
        self._pacer.refill(self.congestion.pacing_rate, now)
        if self._may_leave(now):
            self._burst_at = now
        self._output_at = 0
        self._output_start = 0
        self._output_count = 0
        free = arrived.window - arrived.unread
        header.conversation_id = self.conversation_id
        header.fragment = 0
        header.window = free
        header.acknowledged = arrived.next & _MASK32
        header.length = 0
        if self._write_acks() and self._write_window_news(now):
            header.command = _PUSH
            header.fragment = 0
            milliseconds = int(now * 1000) & _MASK32
            if self._write_resends(now, milliseconds):
                fresh = self._write_new(now, milliseconds)
                if now >= self._early_at:
                    self._write_early(now, milliseconds, fresh)
        self._end_datagram()
        self._datagrams_sent += self._output_count
        if self._output_count == _BATCH:
            self._tail.note_full_batch(now)
        # What waits for more by its own choice is no backlog.
        self._backlog = self.more or (self._queue.end > self._cut and self._tail.due == _NEVER)
        self._reclaim(now, window.next - window.first)
        return self._output_count

    def _send_limit(self) -> int:
        return min(self._ramp, self._peer_window)

    def _make_room(self, size: int) -> bool:
        """Begin another datagram if ``size`` bytes do not fit into this; False if there is none."""
        used = self._output_at - self._output_start
        if used and used + size > self._mtu:
            self._end_datagram()
        return self._output_count < _BATCH and self._output_at + size <= self._room

    def _end_datagram(self) -> None:
        if self._output_at > self._output_start:
            self._output_sizes[self._output_count] = self._output_at - self._output_start
            self._output_start = self._output_at
            self._output_count += 1

    def _write_acks(self) -> bool:
        arrived = self._arrived
        if arrived.acks == 0 or (self._now < self._acks_due_at and not self._has_news()):
            return True
        header = self._header
        last = arrived.acks - 1
        header.command = _ACK
        while self._acks_done <= last:
            sequence = arrived.ack_sequences[self._acks_done]
            # What una covers needs no ACK of its own, but the last is kept: its timestamp is
            # what the peer measures the round trip with.
            if self._acks_done == last or (sequence - arrived.next) & _MASK32 < _HALF:
                if not self._make_room(_HEADER):
                    return False
                header.sequence = sequence
                header.timestamp = arrived.ack_timestamps[self._acks_done]
                self._write_header()
                self._acks_sent += 1
            self._acks_done += 1
        arrived.acks = 0
        self._acks_done = 0
        self._acks_due_at = _NEVER
        return True

    def _write_window_news(self, now: float) -> bool:
        probe = self._probe
        if now >= probe.next_due(self._queue.end > self._cut):
            if not self._make_room(_HEADER):
                return False
            self._header.command = _WASK
            probe.write_question(self._header, self._round_trip, now)
            self._write_header()
        if self._tell_window:
            if not self._make_room(_HEADER):
                return False
            self._header.command = _WINS
            probe.write_answer(self._header)
            self._write_header()
            self._tell_window = False
        return True

    def _write_header(self) -> None:
        self._header.write(self._output, self._output_at)
        self._output_at += _HEADER

    def _write_resends(self, now: float, milliseconds: int) -> bool:
        window = self._window
        while True:
            sequence = window.overtaken(self._fast_resend)
            if sequence < 0:
                break
            if not self._resend(sequence, 0, now, milliseconds):
                return False
            self._resent_fast += 1
        rto = self._round_trip.timeout / 1000
        while True:
            sequence = window.overdue(now, rto)
            if sequence < 0:
                break
            timeouts = min(window.timeouts(sequence) + 1, _MOST_TIMEOUTS)
            if not self._resend(sequence, timeouts, now, milliseconds):
                return False
            self._resent_timeout += 1
        return True

    def _write_new(self, now: float, milliseconds: int) -> bool:
        window = self._window
        largest = self._mtu - _HEADER
        # What begins to wait as a tail is all there is to send.
        begins = self._output_at == 0 and not self.more
        few = _SHORT_TAIL * largest if begins or self._tail.due != _NEVER else 0
        fresh = False
        while self._burst_at == now and self._window_open() and self._pacer.credit() > 0:
            size = self._queue.end - self._cut
            if size < largest and self.more:
                break
            if size == 0 or (size <= few and self._tail.keep(self._queue.end, now)):
                window.note_app_limited()
                break
            if size > largest:
                size = largest
            # That a batch is full is news too: the rest of it follows at once.
            fresh = True
            if not self._make_room(_HEADER + size):
                break
            few = 0
            sequence = window.add(self._cut, size, now, milliseconds)
            self._write_push(sequence, self._cut, size, milliseconds)
            self._cut += size
        return fresh

    def _write_early(self, now: float, milliseconds: int, fresh: bool) -> None:
        window = self._window
        if fresh:
            # New segments will be acknowledged soon and may make it a fast resend.
            self._early_at = now + self._interval
            return
        while True:
            sequence = window.overtaken(1)
            if sequence < 0:
                break
            if not self._resend(sequence, 0, now, milliseconds):
                return
            self._resent_early += 1
        self._early_at = _NEVER

    def _resend(self, sequence: int, timeouts: int, now: float, milliseconds: int) -> bool:
        window = self._window
        size = window.length(sequence)
        if not self._make_room(_HEADER + size):
            return False
        window.resend(sequence, timeouts, now, milliseconds)
        self._write_push(sequence, window.position(sequence), size, milliseconds)
        return True

    def _write_push(self, sequence: int, position: int, size: int, milliseconds: int) -> None:
        header = self._header
        header.sequence = sequence & _MASK32
        header.timestamp = milliseconds
        header.length = size
        header.write(self._output, self._output_at)
        self._queue.copy_out(position, size, self._output, self._output_at + _HEADER)
        self._output_at += _HEADER + size
        self._segments_sent += 1
        self._pacer.charge(size + self._overhead)

    def _reclaim(self, now: float, in_flight: int) -> None:
        large = self._window.capacity > _SMALLEST_WINDOW or self._arrived.is_large()
        if in_flight > _SMALLEST_WINDOW or not large:
            self._large_at = now
        elif now - self._large_at >= _IDLE_SHRINK:
            self._large_at = now
            if self._window.capacity > _SMALLEST_WINDOW:
                self._window.resize(_SMALLEST_WINDOW)
            self._arrived.shrink()

    # --- Accounts ------------------------------------------------------------------------

    def statistics(self) -> ConversationStatistics:
        """Give all counters and the state at this moment."""
        return ConversationStatistics(
            datagrams_sent=self._datagrams_sent,
            segments_sent=self._segments_sent,
            bytes_sent=self._cut,
            resent_timeout=self._resent_timeout,
            resent_fast=self._resent_fast,
            resent_early=self._resent_early,
            acks_sent=self._acks_sent,
            acks_dropped=self._arrived.acks_dropped,
            probes_sent=self._probe.sent,
            datagrams_received=self._datagrams_received,
            segments_received=self._segments_received,
            bytes_received=self._bytes_received,
            acks_received=self._acks_received,
            early_received=self._early_received,
            duplicates=self._duplicates,
            out_of_window=self._out_of_window,
            bad_conversation=self._bad_conversation,
            bad_command=self._bad_command,
            bad_length=self._bad_length,
            bad_acknowledgement=self._bad_acknowledgement,
            unsent_bytes=self._queue.end - self._cut,
            in_flight=self._window.next - self._window.first,
            send_limit=self._send_limit(),
            peer_window=self._peer_window,
            congestion_window=self.congestion.window,
            pacing_rate=self.congestion.pacing_rate,
            unread=self._arrived.unread,
            smoothed_rtt=self._round_trip.smoothed,
            rtt_variation=self._round_trip.variation,
            rto=self._round_trip.timeout,
            buffer_bytes=self._queue.held
            + self._window.capacity * SLOT_BYTES
            + self._arrived.buffer_bytes(),
        )
