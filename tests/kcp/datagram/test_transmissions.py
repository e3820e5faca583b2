"""Transmissions and the bodies they carry: what is acknowledged, lost, delivered how fast."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from polevpn_trio.kcp.congestion.base import AckEvent
from polevpn_trio.kcp.datagram.body_pool import SMALLEST, BodyPool
from polevpn_trio.kcp.datagram.transmissions import Transmissions


def make() -> tuple[BodyPool, Transmissions, AckEvent]:
    bodies = BodyPool(100)
    return bodies, Transmissions(bodies), AckEvent()


def send(bodies: BodyPool, sent: Transmissions, now: float = 0.0, size: int = 100) -> int:
    slot = bodies.acquire()
    sent.add(slot, size, now)
    return slot


def acknowledge(
    sent: Transmissions, event: AckEvent, now: float, *runs: tuple[int, int], late: float = 0.0
) -> None:
    event.clear(now + late)
    event.arrived_at = now
    for low, high in runs:
        sent.acknowledge(low, high, event)
    sent.finish(event)


def test_what_is_acknowledged_is_released_and_counted_once() -> None:
    bodies, sent, event = make()
    for _ in range(10):
        send(bodies, sent)
    acknowledge(sent, event, 0.1, (7, 9), (0, 2))
    assert (event.new_packets, event.new_bytes, sent.in_flight) == (6, 600, 400)
    assert (bodies.used, sent.first) == (4, 3)
    acknowledge(sent, event, 0.2, (7, 9), (0, 4))
    assert (event.new_packets, sent.in_flight, sent.first) == (2, 200, 5)


def test_what_was_overtaken_and_is_overdue_is_lost() -> None:
    bodies, sent, event = make()
    slots = [send(bodies, sent, now=number / 10) for number in range(5)]
    acknowledge(sent, event, 1.0, (4, 4))
    assert sent.oldest_overtaken() == 0.0
    sent.detect_losses(0.15, event)
    assert (event.lost_packets, event.lost_runs, sent.first) == (2, 1, 2)
    assert [bodies.pop_lost(), bodies.pop_lost(), bodies.pop_lost()] == [slots[0], slots[1], -1]
    assert sent.in_flight == 200


def test_nothing_is_lost_that_nothing_overtook() -> None:
    bodies, sent, event = make()
    send(bodies, sent)
    event.clear(100.0)
    sent.detect_losses(100.0, event)
    assert event.lost_packets == 0
    assert sent.oldest_overtaken() == -1


def test_a_loss_that_was_none_is_noticed_and_not_sent_again() -> None:
    bodies, sent, event = make()
    for _ in range(3):
        send(bodies, sent)
    acknowledge(sent, event, 1.0, (2, 2))
    sent.detect_losses(1.0, event)
    assert bodies.lost == 2
    acknowledge(sent, event, 1.1, (0, 0))
    assert (sent.spurious, bodies.lost) == (1, 1)
    assert bodies.pop_lost() >= 0
    assert bodies.pop_lost() == -1


def test_a_body_under_way_twice_is_not_queued_when_the_first_copy_is_lost() -> None:
    bodies, sent, event = make()
    slot = send(bodies, sent)
    sent.add(slot, 100, 0.5)
    send(bodies, sent, 0.6)
    acknowledge(sent, event, 1.0, (2, 2))
    sent.detect_losses(0.1, event)
    assert (event.lost_packets, bodies.lost) == (1, 0)
    sent.detect_losses(0.5, event)
    assert bodies.lost == 1


def test_a_slot_used_again_is_not_released_by_an_old_acknowledgement() -> None:
    bodies, sent, event = make()
    slot = send(bodies, sent)
    sent.add(slot, 100, 0.1)
    acknowledge(sent, event, 0.2, (1, 1))
    assert bodies.used == 0
    again = send(bodies, sent, 0.3)
    assert again == slot
    acknowledge(sent, event, 0.4, (0, 1))
    assert bodies.used == 1


@pytest.mark.parametrize("late", [0.0, 0.030])
def test_the_rate_is_what_was_delivered_over_the_longer_of_two_times(late: float) -> None:
    """Whenever the acknowledgements of it come."""
    bodies, sent, event = make()
    for number in range(20):
        send(bodies, sent, now=number * 0.001, size=1000)
    acknowledge(sent, event, 0.050, (0, 0))
    acknowledge(sent, event, 0.060, (0, 10), late=late)
    assert event.rate == pytest.approx(11_000 / 0.060)
    for number in range(20, 40):
        send(bodies, sent, now=0.060 + number * 0.001, size=1000)
    acknowledge(sent, event, 0.160, (0, 39), late=late / 2)
    assert event.rate == pytest.approx(29_000 / 0.100)
    assert not event.app_limited


def test_samples_after_a_pause_are_marked() -> None:
    bodies, sent, event = make()
    sent.note_app_limited()
    send(bodies, sent)
    acknowledge(sent, event, 0.1, (0, 0))
    assert event.app_limited


def test_attached_repair_shares_the_fate_of_its_neighbour() -> None:
    bodies, sent, event = make()
    send(bodies, sent)
    sent.attach(50)
    assert sent.in_flight == 150
    acknowledge(sent, event, 0.1, (0, 0))
    assert (event.new_bytes, sent.in_flight) == (150, 0)
    sent.attach(50)
    assert sent.in_flight == 0


def test_memory_grows_with_what_is_under_way_and_is_given_back() -> None:
    bodies, sent, event = make()
    for _ in range(5000):
        send(bodies, sent)
    assert bodies.capacity >= 5000
    acknowledge(sent, event, 1.0, (0, 4999))
    bodies.shrink()
    sent.shrink()
    assert bodies.capacity == SMALLEST
    assert sent.capacity < 100
    send(bodies, sent)
    acknowledge(sent, event, 2.0, (5000, 5000))
    assert event.new_packets == 1


def test_books_balance_whatever_is_acknowledged_and_lost(seeds: Callable[[int], range]) -> None:
    for seed in seeds(300):
        chance = random.Random(seed)
        bodies, sent, event = make()
        arrived: set[int] = set()
        released = lost = 0
        for step in range(200):
            now = step / 10
            for _ in range(chance.randrange(6)):
                send(bodies, sent, now)
            while (slot := bodies.pop_lost()) >= 0:
                sent.add(slot, 100, now)
            if sent.next and chance.random() < 0.7:
                high = chance.randrange(max(0, sent.next - 20), sent.next)
                low = max(0, high - chance.randrange(5))
                acknowledge(sent, event, now, (low, high))
                new = set(range(max(low, sent.next - sent.capacity), high + 1)) - arrived
                arrived |= new
                sent.detect_losses(now - chance.choice([0.2, 1.0]), event)
                released += len(new)
                lost += event.lost_packets
            assert sent.lost == lost
            assert 0 <= sent.in_flight <= 100 * (sent.next - sent.first)
        assert sent.delivered == 100 * released, f"seed {seed}"


def test_what_repair_made_up_for_was_not_delivered_by_the_path() -> None:
    bodies, sent, event = make()
    for number in range(10):
        send(bodies, sent, now=number / 10)
    event.clear(1.0)
    event.recovered_packets = 2
    sent.acknowledge(0, 7, event)
    sent.finish(event)
    assert (event.new_bytes, event.delivered) == (800, 600)
    event.clear(1.1)
    event.recovered_packets = 30000
    sent.acknowledge(8, 9, event)
    sent.finish(event)
    assert event.delivered == 600
