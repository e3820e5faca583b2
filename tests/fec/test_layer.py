"""fec/layer: both ends of a link joined by what a conversation and its peer would tell."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator

import pytest

from polevpn_trio.fec.budget import PACKET_BYTES, SHARE_BURST
from polevpn_trio.fec.controller import BaseLoss, PathCounters
from polevpn_trio.fec.layer import RepairLayer
from tests.fec.links import bursty_losses, join, random_losses, source, split

RATE = 4000
BATCH = 10


class Link:
    """One direction in virtual time: ten datagrams every 2.5 ms, and what was said of them."""

    def __init__(self, losses: Iterator[bool], share: float = 0.25, size: int = 1000) -> None:
        self.near, self.far = RepairLayer(1350, share), RepairLayer(1350)
        self.losses = losses
        self.payload = bytes(size)
        self.now = 1.0
        self.sent = self.arrived = self.recovered = self.gaps = 0
        self.repairs = self.repair_bytes = 0
        self.base_loss = BaseLoss()
        self._lost_before = False

    @property
    def residue(self) -> float:
        return 1 - (self.arrived + self.recovered) / self.sent

    def run(self, seconds: float) -> None:
        """Send full blast; the peer's word comes at once."""
        for _ in range(int(seconds * RATE / BATCH)):
            self.send(BATCH)
            self.wait(BATCH / RATE)

    def send(self, count: int, important: int = 0) -> None:
        batch = [source(self.sent + index, self.payload) for index in range(count)]
        self.sent += count
        marks = bytes([important]) * count
        repairs = self.near.protect_batch(*join(batch), marks, self.now)
        self._carry(batch)
        self._carry_repairs(repairs)
        if self.now >= self.near.adapt_at:
            seen = PathCounters(self.sent, self.arrived, self.recovered, self.gaps)
            self.near.adapt(seen, self.base_loss, 0.05, self.now)

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.near.next_timeout()) < end:
            self.now = max(self.now, due)
            self._carry_repairs(self.near.poll_repairs(self.now))
        self.now = end

    def _carry_repairs(self, count: int) -> None:
        repairs = split(self.near.repairs, self.near.repair_sizes, count)
        self.repairs += count
        self.repair_bytes += sum(map(len, repairs))
        self._carry(repairs)

    def _carry(self, datagrams: list[bytes]) -> None:
        kept = []
        for datagram in datagrams:
            lost = next(self.losses)
            is_source = datagram[0] == 0x10
            if not lost:
                kept.append(datagram)
                self.arrived += is_source
            elif is_source:
                self.gaps += not self._lost_before
            self._lost_before = lost and is_source
        self.recovered += self.far.receive_batch_untrusted(*join(kept), self.now)


def losing(loss: float, seed: int, burst: float = 1.0) -> Iterator[bool]:
    chance = random.Random(seed)
    return bursty_losses(chance, loss, burst) if burst > 1 else random_losses(chance, loss)


def settled(losses: Iterator[bool], **options: float) -> Link:
    """Make a link whose controller knows the path, and begin to count anew."""
    link = Link(losses, **options)  # type: ignore[arg-type] # of both kinds
    link.run(2.0)
    return link


@pytest.fixture
def few_seeds(seeds: Callable[[int], range], kernel_build: str) -> range:
    """Seeds for what takes seconds each where the kernels are plain Python."""
    return seeds(3) if kernel_build == "compiled" else seeds(1)[:1]


def test_a_clean_link_costs_nothing(few_seeds: range) -> None:
    for seed in few_seeds:
        link = settled(losing(0.0, seed))
        before = link.repairs
        link.run(5.0)
        assert link.repairs == before
        assert link.repairs <= 0.06 * 2 * RATE
        assert link.near.wait == 0


@pytest.mark.long_simulation
@pytest.mark.parametrize(
    ("loss", "burst", "most", "residue"),
    [
        (0.05, 1.0, 0.12, 0.005),
        (0.10, 1.0, 0.20, 0.01),
        (0.02, 4.0, 0.09, 0.013),
    ],
)
def test_losses_are_repaired_at_a_fair_price(
    loss: float, burst: float, most: float, residue: float, few_seeds: range
) -> None:
    for seed in few_seeds:
        link = settled(losing(loss, seed, burst))
        sent, repairs, whole = link.sent, link.repairs, link.arrived + link.recovered
        link.run(5.0)
        sent = link.sent - sent
        assert (link.repairs - repairs) / sent <= most, f"seed {seed}"
        assert 1 - (link.arrived + link.recovered - whole) / sent <= residue, f"seed {seed}"


@pytest.mark.long_simulation
@pytest.mark.parametrize("loss", [0.2, 0.4])
def test_much_loss_costs_no_more_than_the_budget(loss: float, few_seeds: range) -> None:
    for seed in few_seeds:
        link = Link(losing(loss, seed))
        link.run(10.0)
        wire = link.repair_bytes + PACKET_BYTES * link.repairs
        traffic = link.sent * (1004 + PACKET_BYTES)
        spare = 24_000 * 11 + SHARE_BURST
        assert wire <= 0.25 * (traffic + wire) + spare, f"seed {seed}"


def test_important_datagrams_survive_where_much_is_lost(few_seeds: range) -> None:
    for seed in few_seeds:
        link = Link(losing(0.3, seed), size=80)
        for _ in range(1000):
            link.send(1, important=1)
            link.wait(0.02)
        assert link.residue < 0.12, f"seed {seed}"


def test_lone_datagrams_survive_a_few_per_cent(few_seeds: range) -> None:
    for seed in few_seeds:
        link = Link(losing(0.05, seed), size=200)
        for _ in range(1500):
            link.send(1, important=1)
            link.wait(0.02)
        assert link.residue < 0.004, f"seed {seed}"


@pytest.mark.long_simulation
def test_each_direction_repairs_its_own_losses() -> None:
    up, down = settled(losing(0.0, 1)), settled(losing(0.14, 2))
    before = up.repairs
    up.run(2.0)
    down.run(2.0)
    assert up.repairs == before
    assert down.near.statistics().estimate.ratio > 0.18


def test_losses_of_our_own_making_cost_no_repairs() -> None:
    link = Link(losing(0.08, 3))
    link.base_loss = BaseLoss(0.0, 1000)
    # Until the first word of the peer nothing is known of the path.
    link.run(0.2)
    begun, before = link.sent, link.near.statistics().sent.regular
    link.run(3.0)
    repairs = link.near.statistics().sent.regular - before
    assert repairs < 0.01 * (link.sent - begun)


def test_the_end_of_a_burst_is_repaired() -> None:
    link = settled(losing(0.02, 4))
    before = link.near.statistics().sent.tail
    link.send(3)
    link.wait(0.1)
    assert link.near.statistics().sent.tail == before + 1


def test_without_a_budget_nothing_is_repaired() -> None:
    link = Link(losing(0.05, 5), share=0.0)
    link.send(1, important=1)
    link.wait(0.1)
    link.run(2.0)
    assert link.repairs == 0


def test_statistics_tell_what_repair_cost_and_gave() -> None:
    link = settled(losing(0.05, 6))
    near, far = link.near.statistics(), link.far.statistics()
    assert near.sent.repair_bytes == link.repair_bytes
    assert near.sent.spent == link.repair_bytes + PACKET_BYTES * link.repairs
    assert near.estimate.loss == pytest.approx(0.05, rel=0.2)
    assert far.received.recovered == link.recovered
    assert far.received.repairs <= link.repairs


def test_memory_is_given_back_when_nothing_happens() -> None:
    link = settled(losing(0.05, 7))
    assert len(link.near.repairs) > 0
    link.near.release_idle(link.now + 60)
    link.far.release_idle(link.now + 60)
    assert len(link.near.repairs) == len(link.far.recovered) == 0


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="not in 0 to 1"):
        RepairLayer(1350, share)


def test_buffers_of_an_empty_batch_are_fine() -> None:
    layer = RepairLayer(1350)
    assert layer.protect_batch(b"", array("H"), 0, b"", 0.0) == 0
    assert layer.receive_batch_untrusted(b"", array("H"), 0, 0.0) == 0
