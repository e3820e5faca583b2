"""The keys ``user`` and ``group``."""

from __future__ import annotations

from pathlib import Path

import pytest

from polevpn_trio.control.members import Members, Report
from polevpn_trio.control.run_as import RunAs, run_as


def read(**values: object) -> tuple[RunAs | None, list[str]]:
    report = Report(Path("router.json"))
    found = run_as(Members(report, "", values, ("user", "group")))
    return found, [str(mistake) for mistake in report.mistakes]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({"user": "polevpn"}, RunAs("polevpn")),
        ({"user": "polevpn", "group": "netops"}, RunAs("polevpn", "netops")),
        ({"user": "10001", "group": 10001}, RunAs("10001", "10001")),
        ({"user": 4294967294}, RunAs("4294967294")),
    ],
)
def test_names_and_numbers_are_taken(values: dict[str, object], expected: RunAs | None) -> None:
    assert read(**values) == (expected, [])


@pytest.mark.parametrize("name", ["user", "group"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("root", '"root"'),
        ("", '""'),
        ("a\0b", '"a\\x00b"'),
        (0, "0"),
        ("0", "0"),
        ("000", "000"),
        (-1, '"-1"'),
        (4294967295, "4294967295"),
        (True, "true"),
        (None, "null"),
        (["polevpn"], "a list"),
        (1.5, "a number"),
    ],
)
def test_root_and_what_is_no_name_are_refused(name: str, value: object, shown: str) -> None:
    values = {"user": "polevpn", name: value}
    found, [mistake] = read(**values)
    assert mistake == (
        f"router.json: {name}: {shown}, expected the name or the number of a {name} other than "
        'root, such as "polevpn"'
    )
    assert found == (None if name == "user" else RunAs("polevpn"))


def test_a_group_alone_is_refused() -> None:
    assert read(group="netops") == (
        None,
        ["router.json: group: given without user, expected both, or user alone"],
    )
