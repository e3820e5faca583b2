"""The plot: well-formed, and its bars as long as their figures say."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bench.side_by_side import svg
from bench.side_by_side.results import Measure, Report, Run

SPEED = Measure("speed", "One <stream> & more", "Mbit/s", "higher")
HIDDEN = Measure("hidden", "A detail", "Mbit/s", "higher", plotted=False)
NAMESPACE = "{http://www.w3.org/2000/svg}"


def draw(*runs: Run) -> ElementTree.Element:
    report = Report(
        benchmark="throughput",
        title="Throughput",
        command="./run bench throughput",
        started="2030-01-01T00:00:00+00:00",
        machine={},
        settings={},
        subjects={
            "kcp": {"description": "ours", "ours": True},
            "kcp-classic": {"description": "ours", "ours": True},
            "openvpn": {"description": "OpenVPN 2.6", "ours": False},
        },
        skipped={},
        reference="openvpn",
        measures=[SPEED, HIDDEN],
        runs=runs,
    )
    return ElementTree.fromstring(svg.draw(report, ["a machine with <2 cores>"]))


def texts(drawing: ElementTree.Element) -> list[str]:
    return ["".join(one.itertext()) for one in drawing.iter(f"{NAMESPACE}text")]


def bars(drawing: ElementTree.Element) -> list[float]:
    # The first rectangle is the background.
    return [float(one.attrib["width"]) for one in drawing.iter(f"{NAMESPACE}rect")][1:]


def run(number: int, subject: str, **figures: float) -> Run:
    return Run(number, "part", subject, figures)


def test_bars_are_in_proportion_and_labelled() -> None:
    drawing = draw(run(1, "kcp", speed=300.0, hidden=1.0), run(1, "openvpn", speed=100.0))
    first, second = bars(drawing)
    assert first == pytest.approx(3 * second, rel=0.01)
    said = texts(drawing)
    assert "One <stream> & more" in said
    assert "a machine with <2 cores>" in said
    assert "3003.00x" in said
    assert "100" in said
    assert "A detail" not in said


def test_a_subject_without_figures_is_shown_as_such() -> None:
    drawing = draw(run(1, "kcp", speed=300.0), Run(1, "part", "kcp-classic", {}, "it ended"))
    assert len(bars(drawing)) == 1
    assert "no figure" in texts(drawing)


def test_everything_lies_within_the_picture() -> None:
    names = ("kcp", "kcp-classic", "openvpn")
    drawing = draw(*(run(number, name, speed=1e6 * number) for number in (1, 2) for name in names))
    width, height = (float(drawing.attrib[name]) for name in ("width", "height"))
    for bar in drawing.iter(f"{NAMESPACE}rect"):
        assert float(bar.get("x", "0")) + float(bar.attrib["width"]) <= width
        assert float(bar.get("y", "0")) + float(bar.attrib["height"]) <= height
    for line in drawing.iter(f"{NAMESPACE}line"):
        assert max(float(line.attrib["x1"]), float(line.attrib["x2"])) <= width
        assert max(float(line.attrib["y1"]), float(line.attrib["y2"])) <= height


def test_figures_of_nothing_but_zero_do_no_harm() -> None:
    assert len(bars(draw(run(1, "kcp", speed=0.0), run(1, "openvpn", speed=0.0)))) == 2
