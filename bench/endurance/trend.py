"""Whether something grows: a straight line through readings over time."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import attrs

Point = tuple[float, float]
"""Seconds, and a value."""


@attrs.frozen
class Trend:
    """A least-squares line through readings."""

    slope: float
    """Per hour."""
    growth: float
    """Of the line over the time of the readings."""
    median: float
    """Of the readings."""

    @classmethod
    def of(cls, points: Sequence[Point]) -> Trend:
        """Fit it; raises ValueError for fewer than two readings."""
        if len(points) < 2:
            raise ValueError("a trend takes two readings")
        times, values = zip(*points, strict=True)
        slope = statistics.linear_regression(times, values).slope
        return cls(slope * 3600, slope * (times[-1] - times[0]), statistics.median(values))


@attrs.frozen
class Verdict:
    """One thing that was asked of a run, and whether it held."""

    held: bool
    what: str

    def __str__(self) -> str:
        return f"{'ok' if self.held else 'NOT OK'}: {self.what}"
