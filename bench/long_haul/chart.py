"""A report on long paths as one picture: curves over the loss, then bars for each path.

Ours are in colours, the others in greys and browns, the same in all parts of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from bench.long_haul import sharing
from bench.long_haul.profiles import LOSSES, PROFILES, Profile
from bench.side_by_side.results import Report, Summary, format_figure
from bench.side_by_side.shapes import FAINT, INK, bar, curve, document, line, text

WIDTH = 1180
_MARGIN = 28
_GAP = 36
_LINE = 17

_COLOURS = {
    "kcp": "#1668b8",
    "tls": "#1f9e89",
    "wss": "#7b52c7",
    "kcp-classic": "#7fb3de",
    "plain": "#4b5560",
    "openvpn": "#b0a18a",
    "wireguard-go": "#c2795b",
    "kcptun": "#8c7a1f",
}
_OTHER_COLOURS = ("#d1495b", "#3c9ab2", "#96a13a", "#e0a458")

# Curves.
_CURVE_HEIGHT = 220
_CURVE_LEFT = 44

# Bars.
_NAMES_WIDTH = 108
_ROW = 15
_BAR = 10
_PATH_HEAD = 48
_PATH_FOOT = 14
_FIGURE_WIDTH = 122
_WORST_PING = 6
"""Round trips at which the bars of pings are cut off."""


@attrs.frozen
class _Column:
    """One thing that is drawn as bars; ``scale`` gives what the full width stands for."""

    title: str
    figure: str
    scale: Callable[[Profile], float]
    beyond: str = ""
    """A second figure, to which a lighter bar leads on."""
    lost: str = ""
    """A share of losses in per cent, told beside the bar."""


def _rate(profile: Profile) -> float:
    return profile.rate / 1e6


def _slow(profile: Profile) -> float:
    return profile.round_trip * 1000 * _WORST_PING


_COLUMNS = (
    _Column("CUBIC inside, Mbit/s", "cubic", _rate),
    _Column("ping at rest, p50 and p99, ms", "idle_p50", _slow, "idle_p99", "idle_lost"),
    _Column("ping beside CUBIC, p50 and p99, ms", "loaded_p50", _slow, "loaded_p99", "loaded_lost"),
    _Column("packets on the wire per packet", "packets", lambda profile: 3.0),
)


_NOTES = (
    "Ping: the full bar is the median, the lighter one leads on to 99 %, the dotted line is the "
    f"path's own round trip; bars end at {_WORST_PING} of these.",
    "Mbit/s: the whole width is what the path carries. Packets: sent by the router's side, for "
    "each that the transfer needed.",
)


def draw(report: Report, subtitles: Sequence[str]) -> str:
    """Return the SVG document; ``subtitles`` are lines below the title."""
    summary = report.summary
    colours = _colours(list(summary))
    parts = [text(_MARGIN, 42, report.title, size=22, weight=600)]
    top = 66.0
    for note in subtitles:
        parts.append(text(_MARGIN, top, note, size=12, fill=FAINT))
        top += _LINE
    for note in _NOTES:
        parts.append(text(_MARGIN, top, note, size=12))
        top += _LINE
    top = _legend(parts, colours, top + 4)
    lossy = [f"loss-{percent}" for percent in LOSSES]
    if sum(_has(summary, name) for name in lossy) > 1:
        _curves(parts, summary, colours, top)
        top += _CURVE_HEIGHT + 84
    for profile in PROFILES:
        if _has(summary, profile.name):
            top = _path(parts, profile, summary, colours, top)
    if any(_has(summary, name) for name, _ in sharing.ROWS):
        top = _shares(parts, summary, colours, top)
    return document(WIDTH, top + _MARGIN, parts)


def _has(summary: Mapping[str, Mapping[str, Summary]], name: str) -> bool:
    return any(
        measure.startswith(f"{name}.") for figures in summary.values() for measure in figures
    )


def _colours(names: Sequence[str]) -> dict[str, str]:
    others = iter(_OTHER_COLOURS * len(names))
    return {name: _COLOURS.get(name) or next(others) for name in names}


def _legend(parts: list[str], colours: Mapping[str, str], top: float) -> float:
    left = float(_MARGIN)
    for name, colour in colours.items():
        parts += [bar(left, top, 22, 10, colour), text(left + 28, top + 10, name)]
        left += 50 + 8 * len(name)
    return top + 34


# --- Curves over the loss


def _curves(
    parts: list[str],
    summary: Mapping[str, Mapping[str, Summary]],
    colours: Mapping[str, str],
    top: float,
) -> None:
    width = (WIDTH - 2 * _MARGIN - _GAP) / 2
    panels = (
        ("CUBIC inside, Mbit/s, by loss each way (100 Mbit/s, 50 ms)", "cubic", 100.0),
        ("ping beside CUBIC, p99, ms, by loss each way", "loaded_p99", 50.0 * _WORST_PING),
    )
    for number, (title, figure, highest) in enumerate(panels):
        left = _MARGIN + number * (width + _GAP)
        parts.append(text(left, top + 16, title, size=15, weight=600))
        frame = _Frame(left + _CURVE_LEFT, top + 34, width - _CURVE_LEFT - 10, highest)
        parts += frame.grid()
        for name, figures in summary.items():
            points = [
                frame.point(percent, found.median)
                for percent in LOSSES
                if (found := figures.get(f"loss-{percent}.{figure}")) is not None
            ]
            if points:
                parts.append(curve(points, colours[name]))


@attrs.frozen
class _Frame:
    """The axes of one chart: loss to the right, a figure upwards."""

    left: float
    top: float
    width: float
    highest: float

    def point(self, percent: float, value: float) -> tuple[float, float]:
        x = self.left + percent / LOSSES[-1] * self.width
        return x, self.top + _CURVE_HEIGHT * (1 - min(value / self.highest, 1))

    def grid(self) -> list[str]:
        parts = []
        for step in range(6):
            value = self.highest * step / 5
            _, y = self.point(0, value)
            colour = INK if step == 0 else "#dfe3e7"
            parts += [
                line(self.left, y, self.left + self.width, y, colour),
                text(self.left - 8, y + 4, f"{value:.0f}", size=12, fill=FAINT, anchor="end"),
            ]
        bottom = self.top + _CURVE_HEIGHT
        for percent in LOSSES:
            x, _ = self.point(percent, 0)
            label = f"{percent} %"
            parts.append(text(x, bottom + 18, label, size=12, fill=FAINT, anchor="middle"))
        return parts


# --- Bars, path by path


def _path(
    parts: list[str],
    profile: Profile,
    summary: Mapping[str, Mapping[str, Summary]],
    colours: Mapping[str, str],
    top: float,
) -> float:
    names = [
        name
        for name, figures in summary.items()
        if any(measure.startswith(f"{profile.name}.") for measure in figures)
    ]
    parts += [
        line(_MARGIN, top, WIDTH - _MARGIN, top, "#dfe3e7"),
        text(_MARGIN, top + 20, profile.title, size=15, weight=600),
    ]
    first = top + _PATH_HEAD
    for number, name in enumerate(names):
        baseline = first + number * _ROW + _BAR - 1
        left = _MARGIN + _NAMES_WIDTH - 8
        parts.append(text(left, baseline, name, size=12, anchor="end"))
    width = (WIDTH - 2 * _MARGIN - _NAMES_WIDTH) / len(_COLUMNS)
    for number, column in enumerate(_COLUMNS):
        start = _MARGIN + _NAMES_WIDTH + number * width
        parts.append(text(start, top + 40, column.title, size=12, fill=FAINT))
        full = width - _FIGURE_WIDTH
        scale = full / column.scale(profile)
        for row, name in enumerate(names):
            y = first + row * _ROW
            value = summary[name].get(f"{profile.name}.{column.figure}")
            beyond = summary[name].get(f"{profile.name}.{column.beyond}")
            lost = summary[name].get(f"{profile.name}.{column.lost}")
            parts += _bars(start, y, (value, beyond), lost, scale, full, colours[name])
        bottom = first + len(names) * _ROW
        parts.append(line(start, first - 3, start, bottom, INK))
        if column.beyond:
            at = start + profile.round_trip * 1000 * scale
            parts.append(line(at, first - 3, at, bottom, INK, dashes="2 3"))
    return first + len(names) * _ROW + _PATH_FOOT


def _bars(
    left: float,
    top: float,
    values: tuple[Summary | None, Summary | None],
    lost: Summary | None,
    scale: float,
    full: float,
    colour: str,
) -> list[str]:
    """Draw one bar, and a lighter one on from it if there are two values."""
    baseline = top + _BAR - 1
    found = [one.median for one in values if one is not None]
    aside = f"{format_figure(lost.median)} % lost" if lost is not None and lost.median else ""
    if not found:
        return [text(left + 5, baseline, aside or "-", size=12, fill=FAINT)]
    ends = [min(value * scale, full) for value in found]
    parts = []
    if len(ends) > 1:
        parts.append(f"<g opacity='0.4'>{bar(left, top, ends[-1], _BAR, colour)}</g>")
    parts.append(bar(left, top, max(ends[0], 1), _BAR, colour))
    said = " - ".join(format_figure(value) for value in found)
    if found[-1] * scale > full:
        said = f"> {said}"
    parts.append(text(left + ends[-1] + 5, baseline, said, size=12, aside=aside))
    return parts


# --- Sharing


def _shares(
    parts: list[str],
    summary: Mapping[str, Mapping[str, Summary]],
    colours: Mapping[str, str],
    top: float,
) -> float:
    full = WIDTH - 2 * _MARGIN - _NAMES_WIDTH - 220
    left = float(_MARGIN + _NAMES_WIDTH)
    for name, title in sharing.ROWS:
        found = {
            subject: figures for subject, figures in summary.items() if f"{name}.share" in figures
        }
        if not found:
            continue
        parts += [
            line(_MARGIN, top, WIDTH - _MARGIN, top, "#dfe3e7"),
            text(_MARGIN, top + 20, f"Sharing 100 Mbit/s: {title}", size=15, weight=600),
        ]
        y: float = top + _PATH_HEAD
        for subject, figures in found.items():
            own, other, share = (
                figures[f"{name}.{part}"].median for part in ("own", "other", "share")
            )
            said = f"{format_figure(own)} + {format_figure(other)} Mbit/s, {share:.0f} %"
            parts += [
                text(left - 8, y + _BAR - 1, subject, size=12, anchor="end"),
                bar(left, y, full, _BAR, "#e4e8ec"),
                bar(left, y, full * share / 100, _BAR, colours[subject]),
                text(left + full + 8, y + _BAR - 1, said, size=12),
            ]
            y += _ROW
        for percent in (40, 60):
            at = left + full * percent / 100
            parts.append(line(at, top + _PATH_HEAD - 3, at, y, INK, dashes="2 3"))
        top = y + _PATH_FOOT
    return top
