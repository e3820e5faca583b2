"""How a tunnel shares a path with plain TCP, and with another tunnel, in virtual time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from polevpn_trio.lab.wan.conditions import Conditions
from tests.kcp.datagram.cubic import Cubic
from tests.kcp.datagram.plain_bbr import PlainBbr
from tests.kcp.datagram.shared_path import SharedWorld
from tests.kcp.datagram.tunnel import FULL_PACKET, Always, End

pytestmark = pytest.mark.long_simulation

RATE = 20e6
PATH = Conditions(rate=RATE, delay=0.025, queue=0.05)


def inside(world: SharedWorld, tunnel: End, kind: type[Always | Cubic]) -> Callable[[], int]:
    """Let something through a tunnel; return what tells the bytes of it that have arrived."""
    flow = kind(world, tunnel)
    return lambda: flow.bytes if isinstance(flow, Always) else flow.acked * FULL_PACKET


def share(world: SharedWorld, first: Callable[[], int], second: Callable[[], int]) -> float:
    """Let both find their balance; give the share of the first in the bytes of what follows."""
    world.run(5)
    before = first(), second()
    world.run(15)
    bytes_first, bytes_second = first() - before[0], second() - before[1]
    assert (bytes_first + bytes_second) * 8 / 15 > 0.85 * RATE
    return bytes_first / (bytes_first + bytes_second)


@pytest.mark.parametrize(
    ("kind", "rival", "least", "most"),
    [
        (Always, PlainBbr, 0.28, 0.5),
        (Always, Cubic, 0.35, 0.6),
        # Plain CUBIC has less beside plain BBR.
        (Cubic, PlainBbr, 0.11, 0.5),
        (Cubic, Cubic, 0.3, 0.6),
    ],
)
def test_neither_a_tunnel_nor_plain_tcp_beside_it_starves(
    kind: type[Always | Cubic], rival: type[PlainBbr | Cubic], least: float, most: float
) -> None:
    world = SharedWorld(0, PATH)
    tunnel = inside(world, world.near, kind)
    plain = rival(world, world.add_host())
    assert least < share(world, tunnel, lambda: plain.acked * FULL_PACKET) < most


@pytest.mark.parametrize("tunnels", [1, 2])
def test_tunnels_compete_no_longer_when_the_rival_is_gone(tunnels: int) -> None:
    world = SharedWorld(0, PATH)
    ends = [world.near, *(world.add_tunnel() for _ in range(tunnels - 1))]
    flows = [inside(world, end, Always) for end in ends]
    plain = PlainBbr(world, world.add_host())
    world.run(8)
    assert "compete" in [end.conversation.statistics().congestion["phase"] for end in ends]
    plain.stop()
    world.run(5)
    assert "compete" not in [end.conversation.statistics().congestion["phase"] for end in ends]
    before = sum(flow() for flow in flows)
    world.run(3)
    assert (sum(flow() for flow in flows) - before) * 8 / 3 > 0.85 * RATE


def test_two_tunnels_share_alike() -> None:
    world = SharedWorld(0, PATH)
    first, second = (inside(world, end, Cubic) for end in (world.near, world.add_tunnel()))
    assert 0.4 < share(world, first, second) < 0.6
