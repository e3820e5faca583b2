# cython: annotation_typing=False
"""How much is lost whatever we do, and whether a sample shows more than that.

Loss that does not depend on our rate is no reason to slow down; loss that does is. So what is
lost at a rate that the path carries for sure is averaged (*base loss*), and samples at higher
rates are compared with it, with an allowance for chance: the number of n datagrams lost at
random with probability p in runs of mean length L has the variance n p (1 - p) (2 L - 1), for
geometric lengths.
"""

from __future__ import annotations

import math

TOLERATED = 0.025
"""Share of datagrams, beyond base loss and what chance explains, that is no sign."""
DEVIATIONS = 3.0
"""Standard deviations that chance may explain."""
SAMPLE = 60
"""Datagrams that a sample has at least."""
MEMORY = 1000
"""Datagrams over which base loss is averaged."""
MOST = 0.6
"""Base loss that is believed at most."""
PRIOR_LOST = 1.0
PRIOR_SENT = 20.0
"""What is taken to have happened before anything has: one datagram in twenty was lost."""

_TOLERATED = TOLERATED
_DEVIATIONS = DEVIATIONS
_SAMPLE = SAMPLE
_MEMORY = MEMORY
_MOST = MOST
_PRIOR_LOST = PRIOR_LOST
_PRIOR_SENT = PRIOR_SENT
_LONGEST_RUN = 10.0


class BaseLoss:
    """Base loss, ``share``, from samples at low rates; ``known`` datagrams stand behind it.

    A sample is collected by ``add`` after ``begin``, and then looked at.
    """

    def __init__(self) -> None:
        self.share = 0.0
        self.known = 0.0
        self._known_lost = 0.0
        self._sent = 0.0
        self._lost = 0.0
        # Of all samples: losses and runs of them.
        self._all_lost = 0.0
        self._all_runs = 0.0

    def begin(self) -> None:
        """Begin another sample."""
        self._sent = self._lost = 0.0

    def add(self, sent: int, lost: int, runs: int) -> None:
        """Add to the sample: datagrams of which is known what became of them, in total and lost.

        ``runs`` counts those lost ones whose predecessor was not lost.
        """
        self._sent += sent
        self._lost += lost
        self._all_lost += lost
        self._all_runs += runs
        if self._all_lost > _MEMORY / 10:
            self._all_lost /= 2
            self._all_runs /= 2

    def is_enough(self) -> bool:
        """Tell whether the sample is large enough to be looked at."""
        return self._sent >= _SAMPLE

    def sample_share(self) -> float:
        """Give the share lost of the sample."""
        return self._lost / self._sent if self._sent > 0 else 0.0

    def is_exceeded(self) -> bool:
        """Tell whether the sample lost more than base loss, chance and tolerance explain."""
        # As long as little is known, some loss is as likely as none.
        known = self.known + _PRIOR_SENT
        base = (self._known_lost + _PRIOR_LOST) / known
        if base > 1:
            base = 1.0
        run = 1.0
        if self._all_runs >= 4:
            run = self._all_lost / self._all_runs
            if run > _LONGEST_RUN:
                run = _LONGEST_RUN
            elif run < 1:
                run = 1.0
        variance = (2 * run - 1) * self._sent * base * (1 - base) * (1 + self._sent / known)
        chance = _DEVIATIONS * math.sqrt(variance) + run
        return self._lost > self._sent * (base + _TOLERATED) + chance

    def learn(self) -> None:
        """Count the sample as one at a low rate, and begin another."""
        self.known += self._sent
        self._known_lost += self._lost
        # A loss that was none is taken back, maybe in another sample than it was counted.
        if self._known_lost < 0:
            self._known_lost = 0.0
        if self.known > _MEMORY:
            self._known_lost *= _MEMORY / self.known
            self.known = _MEMORY
        if self.known >= _SAMPLE:
            self.share = self._known_lost / self.known
            if self.share > _MOST:
                self.share = _MOST
        self.begin()

    def replace(self) -> None:
        """Forget what was known, since the path has changed, and learn from the sample."""
        self.known = self._known_lost = 0.0
        self.learn()

    def doubt(self) -> None:
        """Halve base loss: what was taken for it was of our own making."""
        self._known_lost /= 2
        self.share /= 2
