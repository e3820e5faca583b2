"""transport/packet_channel: conversation, queue and repair of two ends over emulated paths."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable

import attrs
import pytest

from polevpn_trio.batch import DatagramBuffer
from polevpn_trio.frames.codec import build_frame
from polevpn_trio.kcp.datagram.conversation import OVERHEAD
from polevpn_trio.lab.wan.conditions import Conditions, GilbertElliott, Knee, Policer
from polevpn_trio.transport.packet_channel import PacketChannel, PacketChannelStatistics
from tests.kcp.datagram.cubic import Cubic
from tests.kcp.datagram.tunnel import COMMAND, FRAMING, FULL_PACKET, MTU, Always, Pings, World
from tests.memory_links import ipv4

RATE = 20e6


def make_world(seed: int, forth: Conditions, back: Conditions, share: float | None) -> World:
    """Make a tunnel whose ends are channels with repair, or without (None)."""
    world = World(seed, forth, back)
    chance = random.Random(seed)
    for end in (world.near, world.far):
        channel = PacketChannel(
            COMMAND,
            mtu=MTU,
            widest=1400,
            window=8192,
            overhead=OVERHEAD,
            output=DatagramBuffer(),
            repair_share=share,
            chance=chance,
        )
        end.conversation = channel  # type: ignore[assignment] # has what is needed of one
        end.queue = channel._queue
        end.enqueue = channel.enqueue
    return world


def channel_of(world: World) -> PacketChannel:
    """Give the sending end."""
    channel = world.near.conversation
    assert isinstance(channel, PacketChannel)
    return channel


@attrs.frozen
class Outcome:
    """What a transfer that fills the path, and pings beside it, came to after two seconds."""

    world: World
    pings: Pings
    rate: float
    """Bits of packets per second."""
    resent: int
    cost: float
    """Repairs per other datagram, those of pings among them."""


def spent(world: World) -> tuple[int, int, int]:
    """Give the datagrams sent again, the repairs, and all datagrams but those."""
    seen = channel_of(world).statistics()
    sent = seen.conversation.datagrams_sent
    if seen.repair is None:
        return seen.conversation.resent, 0, sent
    repairs = seen.repair.sent.regular + seen.repair.sent.tail + seen.repair.sent.priority
    return seen.conversation.resent, repairs, sent


def bulk(seed: int, forth: Conditions, share: float | None = 0.25, seconds: float = 4.0) -> Outcome:
    """Fill a path, with pings beside once that runs."""
    world = make_world(seed, forth, Conditions(rate=forth.rate, delay=forth.delay), share)
    transfer = Always(world, world.near)
    world.run(2.0)
    before = transfer.bytes
    resent, repairs, sent = spent(world)
    pings = Pings(world, world.near, 0.02)
    world.run(seconds)
    rate = (transfer.bytes - before) * 8 / seconds
    resent_now, repairs_now, sent_now = spent(world)
    cost = (repairs_now - repairs) / (sent_now - sent)
    return Outcome(world, pings, rate, resent_now - resent, cost)


def path(loss: float) -> Conditions:
    return Conditions(rate=RATE, delay=0.025, loss=loss)


@pytest.fixture
def few_seeds(seeds: Callable[[int], range], kernel_build: str) -> range:
    """Seeds for what takes seconds each where the kernels are plain Python."""
    return seeds(3) if kernel_build == "compiled" else seeds(1)[:1]


@pytest.mark.long_simulation
def test_a_clean_path_carries_as_much_with_repair_as_without(few_seeds: range) -> None:
    for seed in few_seeds:
        without, outcome = bulk(seed, path(0.0), share=None), bulk(seed, path(0.0))
        assert outcome.rate >= 0.97 * without.rate, f"seed {seed}"
        # The burst of the beginning overflows the queue, which is not forgotten at once.
        assert outcome.cost < 0.06, f"seed {seed}"
        outcome.world.run(8.0)
        _, before, _ = spent(outcome.world)
        outcome.world.run(2.0)
        assert spent(outcome.world)[1] == before, f"seed {seed}"


@pytest.mark.long_simulation
@pytest.mark.parametrize(("loss", "cost"), [(0.02, 0.12), (0.05, 0.18)])
def test_most_of_what_is_lost_is_not_sent_again(loss: float, cost: float, few_seeds: range) -> None:
    for seed in few_seeds:
        without, outcome = bulk(seed, path(loss), share=None), bulk(seed, path(loss))
        assert outcome.resent < 0.5 * without.resent, f"seed {seed}"
        assert outcome.cost <= cost, f"seed {seed}"
        assert outcome.rate >= 0.88 * without.rate, f"seed {seed}"
        assert outcome.pings.lost == without.pings.lost == 0
        # Sent again they would take three halves of a round trip, and what stands before them.
        assert outcome.pings.percentile(97) < 0.065, f"seed {seed}"


@pytest.mark.long_simulation
@pytest.mark.parametrize(("loss", "least"), [(0.02, 0.55), (0.05, 0.5), (0.1, 0.2)])
def test_a_tcp_that_begins_seldom_takes_repair_for_a_queue(
    loss: float, least: float, seeds: Callable[[int], range]
) -> None:
    rate = 100e6
    forth = Conditions(rate=rate, delay=0.025, queue=0.05, loss=loss)
    carried = []
    for seed in seeds(6):
        world = make_world(seed, forth, forth, 0.25)
        transfer = Cubic(world, world.near)
        world.run(1.2)
        carried.append(transfer.acked)
    full = (1 - loss) * 1.2 * rate / 8 / (MTU + FRAMING)
    assert sum(carried) / len(carried) > least * full, carried


def test_lone_pings_are_never_sent_again_at_five_per_cent(few_seeds: range) -> None:
    for seed in few_seeds:
        world = make_world(seed, path(0.05), path(0.05), 0.25)
        pings = Pings(world, world.near, 0.02)
        world.run(20.0)
        assert pings.lost == 0
        assert pings.percentile(99) < 0.030, f"seed {seed}"
        assert pings.percentile(99.9) < 0.055, f"seed {seed}"


def test_a_policer_is_answered_by_sending_less() -> None:
    forth = Conditions(rate=100e6, delay=0.025, policer=Policer(rate=RATE, burst=15_000))
    without, outcome = bulk(1, forth, share=None), bulk(1, forth)
    assert outcome.rate >= 0.95 * without.rate
    assert outcome.cost < 0.08
    lost, lost_without = (
        channel_of(each.world).statistics().conversation.lost for each in (outcome, without)
    )
    assert lost < 1.5 * lost_without


@pytest.mark.long_simulation
def test_tcp_that_begins_behind_a_policer_is_not_kept_at_what_its_bursts_got() -> None:
    rate = 40e6
    forth = Conditions(rate=100e6, delay=0.025, policer=Policer(rate=rate, burst=50_000))
    world = make_world(1, forth, Conditions(rate=100e6, delay=0.025), 0.25)
    Pings(world, world.near, 0.02)
    world.run(2)
    transfer = Cubic(world, world.near)
    world.run(8)
    assert transfer.acked * FULL_PACKET * 8 / 8 > 0.65 * rate


@pytest.mark.long_simulation
def test_loss_that_grows_with_the_rate_is_not_repaired_into_more() -> None:
    knee = Knee(points=((5e6, 0.0), (15e6, 0.02), (25e6, 0.4)))
    forth = Conditions(rate=100e6, delay=0.025, knee=knee)
    without, outcome = bulk(1, forth, share=None), bulk(1, forth)
    assert outcome.rate >= 0.9 * without.rate
    assert outcome.cost < 0.15


def test_forty_per_cent_on_a_slow_path_stays_usable() -> None:
    forth = Conditions(rate=2e6, delay=0.025, loss=0.4)
    without, outcome = bulk(1, forth, share=None, seconds=10.0), bulk(1, forth, seconds=10.0)
    assert outcome.pings.lost <= without.pings.lost
    assert outcome.pings.percentile(95) < without.pings.percentile(95)


@pytest.mark.long_simulation
def test_bursts_of_losses_are_repaired_within_the_budget() -> None:
    forth = Conditions(rate=RATE, delay=0.01, bursts=GilbertElliott.bursts(0.05, 4))
    outcome = bulk(3, forth, seconds=8.0)
    assert outcome.cost <= 0.25
    assert channel_of(outcome.world).statistics().conversation.peer_recovered > 300
    assert outcome.pings.lost == 0


@pytest.mark.long_simulation
def test_what_is_only_late_is_not_taken_for_lost() -> None:
    forth = Conditions(rate=RATE, delay=0.03, jitter=0.02, reorder=True, queue=0.1, loss=0.01)
    seen = channel_of(bulk(2, forth).world).statistics()
    assert seen.repair is not None
    assert seen.repair.estimate.loss == pytest.approx(0.01, abs=0.01)
    assert seen.repair.estimate.ratio < 0.125


def test_repairs_of_a_peer_without_that_feature_are_passed_over() -> None:
    world = make_world(1, path(0.05), path(0.05), 0.25)
    plain = make_world(2, path(0.0), path(0.0), None).far.conversation
    world.far.conversation = plain
    pings = Pings(world, world.near, 0.02)
    world.run(5.0)
    assert pings.lost == 0
    seen = world.far.conversation.statistics()
    assert isinstance(seen, PacketChannelStatistics)
    assert seen.repair is None
    assert (seen.conversation.bad_kind, seen.conversation.bad_format) == (0, 0)


def test_an_idle_channel_wakes_nobody() -> None:
    world = make_world(1, path(0.05), path(0.0), 0.25)
    Pings(world, world.near, 100.0)
    world.run(20.0)
    assert world.near.conversation.next_timeout() == math.inf
    assert world.far.conversation.next_timeout() == math.inf


@pytest.mark.parametrize("share", [None, 0.25])
def test_a_channel_is_at_rest_until_a_packet_comes_and_long_after_the_last(
    share: float | None,
) -> None:
    world = make_world(1, path(0.05), path(0.0), share)
    near, far = channel_of(world), world.far.conversation
    assert isinstance(far, PacketChannel)
    control = b"\0" * 24
    assert near.at_rest
    assert near.poll_datagrams(world.now) == 0
    assert near.receive_datagrams_untrusted(control, array("H", [24]), 1, world.now) == 1
    assert near.at_rest
    assert near.statistics().conversation.datagrams_received == 0
    arrived: list[bytes] = []
    world.far.on_packet = arrived.append
    for number in range(1, 3):
        world.near.send(ipv4("192.168.1.5", "192.168.2.6", 100))
        world.run(9.0)
        assert len(arrived) == number
        for channel in (near, far):
            assert channel.poll_datagrams(world.now) == 0
            assert not channel.at_rest
        world.run(2.0)
        for channel in (near, far):
            assert channel.poll_datagrams(world.now) == 0
            assert channel.at_rest
            assert channel.next_timeout() == math.inf
            assert channel.receive_datagrams_untrusted(control, array("H", [24]), 1, world.now) == 1
            assert channel.at_rest


def test_no_more_waits_than_it_may() -> None:
    channel = PacketChannel(
        COMMAND,
        mtu=MTU,
        widest=1400,
        window=128,
        overhead=OVERHEAD,
        output=DatagramBuffer(),
        queue_bytes=100_000,
    )
    batch = build_frame(COMMAND, ipv4("192.168.1.5", "192.168.2.6", 1000)) * 60
    for _ in range(20):
        channel.enqueue(batch, 0.0)
    seen = channel.statistics().queue
    assert 50_000 < seen.queued_bytes <= 100_000
    assert seen.dropped_full > 1000
