"""A plain TCP with BBR, version 1 (draft-cardwell-iccrg-bbr-congestion-control-00), as far as
rates go.

Numbers count segments. Losses are found as with perfect SACK on a path that keeps the order, or
when nothing comes back for long; what is lost counts, but is not sent again. Each round trip
with a loss begins with packet conservation, and segments leave in bursts of a millisecond, both
as in Linux.
"""

from __future__ import annotations

import math
import struct
from collections import deque

import attrs

from tests.kcp.datagram.shared_path import Host
from tests.kcp.datagram.tunnel import FULL_PACKET, World, tcp_segment

ACK_BYTES = 40
STARTUP_GAIN = 2.885
WINDOW_GAIN = 2.0
CYCLE = (1.25, 0.75, 1, 1, 1, 1, 1, 1)
PACING_MARGIN = 0.99
RATE_ROUNDS = 10
MIN_RTT_WINDOW = 10.0
PROBE_RTT_TIME = 0.2
FIRST_WINDOW = 10.0
LEAST_WINDOW = 4.0
BURST_TIME = 0.001
LEAST_BURST = 2
TIMEOUT = 0.3


@attrs.frozen
class _Flying:
    """A segment under way, and how things were when it left."""

    number: int
    sent_at: float
    acked: int
    acked_at: float
    newest_sent_at: float
    """When the newest segment left that had been acknowledged."""


class PlainBbr:
    """A transfer without end from ``near`` to its peer. ``acked`` counts segments."""

    def __init__(self, world: World, near: Host) -> None:
        self.acked = 0
        self._world = world
        self._near = near
        self._next = 0
        self._flying: deque[_Flying] = deque()
        self._acked_at = self._newest_sent_at = world.now
        # The round each sample is of, and segments per second, falling.
        self._rates: deque[tuple[int, float]] = deque()
        self._min_rtt = math.inf
        self._min_rtt_at = world.now
        self._rounds = 0
        self._round_end = 0
        self._full_rate = 0.0
        self._full_rounds = 0
        self._state = "startup"
        self._window = FIRST_WINDOW
        self._window_before = FIRST_WINDOW
        self._conserve_until = -1
        self._cycle = 0
        self._cycle_at = 0.0
        self._probe_done = math.inf
        self._probe_round = 0
        self._next_burst = world.now
        self._timer = math.inf
        self._stopped = False
        self._heard = world.now
        near.peer.on_packet = lambda packet: near.peer.send(packet[:ACK_BYTES])
        near.on_packet = self._take_ack
        self._send()
        world.every(0.05, self._look_at_clock)

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True

    def _rate(self) -> float:
        return self._rates[0][1] if self._rates else 0.0

    def _bdp(self) -> float:
        return self._rate() * self._min_rtt

    def _take_ack(self, packet: bytes) -> None:
        (number,) = struct.unpack_from("!I", packet, 24)
        now = self._heard = self._world.now
        lost = False
        while self._flying and self._flying[0].number <= number:
            segment = self._flying.popleft()
            if segment.number < number:
                lost = True
                continue
            self.acked += 1
            self._acked_at = now
            self._newest_sent_at = segment.sent_at
            self._measure(segment, now)
            self._set_window(number, lost)
        self._send()

    def _measure(self, segment: _Flying, now: float) -> None:
        rtt = now - segment.sent_at
        if segment.number >= self._round_end:
            self._round_end = self._next
            self._rounds += 1
            self._look_whether_full()
        interval = max(now - segment.acked_at, segment.sent_at - segment.newest_sent_at)
        if interval >= self._min_rtt or not self._rates:
            sample = (self.acked - segment.acked) / max(interval, rtt)
            while self._rates and self._rates[-1][1] <= sample:
                self._rates.pop()
            self._rates.append((self._rounds, sample))
        while self._rates[0][0] < self._rounds - RATE_ROUNDS:
            self._rates.popleft()
        expired = now - self._min_rtt_at > MIN_RTT_WINDOW
        if rtt <= self._min_rtt or expired:
            self._min_rtt = rtt
            self._min_rtt_at = now
        self._move(now, expired)

    def _look_whether_full(self) -> None:
        if self._full_rounds >= 3:
            return
        if self._rate() >= 1.25 * self._full_rate:
            self._full_rate = self._rate()
            self._full_rounds = 0
        else:
            self._full_rounds += 1
        if self._full_rounds >= 3:
            self._state = "drain"

    def _move(self, now: float, expired: bool) -> None:
        flying = len(self._flying)
        if expired and self._state != "probe_rtt":
            self._state = "probe_rtt"
            self._window_before = self._window
            self._probe_done = math.inf
        elif self._state == "drain" and flying <= self._bdp():
            self._begin_cycle(now)
        elif self._state == "probe_bw":
            gain = CYCLE[self._cycle]
            over = now - self._cycle_at > self._min_rtt
            if gain > 1:
                full = flying >= gain * self._bdp() - self._burst()
                over = over and (full or self._conserve_until >= 0)
            elif gain < 1:
                over = over or flying <= self._bdp()
            if over:
                self._cycle = (self._cycle + 1) % len(CYCLE)
                self._cycle_at = now
        elif self._state == "probe_rtt":
            if self._probe_done == math.inf:
                if flying <= LEAST_WINDOW:
                    self._probe_done = now + PROBE_RTT_TIME
                    self._round_end = self._next
                    self._probe_round = self._rounds + 1
            elif now > self._probe_done and self._rounds >= self._probe_round:
                self._min_rtt_at = now
                self._window = max(self._window, self._window_before)
                self._begin_cycle(now)

    def _begin_cycle(self, now: float) -> None:
        self._state = "probe_bw"
        # Any but that of 0.75.
        self._cycle = self._world.chance.choice((0, 2, 3, 4, 5, 6, 7))
        self._cycle_at = now

    def _set_window(self, number: int, lost: bool) -> None:
        flying = len(self._flying)
        if lost and self._conserve_until < 0:
            self._conserve_until = self._next
            self._window_before = self._window
            self._window = flying + 1.0
        elif self._conserve_until >= 0 and number >= self._conserve_until:
            self._conserve_until = -1
            self._window = max(self._window, self._window_before)
        if self._conserve_until >= 0:
            self._window = max(self._window, flying + 1.0)
        else:
            gain = STARTUP_GAIN if self._state in ("startup", "drain") else WINDOW_GAIN
            target = gain * self._bdp() + 3 * self._burst()
            if self._full_rounds >= 3:
                self._window = min(self._window + 1, target)
            elif self._window < target:
                self._window += 1
        self._window = max(self._window, LEAST_WINDOW)
        if self._state == "probe_rtt":
            self._window = LEAST_WINDOW

    def _pacing(self) -> float:
        if not self._rates:
            return STARTUP_GAIN * FIRST_WINDOW / 0.001
        gain = {
            "startup": STARTUP_GAIN,
            "drain": 1 / STARTUP_GAIN,
            "probe_bw": CYCLE[self._cycle],
            "probe_rtt": 1.0,
        }[self._state]
        return PACING_MARGIN * gain * self._rate()

    def _burst(self) -> int:
        return max(LEAST_BURST, int(self._pacing() * BURST_TIME))

    def _send(self) -> None:
        if self._stopped:
            return
        now = self._world.now
        room = min(int(self._window) - len(self._flying), self._burst())
        if room > 0 and now >= self._next_burst:
            if not self._flying:
                self._acked_at = self._newest_sent_at = now
            numbers = range(self._next, self._next + room)
            self._next += room
            self._flying.extend(
                _Flying(number, now, self.acked, self._acked_at, self._newest_sent_at)
                for number in numbers
            )
            self._near.send(*(tcp_segment(1, number, FULL_PACKET) for number in numbers))
            self._next_burst = now + room / self._pacing()
        if len(self._flying) < int(self._window) and self._next_burst < self._timer:
            self._timer = self._next_burst
            self._world.at(self._timer, self._on_timer)

    def _look_at_clock(self) -> None:
        if self._flying and self._world.now - self._heard > TIMEOUT:
            self._heard = self._world.now
            self._flying.clear()
            self._send()

    def _on_timer(self) -> None:
        if self._world.now >= self._timer:
            self._timer = math.inf
            self._send()
