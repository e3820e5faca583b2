"""The shapes that SVG pictures are drawn with, each an element as text; lengths are pixels."""

from __future__ import annotations

from xml.sax.saxutils import escape

INK, FAINT = "#1b2733", "#66727f"
FONT = "font-family='Inter, Helvetica, Arial, sans-serif'"


def text(
    x: float,
    y: float,
    content: str,
    *,
    size: int = 13,
    weight: int = 400,
    fill: str = INK,
    anchor: str = "start",
    aside: str = "",
) -> str:
    """Write one line; ``aside`` follows it, fainter."""
    # The white edge keeps a figure legible where a line passes behind it.
    faint = f"<tspan dx='6' font-weight='400' fill='{FAINT}'>{escape(aside)}</tspan>"
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' "
        f"fill='{fill}' text-anchor='{anchor}' stroke='white' stroke-width='4' "
        f"paint-order='stroke'>{escape(content)}{faint if aside else ''}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str, dashes: str = "") -> str:
    """Draw a line one pixel wide."""
    dashed = f" stroke-dasharray='{dashes}'" if dashes else ""
    return (
        f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' "
        f"stroke='{colour}' stroke-width='1'{dashed}/>"
    )


def bar(x: float, y: float, width: float, height: float, fill: str) -> str:
    """Fill a rectangle that lies to the right of ``x``."""
    return (
        f"<rect x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{height:.1f}' fill='{fill}'/>"
    )


def way(points: list[tuple[float, float]], colour: str, width: float = 1.5) -> str:
    """Connect points by straight lines."""
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f"<polyline points='{corners}' fill='none' stroke='{colour}' stroke-width='{width:g}'/>"


def curve(points: list[tuple[float, float]], colour: str, width: float = 2) -> str:
    """Connect points by straight lines, and mark each with a dot."""
    dots = "".join(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3'/>" for x, y in points)
    return f"<g fill='{colour}'>{way(points, colour, width)}{dots}</g>"


def document(width: float, height: float, parts: list[str]) -> str:
    """Put shapes onto a white sheet."""
    return (
        "\n".join(
            [
                f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height:.0f}' "
                f"viewBox='0 0 {width} {height:.0f}' {FONT} font-size='13' fill='{INK}'>",
                bar(0, 0, width, height, "white"),
                *parts,
                "</svg>",
            ]
        )
        + "\n"
    )
