"""Which packet size to try next on the way to a path's MTU; sans-IO."""

from __future__ import annotations

import attrs

ATTEMPTS = 3
"""Losses in a row after which a size counts as too large. At 10 % loss each way, one size in 150
is misjudged so; the search then ends lower, never higher than the path is."""


@attrs.define
class MtuSearch:
    """Bisects between a size that passes and the largest of interest, which is tried first.

    ``passed`` (bytes) is known to pass, ``most`` is tried at most.
    """

    passed: int
    most: int
    _too_large: int = attrs.field(init=False)
    _attempts: int = 0
    _begun: bool = False

    def __attrs_post_init__(self) -> None:
        self._too_large = self.most + 1

    def next_size(self) -> int | None:
        """Return the size to try, None when `passed` is the answer."""
        if self._too_large - self.passed <= 1:
            return None
        if not self._begun:
            return self.most
        return (self.passed + self._too_large) // 2

    def answered(self, size: int) -> None:
        """Note that a packet of ``size`` bytes, tried now or earlier, has arrived."""
        self.passed = max(self.passed, min(size, self.most))
        self._too_large = max(self._too_large, self.passed + 1)
        self._begun = True
        self._attempts = 0

    def lost(self, size: int) -> None:
        """Note that nothing came back for the size that `next_size` gave."""
        self._attempts += 1
        if self._attempts >= ATTEMPTS:
            self.refused(size)

    def refused(self, size: int) -> None:
        """Note that this size cannot pass: the kernel says so, or it was lost too often."""
        self._too_large = min(self._too_large, max(size, self.passed + 1))
        self._begun = True
        self._attempts = 0

    @property
    def steps_left(self) -> int:
        """How many more sizes will be tried, as things stand."""
        return (self._too_large - self.passed - 1).bit_length()
