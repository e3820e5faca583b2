"""What is fuzzed: a function that puts one input through the code and judges what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from tests.fuzz.builds import Build
from tests.fuzz.draw import Draw

Check = Callable[[Build, Draw], object]
"""Feeds what it draws to one build of the package and returns what that made of it.

Raises AssertionError if it should not have been that. `BadPacket` may come out of it: that the
peer is to blame is a result as good as any. Everything else is a fault.
"""


class Disagreement(AssertionError):
    """The two builds made different things of the same input."""


@attrs.frozen
class Target:
    """One kind of untrusted bytes."""

    name: str
    check: Check
    kernel: bool
    """Whether compiled code is involved, so that the builds are worth comparing."""
    longest: int = 4096
    """Bytes of an input at most; long ones are slow and seldom reach what short ones do not."""

    def run(self, builds: Sequence[Build], data: bytes) -> object:
        """Put one input through each of the builds; return what the last one made of it.

        Raises whatever a fault of ours raises, `Disagreement` if the builds differ.
        """
        outcomes = [_outcome(self.check, build, data) for build in builds]
        for build, outcome in zip(builds, outcomes, strict=True):
            if outcome != outcomes[0]:
                raise Disagreement(
                    f"{builds[0].name}: {outcomes[0]!r:.2000}\n{build.name}: {outcome!r:.2000}"
                )
        return outcomes[-1]


def _outcome(check: Check, build: Build, data: bytes) -> object:
    try:
        return check(build, Draw(data))
    except build["errors"].BadPacket as error:
        return f"BadPacket: {error}"
