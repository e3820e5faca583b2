"""How a report is shown to people: a table for terminals, one in Markdown, and a picture."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from bench.side_by_side import svg
from bench.side_by_side.results import Report


class Presentation:
    """One row a measure, one panel of bars a measure; a benchmark may have another one."""

    def table(self, report: Report) -> RenderableType:
        return report.table()

    def markdown(self, report: Report) -> str:
        return report.markdown()

    def draw(self, report: Report, subtitles: Sequence[str]) -> str:
        """Return an SVG document; ``subtitles`` are lines below the title."""
        return svg.draw(report, subtitles)
