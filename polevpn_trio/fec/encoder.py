# cython: annotation_typing=False
"""The sending end of the repair code: makes repair datagrams for a link's datagrams.

It looks at the datagrams that are being sent, and remembers those with packets as long as there
is a plan to repair any. There are three reasons for a repair:

* *regular*: so many per ordinary datagram, over the whole window, at the end of a batch;
* *priority*: of its own for each important datagram, a little later;
* *tail*: when nothing has followed for a while, so that the end of a burst is as safe as its
  middle. The wait adapts to the gaps between batches.

Priority and tail repairs are only as long as what they are for, and reach back over older
datagrams as long as these are no longer. A lone small datagram thus costs a small repair.

The window is bounded by number and by age. Every repair is paid for from the budget
(``budget.py``); how many are wanted is told by a plan (``plan.py``).

Call order: `protect_batch` with what is being sent, `poll_repairs` at `next_timeout`, each time
sending what is in ``datagrams`` and ``sizes`` before the next call.
"""

from __future__ import annotations

import math
from array import array

from polevpn_trio.fec import gf256_loops, symbols
from polevpn_trio.fec.budget import RepairBudget
from polevpn_trio.fec.plan import CLEAN, RepairPlan
from polevpn_trio.fec.statistics import EncoderStatistics
from polevpn_trio.fec.symbols import coefficient

WINDOW = 224
"""Source datagrams that a repair covers at most, somewhat fewer than a decoder of before keeps. As
long as repairs are more than losses, what is left unrepaired falls exponentially with the window:
for one failure a second at 8,000 datagrams a second and 5 % loss, 128 need 13 % of repair, and
224 need 10 %."""

HORIZON = 0.25
"""Seconds after which a datagram leaves the window: by then it was resent, or is useless."""

FLUSH = 0.005
"""Seconds without traffic, at least, that make the end of a burst."""
LONGEST_FLUSH = 0.025
"""Seconds; on slow links each gap would otherwise look like an end."""

SHARE = 0.25
"""Repair bytes per byte of traffic."""
ALLOWANCE = 24_000.0
"""Bytes of repair per second besides: a telephone call, or 100 pings a second."""

IDLE_SHRINK = 5.0
"""Seconds without traffic until the memory is given back."""

# Priority datagrams whose repairs are due later; more are repaired at once.
_RUNS = 32
# Neighbours of one priority that share their repairs, and how many of them share each one.
_LONGEST_RUN = 8
_SHARERS = 4
# Share of a new gap in the smoothed one, and the longest that counts, in seconds.
_GAP_GAIN = 0.125
_LONGEST_GAP = 0.1
# Output for so many full datagrams at first.
_FIRST_OUTPUT = 8
_ALIGN = 64

# Copies that the compiled build holds as C integers, which other modules cannot import.
_SOURCE = symbols.SOURCE
_REPAIR = symbols.REPAIR
_KIND_BITS = symbols.KIND_BITS
_SOURCE_HEADER = symbols.SOURCE_HEADER
_REPAIR_HEADER = symbols.REPAIR_HEADER
_PREFIX = symbols.LENGTH_PREFIX
_LONGEST_WINDOW = symbols.LONGEST_WINDOW
_LONGEST_FLUSH = LONGEST_FLUSH
_NEVER = math.inf

_REGULAR = 0
_TAIL = 1
_PRIORITY = 2


class RepairEncoder:
    """Protects one direction of a link; sans-IO, ``now`` in seconds of a clock going forward.

    ``mtu`` is the length of the longest datagram to be protected, in bytes; a repair is up to
    ``symbols.OVERHEAD`` longer. ``window`` (1 to 256) is in datagrams, ``horizon``,
    ``flush`` in seconds, ``share`` and ``allowance`` as in `RepairBudget`.
    ``density`` (0 to 15) below 15 leaves symbols out of regular repairs at random, which costs
    less time and repairs less. The plan at first is ``plan.CLEAN``.

    ``datagrams`` (back to back) and ``sizes`` hold what the last call gave, until the next one.

    Raises ValueError for parameters out of range.
    """

    def __init__(
        self,
        mtu: int = 1350,
        window: int = WINDOW,
        horizon: float = HORIZON,
        flush: float = FLUSH,
        share: float = SHARE,
        allowance: float = ALLOWANCE,
        density: int = symbols.FULL_DENSITY,
    ) -> None:
        if not 1 <= mtu <= 0xFFFF - symbols.OVERHEAD:
            raise ValueError(f"mtu {mtu} not in 1 to {0xFFFF - symbols.OVERHEAD}")
        if not 1 <= window <= symbols.LONGEST_WINDOW:
            raise ValueError(f"window {window} not in 1 to {symbols.LONGEST_WINDOW}")
        if not (horizon > 0 and flush > 0):
            raise ValueError("horizon and flush must be positive")
        if not 0 <= density <= symbols.FULL_DENSITY:
            raise ValueError(f"density {density} not in 0 to {symbols.FULL_DENSITY}")
        self._budget = RepairBudget(share, allowance)
        self._mtu = mtu
        self._window = window
        self._horizon = horizon
        self._flush = flush
        self._density = density

        # Ids count without wrap-around. Symbols are kept from ``_first`` on.
        self._next = 0
        self._first = 0
        self._key = 0
        self._credit = 0.0
        # From here on no tail repair, and no regular one, has covered the symbols.
        self._uncovered = 0
        self._flush_at = _NEVER
        self._batch_at = -_NEVER
        self._gap = 0.0
        self._run_first = array("q", bytes(8 * _RUNS))
        self._run_length = array("i", bytes(4 * _RUNS))
        self._run_due = array("d", bytes(8 * _RUNS))
        self._run_repairs = array("i", bytes(4 * _RUNS))
        self._oldest_run = 0
        self._runs = 0

        self._sources = 0
        self._source_bytes = 0
        self._regular = 0
        self._tail_sent = 0
        self._priority = 0
        self._repair_bytes = 0
        self._stride = (_PREFIX + mtu + _ALIGN - 1) // _ALIGN * _ALIGN
        self._capacity = 1
        while self._capacity < window:
            self._capacity *= 2
        self._allocated = False
        self._allocate_nothing()
        self.set_plan(CLEAN)

    def set_plan(self, wanted: RepairPlan) -> None:
        """Send as many repairs as the plan says from now on, as far as the budget goes."""
        self._ratio = max(0.0, min(wanted.ratio, 4.0))
        self._tail = max(0, min(wanted.tail, 16))
        self._important = max(0, min(wanted.important, 8))
        self._reach = max(1, min(wanted.reach, symbols.LONGEST_WINDOW))
        self._stagger = max(0.0, min(wanted.stagger, 1.0))
        self._active = bool(self._ratio or self._tail or self._important)
        if not self._active:
            self._restart(self._next)

    def set_horizon(self, horizon: float) -> None:
        """Let datagrams stay in the window for ``horizon`` seconds: best, a round trip or more.

        Raises ValueError unless it is positive.
        """
        if not horizon > 0:
            raise ValueError(f"horizon {horizon} is not positive")
        self._horizon = horizon

    def next_timeout(self) -> float:
        """Tell when to call `poll_repairs`; inf if there is nothing to wait for."""
        due = self._flush_at
        if self._runs and self._run_due[self._oldest_run] < due:
            due = self._run_due[self._oldest_run]
        return due

    def release_idle(self, now: float) -> None:
        """Give the memory back if there was no traffic for `IDLE_SHRINK` seconds."""
        if self._allocated and now - self._batch_at >= IDLE_SHRINK:
            self._allocate_nothing()

    # --- Memory --------------------------------------------------------------------------

    def _restart(self, number: int) -> None:
        """Forget all symbols; the next one is that of this id."""
        self._next = number
        self._first = number
        self._uncovered = number
        self._credit = 0.0
        self._flush_at = _NEVER
        self._runs = 0

    def _allocate_nothing(self) -> None:
        self._allocated = False
        self._restart(self._next)
        self._symbols = memoryview(bytearray())
        self._length = array("i")
        self._sent_at = array("d")
        self.datagrams = bytearray()
        self.sizes = array("H")
        self._output = memoryview(self.datagrams)
        self._output_sizes = self.sizes
        self._output_room = 0
        self._count_room = 0
        self._output_at = 0
        self._output_count = 0

    def _allocate(self) -> None:
        self._allocated = True
        self._symbols = memoryview(bytearray(self._capacity * self._stride))
        self._length = array("i", bytes(4 * self._capacity))
        self._sent_at = array("d", bytes(8 * self._capacity))

    def _widen_output(self, size: int) -> None:
        """Make room for one more datagram of ``size`` bytes; keeps what is there."""
        room = self._output_at + size
        if room > self._output_room:
            room = max(room, 2 * self._output_room, _FIRST_OUTPUT * (_PREFIX + self._mtu))
            datagrams = bytearray(room)
            datagrams[: self._output_at] = self.datagrams[: self._output_at]
            self.datagrams = datagrams
            self._output = memoryview(datagrams)
            self._output_room = room
        if self._output_count == self._count_room:
            self._count_room = max(2 * self._count_room, _FIRST_OUTPUT)
            sizes = array("H", bytes(2 * self._count_room))
            sizes[: self._output_count] = self.sizes[: self._output_count]
            self.sizes = sizes
            self._output_sizes = sizes

    def _begin(self, size: int) -> int:
        """Begin a datagram of ``size`` bytes in the output; return where."""
        at = self._output_at
        if at + size > self._output_room or self._output_count == self._count_room:
            self._widen_output(size)
        self._output_sizes[self._output_count] = size
        self._output_count += 1
        self._output_at += size
        return at

    def _put24(self, at: int, number: int) -> None:
        self._output[at] = number >> 16 & 0xFF
        self._output[at + 1] = number >> 8 & 0xFF
        self._output[at + 2] = number & 0xFF

    # --- Datagrams go out ----------------------------------------------------------------

    def protect_batch(
        self,
        datagrams: bytes | bytearray | memoryview,
        sizes: array[int],
        count: int,
        now: float,
        important: bytes | bytearray | array[int],
    ) -> int:
        """Look at ``count`` datagrams, back to back, of these ``sizes``; return how many repairs.

        They are to be sent after the datagrams. ``important`` has a byte for each of those,
        which is not 0 if it shall have a repair of its own. What is no datagram with packets
        is passed over.

        Raises ValueError if the buffers hold less than ``count`` datagrams.
        """
        self._output_at = 0
        self._output_count = 0
        if count <= 0 or not self._active:
            return 0
        if not self._allocated:
            self._allocate()
        view = datagrams
        lengths = sizes
        room = len(view)
        if count > len(lengths):
            raise ValueError(f"{count} datagrams, but {len(lengths)} sizes")
        marks = important
        if count > len(marks):
            raise ValueError(f"{count} datagrams, but {len(marks)} marks")
        at = 0
        before = self._sources
        for index in range(count):
            size = lengths[index]
            if size > room - at:
                raise ValueError(f"datagram {index} of {count} is cut short")
            if _SOURCE_HEADER <= size <= self._mtu and view[at] & _KIND_BITS == _SOURCE:
                self._protect(view, at, size, marks[index] != 0, now)
            at += size
        if self._sources != before:
            self._note_gap(now)
            self._send_due(now)
            self._send_regular(now)
        return self._output_count

    def _protect(
        self, view: bytes | bytearray | memoryview, at: int, size: int, important: bool, now: float
    ) -> None:
        number = view[at + 1] << 16 | view[at + 2] << 8 | view[at + 3]
        if number != self._next & 0xFFFFFF:
            # Others were sent while nothing was to be repaired.
            self._restart(number)
        number = self._next
        if number - self._first == self._window:
            self._first += 1
        self._next += 1
        slot = number & (self._capacity - 1)
        start = slot * self._stride
        self._symbols[start] = size >> 8
        self._symbols[start + 1] = size & 0xFF
        gf256_loops.copy(self._symbols, start + _PREFIX, view, at, size)
        self._length[slot] = _PREFIX + size
        self._sent_at[slot] = now
        self._sources += 1
        self._source_bytes += size
        self._budget.earn(size, now)
        if important and self._important:
            self._add_to_runs(number, self._important, now)
        else:
            self._credit += self._ratio

    def _note_gap(self, now: float) -> None:
        """Put the end of the burst off: as long as two usual gaps between batches."""
        gap = now - self._batch_at
        if gap > _LONGEST_GAP:
            gap = _LONGEST_GAP
        self._gap += (gap - self._gap) * _GAP_GAIN
        self._batch_at = now
        if self._tail:
            wait = 2 * self._gap
            if wait < self._flush:
                wait = self._flush
            if wait > _LONGEST_FLUSH:
                wait = _LONGEST_FLUSH
            self._flush_at = now + wait

    def _add_to_runs(self, number: int, repairs: int, now: float) -> None:
        if self._runs:
            run = (self._oldest_run + self._runs - 1) % _RUNS
            length = self._run_length[run]
            if (
                self._run_first[run] + length == number
                and length < _LONGEST_RUN
                and self._run_repairs[run] >= repairs
            ):
                self._run_length[run] = length + 1
                return
        if self._runs == _RUNS:
            self._repair_run(now)
        self._push_run(number, 1, now + self._stagger, repairs)

    def _push_run(self, first: int, length: int, due: float, repairs: int) -> None:
        run = (self._oldest_run + self._runs) % _RUNS
        self._run_first[run] = first
        self._run_length[run] = length
        self._run_due[run] = due
        self._run_repairs[run] = repairs
        self._runs += 1

    # --- Repairs -------------------------------------------------------------------------

    def poll_repairs(self, now: float) -> int:
        """Return how many repairs are to be sent now."""
        self._output_at = 0
        self._output_count = 0
        self._send_due(now)
        if now >= self._flush_at:
            self._flush_at = _NEVER
            self._send_tail(now)
        return self._output_count

    def _send_regular(self, now: float) -> None:
        while self._credit >= 1:
            self._credit -= 1
            self._forget_old(now)
            if self._first == self._next:
                continue
            if self._repair(self._first, self._next - 1, now, _REGULAR):
                self._uncovered = self._next
                self._flush_at = _NEVER

    def _send_due(self, now: float) -> None:
        # At most those that are waiting now: each may be put back once more.
        for _ in range(self._runs):
            if self._run_due[self._oldest_run] > now:
                break
            self._repair_run(now)

    def _repair_run(self, now: float) -> None:
        """Send a repair for the run that is due first; put it back if it is to get more."""
        run = self._oldest_run
        first = self._run_first[run]
        length = self._run_length[run]
        repairs = self._run_repairs[run]
        self._oldest_run = (run + 1) % _RUNS
        self._runs -= 1
        self._forget_old(now)
        last = first + length - 1
        if last < self._first:
            return
        if first < self._first:
            first = self._first
            length = last - first + 1
        for _ in range((length + _SHARERS - 1) // _SHARERS):
            if not self._repair(self._reach_back(first, last), last, now, _PRIORITY):
                return
        if self._uncovered >= first and self._next == last + 1:
            self._uncovered = self._next
            self._flush_at = _NEVER
        if repairs > 1:
            self._push_run(first, length, now + self._stagger, repairs - 1)

    def _send_tail(self, now: float) -> None:
        self._forget_old(now)
        first = self._uncovered
        if first < self._first:
            first = self._first
        self._uncovered = self._next
        self._credit = 0.0
        if first == self._next:
            return
        for _ in range(self._tail):
            if not self._repair(
                self._reach_back(first, self._next - 1), self._next - 1, now, _TAIL
            ):
                break

    def _forget_old(self, now: float) -> None:
        oldest = now - self._horizon
        while (
            self._first < self._next and self._sent_at[self._first & (self._capacity - 1)] < oldest
        ):
            self._first += 1

    def _reach_back(self, first: int, last: int) -> int:
        """Extend the run backwards over datagrams no longer than those in it."""
        mask = self._capacity - 1
        longest = 0
        for number in range(first, last + 1):
            if self._length[number & mask] > longest:
                longest = self._length[number & mask]
        while (
            first > self._first
            and last - first + 1 < self._reach
            and self._length[(first - 1) & mask] <= longest
        ):
            first -= 1
        return first

    def _repair(self, first: int, last: int, now: float, reason: int) -> bool:
        """Send a repair over the symbols from ``first`` to ``last``, unless it is too dear."""
        mask = self._capacity - 1
        longest = 0
        for number in range(first, last + 1):
            if self._length[number & mask] > longest:
                longest = self._length[number & mask]
        if not self._budget.spend(_REPAIR_HEADER + longest, now, reason != _REGULAR):
            return False
        self._repair_bytes += _REPAIR_HEADER + longest
        at = self._begin(_REPAIR_HEADER + longest)
        density = self._density if reason == _REGULAR else 15
        key = self._key
        self._key = (key + 1) & 0xFFFF
        output = self._output
        output[at] = _REPAIR
        self._put24(at + 1, first)
        output[at + 4] = last - first
        output[at + 5] = density
        output[at + 6] = key >> 8
        output[at + 7] = key & 0xFF
        at += _REPAIR_HEADER
        gf256_loops.clear(output, at, longest)
        for number in range(first, last + 1):
            slot = number & mask
            factor = coefficient(key, number & 0xFFFFFF, density)
            if factor:
                gf256_loops.add_scaled(
                    output, at, self._symbols, slot * self._stride, self._length[slot], factor
                )
        if reason == _REGULAR:
            self._regular += 1
        elif reason == _TAIL:
            self._tail_sent += 1
        else:
            self._priority += 1
        return True

    # --- Counters ------------------------------------------------------------------------

    def statistics(self) -> EncoderStatistics:
        """Return the counters."""
        return EncoderStatistics(
            sources=self._sources,
            source_bytes=self._source_bytes,
            regular=self._regular,
            tail=self._tail_sent,
            priority=self._priority,
            repair_bytes=self._repair_bytes,
            spent=self._budget.spent,
            over_budget=self._budget.refused,
        )
