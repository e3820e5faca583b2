"""A report as bars in an SVG file: a panel for each measure, a bar for each subject.

The bar is the median, the thin line on it spans the lowest to the highest run, the dashed line
stands at the reference's median. Ours are in colour, the others grey.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.side_by_side.results import (
    Measure,
    Report,
    Summary,
    format_figure,
    format_ratio,
)
from bench.side_by_side.shapes import FAINT, INK, bar, document, line, text

WIDTH = 1080
_MARGIN = 28
_GAP = 44
_COLUMNS = 2
_PANEL_WIDTH = (WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP) / _COLUMNS
_NAMES_WIDTH = 114
_FIGURES_WIDTH = 120
_BAR_WIDTH = _PANEL_WIDTH - _NAMES_WIDTH - _FIGURES_WIDTH
_PANEL_HEAD = 48
_ROW = 25
_BAR = 17
_PANEL_FOOT = 26
_HEAD = 56
_LINE = 17

_OURS = "#1668b8"
_OURS_CLASSIC = "#7fb3de"
_REFERENCE, _OTHER = "#4b5560", "#a3acb5"


def draw(report: Report, subtitles: Sequence[str]) -> str:
    """Return the SVG document; ``subtitles`` are lines below the title."""
    summary = report.summary
    measures = [
        measure
        for measure in report.measures
        if measure.plotted and any(measure.name in one for one in summary.values())
    ]
    notes = [*subtitles, _legend(report)]
    top = _HEAD + len(notes) * _LINE + 12
    panel_height = _PANEL_HEAD + _ROW * len(summary) + _PANEL_FOOT
    height = top + panel_height * math.ceil(len(measures) / _COLUMNS)
    parts = [
        text(_MARGIN, 42, report.title, size=22, weight=600),
        *(
            text(_MARGIN, _HEAD + 10 + number * _LINE, note, size=12, fill=FAINT)
            for number, note in enumerate(notes)
        ),
    ]
    for number, measure in enumerate(measures):
        row, column = divmod(number, _COLUMNS)
        left = _MARGIN + column * (_PANEL_WIDTH + _GAP)
        parts += _panel(report, summary, measure, left, top + row * panel_height)
    return document(WIDTH, height, parts)


def _legend(report: Report) -> str:
    rounds = len({run.round for run in report.runs})
    bars = f"median of {rounds} runs; thin line: lowest to highest" if rounds > 1 else "one run"
    ratios = f", x = ratio to {report.reference}" if report.reference in report.subjects else ""
    return f"Bar: {bars}{ratios}"


def _panel(
    report: Report,
    summary: dict[str, dict[str, Summary]],
    measure: Measure,
    left: float,
    top: float,
) -> list[str]:
    found = {name: figures.get(measure.name) for name, figures in summary.items()}
    highest = max((one.maximum for one in found.values() if one is not None), default=0.0)
    scale = _BAR_WIDTH / highest if highest > 0 else 0.0
    start = left + _NAMES_WIDTH
    first_row = top + _PANEL_HEAD
    better = "more is better" if measure.better == "higher" else "less is better"
    bottom = first_row + _ROW * len(found)
    parts = [
        text(left, top + 20, measure.title, size=15, weight=600),
        text(left, top + 37, f"{measure.unit}; {better}", size=12, fill=FAINT),
        line(start, first_row - 2, start, bottom, INK),
    ]
    reference = found.get(report.reference)
    if reference is not None and len(found) > 1:
        at = start + reference.median * scale
        parts.append(line(at, first_row - 4, at, bottom, _REFERENCE, dashes="4 3"))
    for number, (name, one) in enumerate(found.items()):
        parts += _bar(report, name, one, start, first_row + number * _ROW, scale)
    return parts


def _bar(
    report: Report, name: str, one: Summary | None, start: float, top: float, scale: float
) -> list[str]:
    baseline = top + _BAR - 4
    ours = bool(report.subjects[name]["ours"])
    label = text(start - 8, baseline, name, anchor="end", weight=600 if ours else 400)
    if one is None:
        return [label, text(start + 6, baseline, "no figure", fill=FAINT)]
    if ours:
        fill = _OURS_CLASSIC if name.endswith("-classic") else _OURS
    else:
        fill = _REFERENCE if name == report.reference else _OTHER
    width = max(one.median * scale, 1.0)
    parts = [
        label,
        bar(start, top, width, _BAR, fill),
    ]
    end = start + width
    if one.count > 1:
        middle = top + _BAR / 2
        low, high = start + one.minimum * scale, start + one.maximum * scale
        parts.append(line(low, middle, high, middle, INK))
        parts += [line(x, middle - 3, x, middle + 3, INK) for x in (low, high)]
        end = max(end, high)
    ratio = "" if name == report.reference else format_ratio(one.ratio)
    parts.append(text(end + 7, baseline, format_figure(one.median), weight=600, aside=ratio))
    return parts
