"""What is wanted of a figure, and whether it came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from bench.side_by_side.results import Measure, Summary, format_figure, format_ratio


@attrs.frozen
class Target:
    """A limit for one measure in one case, be it for the figure or its ratio to the reference."""

    measure: str
    case: str
    kind: Literal["at least", "at most"]
    limit: float
    of: Literal["figure", "ratio"] = "figure"

    def met(self, summary: Summary) -> bool | None:
        """Whether the median meets it; None if there is no such figure."""
        value = summary.median if self.of == "figure" else summary.ratio
        if value is None:
            return None
        return value >= self.limit if self.kind == "at least" else value <= self.limit


def verdicts(
    targets: Sequence[Target],
    summary: Mapping[str, Mapping[str, Summary]],
    measures: Sequence[Measure],
) -> list[str]:
    """Say in a line for each target what was wanted, what came, and whether that is enough."""
    known = {measure.name: measure for measure in measures}
    lines = []
    for target in targets:
        measure = known[target.measure]
        found = summary.get(target.case, {}).get(target.measure)
        met = None if found is None else target.met(found)
        wanted = f"{measure.title}, {target.case}: {target.kind} {_limit(target, measure)}"
        if found is None or met is None:
            lines.append(f"NO FIGURE  {wanted}")
            continue
        came = (
            format_ratio(found.ratio)
            if target.of == "ratio"
            else f"{format_figure(found.median)} {measure.unit}"
        )
        lines.append(f"{'met' if met else 'MISSED'}  {wanted}; it is {came}")
    return lines


def _limit(target: Target, measure: Measure) -> str:
    if target.of == "ratio":
        return f"{target.limit:g} times the reference"
    return f"{target.limit:g} {measure.unit}"
