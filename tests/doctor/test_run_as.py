"""The user that a program becomes, as the doctor sees it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import polevpn_trio
from polevpn_trio.control.config import load_gateway
from polevpn_trio.control.run_as import RunAs
from polevpn_trio.doctor.finding import Status
from polevpn_trio.doctor.run_as import UserFacts, judge_user, look_at_user

NOBODY = RunAs("nobody")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    values = {"route_server": "kcp://203.0.113.5", "key": "a long secret", "gateway": "10.8.0.2"}
    file = tmp_path / "gateway.json"
    file.write_text(json.dumps(values))
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("facts", "status", "text"),
    [
        (UserFacts(), Status.OK, "becomes nobody with CAP_NET_ADMIN"),
        (UserFacts("no user x", "useradd x"), Status.FAIL, "no user x"),
        (UserFacts(runs=False), Status.FAIL, "nobody cannot run this program"),
        (UserFacts(complaint="f: no"), Status.WARN, "nobody cannot read all that"),
        (UserFacts(tried=False), Status.SKIP, "only found out by root"),
    ],
)
def test_each_finding_says_what_to_do(
    facts: UserFacts, status: Status, text: str, file: Path
) -> None:
    found = judge_user(load_gateway(file), NOBODY, facts)
    assert (found.check, found.status) == ("user", status)
    assert text in found.text
    assert found.remedy or status in (Status.OK, Status.SKIP)


def test_an_unknown_user_is_looked_up(file: Path) -> None:
    facts = look_at_user(load_gateway(file), RunAs("no-such"))
    assert facts.missing == "user: this machine has no user no-such"
    assert facts.advice.startswith("useradd")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_file_is_read_as_that_user(file: Path) -> None:
    config = load_gateway(file)
    facts = look_at_user(config, NOBODY)
    places = (sys.executable, os.__file__, polevpn_trio.__file__)
    parents = {each for place in places for each in Path(place).resolve().parents}
    if all(each.stat().st_mode & 0o001 for each in parents):
        assert facts.runs
        assert "permission denied" in facts.complaint
    else:
        assert not facts.runs
