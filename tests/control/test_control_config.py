"""The ``control`` section of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polevpn_trio.control.control_config import ControlConfig, control_config
from polevpn_trio.control.members import Members, Report
from polevpn_trio.errors import ConfigError


def read(section: Any) -> ControlConfig:
    report = Report(Path("x.json"))
    config = control_config(Members(report, "", {"control": section}, ["control"]))
    report.finish()
    return config


def test_without_the_section_a_program_may_be_asked() -> None:
    assert control_config(Members(Report(Path("x")), "", {}, ["control"])) == ControlConfig()
    assert read({}) == ControlConfig(enabled=True, path=None, group=None)


def test_all_of_it_can_be_chosen() -> None:
    found = read({"enable": False, "socket": "/run/x.sock", "group": "netops"})
    assert found == ControlConfig(False, Path("/run/x.sock"), "netops")


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ([], "control: a list, expected an object"),
        ({"socket": 5}, r"control\.socket: a number, expected the path"),
        ({"socket": ""}, r"control\.socket: empty"),
        ({"socket": "x.sock"}, r"control\.socket: a relative path"),
        ({"group": ""}, r"control\.group: empty"),
        ({"enable": 1}, r"control\.enable: a number, expected true or false"),
        ({"sockets": "/x"}, r"control\.sockets: unknown key, did you mean"),
    ],
)
def test_mistakes_name_the_key(section: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        read(section)
