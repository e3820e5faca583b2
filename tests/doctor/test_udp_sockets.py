"""What UDP sockets can do here, and what is said where they cannot."""

from __future__ import annotations

import attrs
import pytest

from polevpn_trio.doctor.finding import Status
from polevpn_trio.doctor.tunnel_device import NET_ADMIN, Rights
from polevpn_trio.doctor.udp_sockets import (
    UdpFacts,
    judge_socket_buffers,
    judge_udp_offload,
    look_at_udp,
)
from polevpn_trio.transport.udp import SOCKET_BUFFER_BYTES

ROOT, NOBODY = Rights(0, 1 << NET_ADMIN), Rights(1000, 0)
FULL = UdpFacts(True, True, SOCKET_BUFFER_BYTES)


def test_this_machine_is_well() -> None:
    assert judge_udp_offload(look_at_udp()).status is Status.OK


@pytest.mark.parametrize("lacking", ["segmentation", "grouping"])
def test_a_lacking_offload_is_named(lacking: str) -> None:
    found = judge_udp_offload(attrs.evolve(FULL, **{lacking: False}))
    assert found.status is Status.WARN
    assert ("UDP_SEGMENT" in found.text) == (lacking == "segmentation")
    assert ("UDP_GRO" in found.text) == (lacking == "grouping")


def test_small_buffers_matter_to_ordinary_users() -> None:
    small = attrs.evolve(FULL, largest_buffer=212_992)
    found = judge_socket_buffers(small, NOBODY)
    assert found is not None
    assert found.status is Status.WARN
    assert f"sysctl -w net.core.rmem_max={SOCKET_BUFFER_BYTES}" in found.remedy
    for facts, rights in ((small, ROOT), (FULL, NOBODY)):
        found = judge_socket_buffers(facts, rights)
        assert found is not None
        assert found.status is Status.OK
    assert judge_socket_buffers(attrs.evolve(FULL, largest_buffer=0), NOBODY) is None
