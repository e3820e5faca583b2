"""From samples and counts to figures per packet, and what is written of them."""

from __future__ import annotations

import json

import pytest

from bench.profiling.allocations import Allocations
from bench.profiling.samples import AES_GCM, KERNELS, LINUX, LINUX_COPYING, PYTHON, Sample
from bench.profiling.tables import (
    PROGRAMS,
    Row,
    Section,
    Stream,
    allocations_section,
    calls_section,
    markdown,
    table,
    time_section,
)

STREAM = Stream(megabits=1000.0, transferred=1448 * 1_000_000)
PIDS = (11, 12, 13)


def of_python(pid: int) -> Sample:
    return Sample(pid, 0x1000, "_PyEval_EvalFrameDefault", "/usr/bin/python3.11")


def of_records(pid: int) -> Sample:
    return Sample(pid, 0x2000, "_seal", "/x/polevpn_trio/transport/records.cpython-311.so")


def of_linux(pid: int, symbol: str = "udp_sendmsg") -> Sample:
    return Sample(pid, 0xFFFFFFFF80000000, symbol, "[kernel.kallsyms]")


def figures(section: Section) -> dict[tuple[str, str], tuple[float, float, float]]:
    return {(row.part_of, row.name): row.figures for row in section.rows}


def test_a_packet_is_one_full_segment_of_tcp() -> None:
    assert STREAM.packets == 1_000_000


def test_samples_divide_the_time_that_the_scheduler_counted() -> None:
    samples = [of_python(11)] * 3 + [of_linux(11)] + [of_python(12)] + [of_records(13)] * 2
    section = time_section(samples, PIDS, (4.0, 5.0, 6.0), STREAM)
    found = figures(section)
    assert found["", PYTHON] == pytest.approx((3.0, 5.0, 0.0))
    assert found["", LINUX] == pytest.approx((1.0, 0.0, 0.0))
    assert found["", KERNELS] == pytest.approx((0.0, 0.0, 6.0))
    assert found[KERNELS, "records"] == found["", KERNELS]
    assert found["", AES_GCM] == (0.0, 0.0, 0.0)
    assert found["", "sum"] == pytest.approx((4.0, 5.0, 6.0))


def test_a_part_of_a_group_is_not_added_to_the_sum_again() -> None:
    samples = [of_python(11), of_linux(12), of_linux(12, "_copy_to_iter"), of_python(13)]
    found = figures(time_section(samples, PIDS, (1.0, 1.0, 1.0), STREAM))
    assert found["", LINUX] == pytest.approx((0.0, 1.0, 0.0))
    assert found[LINUX, LINUX_COPYING] == pytest.approx((0.0, 0.5, 0.0))
    assert found["", "sum"] == pytest.approx((1.0, 1.0, 1.0))


def test_samples_of_other_processes_change_nothing() -> None:
    samples = [of_python(pid) for pid in PIDS]
    alone = time_section(samples, PIDS, (1.0, 1.0, 1.0), STREAM)
    beside = time_section([*samples, of_linux(99)], PIDS, (1.0, 1.0, 1.0), STREAM)
    assert figures(alone) == figures(beside)


def test_a_program_without_samples_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="no sample of the router"):
        time_section([of_python(11), of_python(13)], PIDS, (1.0, 1.0, 1.0), STREAM)


def test_the_functions_are_named_most_expensive_first() -> None:
    samples = [of_python(11), of_linux(12), of_linux(13)]
    section = time_section(samples, PIDS, (1.0, 1.0, 1.0), STREAM)
    assert [(row.name, row.part_of) for row in section.symbols] == [
        ("udp_sendmsg", LINUX),
        ("_PyEval_EvalFrameDefault", PYTHON),
    ]


def test_calls_are_given_per_packet_in_all_and_by_name() -> None:
    counts = [
        {"": 100_000, "read": 10_000, "futex": 3},
        {"": 200_000, "sendmsg": 50_000},
        {"": 300_000, "read": 1_000, "futex": 0},
    ]
    section = calls_section(counts, STREAM)
    assert [(row.name, row.figures) for row in section.rows] == [
        ("system calls", (0.1, 0.2, 0.3)),
        ("sendmsg", (0.0, 0.05, 0.0)),
        ("read", (0.01, 0.0, 0.001)),
    ]


def test_allocations_are_given_per_packet_and_objects_by_type() -> None:
    made = [
        Allocations(500_000, 700_000, {"int": 600_000, "tuple": 100}),
        Allocations(500_000, 100_000, {}),
        Allocations(0, 0, {"int": 0}),
    ]
    section = allocations_section(made, STREAM)
    assert [(row.name, row.figures) for row in section.rows] == [
        ("blocks of memory", (0.5, 0.5, 0.0)),
        ("Python objects", (0.7, 0.1, 0.0)),
        ("int", (0.6, 0.0, 0.0)),
    ]


def test_objects_that_could_not_be_counted_are_not_shown_as_none() -> None:
    section = allocations_section([Allocations(1, 0, {})] * 3, STREAM)
    assert [row.name for row in section.rows] == ["blocks of memory"]


def test_allocations_between_two_looks_are_the_difference() -> None:
    earlier = Allocations(10, 20, {"int": 5})
    later = Allocations(11, 24, {"int": 6, "list": 3})
    assert later.since(earlier) == Allocations(1, 4, {"int": 1, "list": 3})


SECTION = Section(
    "time",
    "microseconds",
    STREAM,
    [Row("ours", (1.0, 2.0, 0.5)), Row("records", (0.25, 0.0, 0.0), "ours")],
)


def test_the_markdown_has_a_row_for_each_and_adds_the_programs_up() -> None:
    assert markdown("kcp", [SECTION]).splitlines() == [
        "| kcp, per packet of 1,448 bytes | sending gateway | router | receiving gateway | all |",
        "|---|---:|---:|---:|---:|",
        "| **microseconds** (at 1,000 Mbit/s) | | | | |",
        "| ours | 1.00 | 2.00 | 0.500 | 3.50 |",
        "| &emsp;records | 0.250 | 0 | 0 | 0.250 |",
    ]


def test_the_table_for_a_terminal_has_the_same_rows() -> None:
    made = table("kcp", SECTION)
    assert [column.header for column in made.columns] == ["", *PROGRAMS, "all"]
    assert list(made.columns[0].cells) == ["ours", "  records"]
    assert list(made.columns[-1].cells) == ["3.50", "0.250"]


def test_the_json_names_the_programs() -> None:
    read = json.loads(json.dumps(SECTION.as_json(), allow_nan=False))
    assert read["packets"] == 1_000_000
    assert read["rows"][1] == {
        "name": "records",
        "part_of": "ours",
        "figures": {"sending gateway": 0.25, "router": 0.0, "receiving gateway": 0.0},
    }
