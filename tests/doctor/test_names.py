"""Names of routers, looked up where they can be and where they cannot."""

from __future__ import annotations

import sys

import pytest
import trio

from polevpn_trio.doctor.finding import Status
from polevpn_trio.doctor.names import NameFacts, judge_name, look_up
from polevpn_trio.lab.namespaces import Lab
from polevpn_trio.lab.overlay import python_path

LOOK = """
import trio
from polevpn_trio.doctor.names import judge_name, look_up
found = judge_name(trio.run(look_up, "router.invalid"))
print(found.status.value, found.remedy)
"""


def test_a_name_in_hosts_is_found() -> None:
    facts = trio.run(look_up, "localhost")
    assert facts.error == ""
    found = judge_name(facts)
    assert found is not None
    assert found.status is Status.OK
    assert "localhost is " in found.text


@pytest.mark.needs_root_lab
def test_a_name_that_cannot_be_looked_up_is_told() -> None:
    with Lab() as lab:
        # On a host that reaches no name server.
        done = lab.host("alone").run(
            [sys.executable, "-c", LOOK], timeout=60, environment=python_path()
        )
    assert done.stdout.startswith("fail getent ahosts router.invalid"), done.stderr


def test_addresses_need_not_be_looked_up() -> None:
    for host in ("192.0.2.1", "2001:db8::1"):
        assert judge_name(NameFacts(host)) is None
    facts = trio.run(look_up, "2001:db8::1")
    assert [address for _, address in facts.addresses] == ["2001:db8::1"]
