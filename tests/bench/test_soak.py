"""The soak: what it asks of its readings, the picture, and a very short one of the real thing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import attrs
import pytest

from bench.endurance import chart
from bench.endurance.health import GATEWAYS, Health, count_tasks, open_descriptors
from bench.endurance.soaking import PROGRAMS, Plan, Reading, verdicts
from bench.endurance.trend import Trend
from polevpn_trio.transport.udp import UdpSocket

PLAN = Plan(("kcp", "tls"), rate=8.0, seconds=3600, warm_up=600, every=10, renew=600)
ROOT = Path(__file__).parents[2]


def reading(seconds: float, **changes: Any) -> Reading:
    return attrs.evolve(
        Reading(
            seconds=seconds,
            programs=dict.fromkeys(PROGRAMS, Health(70.0, 15, 1, 14, seconds / 20)),
            megabits=8.0,
            pings_lost=0,
            ping_ms=4.0,
            datagrams_lost=0,
            tcp_failures=0,
            links_lost=0,
            renewals=6,
        ),
        **changes,
    )


def hour(change: Callable[[Reading], Reading] = lambda one: one) -> list[Reading]:
    return [change(reading(10.0 * number)) for number in range(1, 361)]


def failed(readings: list[Reading]) -> list[str]:
    return [one.what for one in verdicts(PLAN, readings) if not one.held]


def router(change: Callable[[float], dict[str, Any]]) -> Callable[[Reading], Reading]:
    """Change what is read of the router, by the seconds."""

    def changed(one: Reading) -> Reading:
        health = attrs.evolve(one.programs["router"], **change(one.seconds))
        return attrs.evolve(one, programs={**one.programs, "router": health})

    return changed


def test_sockets_of_single_peers_are_no_growth_but_no_more_than_there_are_peers() -> None:
    shared = UdpSocket.bind("127.0.0.1", 0)
    before = open_descriptors(os.getpid())
    peers = [UdpSocket.connect(shared.getsockname()) for _ in range(GATEWAYS + 1)]
    assert open_descriptors(os.getpid()) == before + len(peers)
    own = [shared.split_off(peer.getsockname()) for peer in peers]
    assert None not in own
    assert open_descriptors(os.getpid()) == before + len(peers) + 1
    for udp in (shared, *peers, *own):
        assert udp is not None
        udp.close()
    assert open_descriptors(os.getpid()) == before - 1


def test_a_line_through_readings() -> None:
    trend = Trend.of([(seconds, 50 + seconds / 3600) for seconds in range(0, 7200, 5)])
    assert trend.slope == pytest.approx(1)
    assert trend.growth == pytest.approx(7195 / 3600)


def test_flat_readings_pass() -> None:
    assert failed(hour()) == []


def test_growth_in_the_warm_up_is_let_pass() -> None:
    assert failed(hour(router(lambda seconds: {"memory": min(70.0, 40 + seconds / 20)}))) == []


def test_memory_that_grows() -> None:
    (what,) = failed(hour(router(lambda seconds: {"memory": 70 + seconds / 3600 * 2})))
    assert what.startswith("router: memory 71.2 MiB, trend +1.67 MiB")


@pytest.mark.parametrize("what", ["descriptors", "threads", "tasks"])
def test_something_that_is_left_over(what: str) -> None:
    grown = router(lambda seconds: {what: 20 if seconds < 2900 else 21})
    assert failed(hour(grown)) == [
        f"router: {what} 20 at first, 21 in the end (seen: 20-21)",
    ]


def test_a_moment_with_two_connections_is_no_leak() -> None:
    assert failed(hour(router(lambda seconds: {"descriptors": 15 + (seconds == 3600)}))) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"links_lost": 1}, "links lost: 1, renewed: 6"),
        ({"tcp_failures": 1}, "TCP connections that failed: 301"),
        ({"pings_lost": 1}, "pings lost: 301 of 12000"),
        ({"datagrams_lost": 2}, "datagrams lost: 602 of 600000"),
        ({"megabits": 7.0}, "arrived: 7.00 of 8 Mbit/s"),
    ],
)
def test_traffic_that_fails(changes: dict[str, float], what: str) -> None:
    readings = [reading(10.0 * number, **changes) for number in range(1, 361)]
    assert failed(readings) == [what]


def test_too_short() -> None:
    with pytest.raises(ValueError, match="too few readings"):
        verdicts(PLAN, hour()[:60])


def test_tasks_are_counted_through_the_tree() -> None:
    leaf = {"name": "leaf", "children": []}
    assert count_tasks({"children": [leaf, {"children": [leaf, leaf]}]}) == 5


def test_the_picture_is_well_formed() -> None:
    drawing = ElementTree.fromstring(chart.draw("A <soak>", ["one & two"], 600, hour()))
    curves = list(drawing.iter("{http://www.w3.org/2000/svg}polyline"))
    assert len(curves) == 3 * len(PROGRAMS) + 3
    assert all(len(one.attrib["points"].split()) == 360 for one in curves)


@pytest.mark.parametrize("last", range(0, 101, 2))
def test_labels_of_curves_that_end_together_stand_apart(last: int) -> None:
    """The axis goes to 100: one of these ends is at each height of it."""

    def change(one: Reading) -> Reading:
        memory = 100.0 if one.seconds < 3600 else float(last)
        programs = {name: Health(memory, 15, 1, 14, 0.0) for name in PROGRAMS}
        return attrs.evolve(one, programs=programs)

    drawing = ElementTree.fromstring(chart.draw("", [], 600, hour(change)))
    texts = list(drawing.iter("{http://www.w3.org/2000/svg}text"))
    heights = sorted(
        float(each.attrib["y"]) for each in texts if f" {last:.3g}" in (each.text or "")
    )
    assert len(heights) >= len(PROGRAMS)
    assert all(after - before >= 15 for before, after in pairwise(heights))


@pytest.mark.parametrize(
    ("value", "rounded"), [(0.0, 1), (1.0, 1), (15.0, 20), (61.0, 80), (99.0, 100), (101.0, 200)]
)
def test_round_ends_of_axes(value: float, rounded: float) -> None:
    assert chart.round_up(value) == rounded


@pytest.mark.needs_root_lab
def test_real_programs_for_a_moment(tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    command = [sys.executable, str(ROOT / "bench" / "soak.py"), "--json", str(file)]
    command += ["--minutes", "0.1", "--every", "1", "--rate", "2", "--renew", "2"]
    # Whether all holds is not asked: seconds say nothing about growth.
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr
    document = json.loads(file.read_text())
    assert document["verdicts"]
    readings = [Reading.from_json(one) for one in document["readings"]]
    assert len(readings) == 6
    assert readings[-1].renewals > 0
    assert sum(one.megabits for one in readings) > 0
    for name in PROGRAMS:
        assert readings[-1].programs[name].tasks > 5
        assert readings[-1].programs[name].descriptors > 5
    again = subprocess.run(
        [*command[:2], "--from", str(file), "--markdown"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "router: descriptors" in again.stdout
