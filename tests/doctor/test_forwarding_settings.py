"""Forwarding and the source filter, as the settings of a namespace have them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from polevpn_trio.control.config import GatewayConfig
from polevpn_trio.doctor.finding import Finding, Status
from polevpn_trio.doctor.forwarding_settings import (
    judge_forwarding,
    judge_source_filter,
    look_at_forwarding,
)
from polevpn_trio.lab.namespaces import Host

from .machines import gateway, settings_locked

pytestmark = pytest.mark.needs_root_lab


@pytest.fixture(autouse=True)
def _usual_settings(machine: Host) -> Iterator[None]:
    yield
    machine.set_sysctl("net.ipv4.ip_forward", "0")
    for name in ("all", "default"):
        machine.set_sysctl(f"net.ipv4.conf.{name}.rp_filter", "0")


def forwarding(machine: Host, config: GatewayConfig, container: str = "") -> list[Finding]:
    facts = machine.call(look_at_forwarding)
    return judge_forwarding(facts, config.site, container=container)


def test_the_program_switches_forwarding_on_if_it_may(machine: Host) -> None:
    [found] = forwarding(machine, gateway())
    assert found.status is Status.OK
    assert "switches it on" in found.text


def test_forwarding_that_nobody_switches_on_is_told_with_key_and_command(machine: Host) -> None:
    [found] = forwarding(machine, gateway(forward=False))
    assert found.status is Status.WARN
    assert '"forward": true' in found.remedy
    assert "sysctl -w net.ipv4.ip_forward=1" in found.remedy
    [found] = forwarding(machine, gateway(forward=False), container="podman")
    assert "--sysctl net.ipv4.ip_forward=1" in found.remedy
    [found] = forwarding(machine, gateway(forward=False), container="kubernetes")
    assert "securityContext" in found.remedy
    machine.set_sysctl("net.ipv4.ip_forward", "1")
    [found] = forwarding(machine, gateway(forward=False))
    assert found.status is Status.OK


def test_forwarding_that_the_program_may_not_switch_on_is_a_failure(machine: Host) -> None:
    with settings_locked(machine):
        [found] = forwarding(machine, gateway())
        assert found.status is Status.FAIL
        assert found.remedy.startswith("sysctl -w net.ipv4.ip_forward=1")
    machine.set_sysctl("net.ipv4.ip_forward", "1")
    with settings_locked(machine):
        [found] = forwarding(machine, gateway())
        assert found.status is Status.OK


def test_each_version_of_ip_has_its_own_setting(machine: Host) -> None:
    config = gateway(
        gateway6="fd08::2", local_networks=["192.168.1.0/24", "fd00:1::/64"], forward=False
    )
    machine.set_sysctl("net.ipv4.ip_forward", "1")
    found = forwarding(machine, config)
    assert [each.status for each in found] == [Status.OK, Status.WARN]
    assert "net.ipv6.conf.all.forwarding=1" in found[1].remedy


def test_a_gateway_with_no_network_behind_it_needs_no_forwarding(machine: Host) -> None:
    assert forwarding(machine, gateway(local_networks=[], forward=False)) == []
    assert forwarding(machine, gateway(local_networks=["10.8.0.2/32"], forward=False)) == []


def test_the_strict_source_filter_is_harmless_if_the_program_may_change_it(machine: Host) -> None:
    for name in ("all", "default"):
        found = judge_source_filter(machine.call(look_at_forwarding))
        assert found.status is Status.OK
        machine.set_sysctl(f"net.ipv4.conf.{name}.rp_filter", "1")
        found = judge_source_filter(machine.call(look_at_forwarding))
        assert found.status is Status.OK
        assert "loose" in found.text
        with settings_locked(machine):
            found = judge_source_filter(machine.call(look_at_forwarding))
            assert found.status is Status.FAIL
            assert "rp_filter=2" in found.remedy
        machine.set_sysctl(f"net.ipv4.conf.{name}.rp_filter", "2")
        with settings_locked(machine):
            assert judge_source_filter(machine.call(look_at_forwarding)).status is Status.OK
        machine.set_sysctl(f"net.ipv4.conf.{name}.rp_filter", "0")


def test_where_there_is_no_proc_nothing_is_known(tmp_path_factory: pytest.TempPathFactory) -> None:
    facts = look_at_forwarding(tmp_path_factory.mktemp("empty"))
    [found] = judge_forwarding(facts, gateway().site, container="docker")
    assert found.status is Status.FAIL
    assert "mount /proc" in found.remedy
