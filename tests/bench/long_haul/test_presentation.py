"""Tables and picture of a report on long paths."""

from __future__ import annotations

from xml.etree import ElementTree

from rich.console import Console

from bench.long_haul import measurements, sharing
from bench.long_haul.presentation import LongHaulPresentation
from bench.side_by_side.results import Report, Run

NAMESPACE = "{http://www.w3.org/2000/svg}"
SHOW = LongHaulPresentation()


def report(*runs: Run) -> Report:
    return Report(
        benchmark="lossy",
        title="Long, lossy paths",
        command="./run bench lossy",
        started="2030-01-01T00:00:00+00:00",
        machine={},
        settings={},
        subjects={
            "plain": {"description": "no tunnel", "ours": False},
            "kcp": {"description": "ours", "ours": True},
            "kcp-no-fec": {"description": "ours without fec", "ours": True},
        },
        skipped={"kcptun": "no program kcptun-client is installed"},
        reference="plain",
        measures=(*measurements.MEASURES, *sharing.MEASURES),
        runs=runs,
    )


def path(name: str, subject: str, **figures: float) -> Run:
    return Run(1, f"{name} bulk", subject, {f"{name}.{key}": v for key, v in figures.items()})


FULL = report(
    path("loss-0", "plain", cubic=90.0, idle_lost=0.0, idle_p50=50.0, idle_p99=51.0, packets=1.01),
    path("loss-2", "plain", cubic=2.5, idle_lost=3.9, idle_p50=50.0, idle_p99=51.0, packets=1.01),
    path("loss-0", "kcp", cubic=85.0, bbr=86.0, loaded_p50=55.0, loaded_p99=900.0, packets=9.0),
    path("loss-2", "kcp", cubic=80.0, idle_lost=100.0),
    path("loss-2", "kcp-no-fec", cubic=60.0),
    path("two-tunnels", "kcp", own=44.0, other=46.0, share=48.9),
)


def texts(drawing: ElementTree.Element) -> list[str]:
    return ["".join(one.itertext()) for one in drawing.iter(f"{NAMESPACE}text")]


def widths(drawing: ElementTree.Element) -> list[float]:
    return [float(one.attrib["width"]) for one in drawing.iter(f"{NAMESPACE}rect")]


def test_markdown_has_a_table_for_each_view_and_a_row_for_each_path() -> None:
    said = SHOW.markdown(FULL)
    assert "| 100 Mbit/s, 50 ms, 0 % loss | 90.0 / - | 85.0 / 86.0 | - |" in said
    assert "| 100 Mbit/s, 50 ms, 2 % loss | 2.50 / - | 80.0 / - | 60.0 / - |" in said
    assert "| CUBIC through each of two tunnels | - | 44.0 / 46.0 / 48.9 | - |" in said
    assert "Speech" not in said
    assert "* `kcp-no-fec`: ours without fec" in said
    assert "* `kcptun` was skipped: no program kcptun-client is installed" in said


def test_the_terminal_gets_the_same_tables() -> None:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(SHOW.table(FULL))
    assert "85.0 / 86.0" in captured.get()
    assert "44.0 / 46.0 / 48.9" in captured.get()


def test_the_picture_says_every_figure_once() -> None:
    said = texts(ElementTree.fromstring(SHOW.draw(FULL, ["a machine with <2 cores>"])))
    assert "a machine with <2 cores>" in said
    assert "50.0 - 51.03.90 % lost" in said
    assert "> 55.0 - 900" in said
    assert "100 % lost" in said
    assert "> 9.00" in said
    assert "44.0 + 46.0 Mbit/s, 49 %" in said
    assert said.count("60.0") == 1


def test_no_bar_leaves_its_column() -> None:
    _, *bars = widths(ElementTree.fromstring(SHOW.draw(FULL, [])))
    assert max(bars) <= 900
    drawing = ElementTree.fromstring(SHOW.draw(report(path("thin", "kcp", packets=1e9)), []))
    _, legend, bar = widths(drawing)
    assert legend < bar < 300


def test_curves_need_more_than_one_loss() -> None:
    one = report(path("loss-2", "plain", cubic=2.5))
    assert "<polyline" not in SHOW.draw(one, [])
    assert SHOW.draw(FULL, []).count("<polyline") == 4


def test_a_report_without_figures_is_drawn_all_the_same() -> None:
    drawing = ElementTree.fromstring(SHOW.draw(report(Run(1, "loss-2 bulk", "kcp", {})), []))
    assert "Long, lossy paths" in texts(drawing)
