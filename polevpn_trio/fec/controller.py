"""How much to repair: from what the peer acknowledges of our direction.

Loss has two kinds of causes. What gets lost at random is repaired; what gets lost because we
send too much is not, since more repair would only lose more. Congestion control tells them
apart (it compares the losses at different rates, ``kcp/congestion/base_loss.py``) and answers the
second kind by sending less. The repair ratio follows the first kind alone.

For random loss p with bursts, in a window of W datagrams of which on average Wp get lost, the
number of lost ones has the variance W p (1 - p) B, B being 1 for independent losses and 2 L - 1
for bursts of mean length L (a geometric one). So many repairs must *arrive*, with a margin:

    ratio = (p + z sqrt(p (1 - p) B / W)) / (1 - p)

As long as the path has room for more than is sent, more repairs cost nobody anything, and they
come sooner, which matters: a packet that waits for the repair of its predecessor makes a TCP inside
believe that a queue has formed, and it stops to grow (HyStart, RFC 9406). So until a path is
known to be full, losses take up a fifth of the repairs only.

Where the budget is too small for that by far, regular repair is useless: nearly every window
lacks more than its repairs can give. Retransmission is cheaper then, and the budget is left to
the datagrams that somebody waits for.
"""

from __future__ import annotations

import math

import attrs

from polevpn_trio.fec.encoder import FLUSH, LONGEST_FLUSH, SHARE, WINDOW
from polevpn_trio.fec.plan import CLEAN, STAGGER, RepairPlan

CLEAN_LOSS = 0.0005
"""Share lost below which nothing is repaired: a retransmission now and then costs less."""

INTERVAL = 0.1
"""Seconds between two looks at the counters."""

MEMORY_FAST = 2.0
MEMORY_SLOW = 20.0
"""Seconds in which losses lose two thirds of their weight: the estimate follows the fast sums
as far as they have seen enough, else the slow ones."""

ENOUGH = 200.0
"""Datagrams that tell something about the share of losses."""

LEAST_USEFUL = 0.05
"""Seconds within which regular repair should help, at least; see `RepairController`."""

FIRST_RATIO = 0.25
"""Repairs per datagram as long as nothing is known of the path: the first round trips of a TCP."""

# Repairs per random loss where there is room for them, and as many again up to so many.
_GENEROUS = 5.0
_GENEROUS_MORE = 0.05

_BURST_PRIOR = 4.0
_LONGEST_BURST = 16.0
_MARGIN = 3.0
_LARGEST_MARGIN = 4.0
_MARGIN_UP = 0.03
_MARGIN_DOWN = 0.03
# Losses below which nothing is concluded.
_LEAST_LOST = 10.0
# Losses in a row from which on they are bursts, which the repairs of important datagrams shall
# not fall into, and the seconds that they are delayed for that at most.
_BURSTY = 1.5
_LONGEST_STAGGER = 0.01
# Below this share of losses recovered the margin grows, if this share of them is random.
_RECOVERED_ENOUGH = 0.9
_RANDOM_ENOUGH = 0.7
# Regular repair needs this many times what would just do; see above.
_LEAST_SURPLUS = 1.25
# Beyond this many repairs per loss, sending again costs less.
_LARGEST_SURPLUS = 3.0
_LARGEST_LOSS = 0.9
_SMALLEST_WINDOW = 4.0
_TAIL_WINDOW = 16
_LARGEST_TAIL = 4
_LARGEST_REACH = 64
# Loss up to which an important datagram gets one repair, and then two.
_ONE_COPY = 0.08
_TWO_COPIES = 0.15


@attrs.frozen
class PathCounters:
    """What is known of the datagrams of our direction; all count from the start.

    ``expected`` is how many were sent up to the newest that the peer acknowledged. Of them it
    says that ``arrived`` came by themselves and ``recovered`` were made up for by repair;
    ``gaps`` is how often a run of losses began.
    """

    expected: int = 0
    arrived: int = 0
    recovered: int = 0
    gaps: int = 0


@attrs.frozen
class BaseLoss:
    """What congestion control knows of the share that is lost however little is sent.

    ``known`` is how many datagrams it was learned from; 0 tells nothing.
    """

    share: float = 0.0
    known: float = 0.0

    @property
    def most(self) -> float:
        """The most that it may be, but for chance (95 %, and by the rule of three if it is 0)."""
        if self.known <= 0:
            return 1.0
        deviation = math.sqrt(self.share * (1 - self.share) / self.known)
        return min(1.0, self.share + 2 * deviation + 3 / self.known)


@attrs.frozen
class ControllerStatistics:
    """What the controller believes; shares are 0 to 1.

    ``loss`` is before repair, ``residue`` what is left of it after, ``random_loss`` the part
    that is repaired, ``burst`` the mean number of neighbours lost together. ``ratio`` is what
    is sent of regular repairs per datagram.
    """

    loss: float
    residue: float
    random_loss: float
    burst: float
    ratio: float


class _Sums:
    """Counts that fade with time."""

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self.sent = 0.0
        self.lost = 0.0
        self.gaps = 0.0
        self.recovered = 0.0

    def add(self, seconds: float, sent: int, lost: int, gaps: int, recovered: int) -> None:
        fade = math.exp(-seconds / self._memory)
        self.sent = self.sent * fade + sent
        # What was only late is taken back, maybe when more has faded than it had added.
        self.lost = max(0.0, self.lost * fade + lost)
        self.gaps = self.gaps * fade + gaps
        self.recovered = self.recovered * fade + recovered


class RepairController:
    """Turns the peer's counters into plans for a `RepairEncoder`; ``now`` in seconds.

    ``share`` and ``window`` are what the encoder has. Call `take_counters` every `INTERVAL`
    while there is traffic, and give the encoder the ``plan``. ``wait`` is how long, in seconds,
    repair may take to make up for a loss. ``useful`` is within how many seconds regular repair
    should help: on slow links fewer datagrams than the window holds pass in this time, and the
    margin must be larger.
    """

    def __init__(self, share: float = SHARE, window: int = WINDOW) -> None:
        self._share = share
        self._window = window
        self._before = PathCounters()
        self._at = 0.0
        self._fast = _Sums(MEMORY_FAST)
        self._slow = _Sums(MEMORY_SLOW)
        self._packet_rate = 0.0
        self._margin = _MARGIN
        self._base_loss = BaseLoss()
        self._headroom = 1.0
        self.plan = self._first_plan()
        self.wait = 0.0
        self.useful = LEAST_USEFUL

    def take_counters(
        self, seen: PathCounters, base_loss: BaseLoss, now: float, headroom: float = 0.0
    ) -> None:
        """Learn from the counters, and make the plan that follows from them.

        ``headroom`` is the share of the path's rate that is not in use.

        The counters are the peer's word: whatever they are, the plan is one that the encoder
        can follow.
        """
        before = self._before
        sent = seen.expected - before.expected
        seconds = now - self._at
        if sent <= 0 or seconds <= 0:
            return
        lost = sent - (seen.arrived - before.arrived)
        gaps = max(0, seen.gaps - before.gaps)
        recovered = max(0, seen.recovered - before.recovered)
        self._before = seen
        self._at = now
        for sums in (self._fast, self._slow):
            sums.add(seconds, sent, lost, gaps, recovered)
        self._packet_rate += (sent / seconds - self._packet_rate) * min(1.0, seconds / 0.5)
        self._base_loss = base_loss
        self._headroom = headroom
        self._adjust_margin()
        self._make_plan()

    @property
    def loss(self) -> float:
        """Share of datagrams lost before repair, lately."""
        weight = max(0.0, ENOUGH - self._fast.sent / 10)
        slow = self._slow.lost / (self._slow.sent + ENOUGH)
        return min(1.0, (self._fast.lost + weight * slow) / (self._fast.sent + weight))

    @property
    def random_loss(self) -> float:
        """The part of it that does not come from what we send ourselves."""
        return min(self.loss, self._base_loss.most)

    @property
    def burst(self) -> float:
        """Mean number of neighbours that are lost together, at least 1."""
        burst = (self._slow.lost + _BURST_PRIOR) / (self._slow.gaps + _BURST_PRIOR)
        return max(1.0, min(burst, _LONGEST_BURST))

    def _adjust_margin(self) -> None:
        """Widen the margin while repairs miss much: losses then are worse than the model."""
        seen = self._fast
        if (
            seen.lost >= _LEAST_LOST
            and seen.recovered < _RECOVERED_ENOUGH * seen.lost
            and self.random_loss >= _RANDOM_ENOUGH * self.loss
        ):
            self._margin = min(_LARGEST_MARGIN, self._margin + _MARGIN_UP)
        else:
            self._margin = max(_MARGIN, self._margin - _MARGIN_DOWN)

    def _make_plan(self) -> None:
        if self._slow.sent < ENOUGH:
            # Too little to judge by is also too little to cost much.
            self.plan = self._first_plan()
            self.wait = STAGGER
            return
        loss = self.loss
        if loss < CLEAN_LOSS:
            self.plan = CLEAN
            self.wait = 0.0
            return
        random_loss = min(self.random_loss, _LARGEST_LOSS)
        wanted = self._wanted_ratio(random_loss)
        least = _LEAST_SURPLUS * random_loss / (1 - random_loss)
        useless = random_loss < CLEAN_LOSS or least > self._share
        ratio = 0.0 if useless else min(wanted, _LARGEST_SURPLUS * random_loss, self._share)
        if random_loss >= CLEAN_LOSS:
            generous = _GENEROUS * random_loss
            generous += min(generous, _GENEROUS_MORE)
            generous = min(generous, ratio + self._headroom, self._share)
            ratio = max(ratio, generous)
        copies = 1 if loss < _ONE_COPY else 2 if loss < _TWO_COPIES else 3
        tail = math.ceil(_TAIL_WINDOW * min(wanted, self._share))
        stagger = STAGGER
        if self.burst >= _BURSTY and self._packet_rate * _LONGEST_STAGGER > 2 * self.burst:
            stagger = max(stagger, 2 * self.burst / self._packet_rate)
        self.plan = RepairPlan(
            ratio=ratio,
            tail=max(1, min(tail, _LARGEST_TAIL)),
            important=copies,
            reach=max(1, min(int(0.5 / loss), _LARGEST_REACH)),
            stagger=stagger,
        )
        if ratio:
            # Half as long as regular repairs cover a datagram: most are repaired by then.
            self.wait = min(LONGEST_FLUSH, self._window / 2 / max(1.0, self._packet_rate))
        else:
            self.wait = min(LONGEST_FLUSH, FLUSH + copies * stagger)

    def _first_plan(self) -> RepairPlan:
        return RepairPlan(ratio=min(FIRST_RATIO, self._share))

    def _wanted_ratio(self, loss: float) -> float:
        window = max(_SMALLEST_WINDOW, min(self._window, self._packet_rate * self.useful))
        deviation = math.sqrt(loss * (1 - loss) * (2 * self.burst - 1) / window)
        return (loss + self._margin * deviation) / (1 - loss)

    def statistics(self) -> ControllerStatistics:
        """Return what is believed at the moment."""
        repaired = min(1.0, self._slow.recovered / self._slow.lost) if self._slow.lost else 0.0
        return ControllerStatistics(
            loss=self.loss,
            residue=self.loss * (1 - repaired),
            random_loss=self.random_loss,
            burst=self.burst,
            ratio=self.plan.ratio,
        )
