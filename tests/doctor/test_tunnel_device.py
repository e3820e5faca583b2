"""Whether a TUN device can be had, where it can and where it cannot."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from polevpn_trio.doctor.finding import Status
from polevpn_trio.doctor.tunnel_device import (
    NET_ADMIN,
    Rights,
    TunFacts,
    judge_offload,
    judge_rights,
    judge_tun,
    look_at_rights,
    look_at_tun,
)
from polevpn_trio.lab.namespaces import Host

ROOT = Rights(0, 1 << NET_ADMIN)
NOBODY = Rights(65534, 0)


@pytest.mark.needs_root_lab
def test_a_machine_with_tun_is_well_and_keeps_no_device(machine: Host) -> None:
    before = machine.state()
    facts = machine.call(look_at_tun)
    assert judge_tun(facts, ROOT, container="").status is Status.OK
    offload = judge_offload(facts)
    assert offload is not None
    assert offload.status is Status.OK
    assert machine.state() == before


@pytest.mark.needs_root_lab
def test_a_missing_device_is_told_with_the_command_that_makes_it(machine: Host) -> None:
    assert machine.run(["mount", "-t", "tmpfs", "none", "/dev/net"], timeout=30).returncode == 0
    try:
        facts = machine.call(look_at_tun)
    finally:
        machine.run(["umount", "/dev/net"], timeout=30)
    found = judge_tun(facts, ROOT, container="")
    assert found.status is Status.FAIL
    assert "mknod /dev/net/tun c 10 200" in found.remedy
    assert "--device /dev/net/tun" in judge_tun(facts, ROOT, container="docker").remedy
    assert judge_offload(facts) is None


LOOK = """
import os
from polevpn_trio.doctor.tunnel_device import *
os.setuid(65534)
facts, rights = look_at_tun(), look_at_rights()
print(judge_tun(facts, rights, container="").remedy)
print(judge_rights(rights, has_site=True).status, judge_rights(rights, has_site=False).status)
"""


@pytest.mark.needs_root_lab
def test_an_ordinary_user_is_told_what_he_lacks(machine: Host) -> None:
    if os.geteuid() != 0 or Path("/proc/self/uid_map").read_text().split()[2] == "1":
        pytest.skip("there is only one user here")
    done = machine.run([sys.executable, "-c", LOOK], timeout=60)
    assert done.returncode == 0, done.stderr
    assert "AmbientCapabilities=CAP_NET_ADMIN" in done.stdout
    assert done.stdout.splitlines()[-1] == "fail ok"


def test_the_rights_of_this_process_are_known() -> None:
    assert look_at_rights().uid == os.geteuid()
    assert judge_rights(ROOT, has_site=True).status is Status.OK
    assert judge_rights(NOBODY, has_site=True).status is Status.FAIL


@pytest.mark.parametrize(
    ("error", "rights", "container", "remedy"),
    [
        (1, NOBODY, "docker", "--cap-add NET_ADMIN"),
        (13, ROOT, "", "DeviceAllow=/dev/net/tun"),
        (1, ROOT, "podman", "--device /dev/net/tun"),
        (1, ROOT, "kubernetes", "securityContext"),
        (1, NOBODY, "lxc", "AmbientCapabilities="),
        (5, ROOT, "", "dmesg"),
    ],
)
def test_each_obstacle_has_its_remedy(
    error: int, rights: Rights, container: str, remedy: str
) -> None:
    found = judge_tun(TunFacts(error, "no TUN"), rights, container=container)
    assert found.status is Status.FAIL
    assert remedy in found.remedy


def test_a_kernel_without_offloads_is_told() -> None:
    found = judge_offload(TunFacts())
    assert found is not None
    assert found.status is Status.WARN
    found = judge_offload(TunFacts(super_packets=True))
    assert found is not None
    assert found.status is Status.OK
