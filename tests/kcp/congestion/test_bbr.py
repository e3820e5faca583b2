"""What a tunnel makes of emulated paths, in virtual time: rate, queue, and loss."""

from __future__ import annotations

import random

import attrs
import pytest

from polevpn_trio.kcp.congestion.base import AckEvent
from polevpn_trio.kcp.congestion.bbr import Bbr
from polevpn_trio.kcp.datagram.statistics import DatagramStatistics
from polevpn_trio.lab.wan.conditions import Conditions, GilbertElliott, Knee, Outages, Policer
from tests.kcp.datagram.tunnel import (
    FRAMING,
    FULL_PACKET,
    MTU,
    Always,
    Pings,
    World,
    keep_from_processor,
)

INSIDE = FULL_PACKET / (MTU + FRAMING)
"""Share of the bottleneck's bytes that inner packets can be."""


def bulk(
    forth: Conditions, seconds: float, warm_up: float, seed: int = 1, flows: int = 1
) -> tuple[float, Pings, World]:
    """Fill the tunnel; give the share of the rate used after warming up, and pings beside it."""
    assert forth.rate is not None
    world = World(seed, forth, Conditions(rate=100e6, delay=forth.delay))
    source = Always(world, world.near, flows)
    world.run(warm_up)
    begin = source.bytes
    pings = Pings(world, world.near, 0.02)
    world.run(seconds)
    assert source.out_of_order == 0
    return (source.bytes - begin) * 8 / seconds / forth.rate / INSIDE, pings, world


def sent(world: World) -> DatagramStatistics:
    return world.near.conversation.statistics()


@pytest.mark.long_simulation
@pytest.mark.parametrize(
    ("delay", "loss"),
    [(0.025, 0.0), (0.025, 0.02), (0.025, 0.05), (0.025, 0.1), (0.025, 0.2), (0.01, 0.05)],
)
def test_random_loss_costs_what_is_lost_and_little_more(delay: float, loss: float) -> None:
    path = Conditions(rate=50e6, delay=delay, loss=loss)
    share, pings, world = bulk(path, seconds=4, warm_up=2)
    assert share > (1 - loss) * 0.88
    # Half of the pings do not meet much of a queue, and few things are sent in vain.
    assert pings.percentile(50) < delay + 0.015
    state = sent(world)
    assert state.duplicate_packets == 0
    assert state.spurious_losses < 10


@pytest.mark.long_simulation
def test_programs_that_wait_for_the_processor_make_no_queue() -> None:
    shares, typical, worst = [], [], []
    for seed in range(3):
        path = Conditions(rate=50e6, delay=0.025, queue=0.2)
        world = World(seed, path, Conditions(rate=100e6, delay=0.025))
        for end in (world.near, world.far):
            keep_from_processor(world, end, 0.001, 0.001)
        source = Always(world, world.near)
        world.run(2)
        begin = source.bytes
        pings = Pings(world, world.near, 0.01)
        world.run(6)
        shares.append((source.bytes - begin) * 8 / 6 / 50e6 / INSIDE)
        typical.append(pings.percentile(50))
        worst.append(pings.percentile(99))
    assert min(shares) > 0.95
    assert sum(typical) / 3 < 0.025 + 0.0065
    assert sum(worst) / 3 < 0.025 + 0.0215


@pytest.mark.long_simulation
@pytest.mark.parametrize("delay", [0.005, 0.15])
def test_short_and_very_long_paths_are_filled(delay: float) -> None:
    share, pings, _ = bulk(Conditions(rate=50e6, delay=delay), seconds=6, warm_up=4)
    assert share > 0.9
    assert pings.percentile(50) < delay + 0.010


@pytest.mark.parametrize("rate", [1e6, 5e6, 200e6])
def test_slow_and_fast_paths_are_filled(rate: float) -> None:
    share, _, _ = bulk(Conditions(rate=rate, delay=0.02, queue=0.1), seconds=2, warm_up=1)
    assert share > 0.85


def test_the_first_second_fills_most_of_an_ordinary_path() -> None:
    share, _, _ = bulk(Conditions(rate=100e6, delay=0.025), seconds=1, warm_up=0)
    assert share > 0.6


def test_bursts_of_loss_are_no_sign_of_congestion() -> None:
    path = Conditions(rate=20e6, delay=0.01, bursts=GilbertElliott.bursts(0.05, 4))
    share, _, _ = bulk(path, seconds=8, warm_up=1)
    assert share > 0.88 * 0.95


def test_a_policer_is_met_at_its_rate() -> None:
    path = Conditions(rate=100e6, delay=0.025, policer=Policer(rate=40e6, burst=15_000))
    share, _, world = bulk(path, seconds=8, warm_up=2)
    assert 0.9 * 40 < share * 100 < 41
    path_lost = world.near.path.statistics()
    assert path_lost.lost_policer < 0.05 * path_lost.packets_in


@pytest.mark.long_simulation
def test_loss_that_grows_with_the_rate_is_answered_by_sending_less() -> None:
    path = Conditions(
        rate=100e6, delay=0.025, knee=Knee(points=((10e6, 0.0), (50e6, 0.02), (90e6, 0.4)))
    )
    share, _, world = bulk(path, seconds=8, warm_up=1)
    # At 75 Mbit/s most would arrive, 55.7, and a quarter be lost.
    assert share * 100 > 0.82 * 55.7
    lost = world.near.path.statistics()
    assert lost.lost_knee < 0.12 * lost.packets_in


@pytest.mark.long_simulation
def test_loss_that_begins_later_without_our_doing_is_believed() -> None:
    world = World(1, Conditions(rate=50e6, delay=0.025), Conditions(rate=50e6, delay=0.025))
    source = Always(world, world.near)
    world.run(3)
    worse = Conditions(rate=50e6, delay=0.025, loss=0.1, framing=FRAMING)
    world.near.path.change(worse, world.now)
    world.run(4)
    begin = source.bytes
    world.run(4)
    assert (source.bytes - begin) * 8 / 4 / 50e6 / INSIDE > 0.75


@pytest.mark.long_simulation
def test_a_rate_that_falls_to_a_tenth_and_returns_is_followed() -> None:
    path = Conditions(rate=100e6, rate_steps=((3.0, 10e6), (8.0, 100e6)), delay=0.025)
    world = World(1, path, Conditions(rate=100e6, delay=0.025))
    source = Always(world, world.near)
    world.run(5.5)
    pings = Pings(world, world.near, 0.02)
    begin = source.bytes
    world.run(2)
    assert (source.bytes - begin) * 8 / 2 / 10e6 / INSIDE > 0.8
    assert pings.percentile(90) < 0.1
    world.run(4)
    begin = source.bytes
    world.run(2)
    assert (source.bytes - begin) * 8 / 2 / 100e6 / INSIDE > 0.85


@pytest.mark.long_simulation
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("loss", [0.0, 0.02])
@pytest.mark.parametrize("traffic", ["pings", "bulk"])
def test_a_path_that_becomes_much_longer_is_known_soon(
    traffic: str, loss: float, seed: int
) -> None:
    near = Conditions(rate=1e9, delay=0.0002, framing=FRAMING)
    far = Conditions(rate=50e6, delay=0.015, loss=loss, framing=FRAMING)
    world = World(seed, near, near)
    source = Always(world, world.near)
    if traffic == "pings":
        source.stop()
        Pings(world, world.near, 0.02)
    world.run(1)
    for end in (world.near, world.far):
        end.path.change(far, world.now)
    source.resume()
    world.run(3)
    begin = source.bytes
    world.run(2)
    assert (source.bytes - begin) * 8 / 2 / 50e6 / INSIDE > (1 - loss) * 0.85
    assert float(sent(world).congestion["min_rtt"]) == pytest.approx(0.0305, rel=0.05)


@pytest.mark.long_simulation
@pytest.mark.parametrize("seed", range(4))
def test_a_least_delay_that_only_jitter_made_is_forgotten(seed: int) -> None:
    calm = Conditions(rate=50e6, delay=0.015, framing=FRAMING)
    restless = attrs.evolve(calm, jitter=0.008)
    world = World(seed, calm, calm)
    source = Always(world, world.near)
    source.stop()
    Pings(world, world.near, 0.02)
    world.run(1)
    for conditions, seconds in ((restless, 2), (calm, 1)):
        for end in (world.near, world.far):
            end.path.change(conditions, world.now)
        world.run(seconds)
    source.resume()
    world.run(4)
    begin = source.bytes
    world.run(2)
    assert (source.bytes - begin) * 8 / 2 / 50e6 / INSIDE > 0.9


@pytest.mark.long_simulation
def test_an_outage_is_survived_without_slowing_down() -> None:
    path = Conditions(rate=50e6, delay=0.02, outages=Outages(period=5.0, length=0.3, first=3.0))
    share, _, _ = bulk(path, seconds=10, warm_up=2)
    assert share > 0.85


@pytest.mark.long_simulation
def test_jitter_with_reordering_is_not_taken_for_loss() -> None:
    path = Conditions(rate=30e6, delay=0.03, jitter=0.02, reorder=True, queue=0.1, loss=0.01)
    share, _, world = bulk(path, seconds=6, warm_up=2)
    assert share > 0.9
    assert sent(world).spurious_losses < 0.01 * sent(world).datagrams_sent


def test_a_pause_changes_nothing() -> None:
    world = World(1, Conditions(rate=50e6, delay=0.025), Conditions(rate=50e6, delay=0.025))
    first = Always(world, world.near)
    world.run(3)
    first.stop()
    world.run(20)
    second = Always(world, world.near)
    world.run(1)
    assert second.bytes * 8 / 50e6 / INSIDE > 0.85


def test_little_traffic_never_waits() -> None:
    world = World(1, Conditions(rate=20e6, delay=0.025), Conditions(rate=20e6, delay=0.025))
    pings = Pings(world, world.near, 0.01)
    world.run(20)
    assert pings.percentile(100) < 0.026
    assert pings.lost == 0


@pytest.mark.long_simulation
def test_most_pings_beside_a_transfer_meet_no_queue() -> None:
    path = Conditions(rate=100e6, delay=0.025, queue=0.2)
    _, pings, _ = bulk(path, seconds=8, warm_up=2)
    assert pings.percentile(50) < 0.030
    assert pings.percentile(99) < 0.045


def test_events_of_any_kind_leave_sane_limits() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        bbr = Bbr(1400, chance)
        event = AckEvent()
        now = 0.0
        for _ in range(100):
            now += chance.choice([0.0, 0.001, 1.0])
            event.clear(now)
            for name in ("new_bytes", "new_packets", "lost_bytes", "lost_packets", "lost_runs"):
                setattr(event, name, chance.choice([0, 1, 1000]))
            event.recovered_packets = chance.choice([0, 3, 32767])
            event.spurious_packets = chance.choice([0, 5])
            event.rtt = chance.choice([-1.0, 0.0, 0.05, 3.0])
            event.one_way = chance.choice([0.0, -1.0, 512.0])
            event.rate = chance.choice([0.0, 1.0, 1e9])
            event.app_limited = chance.random() < 0.5
            event.newest = chance.choice([-1, 5])
            event.delivered += event.new_bytes
            event.sent_delivered = chance.randrange(event.delivered + 1)
            event.in_flight = chance.choice([0, 10_000_000])
            bbr.take_event(event)
            assert bbr.window >= 1400
            assert bbr.pacing_rate > 0
