"""What the queues of single round trips tell of others on a path, and how turns go on."""

from __future__ import annotations

import pytest

from polevpn_trio.kcp.congestion.competition import (
    FREE_ROUNDS,
    SETTLED_ROUNDS,
    SETTLED_TURNS,
    TURNS,
    Competition,
)

LIMIT = 0.005
NOISE = 0.002
QUEUE = 0.020


def looked_at(*queues: float) -> Competition:
    competition = Competition()
    for queue in queues:
        competition.look(queue, LIMIT)
    return competition


def after_turns(*queues: float, limited: int = -1) -> Competition:
    """Compete for as many round trips; in one of them there was too little to send."""
    competition = Competition()
    competition.begin(QUEUE)
    for number, queue in enumerate(queues):
        competition.take_turn(queue, LIMIT, number == limited)
    return competition


def test_a_queue_stands_until_a_round_trip_has_none() -> None:
    assert looked_at(QUEUE, QUEUE, QUEUE).standing == 3
    assert looked_at(QUEUE, QUEUE, LIMIT).standing == 0
    assert looked_at(LIMIT, QUEUE).standing == 1


@pytest.mark.parametrize("change", [0.0015, 0.0025, -0.0015, -0.0025])
def test_a_queue_that_varies_does_so_once_ours_is_gone(change: float) -> None:
    ours = [2 * QUEUE] * SETTLED_ROUNDS
    varies = abs(change) > NOISE
    assert looked_at(*ours, QUEUE, QUEUE).varies(QUEUE + change, NOISE) == varies
    assert looked_at(*ours, QUEUE, QUEUE + change).varies(QUEUE, NOISE) == varies
    assert not looked_at(*ours, QUEUE, 2 * QUEUE, 0.0, QUEUE).varies(QUEUE, NOISE)
    assert not looked_at(*ours).varies(QUEUE, NOISE)


def test_more_is_sent_then_as_much_less_and_then_steadily() -> None:
    competition = after_turns()
    gains = []
    for number in range(2 * TURNS):
        assert competition.turn == number % TURNS
        gains.append(competition.gain)
        competition.take_turn(QUEUE, LIMIT, False)
    assert gains == 2 * [1.25, 0.75, *[1.0] * (TURNS - 2)]


def test_the_queue_is_an_average() -> None:
    assert after_turns().queue == QUEUE
    assert after_turns(3 * QUEUE).queue == pytest.approx(1.5 * QUEUE)


def test_nobody_competes_after_so_many_round_trips_in_a_row_without_a_queue() -> None:
    assert not after_turns(*[LIMIT] * (FREE_ROUNDS - 1)).is_over()
    assert after_turns(*[LIMIT] * FREE_ROUNDS).is_over()
    assert not after_turns(*[LIMIT] * (FREE_ROUNDS - 1), QUEUE, LIMIT).is_over()
    again = after_turns(*[LIMIT] * FREE_ROUNDS)
    again.begin(QUEUE)
    assert not again.is_over()


def test_a_queue_is_calm_if_it_is_the_same_while_sending_is_steady() -> None:
    cycle = [0.0] * SETTLED_TURNS + [QUEUE] * (TURNS - SETTLED_TURNS)
    assert after_turns(*cycle).is_calm(NOISE)
    assert not after_turns(*cycle[:-1]).is_calm(NOISE)
    for number in range(SETTLED_TURNS, TURNS):
        other = [*cycle[:number], QUEUE + 2 * NOISE, *cycle[number + 1 :]]
        assert not after_turns(*other).is_calm(NOISE)
        assert after_turns(*other, *cycle).is_calm(NOISE)


def test_it_is_busy_if_there_was_enough_to_send_in_every_turn() -> None:
    cycle = [QUEUE] * TURNS
    assert after_turns(*cycle).is_busy()
    for number in range(TURNS):
        assert not after_turns(*cycle, limited=number).is_busy() or number == 0
        assert after_turns(*cycle, *cycle, limited=number).is_busy()
