"""A soak as a picture: memory, descriptors and tasks, traffic, and pings over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from bench.endurance.health import Health
from bench.endurance.soaking import PROGRAMS, Reading
from bench.side_by_side.shapes import FAINT, INK, bar, document, line, text, way

WIDTH = 1080
_MARGIN = 28
_LEFT = 76
_RIGHT = 150
_HEIGHT = 130
_PANEL = 190
_LINE = 17
_LABEL = 15
_COLOURS = {"router": "#1668b8", "first": "#1f9e89", "second": "#7b52c7"}
_TRAFFIC, _LOST = "#1668b8", "#d1495b"
_GRID = "#dfe3e7"
_STEPS = 4


@attrs.frozen
class _Panel:
    title: str
    unit: str
    curves: Mapping[str, Callable[[Reading], float]]
    """By what is written at their ends."""
    colours: Mapping[str, str]


def _of_each(value: Callable[[Health], float]) -> dict[str, Callable[[Reading], float]]:
    def of(name: str) -> Callable[[Reading], float]:
        return lambda reading: value(reading.programs[name])

    return {name: of(name) for name in PROGRAMS}


_PANELS = (
    _Panel("Resident memory", "MiB", _of_each(lambda health: health.memory), _COLOURS),
    _Panel(
        "Open file descriptors",
        "",
        _of_each(lambda health: health.descriptors),
        _COLOURS,
    ),
    _Panel("Tasks and nurseries", "", _of_each(lambda health: health.tasks), _COLOURS),
    _Panel(
        "Payload that arrived",
        "Mbit/s",
        {"both ways": lambda one: one.megabits},
        {"both ways": _TRAFFIC},
    ),
    _Panel(
        "Pings: longest round trip, and how many were lost",
        "ms",
        {"longest": lambda one: one.ping_ms, "lost": lambda one: float(one.pings_lost)},
        {"longest": _TRAFFIC, "lost": _LOST},
    ),
)


def draw(title: str, subtitles: Sequence[str], warm_up: float, readings: Sequence[Reading]) -> str:
    """Return the SVG document; ``warm_up`` is in seconds, and shaded."""
    parts = [text(_MARGIN, 42, title, size=22, weight=600)]
    top = 66.0
    for note in subtitles:
        parts.append(text(_MARGIN, top, note, size=12, fill=FAINT))
        top += _LINE
    for panel in _PANELS:
        parts += _draw_panel(panel, readings, warm_up, top)
        top += _PANEL
    return document(WIDTH, top + 20, parts)


def _draw_panel(
    panel: _Panel, readings: Sequence[Reading], warm_up: float, top: float
) -> list[str]:
    longest = readings[-1].seconds
    width = WIDTH - _LEFT - _RIGHT
    highest = round_up(max(read(one) for read in panel.curves.values() for one in readings))
    first = top + 34

    def point(seconds: float, value: float) -> tuple[float, float]:
        return _LEFT + seconds / longest * width, first + _HEIGHT * (1 - value / highest)

    parts = [
        text(_MARGIN, top + 20, panel.title, size=15, weight=600, aside=panel.unit),
        bar(_LEFT, first, min(warm_up / longest, 1) * width, _HEIGHT, "#f2f4f6"),
    ]
    for step in range(_STEPS + 1):
        value = highest * step / _STEPS
        _, y = point(0, value)
        parts.append(line(_LEFT, y, _LEFT + width, y, INK if step == 0 else _GRID))
        parts.append(text(_LEFT - 8, y + 4, f"{value:g}", size=12, fill=FAINT, anchor="end"))
    for minute in minutes(longest):
        x, y = point(minute * 60, 0)
        label = f"{minute:g} min"
        parts.append(text(x, y + 17, label, size=12, fill=FAINT, anchor="middle"))
    ends: list[float] = []
    for name, read in panel.curves.items():
        colour = panel.colours[name]
        points = [point(one.seconds, read(one)) for one in readings]
        parts.append(way(points, colour))
        # Labels of curves that end at the same height stand below one another.
        y = points[-1][1] + 4
        aside = _LABEL if y < first + _HEIGHT / 2 else -_LABEL
        while any(abs(y - taken) < _LABEL for taken in ends):
            y += aside
        ends.append(y)
        label = f"{name} {read(readings[-1]):.3g}"
        parts.append(text(_LEFT + width + 8, y, label, size=12, fill=colour))
    return parts


def round_up(value: float) -> float:
    """Give a round number that is not less, of which a quarter is round too; at least 1."""
    step = 1.0
    while step * 10 < value:
        step *= 10
    return next(step * factor for factor in (1, 2, 4, 6, 8, 10) if step * factor >= value)


def minutes(seconds: float) -> list[float]:
    """Give five to nine marks for a time axis."""
    whole = seconds / 60
    for step in (0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 240):
        if whole / step <= 8:
            return [number * step for number in range(int(whole / step) + 1)]
    return [0, whole]
