"""The benchmark of faults: how it tells what came of them, and a few of them, for real.

The real ones are judged by what is left and by whether traffic returns, not by how soon.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Address

import attrs
import pytest

from bench import faults
from bench.endurance import certificate_faults, host_faults, network_faults
from bench.endurance.health import Health
from bench.endurance.name_server import answer
from bench.endurance.outcome import HEADINGS, Outcome, Recovery, markdown
from bench.endurance.scene import Scene
from polevpn_trio.lab.namespaces import Lab

BEFORE = {"router": Health(70.0, 15, 1, 17, 1.0), "first": Health(69.0, 13, 1, 14, 1.0)}
AFTER = {**BEFORE, "router": attrs.evolve(BEFORE["router"], descriptors=16, memory=72.0)}


def test_a_recovery_is_late_or_never() -> None:
    assert Recovery("cut", 1.0, 2.0).in_time
    assert not Recovery("cut", 2.5, 2.0).in_time
    assert not Recovery("cut", None, 2.0).in_time
    assert str(Recovery("cut", None, 2.0)) == "cut: not within 2 s"
    assert str(Recovery("kill", 0.5, 2.0, 1.25)) == "kill: 0.50 s (after 1.2 s of starting)"


def test_the_row_of_an_outcome() -> None:
    outcome = Outcome(
        "cut", "kcp", (Recovery("cut", 1.0, 2.0),), BEFORE, AFTER, problems=("left: a|b",)
    )
    assert not outcome.passed
    assert outcome.cells() == (
        *("cut", "kcp", "cut: 1.00 s", "28 -> 29", "31 -> 31", "139 -> 141", "left: a|b"),
    )
    # A bar would be the end of the cell.
    *_, row = markdown([outcome]).splitlines()
    assert row.count("|") == len(HEADINGS) + 1


def test_many_recoveries_are_summed_up() -> None:
    many = tuple(Recovery("kill", float(number), 9.0, 1.0) for number in range(1, 10))
    (_, _, said, *_) = Outcome("kill", "tls", (*many, Recovery("kill", None, 9.0))).cells()
    expected = "9 of 10 times: median 5.00 s, longest 9.00 s (programs took up to 1.0 s to start)"
    assert said == expected


def test_what_is_skipped_is_no_failure() -> None:
    outcome = Outcome("nat", "kcp", skipped="no nft")
    assert outcome.passed
    assert "skipped: no nft" in outcome.cells()


def test_names_of_cases_are_told_apart() -> None:
    names = [case.name for case in faults.CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("seconds", "limit"), [(1, 4.05), (120, 10)])
def test_attempts_become_rarer_the_longer_an_outage_lasts(seconds: float, limit: float) -> None:
    assert network_faults.cut_limit(seconds) == pytest.approx(limit)


# --- The name server


def query(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, 1)


def test_the_name_server_knows_one_name() -> None:
    address = IPv4Address("192.0.2.7")
    known = answer(query("Router.example"), "router.example", address)
    assert known.endswith(address.packed)
    assert known[:2] == query("x")[:2]
    for other in (query("other.example"), query("router.example", kind=28)):
        assert answer(other, "router.example", address)[6:8] == bytes(2)


@pytest.mark.parametrize("junk", [b"", bytes(12), query("router.example")[:-3]])
def test_the_name_server_refuses_junk(junk: bytes) -> None:
    with pytest.raises(ValueError, match="not"):
        answer(junk, "router.example", IPv4Address("192.0.2.7"))


# --- Real programs

Fault = Callable[[Scene, str], Outcome]


def rebind_once(scene: Scene, case: str) -> Outcome:
    return network_faults.rebind(scene, case, 1)


@pytest.mark.needs_root_lab
@pytest.mark.parametrize(
    ("fault", "transport"),
    [
        (host_faults.delete_device, "tls"),
        (certificate_faults.expire, "kcp"),
        (rebind_once, "kcp"),
    ],
    ids=["device", "certificate", "nat"],
)
def test_traffic_returns_and_nothing_is_left(fault: Fault, transport: str) -> None:
    if fault is rebind_once and (reason := network_faults.missing_nft()):
        pytest.skip(reason)
    with Lab() as lab:
        outcome = fault(Scene(lab, transport, 2.0, late_is_problem=False), "fault")
    assert outcome.skipped == ""
    assert outcome.problems == ()
    assert outcome.recoveries
