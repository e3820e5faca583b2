"""What came of a fault, and how that is told: a table, Markdown, JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from rich.table import Table

from bench.endurance.health import Health


@attrs.frozen
class Recovery:
    """Traffic that flowed again: what it took ``seconds`` from, and how long it may take."""

    what: str
    seconds: float | None
    """None if it did not flow in time."""
    limit: float
    starting: float = 0.0
    """Seconds before that in which programs started anew, which depends on the machine's load."""

    @property
    def in_time(self) -> bool:
        return self.seconds is not None and self.seconds <= self.limit

    def __str__(self) -> str:
        if self.seconds is None:
            return f"{self.what}: not within {self.limit:g} s"
        start = f" (after {self.starting:.1f} s of starting)" if self.starting else ""
        return f"{self.what}: {self.seconds:.2f} s{start}"


@attrs.frozen
class Outcome:
    """Everything about one run of one case."""

    case: str
    transport: str
    recoveries: tuple[Recovery, ...] = ()
    before: Mapping[str, Health] = attrs.field(factory=dict)
    after: Mapping[str, Health] = attrs.field(factory=dict)
    """Once it was as quiet as before, or the patience for that was over."""
    leftovers: tuple[str, ...] = ()
    """What was there when all programs had ended, and not before they started."""
    problems: tuple[str, ...] = ()
    """What was not as it should be; none: the case is passed."""
    said: tuple[str, ...] = ()
    """Lines of the programs' logs that tell of the fault."""
    skipped: str = ""
    """Why it could not be run here."""

    @property
    def passed(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """All members, and whether it passed."""
        return {**attrs.asdict(self), "passed": self.passed}

    def cells(self) -> tuple[str, ...]:
        """Give a row of the table."""
        if self.skipped:
            return self.case, self.transport, f"skipped: {self.skipped}", "", "", "", ""
        return (
            self.case,
            self.transport,
            summary(self.recoveries),
            change(self.before, self.after, "descriptors"),
            change(self.before, self.after, "tasks"),
            change(self.before, self.after, "memory"),
            "; ".join(self.problems) or "ok",
        )


HEADINGS = (
    "fault",
    "transport",
    "traffic flows again after",
    "descriptors",
    "tasks",
    "memory, MiB",
    "result",
)


def summary(recoveries: Sequence[Recovery]) -> str:
    """Say all of a few recoveries, the median and the longest of many."""
    if len(recoveries) <= MOST_SAID:
        return "; ".join(map(str, recoveries))
    found = sorted(one.seconds for one in recoveries if one.seconds is not None)
    if not found:
        return f"never in {len(recoveries)} times"
    return (
        f"{len(found)} of {len(recoveries)} times: median {found[len(found) // 2]:.2f} s, "
        f"longest {found[-1]:.2f} s (programs took up to "
        f"{max(one.starting for one in recoveries):.1f} s to start)"
    )


MOST_SAID = 4


def change(before: Mapping[str, Health], after: Mapping[str, Health], what: str) -> str:
    """Give a figure of all programs together before and after."""
    if not before or not after:
        return "-"
    sums = [sum(getattr(one, what) for one in each.values()) for each in (before, after)]
    return " -> ".join(f"{one:.0f}" for one in sums)


def table(outcomes: Sequence[Outcome]) -> Table:
    """Make the table for a terminal."""
    made = Table(*HEADINGS)
    for outcome in outcomes:
        made.add_row(*outcome.cells())
    return made


def markdown(outcomes: Sequence[Outcome]) -> str:
    """Make the table in Markdown."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(outcome.cells() for outcome in outcomes)]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows)
