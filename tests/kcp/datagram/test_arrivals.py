"""What the receiver says about what arrived, and when."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from polevpn_trio.kcp.datagram import arrivals
from polevpn_trio.kcp.datagram.arrivals import Arrivals
from polevpn_trio.kcp.datagram.wire import Acknowledgement


def told(state: Arrivals, now: float) -> set[int]:
    """Acknowledge, and give the numbers that the acknowledgement names."""
    ack = Acknowledgement()
    state.fill(ack, now)
    assert ack.largest == state.highest & 0xFFFFFF
    found: set[int] = set()
    for newest, oldest in ack.listed():
        found.update(range(state.highest - oldest, state.highest - newest + 1))
    return found


def add(state: Arrivals, *numbers: int, now: float = 1.0) -> list[int]:
    return [state.add(number, False, False, now) for number in numbers]


def test_what_is_told_is_what_arrived(seeds: Callable[[int], range]) -> None:
    for seed in seeds(1000):
        chance = random.Random(seed)
        state = Arrivals()
        loss = chance.choice([0.0, 0.02, 0.3])
        spread = chance.choice([0, 0, 5, 30])
        order = sorted(
            (number for number in range(400) if chance.random() >= loss),
            key=lambda number: number + chance.random() * spread,
        )
        here: set[int] = set()
        known: set[int] = set()
        for step, number in enumerate(order):
            again = number in here
            fate = state.add(number, False, False, step / 1000)
            assert fate == (arrivals.DUPLICATE if again else arrivals.NEW), f"seed {seed}"
            here.add(number)
            if chance.random() < 0.1:
                found = told(state, step / 1000)
                assert found <= here, f"seed {seed}"
                known |= found
            if chance.random() < 0.05:
                assert state.add(number, False, False, step / 1000) == arrivals.DUPLICATE
        known |= told(state, 1.0)
        assert known == here, f"seed {seed}"
        assert state.arrived == len(here)


def test_seven_lost_acknowledgements_in_a_row_do_no_harm() -> None:
    state = Arrivals()
    for number in range(0, 40, 2):
        add(state, number)
    for _ in range(7):
        add(state, state.highest + 2)
        told(state, 1.0)
    assert {0, 2, 4, 38} <= told(state, 1.0)
    assert 0 not in told(state, 1.0)


def test_an_acknowledgement_waits_for_company_but_not_for_long() -> None:
    state = Arrivals()
    assert state.due == math.inf
    add(state, 0, now=1.0)
    assert state.due == 1.0 + arrivals.MAX_ACK_DELAY
    add(state, *range(1, arrivals.ACK_EVERY), now=1.001)
    assert state.due == 1.001
    told(state, 1.001)
    assert state.due == math.inf
    state.max_ack_delay = 0.025
    add(state, 64, now=2.0)
    assert state.due == 2.025


def test_an_acknowledgement_travels_with_few_datagrams_of_many() -> None:
    for first, waits in ((False, 0.003), (True, 0.0)):
        state = Arrivals()
        assert not state.wants_a_ride(first, 1.0)
        add(state, 0, now=1.0)
        assert state.wants_a_ride(first, 1.0) == first
        assert state.wants_a_ride(first, 1.0 + waits)
        told(state, 1.0 + waits)
        add(state, 1, now=1.004)
        assert not state.wants_a_ride(first, 1.004)
        assert not state.wants_a_ride(first, 1.0049)
        assert state.wants_a_ride(first, 1.0075)


def test_one_that_was_asked_for_leaves_at_once() -> None:
    state = Arrivals()
    state.add(0, False, True, 1.0)
    assert state.due == 1.0


def test_a_gap_is_told_soon_but_not_with_every_datagram() -> None:
    state = Arrivals()
    add(state, 0, 2, now=1.0)
    assert state.due == 1.0
    told(state, 1.0)
    add(state, 4, now=1.0001)
    assert 1.0001 < state.due < 1.0 + arrivals.MAX_ACK_DELAY / 2
    assert state.gaps == 2


def test_stragglers_are_timed_from_when_their_gap_was_seen() -> None:
    state = Arrivals()
    add(state, 0, 2, now=1.0)
    add(state, 3, now=1.5)
    add(state, 1, now=1.020)
    assert math.isclose(state.reordering(1.1), 0.020)
    ack = Acknowledgement()
    state.fill(ack, 1.1)
    assert ack.reordering == 21
    add(state, 6, now=2.0)
    add(state, 4, now=2.010)
    assert math.isclose(state.reordering(2.1), 0.020)
    assert state.reordering(1.0 + 3 * arrivals.REORDERING_MEMORY) == 0
    assert state.late == 2


def test_what_repair_made_up_is_no_straggler_and_counts_apart() -> None:
    state = Arrivals()
    add(state, 0, 2, now=1.0)
    assert state.add(1, True, False, 1.5) == arrivals.NEW
    assert state.add(1, False, False, 1.6) == arrivals.DUPLICATE
    assert (state.arrived, state.recovered, state.duplicates) == (2, 1, 1)
    assert state.reordering(1.6) == 0


def test_the_delay_of_an_acknowledgement_is_told() -> None:
    state = Arrivals()
    add(state, 0, now=1.0)
    ack = Acknowledgement()
    state.fill(ack, 1.5)
    assert ack.delay == 8192
    assert ack.received_at == 16384


def test_runs_of_long_ago_are_forgotten() -> None:
    state = Arrivals()
    add(state, *range(0, 1000, 2))
    assert state.add(1, False, False, 1.0) == arrivals.ANCIENT
    assert state.add(997, False, False, 1.0) == arrivals.NEW
    assert state.add(997, False, False, 1.0) == arrivals.DUPLICATE


def test_a_run_of_losses_that_repair_made_up_is_one_gap() -> None:
    arrivals = Arrivals()
    # The second to fourth were lost; two of them are known before anything follows.
    for number, recovered in ((0, False), (1, True), (2, True), (4, False), (3, True), (5, False)):
        arrivals.add(number, recovered, False, 0.0)
    assert (arrivals.gaps, arrivals.arrived, arrivals.recovered) == (1, 3, 3)
    arrivals.add(6, True, False, 0.0)
    assert arrivals.gaps == 2
