"""Quantities as people read them, in few characters."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING = "-"
"""What is not measured."""

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.:-=+*#"


def duration(seconds: float | None) -> str:
    """Two units at most: ``45s``, ``12m``, ``3h5m``, ``2d4h``."""
    if seconds is None:
        return NOTHING
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60}s" if whole < 600 else f"{whole // 60}m"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600}h"


def milliseconds(seconds: float | None) -> str:
    """Milliseconds, three digits, without the unit: ``0.24``, ``12.3``, ``340``."""
    if seconds is None:
        return NOTHING
    value = seconds * 1000
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}"


def bit_rate(bytes_per_second: float | None, unit: str = "") -> str:
    """Bits a second, as links are sold, with the unit if given: ``0``, ``840 b/s``, ``1.2 M``."""
    if bytes_per_second is None:
        return NOTHING
    return _scaled(bytes_per_second * 8, unit).rstrip()


def size(count: float | None) -> str:
    """``0 B``, ``1.2 GB``, in powers of ten."""
    return NOTHING if count is None else _scaled(count, "B")


def count(number: float | None) -> str:
    """``0``, ``840``, ``1.2 M``."""
    return NOTHING if number is None else _scaled(number, "").rstrip()


def _scaled(value: float, unit: str) -> str:
    for prefix in ("", "k", "M", "G", "T"):
        if value < 999.5 or prefix == "T":
            break
        value /= 1000
    digits = 0 if value >= 99.5 or not prefix else 1
    return f"{value:.{digits}f} {prefix}{unit}"


def brief_share(value: float | None) -> str:
    """A share in four characters at most: ``<1%``, ``14%``."""
    if not value:
        return share(value)
    return "<1%" if value < 0.01 else f"{value:.0%}"


def share(value: float | None) -> str:
    """``0%``, ``0.03%``, ``1.4%``, ``25%``."""
    if value is None:
        return NOTHING
    percent = value * 100
    if percent == 0:
        return "0%"
    if percent < 0.01:
        return "<0.01%"
    return (
        f"{percent:.2f}%"
        if percent < 1
        else f"{percent:.1f}%"
        if percent < 10
        else f"{percent:.0f}%"
    )


def sparkline(values: Sequence[float], width: int, *, ascii_only: bool = False) -> str:
    """The last ``width`` values as a row of bars, the highest of them being full; old to new."""
    marks = _ASCII if ascii_only else _BLOCKS
    shown = values[-width:]
    top = max(shown, default=0.0)
    if top <= 0:
        return (marks[0] * len(shown)).rjust(width)
    steps = len(marks) - 1
    return "".join(marks[round(steps * max(value, 0.0) / top)] for value in shown).rjust(width)
