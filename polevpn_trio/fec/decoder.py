# cython: annotation_typing=False
"""The receiving end of the repair code: computes datagrams that were lost.

Datagrams with packets are remembered for a while in a ring, as long as the peer sends repairs.
A repair is an equation: less what is known of its window, it is a sum of what is missing. The
equations are kept in reduced echelon form (each has a *leading* symbol, its first, which no
other one contains), so a new one costs a pass over those that there are, and a symbol is found
as soon as their number allows. A missing symbol that arrives late is put into the equations.

Everything is bounded: the ring by `RING` ids, the equations by `EQUATIONS`, the time for which a
symbol is missed by ``horizon``. Symbols are given up in the order of their ids, and then only
the equation that they lead can contain them; so nothing has to be searched for.
"""

from __future__ import annotations

import math
from array import array

from polevpn_trio.fec import gf256_loops, symbols
from polevpn_trio.fec.gf256 import inverse
from polevpn_trio.fec.statistics import DecoderStatistics
from polevpn_trio.fec.symbols import coefficient, unwrap

RING = 512
"""Ids that are kept, counted back from the highest: the longest window twice, so that a repair
of the longest is of use though it was overtaken by so many datagrams."""

EQUATIONS = 96
"""Equations that are kept, which is also how many symbols can be missing and still be found.
Each costs time for every new one. At 20 % loss a window of 224 has some 45 missing."""

HORIZON = 0.5
"""Seconds after which a missing symbol is given up; more than the encoder's."""

QUIET = 10.0
"""Seconds without a repair until nothing is remembered any more."""

# What became of an id.
_MISSING = 0
_RECEIVED = 1
_RECOVERED = 2
_GIVEN_UP = 3
_FORGOTTEN = 4

_NONE = -1
_NEVER = math.inf
_ALIGN = 64
_FIRST_OUTPUT = 8

# Copies that the compiled build holds as C integers, which other modules cannot import.
_RING = RING
_MASK = RING - 1
_EQUATIONS = EQUATIONS
_SOURCE = symbols.SOURCE
_REPAIR = symbols.REPAIR
_KIND_BITS = symbols.KIND_BITS
_SOURCE_HEADER = symbols.SOURCE_HEADER
_QUIET = QUIET
_REPAIR_HEADER = symbols.REPAIR_HEADER
_PREFIX = symbols.LENGTH_PREFIX
_FULL_DENSITY = symbols.FULL_DENSITY


class RepairDecoder:
    """Repairs one direction of a link; sans-IO, ``now`` in seconds of a clock going forward.

    ``mtu`` is the length of the longest datagram that the peer protects, ``horizon`` is in
    seconds. ``datagrams`` (back to back) and ``sizes`` hold what the last batch made it
    possible to compute, until the next one; ``overtaken`` is how many came in it that had been
    computed before.

    Raises ValueError for parameters out of range.
    """

    def __init__(self, mtu: int = symbols.LARGEST_SOURCE, horizon: float = HORIZON) -> None:
        if not 1 <= mtu <= 0xFFFF - symbols.OVERHEAD:
            raise ValueError(f"mtu {mtu} not in 1 to {0xFFFF - symbols.OVERHEAD}")
        if not horizon > 0:
            raise ValueError(f"horizon {horizon} is not positive")
        self._stride = (_PREFIX + mtu + _ALIGN - 1) // _ALIGN * _ALIGN
        self._mtu = mtu
        self._horizon = horizon

        # Ids without wrap-around: those from ``_settled`` on may still change, and ``_next`` is
        # the first not seen.
        self._next = 0
        self._settled = 0
        self._missing = 0
        self._repair_at = -_NEVER

        self._repairs = 0
        self._unneeded = 0
        self._dependent = 0
        self._too_old = 0
        self._malformed = 0
        self._recovered = 0
        self._overtaken = 0
        self.overtaken = 0
        self._given_up = 0
        self._dropped_equations = 0
        self._inconsistent = 0
        self._used = 0
        self._solved = 0
        self._allocated = False
        self._allocate_nothing()

    def release_idle(self, now: float) -> None:
        """Give the memory back if no repair came for `QUIET` seconds."""
        if self._allocated and now - self._repair_at >= _QUIET:
            self._settle(now, self._next)
            self._allocate_nothing()

    # --- Memory --------------------------------------------------------------------------

    def _allocate_nothing(self) -> None:
        self._allocated = False
        self._state = array("B")
        self._length = array("i")
        self._noticed = array("d")
        self._symbols = memoryview(bytearray())
        self._free_equations()
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
        self._state = array("B", [_FORGOTTEN]) * _RING
        self._length = array("i", bytes(4 * _RING))
        self._noticed = array("d", bytes(8 * _RING))
        self._symbols = memoryview(bytearray(_RING * self._stride))

    def _free_equations(self) -> None:
        self._can_solve = False
        # For each id in the ring the equation that it leads; for each equation its leader.
        self._led = array("h")
        self._leader = array("q")
        self._sum_length = array("i")
        self._factors = memoryview(bytearray())
        self._sums = memoryview(bytearray())

    def _allocate_equations(self) -> None:
        self._can_solve = True
        self._led = array("h", [_NONE]) * _RING
        self._leader = array("q", [_NONE]) * _EQUATIONS
        self._sum_length = array("i", bytes(4 * _EQUATIONS))
        self._factors = memoryview(bytearray(_EQUATIONS * _RING))
        self._sums = memoryview(bytearray(_EQUATIONS * self._stride))

    def _widen_output(self, size: int) -> None:
        """Make room for one more datagram of ``size`` bytes; keeps what is there."""
        room = self._output_at + size
        if room > self._output_room:
            room = max(room, 2 * self._output_room, _FIRST_OUTPUT * self._stride)
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

    def _give(self, source: bytes | bytearray | memoryview, start: int, size: int) -> None:
        at = self._output_at
        if at + size > self._output_room or self._output_count == self._count_room:
            self._widen_output(size)
        gf256_loops.copy(self._output, at, source, start, size)
        self._output_sizes[self._output_count] = size
        self._output_count += 1
        self._output_at = at + size

    # --- Datagrams come in ---------------------------------------------------------------

    def receive_batch_untrusted(
        self,
        datagrams: bytes | bytearray | memoryview,
        sizes: array[int],
        count: int,
        now: float,
    ) -> int:
        """Look at ``count`` datagrams, back to back, of these ``sizes``.

        Returns how many lost ones can be computed now. What is neither a repair nor a datagram
        with packets is passed over; repairs that break the protocol are counted.

        Raises ValueError if the buffers hold less than ``count`` datagrams.
        """
        self._output_at = 0
        self._output_count = 0
        self.overtaken = 0
        if count <= 0:
            return 0
        view = datagrams
        lengths = sizes
        room = len(view)
        if count > len(lengths):
            raise ValueError(f"{count} datagrams, but {len(lengths)} sizes")
        at = 0
        for index in range(count):
            size = lengths[index]
            if size > room - at:
                raise ValueError(f"datagram {index} of {count} is cut short")
            kind = view[at] if size else 0
            if kind == _REPAIR:
                self._receive_repair(view, at, size, now)
            elif kind & _KIND_BITS == _SOURCE and _SOURCE_HEADER <= size <= self._mtu:
                self._receive_source(view, at, size, now)
            at += size
        if self._allocated:
            self._settle(now, self._next - _RING)
            self.release_idle(now)
        return self._output_count

    def _receive_source(
        self, view: bytes | bytearray | memoryview, at: int, size: int, now: float
    ) -> None:
        wire_id = view[at + 1] << 16 | view[at + 2] << 8 | view[at + 3]
        number = unwrap(wire_id, self._next)
        if not self._allocated:
            if number >= self._next:
                self._next = number + 1
                self._settled = self._next
            return
        if number >= self._next:
            self._advance(number + 1, now)
        slot = number & _MASK
        state = self._state[slot]
        if number < self._next - _RING or state in (_RECEIVED, _FORGOTTEN):
            return
        if state == _RECOVERED:
            self.overtaken += 1
            self._overtaken += 1
            self._state[slot] = _RECEIVED
            return
        start = slot * self._stride
        self._symbols[start] = size >> 8
        self._symbols[start + 1] = size & 0xFF
        gf256_loops.copy(self._symbols, start + _PREFIX, view, at, size)
        self._length[slot] = _PREFIX + size
        self._state[slot] = _RECEIVED
        if state == _MISSING:
            self._missing -= 1
            if self._used:
                self._put_in(slot)

    def _advance(self, after: int, now: float) -> None:
        """Make the ids up to ``after`` - 1 known as ones that are on their way."""
        if after - self._next > _RING:
            # A gap longer than the ring: what is not in it any more is not even missed.
            self._settle(now, self._next)
            self._given_up += after - self._next - _RING
            self._next = after - _RING
            self._settled = self._next
        self._settle(now, after - _RING)
        number = self._next
        while number < after:
            slot = number & _MASK
            self._state[slot] = _MISSING
            self._noticed[slot] = now
            number += 1
        self._missing += after - self._next
        self._next = after

    def _settle(self, now: float, forced: int) -> None:
        """Give up symbols that were missed for too long, and all before ``forced``."""
        while self._settled < self._next:
            slot = self._settled & _MASK
            if self._state[slot] == _MISSING:
                if self._settled >= forced and now - self._noticed[slot] < self._horizon:
                    break
                self._state[slot] = _GIVEN_UP
                self._missing -= 1
                self._given_up += 1
                if self._used and self._led[slot] != _NONE:
                    self._drop_equation(self._led[slot])
            self._settled += 1

    # --- Equations -----------------------------------------------------------------------

    def _receive_repair(
        self, view: bytes | bytearray | memoryview, at: int, size: int, now: float
    ) -> None:
        self._repairs += 1
        size -= _REPAIR_HEADER
        if not _PREFIX <= size <= _PREFIX + self._mtu or view[at + 5] > _FULL_DENSITY:
            self._malformed += 1
            return
        self._repair_at = now
        if not self._allocated:
            self._allocate()
        wire_id = view[at + 1] << 16 | view[at + 2] << 8 | view[at + 3]
        first = unwrap(wire_id, self._next)
        after = first + view[at + 4] + 1
        if first < 0 or first < self._next - _RING or after - first > _RING:
            self._too_old += 1
            return
        if after > self._next:
            self._advance(after, now)
        if self._missing == 0:
            self._unneeded += 1
            return
        unknown = 0
        number = first
        while number < after:
            state = self._state[number & _MASK]
            if state >= _GIVEN_UP:
                self._too_old += 1
                return
            if state == _MISSING:
                unknown += 1
            number += 1
        if unknown == 0:
            self._unneeded += 1
            return
        if not self._can_solve:
            self._allocate_equations()
        equation = self._free_equation()
        self._read_equation(equation, view, at, size, first, after)
        self._reduce(equation, first, after)
        if not self._lead(equation):
            self._dependent += 1

    def _free_equation(self) -> int:
        """Give an equation that is not in use; the one with the oldest leader, if need be."""
        oldest = 0
        for equation in range(_EQUATIONS):
            if self._leader[equation] == _NONE:
                return equation
            if self._leader[equation] < self._leader[oldest]:
                oldest = equation
        self._dropped_equations += 1
        self._drop_equation(oldest)
        return oldest

    def _drop_equation(self, equation: int) -> None:
        self._led[self._leader[equation] & _MASK] = _NONE
        self._leader[equation] = _NONE
        self._used -= 1

    def _read_equation(
        self,
        equation: int,
        view: bytes | bytearray | memoryview,
        at: int,
        size: int,
        first: int,
        after: int,
    ) -> None:
        """Set up the equation of a repair, less the symbols of its window that are known."""
        density = view[at + 5]
        key = view[at + 6] << 8 | view[at + 7]
        factors = equation * _RING
        total = equation * self._stride
        gf256_loops.clear(self._factors, factors, _RING)
        gf256_loops.copy(self._sums, total, view, at + _REPAIR_HEADER, size)
        gf256_loops.clear(self._sums, total + size, self._stride - size)
        self._sum_length[equation] = size
        number = first
        while number < after:
            slot = number & _MASK
            factor = coefficient(key, number & 0xFFFFFF, density)
            if self._state[slot] == _MISSING:
                self._factors[factors + slot] = factor
            elif factor:
                self._add_symbol(equation, slot, factor)
            number += 1

    def _add_symbol(self, equation: int, slot: int, factor: int) -> None:
        length = self._length[slot]
        gf256_loops.add_scaled(
            self._sums, equation * self._stride, self._symbols, slot * self._stride, length, factor
        )
        if length > self._sum_length[equation]:
            self._sum_length[equation] = length

    def _add_equation(self, equation: int, other: int, factor: int) -> None:
        length = self._sum_length[other]
        gf256_loops.add_scaled(
            self._factors, equation * _RING, self._factors, other * _RING, _RING, factor
        )
        gf256_loops.add_scaled(
            self._sums, equation * self._stride, self._sums, other * self._stride, length, factor
        )
        if length > self._sum_length[equation]:
            self._sum_length[equation] = length

    def _reduce(self, equation: int, first: int, after: int) -> None:
        """Take the leaders of the others out of a new equation."""
        factors = equation * _RING
        number = first
        while number < after:
            slot = number & _MASK
            factor = self._factors[factors + slot]
            if factor and self._led[slot] != _NONE:
                self._add_equation(equation, self._led[slot], factor)
            number += 1

    def _lead(self, equation: int) -> bool:
        """Find the leader of an equation and take it out of the others; False if it is empty.

        The equation must contain no leaders of others. Whatever can be found then, is.
        """
        factors = equation * _RING
        number = self._settled
        while number < self._next and self._factors[factors + (number & _MASK)] == 0:
            number += 1
        if number == self._next:
            return False
        slot = number & _MASK
        factor = inverse(self._factors[factors + slot])
        gf256_loops.scale(self._factors, factors, _RING, factor)
        gf256_loops.scale(self._sums, equation * self._stride, self._sum_length[equation], factor)
        self._leader[equation] = number
        self._led[slot] = equation
        self._used += 1
        for other in range(_EQUATIONS):
            if other != equation and self._leader[other] != _NONE:
                factor = self._factors[other * _RING + slot]
                if factor:
                    self._add_equation(other, equation, factor)
                    self._solve(other)
        self._solve(equation)
        return True

    def _put_in(self, slot: int) -> None:
        """Put a symbol that arrived late into the equations that contain it."""
        led = self._led[slot]
        if led != _NONE:
            self._drop_equation(led)
            self._factors[led * _RING + slot] = 0
            self._add_symbol(led, slot, 1)
            if not self._lead(led):
                self._dependent += 1
            return
        for equation in range(_EQUATIONS):
            if self._leader[equation] != _NONE:
                factor = self._factors[equation * _RING + slot]
                if factor:
                    self._factors[equation * _RING + slot] = 0
                    self._add_symbol(equation, slot, factor)
                    self._solve(equation)

    def _solve(self, equation: int) -> None:
        """Give the leader of an equation that contains nothing else."""
        factors = equation * _RING
        count = 0
        for index in range(_RING):
            count += self._factors[factors + index] != 0
        if count != 1:
            return
        self._solved = self._leader[equation]
        slot = self._solved & _MASK
        self._drop_equation(equation)
        at = equation * self._stride
        length = _PREFIX + (self._sums[at] << 8 | self._sums[at + 1])
        self._missing -= 1
        if not self._is_datagram(at, length, equation):
            self._state[slot] = _GIVEN_UP
            self._given_up += 1
            self._inconsistent += 1
            return
        gf256_loops.copy(self._symbols, slot * self._stride, self._sums, at, length)
        self._length[slot] = length
        self._state[slot] = _RECOVERED
        self._recovered += 1
        self._give(self._sums, at + _PREFIX, length - _PREFIX)

    def _is_datagram(self, at: int, length: int, equation: int) -> bool:
        """Tell whether a solved equation gives the datagram with the id of its leader."""
        if not _PREFIX + _SOURCE_HEADER <= length <= self._sum_length[equation]:
            return False
        wire_id = self._sums[at + 3] << 16 | self._sums[at + 4] << 8 | self._sums[at + 5]
        return (
            self._sums[at + _PREFIX] & _KIND_BITS == _SOURCE and wire_id == self._solved & 0xFFFFFF
        )

    # --- Counters ------------------------------------------------------------------------

    def statistics(self) -> DecoderStatistics:
        """Return the counters."""
        return DecoderStatistics(
            repairs=self._repairs,
            unneeded=self._unneeded,
            dependent=self._dependent,
            too_old=self._too_old,
            malformed=self._malformed,
            recovered=self._recovered,
            overtaken=self._overtaken,
            given_up=self._given_up,
            dropped_equations=self._dropped_equations,
            inconsistent=self._inconsistent,
        )
