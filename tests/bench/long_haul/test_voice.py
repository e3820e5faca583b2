"""A call over a network without a tunnel."""

from __future__ import annotations

import pytest

from bench.long_haul import voice
from bench.long_haul.sharing import SharedNetwork
from bench.long_haul.subjects import Plain
from bench.side_by_side.network import Network, Tunnel
from polevpn_trio.lab import probes
from polevpn_trio.lab.namespaces import Lab
from polevpn_trio.lab.wan.conditions import Conditions


def test_what_is_lost_or_late_is_not_in_time() -> None:
    call = voice.Call((0.02, 0.06, None, 0.05))
    assert call.share_within(0.05) == 0.5
    assert call.share_within(1.0) == 0.75
    assert voice.Call(()).share_within(1.0) == 0.0


@pytest.mark.needs_root_lab
def test_speech_arrives_in_both_directions_as_late_as_the_path_is_long() -> None:
    with Lab() as lab:
        network = Network(lab, long_haul=True)
        network.wan.change(Conditions(delay=0.05), Conditions(delay=0.02))
        tunnel = Tunnel.over(network, Plain())
        forward, backward = voice.call(tunnel, 0.2)
    for call, delay in ((forward, 0.05), (backward, 0.02)):
        assert len(call.delays) == 10
        assert all(each is not None and each >= delay for each in call.delays)


@pytest.mark.needs_root_lab
def test_a_third_gateway_reaches_the_router_through_the_same_path() -> None:
    with Lab() as lab:
        network = SharedNetwork(lab)
        before = network.wan.statistics().backward.path.packets_in
        echo = network.third.call(probes.ping, network.hub_address(2), count=3, interval=0.001)
        assert echo.received == 3
        assert network.wan.statistics().backward.path.packets_in >= before + 3
