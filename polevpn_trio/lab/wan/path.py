# cython: annotation_typing=False
"""One direction of an emulated path, without I/O: which packets arrive at the far end, and when.

The bottleneck is a fluid: a virtual clock tells when it will have sent a packet, so nothing here
runs at the link's rate, and whoever calls late does not slow the link down.
"""

from __future__ import annotations

import math
import random
from array import array
from heapq import heappop, heappush

import attrs

from polevpn_trio.lab.wan.conditions import Conditions

LATENESS_BUCKETS = 24
"""Powers of two of a microsecond, up to eight seconds."""

_NEVER = math.inf
_LAST_BUCKET = LATENESS_BUCKETS - 1


@attrs.frozen
class PathStatistics:
    """Counts since the start. Bytes are those on the wire, framing included."""

    packets_in: int
    bytes_in: int
    packets_out: int
    """Packets that left at the far end, duplicates among them."""
    bytes_out: int
    lost_outage: int
    lost_policer: int
    lost_knee: int
    lost_queue: int
    """Packets that found the queue full."""
    lost_random: int
    lost_bursts: int
    duplicated: int
    overtaken: int
    """Packets that leave before one that came in earlier."""
    in_flight: int
    """Packets in the queue or on their way now."""
    queue_high_water_bytes: int
    queue_high_water_seconds: float
    """Longest time between a packet's arrival and the end of its transmission."""
    late: tuple[int, ...]
    """How late packets were polled: entry N counts those less than 2**N microseconds late."""

    @property
    def lost(self) -> int:
        """Packets lost by any cause."""
        return (
            self.lost_outage
            + self.lost_policer
            + self.lost_knee
            + self.lost_queue
            + self.lost_random
            + self.lost_bursts
        )

    def late_percentile(self, percent: float) -> float:
        """Seconds that ``percent`` of the packets were at most late, rounded up to the bucket."""
        rank = math.ceil(percent / 100 * sum(self.late))
        counted = 0
        for power, count in enumerate(self.late):
            counted += count
            if counted >= max(rank, 1):
                return float(2**power) * 1e-6
        return 0.0


class Path:
    """A queue, a bottleneck and a long way behind it, as `Conditions` say.

    Give packets by `receive_packets` as they come in, and take those that have arrived by
    `poll_packets`, at the time that `poll_timeout` tells or a little later. ``chance`` is the
    only source of randomness: the same calls with the same seed lose the same packets.
    """

    def __init__(self, conditions: Conditions, chance: random.Random, now: float) -> None:
        self._random = chance.random
        self._on_the_way: list[tuple[float, int, bytes]] = []
        self._number = 0
        self._backlog = 0.0
        self._served_until = now
        self._last_due = 0.0
        self.packets_in = 0
        self.bytes_in = 0
        self.packets_out = 0
        self.bytes_out = 0
        self.lost_outage = 0
        self.lost_policer = 0
        self.lost_knee = 0
        self.lost_queue = 0
        self.lost_random = 0
        self.lost_bursts = 0
        self.duplicated = 0
        self.overtaken = 0
        self._high_water_bits = 0.0
        self._high_water_seconds = 0.0
        self._late = array("q", bytes(8 * LATENESS_BUCKETS))
        self.change(conditions, now)

    def change(self, conditions: Conditions, now: float) -> None:
        """Go on under other conditions, and start their clock; packets on the way stay there."""
        self._serve(now)
        self._framing = conditions.framing
        self._limit_bits = conditions.queue_limit * 8
        self._delay = conditions.delay
        self._jitter = conditions.jitter
        self._reorder = conditions.reorder
        self._loss = conditions.loss
        self._duplicate = conditions.duplicate
        self._set_rates(conditions)
        self._set_bursts(conditions)
        self._set_outages(conditions)
        self._set_policer(conditions, now)
        self._set_knee(conditions, now)
        self.restart(now)

    def restart(self, now: float) -> None:
        """Start the clock of outages and steps of the rate anew."""
        self._serve(now)
        self._start = now
        self._step = 0

    def _set_rates(self, conditions: Conditions) -> None:
        steps = conditions.rate_steps
        self._has_rate = conditions.rate is not None
        # Piece N of the schedule has rate N, until the time N after the start.
        self._rates = array("d", [conditions.rate or 0.0, *(rate for _, rate in steps)])
        self._ends = array("d", [*(time for time, _ in steps), _NEVER])
        self._step = 0

    def _set_bursts(self, conditions: Conditions) -> None:
        bursts = conditions.bursts
        self._has_bursts = bursts is not None
        self._is_bad = False
        self._to_bad = bursts.to_bad if bursts else 0.0
        self._to_good = bursts.to_good if bursts else 0.0
        self._loss_good = bursts.loss_good if bursts else 0.0
        self._loss_bad = bursts.loss_bad if bursts else 0.0

    def _set_outages(self, conditions: Conditions) -> None:
        outages = conditions.outages
        self._outage_first = outages.first if outages else _NEVER
        self._outage_period = outages.period if outages else 1.0
        self._outage_length = outages.length if outages else 0.0

    def _set_policer(self, conditions: Conditions, now: float) -> None:
        policer = conditions.policer
        self._has_policer = policer is not None
        self._token_rate = policer.rate if policer else 0.0
        self._token_limit = policer.burst * 8.0 if policer else 0.0
        self._tokens = self._token_limit
        self._tokens_at = now

    def _set_knee(self, conditions: Conditions, now: float) -> None:
        knee = conditions.knee
        points = knee.points if knee else ()
        self._knee_points = len(points)
        self._knee_rates = array("d", [rate for rate, _ in points])
        self._knee_losses = array("d", [loss for _, loss in points])
        self._knee_average = knee.average if knee else 1.0
        self._offered = 0.0
        self._offered_at = now

    def _draw(self) -> float:
        return self._random()

    # --- In

    def receive_packets(self, packets: list[bytes], now: float) -> None:
        """Take packets that come in at ``now``, in this order; they are kept, not copied."""
        self._serve(now)
        for packet in packets:
            size = len(packet) + self._framing
            bits = size * 8.0
            self.packets_in += 1
            self.bytes_in += size
            if self._is_out(now):
                self.lost_outage += 1
            elif self._has_policer and not self._has_tokens(bits, now):
                self.lost_policer += 1
            elif self._knee_points and self._draw() < self._loss_at_knee(bits, now):
                self.lost_knee += 1
            elif self._backlog + bits > self._limit_bits and self._backlog > 0.0:
                self.lost_queue += 1
            else:
                sent = self._transmit(bits, now)
                if self._loss > 0.0 and self._draw() < self._loss:
                    self.lost_random += 1
                elif self._has_bursts and self._is_lost_in_burst():
                    self.lost_bursts += 1
                else:
                    self._carry(packet, sent)
                    if self._duplicate > 0.0 and self._draw() < self._duplicate:
                        self.duplicated += 1
                        self._carry(packet, sent)

    def _is_out(self, now: float) -> bool:
        since = now - self._start - self._outage_first
        if since < 0.0:
            return False
        periods = math.floor(since / self._outage_period)
        return since - periods * self._outage_period < self._outage_length

    def _has_tokens(self, bits: float, now: float) -> bool:
        tokens = self._tokens + (now - self._tokens_at) * self._token_rate
        if tokens > self._token_limit:
            tokens = self._token_limit
        self._tokens_at = now
        enough = tokens >= bits
        self._tokens = tokens - bits if enough else tokens
        return enough

    def _loss_at_knee(self, bits: float, now: float) -> float:
        age = (now - self._offered_at) / self._knee_average
        self._offered_at = now
        self._offered = self._offered * math.exp(-age) + bits / self._knee_average
        offered = self._offered
        above = 0
        while above < self._knee_points and self._knee_rates[above] < offered:
            above += 1
        if above == 0:
            return self._knee_losses[0]
        low = self._knee_losses[above - 1]
        if above == self._knee_points:
            return low
        left = self._knee_rates[above - 1]
        share = (offered - left) / (self._knee_rates[above] - left)
        return low + share * (self._knee_losses[above] - low)

    def _is_lost_in_burst(self) -> bool:
        if self._is_bad:
            self._is_bad = self._draw() >= self._to_good
        else:
            self._is_bad = self._draw() < self._to_bad
        loss = self._loss_bad if self._is_bad else self._loss_good
        return loss >= 1.0 or (loss > 0.0 and self._draw() < loss)

    # --- The bottleneck

    def _serve(self, now: float) -> None:
        """Let the bottleneck work until ``now``: fewer bits wait then."""
        while self._served_until < now:
            if not self._has_rate:
                self._backlog = 0.0
                self._served_until = now
                return
            end = self._start + self._ends[self._step]
            if end > now:
                end = now
            self._backlog -= (end - self._served_until) * self._rates[self._step]
            if self._backlog < 0.0:
                self._backlog = 0.0
            self._served_until = end
            if end < now:
                self._step += 1

    def _transmit(self, bits: float, now: float) -> float:
        """Put a packet into the queue; return when its last bit will have been sent."""
        if not self._has_rate:
            return now
        self._backlog += bits
        if self._backlog > self._high_water_bits:
            self._high_water_bits = self._backlog
        left = self._backlog
        at = now
        step = self._step
        while True:
            rate = self._rates[step]
            end = self._start + self._ends[step]
            if left <= (end - at) * rate:
                break
            if end > at:
                left -= (end - at) * rate
                at = end
            step += 1
        at += left / rate
        if at - now > self._high_water_seconds:
            self._high_water_seconds = at - now
        return at

    # --- The way behind it

    def _carry(self, packet: bytes, sent: float) -> None:
        due = sent + self._delay
        if self._jitter > 0.0:
            due += (2.0 * self._draw() - 1.0) * self._jitter
            if due < self._last_due:
                if self._reorder:
                    self.overtaken += 1
                else:
                    due = self._last_due
        if due > self._last_due:
            self._last_due = due
        self._number += 1
        heappush(self._on_the_way, (due, self._number, packet))

    # --- Out

    def poll_timeout(self) -> float:
        """When the next packet arrives; infinity if none is on the way."""
        return self._on_the_way[0][0] if self._on_the_way else _NEVER

    def poll_packets(self, now: float) -> list[bytes]:
        """Take the packets that have arrived by ``now``, in the order of arrival."""
        packets: list[bytes] = []
        while self._on_the_way:
            due = self._on_the_way[0][0]
            if due > now:
                break
            packet = heappop(self._on_the_way)[2]
            self._note_lateness(now - due)
            self.packets_out += 1
            self.bytes_out += len(packet) + self._framing
            packets.append(packet)
        return packets

    def _note_lateness(self, seconds: float) -> None:
        bucket = 0
        bound = 1e-6
        while seconds >= bound and bucket < _LAST_BUCKET:
            bound *= 2.0
            bucket += 1
        self._late[bucket] += 1

    def statistics(self) -> PathStatistics:
        return PathStatistics(
            packets_in=self.packets_in,
            bytes_in=self.bytes_in,
            packets_out=self.packets_out,
            bytes_out=self.bytes_out,
            lost_outage=self.lost_outage,
            lost_policer=self.lost_policer,
            lost_knee=self.lost_knee,
            lost_queue=self.lost_queue,
            lost_random=self.lost_random,
            lost_bursts=self.lost_bursts,
            duplicated=self.duplicated,
            overtaken=self.overtaken,
            in_flight=len(self._on_the_way),
            queue_high_water_bytes=math.ceil(self._high_water_bits / 8),
            queue_high_water_seconds=self._high_water_seconds,
            late=tuple(self._late),
        )
