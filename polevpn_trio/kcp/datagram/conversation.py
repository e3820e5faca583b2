# cython: annotation_typing=False
"""One end of the native ``datagram`` conversation: IP packets over datagrams that may be lost.

Packets are sent again when they are lost, as long as they are of use; what arrives is handed on
without waiting for what does not concern it. The parts:

* ``flow_class`` tells bucket, order and deadline of a packet, ``body_builder`` packs it;
* ``body_pool`` holds what the peer may still lack;
* ``transmissions`` finds losses and measures rates; ``congestion`` decides how fast to send,
  ``pacer`` when;
* ``arrivals`` knows what to acknowledge; ``item_reader`` reads what came, ``flow_order`` puts
  packets in order, ``reassembly`` those together that came in parts.

This module joins them: it reads and writes datagrams (``wire``) and decides what leaves next.
"""

from __future__ import annotations

import math
from array import array

from polevpn_trio.batch import DatagramBuffer
from polevpn_trio.kcp.congestion.base import AckEvent, CongestionControl
from polevpn_trio.kcp.datagram import arrivals, wire
from polevpn_trio.kcp.datagram.arrivals import Arrivals
from polevpn_trio.kcp.datagram.body_builder import BodyBuilder
from polevpn_trio.kcp.datagram.body_pool import BodyPool
from polevpn_trio.kcp.datagram.item_reader import ItemReader
from polevpn_trio.kcp.datagram.pacer import Pacer
from polevpn_trio.kcp.datagram.peer_clock import PeerClock
from polevpn_trio.kcp.datagram.source import PacketSource
from polevpn_trio.kcp.datagram.statistics import DatagramStatistics
from polevpn_trio.kcp.datagram.transmissions import Transmissions
from polevpn_trio.kcp.datagram.wire import Acknowledgement, expand, read24, write24
from polevpn_trio.kcp.round_trip import RoundTrip

BATCH = 46
"""Datagrams that one poll fills at most, as in classic KCP: one send with UDP_SEGMENT."""

SMALLEST_MTU = 300
"""Bytes; an acknowledgement of any size must fit."""
LARGEST_MTU = 1500

OVERHEAD = 20 + 8 + 13 + 8 + 16
"""Bytes on the wire that each datagram costs besides: IPv4, UDP, a DTLS record with AES-GCM."""

REORDERING_SLACK = 0.001
"""Seconds that a transmission may be late without being taken for lost, at least."""
LARGEST_SLACK = 0.008
"""Seconds; where no reordering was seen, a 32nd of the round trip is allowed up to this."""

MOST_BACKOFF = 2.0
"""How much longer than the first the interval between probes grows while something is of use."""
PATIENT_PROBES = 10
"""Probes in vain after which the intervals grow further, to a minute at most."""

IDLE_SHRINK = 5.0
"""Seconds without much under way until memory is given back."""

_BATCH = BATCH
_OVERHEAD = OVERHEAD
_SLACK = REORDERING_SLACK
_LARGEST_SLACK = LARGEST_SLACK
_MOST_BACKOFF = MOST_BACKOFF
_PATIENT_PROBES = PATIENT_PROBES
_IDLE_SHRINK = IDLE_SHRINK
_KIND = 0xF0
_DATA = wire.DATA
_WITH_ACK = wire.WITH_ACK
_AT_ONCE = wire.AT_ONCE
_ACK = wire.ACK
_REPAIR = wire.REPAIR
_HEADER = wire.HEADER_SIZE
_ITEM = wire.ITEM_SIZE
_LARGEST_ACK = wire.LARGEST_ACK
_TICKS = wire.TICKS
_REORDERING_TICKS = wire.REORDERING_TICKS
_WRAP = 1 << 24
_DUPLICATE = arrivals.DUPLICATE
_LEAST_ACK_DELAY = 1
_MOST_ACK_DELAY = 25
# Milliseconds. Where round trips are shorter than the first, acknowledgements wait for so long to
# travel with the answer of a host: by themselves they gain nothing that is worth two wake-ups.
_SHORT_PATH = 10.0
_SHORT_ACK_DELAY = 5
_NEVER = math.inf
_EPSILON = 1e-6
_MINUTE = 60.0


class DatagramConversation:
    """Carries IP packets between two ends; does no I/O and reads no clock.

    Hand in what arrives (``receive_datagrams_untrusted``, and what repair made up with
    ``recovered``), fetch the packets (``receive``). After that, when ``source`` has got
    something, and at ``next_timeout()``, call ``poll_datagrams`` until it returns 0 and send
    what it gives. Hand in what has arrived before polling. ``now`` is in seconds of a clock that
    does not go back.

    ``source`` has the packets to send, ``congestion`` decides how fast. ``command`` is the
    command of the frames that ``receive`` gives. ``mtu`` (300 to 1500) is the size of the
    largest datagram made, ``send_window`` how many may be under way, ``overhead`` what lower
    layers add to each, in bytes. Conversations of one thread may share their ``output``, where
    datagrams are made. Raises ValueError for parameters out of range.

    An encoder of repair packets takes the datagrams of a poll whose first byte is DATA, and
    tells ``charge_repair`` what it adds; ``important`` says which of them to prefer.
    ``repair_wait`` is how long, in seconds, repair may take to make up for a loss before it
    is worth sending something again.
    """

    def __init__(
        self,
        source: PacketSource,
        congestion: CongestionControl,
        command: int,
        mtu: int = 1350,
        send_window: int = 8192,
        overhead: int = OVERHEAD,
        output: DatagramBuffer | None = None,
    ) -> None:
        if not SMALLEST_MTU <= mtu <= LARGEST_MTU:
            raise ValueError(f"mtu {mtu} not in {SMALLEST_MTU} to {LARGEST_MTU}")
        if not 1 <= send_window <= 0xFFFF:
            raise ValueError(f"send_window {send_window} not in 1 to 65535")
        if not (0 <= command <= 0xFFFF and 0 <= overhead <= 0xFFFF):
            raise ValueError(f"command {command} or overhead {overhead} not in 0 to 65535")
        self.mtu = mtu
        if output is None:
            output = DatagramBuffer()
        output.reserve(BATCH * LARGEST_MTU, BATCH)
        self.datagrams = output.datagrams
        self.sizes = output.sizes
        self.important = array("B", bytes(BATCH))
        self.repair_wait = 0.0
        self._output = memoryview(self.datagrams)
        self._output_sizes = self.sizes
        self._output_important = self.important
        self._output_at = 0
        self._output_count = 0
        # Where the last datagram with packets begins, -1 if this poll made none.
        self._last_data = -1

        self.congestion = congestion
        self._overhead = overhead
        self._send_window = send_window
        self._bodies = BodyPool(mtu - wire.HEADER_SIZE)
        self._builder = BodyBuilder(source, self._bodies)
        self._transmissions = Transmissions(self._bodies)
        self._pacer = Pacer(mtu + overhead)
        self._event = AckEvent()
        self._round_trip = RoundTrip(2.0, 3.0)
        self._latest_rtt = 0.0
        self._peer_clock = PeerClock()
        self._arrivals = Arrivals()
        self._items = ItemReader(command, self._arrivals)
        self._order = self._items.order
        self._acknowledgement = Acknowledgement()
        self._now = 0.0

        self._probes_in_vain = 0
        self._reordering = 0.0
        self._told_ack_delay = int(arrivals.MAX_ACK_DELAY * 1000)
        self._asked_at = -_NEVER
        self._burst_at = -_NEVER
        self._large_at = 0.0

        # What the peer says of the datagrams sent to it.
        self._peer_arrived = 0
        self._peer_recovered = 0
        self._peer_gaps = 0
        # Of the gaps, those of which nothing is known yet to be recovered or given up.
        self._open_gaps = 0
        self._datagrams_sent = 0
        self._bytes_sent = 0
        self._resent = 0
        self._probes = 0
        self._repairs = 0
        self._acks_sent = 0
        self._datagrams_received = 0
        self._acks_received = 0
        self._bad_kind = 0
        self._bad_format = 0
        self._bad_number = 0
        self._bad_acknowledgement = 0

    @property
    def largest_packet(self) -> int:
        """Bytes of the largest IP packet that fits one datagram."""
        return self._bodies.stride - _ITEM

    @property
    def smoothed_rtt(self) -> float:
        """Seconds; 0 before the first sample."""
        return self._round_trip.smoothed / 1000

    @property
    def in_flight(self) -> int:
        """Datagrams sent, from the first on that is neither acknowledged nor lost."""
        return self._transmissions.next - self._transmissions.first

    @property
    def all_arrived(self) -> bool:
        """Whether all that was fetched has been sent, and the peer lacks nothing of it."""
        return self._bodies.used == 0 and not self._builder.has_staged()

    # --- Receiving -----------------------------------------------------------------------

    def receive_datagrams_untrusted(
        self,
        datagrams: bytes | bytearray | memoryview,
        sizes: array[int],
        count: int,
        now: float,
        recovered: bool = False,
    ) -> int:
        """Take ``count`` datagrams that lie back to back in ``datagrams``.

        Returns how many of them begin with a zero byte: those are of conversation 0.

        ``sizes`` (type code "H") has the length of each; ``recovered`` says that repair made
        them up. Nothing of the arguments is kept. What is wrong in a datagram ends that
        datagram and is counted, nothing is raised for it; ValueError if the arguments do not
        fit together.
        """
        view = memoryview(datagrams)
        lengths = sizes
        if count > len(lengths):
            raise ValueError(f"{count} datagrams but {len(lengths)} sizes")
        self._now = now
        available = len(view)
        at = 0
        index = 0
        others = 0
        while index < count:
            end = at + lengths[index]
            if end > available:
                raise ValueError(f"datagrams of {end} bytes or more in {available} bytes")
            if end > at and view[at] == 0:
                others += 1
            else:
                self._receive_datagram(view, at, end, recovered, now)
            at = end
            index += 1
        return others

    def _receive_datagram(
        self,
        view: bytes | bytearray | memoryview,
        at: int,
        end: int,
        recovered: bool,
        now: float,
    ) -> None:
        self._datagrams_received += 1
        if at == end:
            self._bad_format += 1
            return
        kind = view[at]
        if kind == _ACK:
            if self._acknowledgement.read_untrusted(view, at + 1, end) < 0:
                self._bad_format += 1
            else:
                self._take_acknowledgement(now)
            return
        if kind & _KIND != _DATA:
            self._bad_kind += kind & _KIND != _REPAIR
            return
        if end - at < _HEADER:
            self._bad_format += 1
            return
        arrived = self._arrivals
        number = expand(read24(view, at + 1), _WRAP, arrived.highest)
        if number < 0:
            self._bad_number += 1
            return
        at += _HEADER
        if kind & _WITH_ACK:
            at = self._acknowledgement.read_untrusted(view, at, end)
            if at < 0:
                self._bad_format += 1
                return
            # In one that repair made up, the times would mislead.
            if not recovered:
                self._take_acknowledgement(now)
        if arrived.add(number, recovered, kind & _AT_ONCE != 0, now) == _DUPLICATE:
            return
        if not self._items.read_untrusted(view, at, end, now):
            self._bad_format += 1

    def note_overtaken(self, count: int) -> None:
        """Note that so many of those made up by repair have come by themselves after all."""
        self._arrivals.arrived += count
        self._arrivals.recovered -= count

    def receive(self) -> bytearray:
        """Fetch the packets that may be handed on, as frames; nothing if there are none."""
        return self._order.receive()

    def _take_acknowledgement(self, now: float) -> None:
        sent = self._transmissions
        ack = self._acknowledgement
        event = self._event
        self._acks_received += 1
        largest = expand(ack.largest, _WRAP, sent.next)
        if largest >= sent.next or largest < 0:
            self._bad_acknowledgement += 1
            return
        # An acknowledgement that was overtaken knows no news but what it names.
        if largest >= sent.largest:
            self._reordering = ack.reordering / _REORDERING_TICKS
        event.clear(now)
        self._take_counters(event)
        index = 0
        while index < ack.runs:
            sent.acknowledge(largest - ack.oldest[index], largest - ack.newest[index], event)
            index += 1
        if event.newest == largest:
            self._take_times(largest, now)
        sent.finish(event)
        if event.newest >= 0:
            self._probes_in_vain = 0
        sent.detect_losses(now - self._loss_wait() + _EPSILON, event)
        self._open_gaps -= min(self._open_gaps, event.lost_runs)
        self.congestion.take_event(event)

    def _take_counters(self, event: AckEvent) -> None:
        """Follow the peer's counters, which wrap; tell how many more were recovered."""
        ack = self._acknowledgement
        step = (ack.arrived - self._peer_arrived) & 0xFFFF
        if step < 0x8000:
            self._peer_arrived += step
        step = (ack.gaps - self._peer_gaps) & 0xFFFF
        if step < 0x8000:
            self._peer_gaps += step
            self._open_gaps += step
        step = (ack.recovered - self._peer_recovered) & 0xFFFF
        if step < 0x8000:
            self._peer_recovered += step
            event.recovered_packets = step
            event.recovered_runs = min(step, self._open_gaps)
            self._open_gaps -= event.recovered_runs

    def _take_times(self, largest: int, now: float) -> None:
        ack = self._acknowledgement
        event = self._event
        sent_at = self._transmissions.sent_at(largest)
        rtt = now - sent_at - ack.delay / _TICKS
        if rtt < 0:
            rtt = 0.0
        event.rtt = rtt
        self._latest_rtt = rtt
        self._round_trip.add_sample(rtt * 1000)
        self._peer_clock.read(ack.received_at, sent_at, rtt, now)
        event.one_way = self._peer_clock.one_way
        event.arrived_at = self._peer_clock.arrived_at
        wanted = int(min(max(self._round_trip.smoothed / 8, _LEAST_ACK_DELAY), _MOST_ACK_DELAY))
        if self._short_path():
            wanted = _SHORT_ACK_DELAY
        change = abs(wanted - self._told_ack_delay)
        if change > 1 and 4 * change > self._told_ack_delay:
            self._told_ack_delay = wanted
            self._builder.tell_ack_delay(wanted)

    def offer(self, frames: bytes | bytearray | memoryview) -> bool:
        """Take whole frames past the source, which must be empty; False if they must wait.

        Poll at once, and then put into the source what `take_back` gives.
        """
        if self._builder.has_staged():
            return False
        self._builder.offer(frames)
        return True

    def take_back(self) -> bytes:
        """Give back frames that were offered and could not leave yet; b"" if there are none."""
        return self._builder.take_back()

    def take_oversize(self) -> bytes:
        """Give the frames whose packets are too large for any datagram, and forget them."""
        return self._builder.take_oversize()

    # --- Timers --------------------------------------------------------------------------

    def _loss_wait(self) -> float:
        """Tell how long after it left a transmission that was overtaken counts as lost."""
        smoothed = self._round_trip.smoothed / 1000
        wait = smoothed if smoothed > self._latest_rtt else self._latest_rtt
        slack = smoothed / 32
        if slack < _SLACK:
            slack = _SLACK
        elif slack > _LARGEST_SLACK:
            slack = _LARGEST_SLACK
        if self._reordering > 0:
            slack = self._reordering * 1.25 + _SLACK
        return wait + slack + self.repair_wait

    def _probe_at(self) -> float:
        """Tell when to probe because nothing is heard (PTO, RFC 9002 section 6.2)."""
        wait = (self._round_trip.timeout + self._told_ack_delay) / 1000 + self.repair_wait
        vain = self._probes_in_vain
        if vain > _PATIENT_PROBES:
            wait *= _MOST_BACKOFF * (1 << (vain - _PATIENT_PROBES if vain < 20 else 10))
        elif vain:
            wait *= _MOST_BACKOFF
        if wait > _MINUTE:
            wait = _MINUTE
        return self._transmissions.newest_sent_at + wait

    def next_timeout(self) -> float:
        """Tell when ``poll_datagrams`` next has something to do: inf if never.

        A time that is not in the future means at once.
        """
        sent = self._transmissions
        if self._builder.news():
            return self._now
        earliest = self._arrivals.due
        due = self._order.next_timeout()
        if due < earliest:
            earliest = due
        if sent.first < sent.next:
            due = sent.oldest_overtaken()
            due = due + self._loss_wait() if due >= 0 else self._probe_at()
            if due < earliest:
                earliest = due
        if self._window_open() and (
            self._bodies.lost or (not self._builder.dry and self._bodies.used < self._send_window)
        ):
            due = self._pacer.next_burst()
            if due < earliest:
                earliest = due
        return earliest

    def _window_open(self) -> bool:
        sent = self._transmissions
        return (
            sent.in_flight < self.congestion.window and sent.next - sent.first < self._send_window
        )

    # --- Sending -------------------------------------------------------------------------

    def charge_repair(self, size: int, now: float) -> None:
        """Account for ``size`` bytes of repair that leave beside the last datagrams.

        Headers of lower layers are included in ``size``.
        """
        self._pacer.charge(size)
        self._transmissions.attach(size)
        self._repairs += size

    def poll_datagrams(self, now: float) -> int:
        """Make the datagrams that are due; returns how many, at most 46. Call it until it gives 0.

        They lie back to back in ``datagrams``, their lengths are in ``sizes``, and
        ``important`` tells which hold packets worth protecting; all are overwritten by the
        next call. What was lost comes first, then what is new, then an acknowledgement if
        none of them had room for it.
        """
        self._now = now
        self._output_at = 0
        self._output_count = 0
        self._last_data = -1
        self._pacer.refill(self.congestion.pacing_rate, now)
        self._check_timers(now)
        # A burst may take more than one poll.
        if self._pacer.is_due():
            self._burst_at = now
        if self._burst_at == now:
            self._write_lost(now)
        while self._builder.news() and self._output_count < _BATCH - 1:
            self._transmit(self._builder.build_control(), 0, now)
        if self._burst_at == now:
            self._write_new(now)
        else:
            # Something may have come meanwhile: look when the burst is due.
            self._builder.dry = False
        if self._arrivals.due <= now:
            self._write_acknowledgement(now)
        self._datagrams_sent += self._output_count
        self._bytes_sent += self._output_at
        self._reclaim(now)
        return self._output_count

    def _check_timers(self, now: float) -> None:
        sent = self._transmissions
        if self._order.next_timeout() <= now:
            self._order.release_overdue(now)
        if sent.first == sent.next:
            return
        event = self._event
        oldest = sent.oldest_overtaken()
        if oldest >= 0 and oldest + self._loss_wait() <= now:
            event.clear(now)
            sent.detect_losses(now - self._loss_wait() + _EPSILON, event)
            if event.lost_packets:
                self.congestion.take_event(event)
        if sent.first < sent.next and sent.oldest_overtaken() < 0 and self._probe_at() <= now:
            self._probe(now)

    def _probe(self, now: float) -> None:
        """Send the oldest and the newest body under way once more, if they are of use."""
        sent = self._transmissions
        event = self._event
        self._probes_in_vain += 1
        slot = self._body_to_probe(sent.next - 1, now)
        newest = sent.next - 1
        event.clear(now)
        # What carries nothing of use any more needs no answer.
        oldest = -1
        while oldest < 0 and sent.first < sent.next:
            oldest = self._body_to_probe(sent.first, now)
            if oldest < 0:
                sent.give_up_first(event)
        if event.lost_packets:
            self.congestion.take_event(event)
        if oldest >= 0:
            self._transmit(oldest, _AT_ONCE, now)
            self._probes += 1
        if slot >= 0 and slot != oldest and sent.first < newest:
            self._transmit(slot, _AT_ONCE, now)
            self._probes += 1

    def _body_to_probe(self, number: int, now: float) -> int:
        slot = self._transmissions.body(number)
        if slot >= 0 and self._bodies.deadline[slot] < now:
            self._builder.give_up(slot)
            return -1
        return slot

    def _write_lost(self, now: float) -> None:
        bodies = self._bodies
        while (
            bodies.lost
            and self._output_count < _BATCH - 1
            and self._pacer.credit() > 0
            and self._window_open()
        ):
            slot = bodies.pop_lost()
            if slot < 0:
                break
            if bodies.deadline[slot] < now or self._builder.is_stale(slot):
                self._builder.give_up(slot)
            else:
                self._transmit(slot, 0, now)
                self._resent += 1

    def _write_new(self, now: float) -> None:
        sent = self._transmissions
        builder = self._builder
        while self._output_count < _BATCH - 1:
            credit = self._pacer.credit()
            if credit <= 0 or not self._window_open():
                return
            room = self._send_window - self._bodies.used
            if room <= 0:
                return
            if not builder.has_staged():
                if room > _BATCH - 1 - self._output_count:
                    room = _BATCH - 1 - self._output_count
                most = room * self.mtu
                if credit < most:
                    most = int(credit)
                if self.congestion.window - sent.in_flight < most:
                    most = self.congestion.window - sent.in_flight
                if most < 1:
                    most = 1
                if not builder.fetch(most, now):
                    self._end_burst(now)
                    return
            slot = builder.build(now)
            if slot >= 0:
                self._transmit(slot, 0, now)

    def _short_path(self) -> bool:
        return 0 < self._round_trip.smoothed < _SHORT_PATH

    def _end_burst(self, now: float) -> None:
        """There is nothing left to send: see to it that the last datagram is not lost unnoticed."""
        if not self._bodies.lost:
            self._transmissions.note_app_limited()
        if self._last_data < 0 or self._short_path():
            return
        if now - self._asked_at >= self._round_trip.smoothed / 4000:
            self._output[self._last_data] |= _AT_ONCE
            self._asked_at = now

    def _transmit(self, slot: int, flags: int, now: float) -> None:
        bodies = self._bodies
        output = self._output
        begin = self._output_at
        length = bodies.length[slot]
        at = begin + _HEADER
        arrived = self._arrivals
        flags |= _DATA
        room = self.mtu - _HEADER - length
        if room >= _LARGEST_ACK and arrived.wants_a_ride(self._short_path(), now):
            arrived.fill(self._acknowledgement, now)
            at = self._acknowledgement.write(output, at)
            flags |= _WITH_ACK
            self._acks_sent += 1
        body = slot * bodies.stride
        output[at : at + length] = bodies.data[body : body + length]
        at += length
        size = at - begin
        number = self._transmissions.add(slot, size + self._overhead, now)
        output[begin] = flags
        write24(output, begin + 1, number)
        self._pacer.charge(size + self._overhead)
        self._output_sizes[self._output_count] = size
        self._output_important[self._output_count] = bodies.important[slot]
        self._last_data = begin
        self._output_at = at
        self._output_count += 1

    def _write_acknowledgement(self, now: float) -> None:
        self._arrivals.fill(self._acknowledgement, now)
        begin = self._output_at
        self._output[begin] = _ACK
        self._output_at = self._acknowledgement.write(self._output, begin + 1)
        self._output_sizes[self._output_count] = self._output_at - begin
        self._output_important[self._output_count] = 0
        self._output_count += 1
        self._acks_sent += 1

    def _reclaim(self, now: float) -> None:
        if self._bodies.used or self._order.held:
            self._large_at = now
        elif now - self._large_at >= _IDLE_SHRINK:
            self._large_at = now
            self._bodies.shrink()
            self._transmissions.shrink()
            self._order.shrink()
            self._items.parts.shrink()

    # --- Accounts ------------------------------------------------------------------------

    def path_counters(self) -> tuple[int, int, int, int]:
        """Give what became of the datagrams sent up to the newest that was acknowledged.

        How many these are, how many of them the peer says came by themselves and how many
        repair made up, and how often a run of losses began.
        """
        sent = self._transmissions
        return sent.largest + 1, self._peer_arrived, self._peer_recovered, self._peer_gaps

    def statistics(self) -> DatagramStatistics:
        """Give all counters and the state at this moment."""
        sent = self._transmissions
        arrived = self._arrivals
        order = self._order
        builder = self._builder
        return DatagramStatistics(
            datagrams_sent=self._datagrams_sent,
            bytes_sent=self._bytes_sent,
            packets_sent=builder.packets,
            packet_bytes_sent=builder.packet_bytes,
            resent=self._resent,
            probes=self._probes,
            repair_bytes=self._repairs,
            acks_sent=self._acks_sent,
            lost=sent.lost,
            spurious_losses=sent.spurious,
            expired=builder.expired,
            skips_sent=builder.skips_sent,
            skips_dropped=builder.skips_dropped,
            oversize=builder.oversize,
            oversize_dropped=builder.oversize_dropped,
            malformed=builder.malformed,
            peer_expected=sent.largest + 1,
            peer_arrived=self._peer_arrived,
            peer_recovered=self._peer_recovered,
            peer_gaps=self._peer_gaps,
            peer_reordering=self._reordering,
            datagrams_received=self._datagrams_received,
            expected=arrived.highest + 1,
            arrived=arrived.arrived,
            recovered=arrived.recovered,
            gaps=arrived.gaps,
            late=arrived.late,
            duplicate_datagrams=arrived.duplicates,
            acks_received=self._acks_received,
            packets_received=order.packets,
            packet_bytes_received=order.bytes,
            duplicate_packets=order.duplicates,
            late_packets=order.late,
            abandoned_gaps=order.abandoned,
            abandoned_parts=self._items.parts.evictions,
            held_packets=order.held,
            bad_kind=self._bad_kind,
            bad_format=self._bad_format,
            bad_number=self._bad_number,
            bad_acknowledgement=self._bad_acknowledgement,
            in_flight=sent.next - sent.first,
            in_flight_bytes=sent.in_flight,
            smoothed_rtt=self._round_trip.smoothed / 1000,
            rtt_variation=self._round_trip.variation / 1000,
            congestion=self.congestion.statistics(),
        )
