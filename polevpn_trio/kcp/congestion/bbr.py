# cython: annotation_typing=False
"""Congestion control by a model of the path, in the manner of BBR.

Two things are estimated: the rate at which the path delivers, and its round trip without a
queue. Sending goes at that rate, with about one round trip's worth under way, and now and then
a little faster (UP) to see whether there is more. The states and the round counting are those
of BBRv3 (draft-ietf-ccwg-bbr); three things are different, because the paths we are made for
lose packets for no reason of ours:

* **Loss is compared, not counted.** Some loss is there whatever we do. How much is measured
  while we send less than the path can carry (DOWN). Only loss beyond that, at a higher rate,
  counts as congestion, and lowers a ceiling on the rate; the measure allows for chance. A
  policer shows itself so within a round trip, and random loss of 40 % changes nothing.
* **The rate makes up for random loss.** What is delivered is less than what the path could
  carry by the loss that was measured at the lower rate, so sending goes that much faster.
  Loss of our own making is not there at the lower rate, hence cannot feed itself.
* **A queue is seen, not awaited.** The receiver's clock tells how much longer datagrams take in
  our direction than they did at best. Startup ends as soon as a queue stands, UP likewise, and
  a steady queue is worked off by pacing a little below the estimate.
* **A queue that others keep is left alone.** While one stands that PROBE_RTT does not find to be
  the path itself, COMPETE sends as BBR version 1 does, whatever the queue (`competition.py`).
"""

from __future__ import annotations

import math
import random

from polevpn_trio.kcp.congestion.base import AckEvent, CongestionControl
from polevpn_trio.kcp.congestion.base_loss import BaseLoss
from polevpn_trio.kcp.congestion.competition import CALM_TIME, COMPETE_LOSS, Competition
from polevpn_trio.kcp.congestion.windowed_filter import WindowedMinimum

STARTUP, DRAIN, DOWN, CRUISE, UP, PROBE_RTT, COMPETE = range(7)
PHASES = ("startup", "drain", "down", "cruise", "up", "probe_rtt", "compete")

STARTUP_GAIN = 2.77
BURST_GAIN = 16.0
"""Pacing in STARTUP, in windows per round trip, while there is less to send than might be."""
DOWN_GAIN = 0.8
MEASURE_GAIN = 0.92
"""Pacing in DOWN once the queue is gone: low enough to be free of loss of our own making."""
UP_GAIN = 1.25
UP_QUEUE = 0.007
"""Seconds of queue that UP may make in the round trip until it sees it; less gain on long paths."""
LEAST_UP_GAIN = 1.06
FASTER_GAIN = 1.6
"""Pacing in UP once two round trips have shown that the path gives more."""
CRUISE_GAIN = 0.99
LEAST_TRIM = 0.85
"""Least pacing while a queue is worked off that should not stand."""
TRIM_ROUNDS = 1.5
"""Round trips in which it is worked off."""
QUEUE_SHARE = 0.125
UP_QUEUE_SHARE = 0.0625
"""Of the round trip; a queue longer than that counts. In UP one is awaited, so it counts sooner."""
STANDING_JITTER = 0.5
QUEUE_JITTER = 1.0
"""How many times the jitter is allowed for where a queue is looked for: the least of a round trip's
delays is hardly touched by it, the least of a few is."""
WINDOW_GAIN = 2.0

INITIAL_PACKETS = 32
LEAST_PACKETS = 4
SLACK_PACKETS = 4
"""Datagrams under way beyond the model, so that acknowledging many at once stalls nothing."""
SLACK_TIME = 0.006
"""Seconds' worth under way beyond the model, for the same reason on short paths."""

CRUISE_TIME = 1.5
"""Seconds from one UP to the next at least; up to half of it is added at random, so that two
tunnels on one path do not probe in step."""

IDLE_SHARE = 0.5
"""Share of the rate below which a round trip with too little to send proves nothing."""
IDLE_ROUNDS = 4
"""Round trips after one with too little to send until UP, if then there is enough."""

FULL = 0.9
"""Share of the rate from which on a path counts as full: a TCP inside leaves a little unused."""

MIN_RTT_WINDOW = 15.0
PROBE_RTT_INTERVAL = 10.0
"""Seconds without a round trip near the least after which the queue is emptied to see it."""
PROBE_RTT_TIME = 0.1
FAR_ROUNDS = 10
FAR_TIME = 0.5
"""Round trips, and seconds, after which that is done if all of them took far longer than the
least, or longer though we send less than the path takes: either a queue stands that is not
ours, or the path has become longer, and then the model keeps too little under way."""

LEAST_CUT = 0.7
"""Share of the rate that is left at least when loss of our own making is first seen."""
FURTHER_CUT = 0.85
CUT_TIME = 0.2
"""Seconds, at least, that a cut has to show an effect: some policers average as long."""
CONTRAST_RATE = 0.55
"""Share of the rate, at loss first seen, down to which is cut to find out whose making it is."""
CONTRAST_LOSS = 0.7
"""Share of the loss first seen; if more is left at the lower rate, it is not ours."""
LOW_TIME = 0.3
"""Seconds that DOWN goes on at most to learn what is lost at a low rate."""
LONGEST_DOWN = 1.5

_STARTUP, _DRAIN, _DOWN, _CRUISE, _UP, _PROBE_RTT, _COMPETE = range(7)
_STARTUP_GAIN, _BURST_GAIN = STARTUP_GAIN, BURST_GAIN
_DOWN_GAIN, _MEASURE_GAIN = DOWN_GAIN, MEASURE_GAIN
_UP_GAIN = UP_GAIN
_UP_QUEUE = UP_QUEUE
_LEAST_UP_GAIN = LEAST_UP_GAIN
_FASTER_GAIN = FASTER_GAIN
_CRUISE_GAIN = CRUISE_GAIN
_LEAST_TRIM = LEAST_TRIM
_TRIM_ROUNDS = TRIM_ROUNDS
_QUEUE_SHARE = QUEUE_SHARE
_UP_QUEUE_SHARE = UP_QUEUE_SHARE
_STANDING_JITTER = STANDING_JITTER
_QUEUE_JITTER = QUEUE_JITTER
_WINDOW_GAIN = WINDOW_GAIN
_INITIAL_PACKETS = INITIAL_PACKETS
_LEAST_PACKETS = LEAST_PACKETS
_SLACK_PACKETS = SLACK_PACKETS
_SLACK_TIME = SLACK_TIME
_CRUISE_TIME = CRUISE_TIME
_IDLE_SHARE = IDLE_SHARE
_IDLE_ROUNDS = IDLE_ROUNDS
_FULL = FULL
_PROBE_RTT_INTERVAL = PROBE_RTT_INTERVAL
_PROBE_RTT_TIME = PROBE_RTT_TIME
_FAR_ROUNDS, _FAR_TIME = FAR_ROUNDS, FAR_TIME
_LEAST_CUT = LEAST_CUT
_FURTHER_CUT = FURTHER_CUT
_CUT_TIME = CUT_TIME
_CONTRAST_RATE = CONTRAST_RATE
_CONTRAST_LOSS = CONTRAST_LOSS
_LOW_TIME = LOW_TIME
_LONGEST_DOWN = LONGEST_DOWN
_CALM_TIME = CALM_TIME
_COMPETE_LOSS = COMPETE_LOSS
_LEAST_RTT = 1e-5
_NEVER = math.inf


class Bbr(CongestionControl):
    """See the module. ``packet`` is the size of a full datagram on the wire, in bytes.

    ``loss`` knows the share of datagrams that are lost however slowly we send.
    """

    def __init__(self, packet: int, chance: random.Random) -> None:
        super().__init__()
        self.phase = STARTUP
        self.loss = BaseLoss()
        self._competition = Competition()
        self._chance = chance
        self._packet = packet
        self._min_rtt = WindowedMinimum(MIN_RTT_WINDOW)
        self._min_delay = WindowedMinimum(MIN_RTT_WINDOW)
        self._near_min_at = -1.0
        # Round trips in a row that took longer than the model explains.
        self._far_rounds = 0
        # The queue seen of late: the least of this part of a round trip and the part before.
        self._queue = 0.0
        self._part_queue = _NEVER
        self._part_end = 0.0
        self._last_delay = math.nan
        # How much the delay varies by itself: only its falls count, since a queue makes it rise.
        self._jitter = 0.0
        self._rate_now = 0.0
        self._rate_before = 0.0
        self._ceiling = _NEVER
        # Cuts in a row that are not judged yet.
        self._cuts = 0
        self._cut_at = 0.0
        self._ceiling_before = _NEVER
        self._rate_at_cut = 0.0
        self._loss_at_cut = 0.0
        self._full_rate = 0.0
        self._full_rounds = 0
        self._cruise_gain = CRUISE_GAIN

        # Whether there was too little to send in the last round trip.
        self._limited = True
        # Whether bursts have been too much for the path.
        self._spreading = False
        # Whether the rate was cut after such bursts, to an average that tells little of the path.
        self._cut_at_average = False

        # The round trip that is going on.
        self._round_end = 0
        self._rounds = 0
        self._round_rate = 0.0
        self._round_limited = False
        self._round_queue = _NEVER
        self._round_rtt = _NEVER
        # The least pacing in this round trip and in the one before.
        self._round_pacing = _NEVER
        self._pacing_before = _NEVER
        self._smooth_rate = 0.0
        self._smooth_at = 0.0

        # The phase that is going on.
        self._phase_at = 0.0
        self._phase_rounds = 0
        self._phase_rate = 0.0
        self._phase_rate_before = 0.0
        self._queue_before = 0.0
        self._probe_up_at = 0.0
        self._probe_rtt_done = 0.0
        self._probed_rtt = _NEVER
        self._probed_delay = _NEVER
        self._probed_at = -_NEVER
        self._learned = False
        self.window = INITIAL_PACKETS * packet
        self.pacing_rate = self.window / 0.020

    def rate(self) -> float:
        """Give the rate at which the path is thought to deliver, in bytes per second."""
        best = self._rate_now if self._rate_now > self._rate_before else self._rate_before
        return best if best < self._ceiling else self._ceiling

    def least_rtt(self) -> float:
        """Give the round trip without a queue of ours, in seconds; 0 before the first."""
        if self._min_rtt.value == _NEVER:
            return 0.0
        others = self._competition.queue if self.phase == _COMPETE else 0.0
        return self._min_rtt.value + others

    def headroom(self) -> float:
        """Give the share of the path's rate that was not in use of late; 1 if that is unknown."""
        rate = self.rate()
        if self.phase == _STARTUP or rate <= 0:
            return 1.0
        unused = _FULL - self._smooth_rate / rate
        return unused if unused > 0 else 0.0

    def take_event(self, event: AckEvent) -> None:
        """Learn what was acknowledged and what was lost."""
        now = event.now
        if event.rtt >= 0:
            self._min_rtt.add(event.rtt if event.rtt > _LEAST_RTT else _LEAST_RTT, now)
            if event.rtt <= self._min_rtt.value * 1.03 + 0.0005:
                self._near_min_at = now
            if event.rtt < self._round_rtt:
                self._round_rtt = event.rtt
            if event.one_way == event.one_way:
                self._min_delay.add(event.one_way, now)
                self._take_queue(event.one_way, now)
        # The first round trip of a phase tells of the phase before.
        if self._phase_rounds or self.phase == _STARTUP or self.phase == _CRUISE:
            lost = event.lost_packets + event.recovered_packets - event.spurious_packets
            sent = event.new_packets + event.lost_packets
            self.loss.add(sent, lost, event.lost_runs + event.recovered_runs)
        if event.rate > 0:
            self._take_rate(event.rate, event.app_limited, now)
        if event.newest >= 0 and event.sent_delivered >= self._round_end:
            self._round_end = event.delivered
            self._end_round(event)
        elif self.phase == _UP:
            self._watch_up(event)
        elif self.phase == _STARTUP and self._queue > self._queue_limit(_QUEUE_SHARE, 0.004):
            self._enter(_DRAIN, event)
        elif self.phase == _CRUISE and self._has_risen(_QUEUE_SHARE, 0.015):
            self._enter(_DOWN, event)
        self._advance(event)
        self._set_limits(event)

    def _take_queue(self, delay: float, now: float) -> None:
        fall = self._last_delay - delay
        self._last_delay = delay
        if fall == fall:
            self._jitter += ((2 * fall if fall > 0 else 0.0) - self._jitter) / 16
        queue = delay - self._min_delay.value
        if queue < self._round_queue:
            self._round_queue = queue
        if now >= self._part_end:
            part = self._min_rtt.value / 8
            self._part_end = now + (part if part > 0.002 else 0.002)
            self._queue = queue if self._part_queue == _NEVER else self._part_queue
            self._part_queue = queue
        elif queue < self._part_queue:
            self._part_queue = queue
        if queue < self._queue:
            self._queue = queue

    def _queue_limit(self, share: float, least: float) -> float:
        """Tell from how many seconds on a queue is more than acknowledging in bulk explains.

        ``share`` of the round trip, but ``least`` seconds at least.
        """
        limit = self._min_rtt.value * share
        if limit > 0.020:
            limit = 0.020
        if limit < least:
            limit = least
        rate = self.rate()
        if rate > 0:
            limit += 3 * self._packet / rate
        return limit + _QUEUE_JITTER * self._jitter

    def _has_risen(self, share: float, least: float) -> bool:
        """Tell whether the queue has become longer in this phase, by more than the limit."""
        return self._queue - self._queue_before > self._queue_limit(share, least)

    def _take_rate(self, sample: float, limited: bool, now: float) -> None:
        # Jitter makes single samples too high as often as too low, and the highest would count:
        # so they are averaged over a quarter of a round trip first.
        weight = 4 * (now - self._smooth_at) / self._min_rtt.value
        self._smooth_at = now
        if weight < 1 and self.phase != _STARTUP:
            sample = self._smooth_rate + weight * (sample - self._smooth_rate)
        self._smooth_rate = sample
        if sample > self._round_rate:
            self._round_rate = sample
        if limited:
            self._round_limited = True
        if sample > self._rate_now and (not limited or sample > self.rate()):
            self._rate_now = sample

    # --- Loss ----------------------------------------------------------------------------

    def _cut(self, now: float) -> None:
        """Take what was delivered in this round for the most there is, until DOWN tells more."""
        rate = self.rate()
        if self._cuts == 0:
            self._ceiling_before = self._ceiling
            self._rate_at_cut = rate
            self._loss_at_cut = self.loss.sample_share()
        self._cuts += 1
        self._cut_at = now
        ceiling = self._round_rate if self._round_rate < rate else rate
        # One bad sample proves only so much.
        self._ceiling = ceiling if ceiling > _LEAST_CUT * rate else _LEAST_CUT * rate

    def _judge_cut(self, now: float) -> None:
        """See what sending less has changed.

        If the loss is gone, it was of our making. If not, cut further until the rate differs
        enough: if about as much is lost still, it is not of our making, and the cuts are taken
        back.
        """
        rate = self.rate()
        if not self.loss.is_exceeded():
            self._cuts = 0
            self.loss.learn()
            self._learned = True
        elif rate > _CONTRAST_RATE * self._rate_at_cut:
            self._ceiling = rate * _FURTHER_CUT
            self._cuts += 1
            self._cut_at = self._phase_at = now
            self._phase_rounds = 0
        else:
            if self.loss.sample_share() > _CONTRAST_LOSS * self._loss_at_cut:
                self._ceiling = self._ceiling_before
            self._cuts = 0
            self.loss.replace()
            self._learned = True

    def _raise_ceiling(self) -> None:
        """Take back cuts as far as a round without loss of our making shows them wrong."""
        if self._ceiling < self._round_rate:
            self._ceiling = self._round_rate

    # --- Rounds --------------------------------------------------------------------------

    def _end_round(self, event: AckEvent) -> None:
        now = event.now
        queue = self._round_queue if self._round_queue < _NEVER else 0.0
        min_rtt = self._min_rtt.value
        self._rounds += 1
        self._phase_rounds += 1
        phase = self.phase
        if phase == _STARTUP:
            self._end_round_of_startup(queue, now)
        elif phase == _DOWN:
            # The first round trip tells of what was sent before.
            if self._phase_rounds >= 2:
                if self._is_slower(queue):
                    self._slow_down()
                    self.loss.begin()
                elif queue < self._standing_queue():
                    self._look_at_loss_when_low(now)
                elif self._phase_rounds % 6 == 0 and now - self._phase_at >= _LOW_TIME:
                    # We send less than is delivered, or so it seems, and yet a queue stands.
                    self.loss.doubt()
        elif phase == _CRUISE:
            if self._phase_rounds >= 2:
                # Far below the rate of the model, loss says nothing about the model.
                idle = self._round_limited and self._round_rate < _IDLE_SHARE * self.rate()
                if self._is_slower(queue):
                    self._slow_down()
                    self._enter(_DOWN, event)
                elif self.loss.is_enough():
                    if not idle and self.loss.is_exceeded():
                        self._cut(now)
                        self._enter(_DOWN, event)
                    else:
                        self.loss.begin()
            if self._round_limited and now + _IDLE_ROUNDS * min_rtt < self._probe_up_at:
                self._probe_up_at = now + _IDLE_ROUNDS * min_rtt
            self._cruise_gain = _CRUISE_GAIN
            if queue > self._standing_queue():
                gain = 1 - queue / (_TRIM_ROUNDS * (min_rtt + queue))
                self._cruise_gain = gain if gain > _LEAST_TRIM else _LEAST_TRIM
        elif phase == _UP:
            self._watch_up(event)
            if self.phase == _UP and self._phase_rounds >= 2:
                # Nothing speaks against more: go on as long as more is delivered.
                self._raise_ceiling()
                # What is sent faster shows in full after two round trips.
                if self._phase_rounds >= 3 and self._round_rate < 1.04 * self._phase_rate_before:
                    self._enter(_DOWN, event)
                self._phase_rate_before = self._phase_rate
                self._phase_rate = self._round_rate
        elif phase == _COMPETE:
            self._end_round_of_compete(queue, event)
        if phase in (_STARTUP, _DRAIN):
            self._competition.forget()
        elif phase in (_DOWN, _CRUISE) and self._phase_rounds >= 2:
            self._competition.look(queue, self._queue_limit(_QUEUE_SHARE, 0.005))
        far = 1.5 * min_rtt + 0.010 < self._round_rtt < _NEVER
        if far or (phase == _DOWN and queue > self._standing_queue()):
            self._far_rounds += 1
        else:
            self._far_rounds = 0
        self._limited = self._round_limited
        self._round_rate = 0.0
        self._round_limited = False
        self._round_queue = self._round_rtt = _NEVER
        self._pacing_before = self._round_pacing
        self._round_pacing = self.pacing_rate

    def _end_round_of_compete(self, queue: float, event: AckEvent) -> None:
        competition = self._competition
        competition.take_turn(queue, self._queue_limit(_QUEUE_SHARE, 0.005), self._round_limited)
        if competition.is_over():
            self._enter(_DOWN, event)
        elif competition.turn == 0:
            if competition.is_busy():
                self._rate_before = self._rate_now
                self._rate_now = self._round_rate
            if self.loss.is_enough():
                if self.loss.sample_share() > self.loss.share + _COMPETE_LOSS:
                    self._slow_down()
                self.loss.begin()
            calm = competition.is_calm(self._noise())
            if calm and event.now - self._probed_at > _CALM_TIME:
                self._begin_probe_rtt(event)

    def _look_at_loss_when_low(self, now: float) -> None:
        if not self.loss.is_enough():
            return
        if self._cuts:
            if now - self._cut_at >= _CUT_TIME:
                self._judge_cut(now)
            self.loss.begin()
        elif self.loss.is_exceeded():
            self._cut(now)
            self._phase_rounds = 0
            self.loss.begin()
        else:
            self.loss.learn()
            self._learned = True

    def _end_round_of_startup(self, queue: float, now: float) -> None:
        if self.loss.known >= 50 and self.loss.is_exceeded():
            # More was lost than before, at a lower rate.
            if self._limited and not self._spreading:
                # Maybe the path takes the rate, and not the bursts.
                self._spreading = True
            else:
                self._full_rounds = 3
                self._cut_at_average = self._spreading
                self._cut(now)
        elif self._round_rate >= 1.25 * self._full_rate:
            self._full_rate = self._round_rate
            self._full_rounds = 0
            # The path still gives more, so what it loses it would lose anyway.
            if queue < self._standing_queue():
                self.loss.learn()
        elif not self._round_limited:
            self._full_rounds += 1
        self.loss.begin()
        if self._full_rounds >= 3:
            self.phase = _DRAIN
            self._phase_at = now
            self._phase_rounds = 0

    def _standing_queue(self) -> float:
        """Tell from how many seconds on a queue is one that should not be there."""
        rate = self.rate()
        packets = 3 * self._packet / rate if rate > 0 else 0.0
        return 0.0015 + self._min_rtt.value / 64 + packets + _STANDING_JITTER * self._jitter

    def _noise(self) -> float:
        """Tell by how many seconds the least queue of a round trip may vary by itself."""
        return 0.002 + _STANDING_JITTER * self._jitter

    def _slow_down(self) -> None:
        """Take the rate of this round for that of the path: it has become slower."""
        self._rate_now = self._rate_before = self._full_rate = self._round_rate

    def _is_slower(self, queue: float) -> bool:
        """Tell whether the path takes far less than it was sent: a queue stands."""
        limit = self._min_rtt.value / 2
        if limit < 0.010:
            limit = 0.010
        # In DOWN less is sent than the model says, so that no more can arrive.
        sent = self.rate()
        if self._round_pacing < sent:
            sent = self._round_pacing
        if self._pacing_before < sent:
            sent = self._pacing_before
        return queue > limit and not self._round_limited and 0 < self._round_rate < 0.85 * sent

    def _watch_up(self, event: AckEvent) -> None:
        """End UP at the first sign that the path does not give more."""
        if self._phase_rounds < 1:
            return
        if self.loss.is_enough() and self.loss.is_exceeded():
            self._cut(event.now)
            self._enter(_DOWN, event)
        elif self._has_risen(_UP_QUEUE_SHARE, 0.003):
            self._raise_ceiling()
            self._enter(_DOWN, event)

    # --- Phases --------------------------------------------------------------------------

    def _enter(self, phase: int, event: AckEvent) -> None:
        if phase == _DOWN and self.phase != _DOWN and self._rate_now > 0:
            # A cycle is over: forget the one before the last.
            self._rate_before = self._rate_now
            self._rate_now = 0.0
        self.phase = phase
        self._phase_at = event.now
        self._phase_rounds = 0
        self._queue_before = self._queue
        self._learned = False
        self.loss.begin()
        self._round_end = event.delivered
        self._cruise_gain = _CRUISE_GAIN

    def _advance(self, event: AckEvent) -> None:
        now = event.now
        if self.phase == _DRAIN:
            drained = event.in_flight <= self._in_flight_for(1.0) or self._phase_rounds >= 4
            if self._phase_rounds and drained:
                self._enter(_DOWN, event)
        elif self.phase == _DOWN:
            if self._cuts == 0 and self._is_far(now):
                self._begin_probe_rtt(event)
                return
            # Where something is lost anyway, stay until it is known how much.
            learned = self._learned or self.loss.share == 0 or now - self._phase_at >= _LOW_TIME
            if (
                self._phase_rounds
                and self._cuts == 0
                and learned
                and event.in_flight <= self._in_flight_for(1.0)
            ) or (self._phase_rounds >= 8 and now - self._phase_at >= _LONGEST_DOWN):
                if self._cuts:
                    # Nothing came of it, for there was too little to send.
                    self._ceiling = self._ceiling_before
                    self._cuts = 0
                self._enter(_CRUISE, event)
                self._probe_up_at = now + _CRUISE_TIME * (1 + self._chance.random() / 2)
                if self._cut_at_average:
                    self._cut_at_average = False
                    self._probe_up_at = now
        elif self.phase == _CRUISE:
            if now - self._near_min_at > _PROBE_RTT_INTERVAL or self._is_far(now):
                self._begin_probe_rtt(event)
            elif now >= self._probe_up_at and not self._limited:
                self._enter(_UP, event)
                self._phase_rate = self._phase_rate_before = self.rate()
        elif self.phase == _COMPETE:
            if now - self._near_min_at > _PROBE_RTT_INTERVAL:
                self._begin_probe_rtt(event)
        elif self.phase == _PROBE_RTT:
            self._probe_rtt(event)

    def _is_far(self, now: float) -> bool:
        far = self._far_rounds >= _FAR_ROUNDS or self._competition.standing >= _FAR_ROUNDS
        return far and now - self._near_min_at > _FAR_TIME

    def _begin_probe_rtt(self, event: AckEvent) -> None:
        self._enter(_PROBE_RTT, event)
        self._probe_rtt_done = 0.0
        self._probed_rtt = self._probed_delay = _NEVER

    def _probe_rtt(self, event: AckEvent) -> None:
        """Wait until no queue is of our making, then believe the least that is met."""
        now = event.now
        if self._probe_rtt_done == 0.0:
            if event.in_flight <= self._in_flight_for(0.5):
                self._probe_rtt_done = now + _PROBE_RTT_TIME
                self._round_end = event.delivered
                self._phase_rounds = 0
            return
        # What was sent before tells of the queue.
        if self._phase_rounds and event.rtt >= 0:
            if event.rtt < self._probed_rtt:
                self._probed_rtt = event.rtt
            if event.one_way < self._probed_delay:
                self._probed_delay = event.one_way
        if now >= self._probe_rtt_done and self._probed_rtt < _NEVER:
            queue = self._probed_rtt - self._min_rtt.value
            if self._probed_delay < _NEVER:
                queue = self._probed_delay - self._min_delay.value
            self._probed_at = self._near_min_at = now
            self._far_rounds = 0
            stands = queue > self._queue_limit(_QUEUE_SHARE, 0.005)
            if stands and self._competition.varies(queue, self._noise()):
                self._ceiling = _NEVER
                self._cuts = 0
                self._competition.begin(queue)
                self._enter(_COMPETE, event)
                return
            self._competition.forget()
            if self._probed_rtt > self._min_rtt.value:
                self._min_rtt.restart(self._probed_rtt, now)
                if self._probed_delay < _NEVER:
                    self._min_delay.restart(self._probed_delay, now)
            self._enter(_CRUISE, event)
            self._probe_up_at = now

    def _sending_rate(self) -> float:
        """Give the rate that fills the path, in bytes per second: random loss is made up for."""
        return self.rate() / (1 - self.loss.share)

    def _in_flight_for(self, gain: float) -> float:
        return gain * self._sending_rate() * self._min_rtt.value + _LEAST_PACKETS * self._packet

    def _set_limits(self, event: AckEvent) -> None:
        rate = self._sending_rate()
        if rate <= 0 or self._min_rtt.value == _NEVER:
            return
        phase = self.phase
        window = (
            _WINDOW_GAIN * rate * self._min_rtt.value
            + rate * _SLACK_TIME
            + _SLACK_PACKETS * self._packet
        )
        if phase == _STARTUP:
            gain = _STARTUP_GAIN
            window *= _STARTUP_GAIN / _WINDOW_GAIN
            if window < _INITIAL_PACKETS * self._packet:
                window = _INITIAL_PACKETS * self._packet
            if self._limited and not self._spreading:
                # A TCP inside that begins sends bursts, of which the average tells nothing; to
                # spread them out would look like congestion to it.
                gain = _BURST_GAIN * window / (rate * self._min_rtt.value)
        elif phase == _DRAIN:
            # The first round trip still tells the rate of the path, while its queue stands.
            gain = 0.5 if self._phase_rounds else 1.0
            gain *= 1 - self.loss.share
        elif phase == _DOWN:
            gain = _MEASURE_GAIN
            if event.in_flight > self._in_flight_for(1.0):
                gain = _DOWN_GAIN
            if self._queue > 2 * self._queue_limit(_QUEUE_SHARE, 0.015):
                gain = 0.5
        elif phase == _UP:
            gain = 1 + _UP_QUEUE / self._min_rtt.value
            if gain > _UP_GAIN:
                gain = _UP_GAIN
            elif gain < _LEAST_UP_GAIN:
                gain = _LEAST_UP_GAIN
            if self._phase_rounds >= 4:
                gain = _FASTER_GAIN
        elif phase == _PROBE_RTT:
            gain = 1.0
            window = self._in_flight_for(0.5)
        elif phase == _COMPETE:
            gain = self._competition.gain
        else:
            gain = self._cruise_gain
        self.window = int(window)
        pacing = gain * rate
        least = _LEAST_PACKETS * self._packet / (self._min_rtt.value + 0.010)
        self.pacing_rate = least if pacing < least else pacing
        if self.pacing_rate < self._round_pacing:
            self._round_pacing = self.pacing_rate

    def statistics(self) -> dict[str, float | str]:
        """Give the state at this moment, by name: rates in bytes per second, times in seconds."""
        return {
            "phase": PHASES[self.phase],
            "rate": self.rate(),
            "pacing_rate": self.pacing_rate,
            "window": self.window,
            "min_rtt": self._min_rtt.value,
            "base_loss": self.loss.share,
            "rounds": self._rounds,
            "queue": self._queue,
            "jitter": self._jitter,
            "ceiling": self._ceiling,
            "cuts": self._cuts,
        }
