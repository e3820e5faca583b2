# cython: annotation_typing=False
"""The flows that a policy has let in, in a table of fixed size.

A flow is remembered for as long after its last packet as RFC 5382 (TCP), RFC 4787 (UDP) and
RFC 5508 (ICMP) ask of a NAT. The table is an array of buckets of eight; where one is full, a new
flow takes the place of one that nobody has answered, else of the one that would be forgotten
first. So a scan never costs memory, and hardly ever a flow in use.
"""

from __future__ import annotations

import random
from array import array

WAYS = 8
WORDS = 8
"""64-bit words of an entry, a line of the processor's cache: the key, when it is forgotten, how
it stands, its sites."""

# Copies that the compiled build holds as C integers, which other modules cannot import.
_WAYS = WAYS
_WORDS = WORDS
_EXPIRES = 5
_STATE = 6
_MASK64 = 0xFFFFFFFFFFFFFFFF
_LOW32 = 0xFFFFFFFF
_FACTORS = 11
_NOWHERE = -1

ANSWERED = 1
"""Bit of the state: packets passed both ways."""
_ANSWERED = ANSWERED

ANSWERED_BONUS = 1 << 62
"""Ranks a flow that was answered behind all that were not, when one has to go."""
_ANSWERED_BONUS = ANSWERED_BONUS


class FlowTable:
    """Finds flows by their keys; times are in milliseconds of a clock that only goes forward.

    Room for ``flows`` at least. ``seed`` keeps strangers from choosing flows that meet in a
    bucket. ``evicted`` counts flows that had to go before their time.
    """

    def __init__(self, flows: int, seed: int) -> None:
        buckets = 1
        while buckets * WAYS < flows:
            buckets *= 2
        chance = random.Random(seed)
        self._factor = array("Q", [chance.getrandbits(64) for _ in range(_FACTORS)])
        self._bucket_mask = buckets - 1
        self.entry = array("Q", bytes(8 * WORDS * WAYS * buckets))
        self.capacity = WAYS * buckets
        self.evicted = 0
        self._last = 0

    def find(self, key_0: int, key_1: int, key_2: int, key_3: int, key_4: int, now: int) -> int:
        """Return where the words of a flow begin in ``entry``, -1 if it is not known."""
        at = self._last
        # Neighbours are mostly of one flow.
        if self._is(at, key_0, key_1, key_2, key_3, key_4) and self.entry[at + _EXPIRES] > now:
            return at
        at = self._bucket(key_0, key_1, key_2, key_3, key_4)
        for _ in range(_WAYS):
            if self._is(at, key_0, key_1, key_2, key_3, key_4) and self.entry[at + _EXPIRES] > now:
                self._last = at
                return at
            at += _WORDS
        return _NOWHERE

    def insert(self, key_0: int, key_1: int, key_2: int, key_3: int, key_4: int, now: int) -> int:
        """Make room for a flow that is not there; return where its words begin.

        The caller sets when it expires, its state and its sites.
        """
        at = self._bucket(key_0, key_1, key_2, key_3, key_4)
        taken = at
        least = _MASK64
        for _ in range(_WAYS):
            rank = self.entry[at + _EXPIRES]
            if rank <= now:
                rank = 0
            elif self.entry[at + _STATE] & _ANSWERED:
                rank += _ANSWERED_BONUS
            if rank < least:
                least = rank
                taken = at
            at += _WORDS
        if least > 0:
            self.evicted += 1
        self.entry[taken] = key_0
        self.entry[taken + 1] = key_1
        self.entry[taken + 2] = key_2
        self.entry[taken + 3] = key_3
        self.entry[taken + 4] = key_4
        self._last = taken
        return taken

    def in_use(self, now: int) -> int:
        """Count the flows that are remembered at ``now``."""
        count = 0
        at = _EXPIRES
        for _ in range(self.capacity):
            if self.entry[at] > now:
                count += 1
            at += _WORDS
        return count

    def _is(self, at: int, key_0: int, key_1: int, key_2: int, key_3: int, key_4: int) -> bool:
        return (
            self.entry[at + 4] == key_4
            and self.entry[at + 3] == key_3
            and self.entry[at + 1] == key_1
            and self.entry[at] == key_0
            and self.entry[at + 2] == key_2
        )

    def _bucket(self, key_0: int, key_1: int, key_2: int, key_3: int, key_4: int) -> int:
        """Return where the bucket of a key begins: a multilinear hash, see `frames.flow_hash`."""
        total = self._factor[0]
        total += self._factor[1] * (key_0 >> 32) + self._factor[2] * (key_0 & _LOW32)
        total += self._factor[3] * (key_1 >> 32) + self._factor[4] * (key_1 & _LOW32)
        total += self._factor[5] * (key_2 >> 32) + self._factor[6] * (key_2 & _LOW32)
        total += self._factor[7] * (key_3 >> 32) + self._factor[8] * (key_3 & _LOW32)
        total += self._factor[9] * (key_4 >> 32) + self._factor[10] * (key_4 & _LOW32)
        return ((total & _MASK64) >> 32 & self._bucket_mask) * _WAYS * _WORDS
