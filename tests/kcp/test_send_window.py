"""The send window: acknowledgements, losses and timers, and against a model that searches."""

from __future__ import annotations

import math
import random

import pytest

from polevpn_trio.kcp.send_window import SMALLEST, SendWindow

RTO = 0.2


def with_segments(count: int, start: int = 0, gentle: bool = True) -> SendWindow:
    """Segments of 10 bytes, one sent per second; each one's timestamp is its number."""
    window = SendWindow(start, 2, gentle)
    for number in range(count):
        assert window.add(10 * number, 10, float(number), number) == start + number
    return window


def datagram(window: SendWindow, *acks: tuple[int, int]) -> int:
    """Take a datagram of (sequence, timestamp); returns how many were acknowledged."""
    fresh = sum(
        window.acknowledge(sequence & 0xFFFFFFFF, timestamp) for sequence, timestamp in acks
    )
    window.end_event()
    return fresh


def test_nothing_in_flight() -> None:
    window = SendWindow(0, 2, True)
    assert window.overdue(1e9, RTO) == -1
    assert window.overtaken(2) == -1
    assert window.next_timeout(RTO) == math.inf
    assert window.stream_position(77) == 77
    assert not window.acknowledge(0, 0)


def test_una_takes_segments_off_the_front() -> None:
    window = with_segments(5)
    assert datagram(window, (1, 1)) == 1
    assert window.acknowledge_before(3) == 2
    assert (window.first, window.una, window.next) == (3, 3, 5)
    assert window.stream_position(50) == 30
    assert window.acknowledge_before(5) == 2
    assert window.stream_position(50) == 50


def test_ack_counts_once_and_only_in_flight() -> None:
    window = with_segments(3)
    assert datagram(window, (1, 1), (1, 1), (3, 3), (-1, 0), (0x80000001, 1)) == 1


def test_two_events_make_a_segment_overtaken() -> None:
    window = with_segments(4)
    datagram(window, (1, 1))
    assert (window.overtaken(1), window.overtaken(2)) == (0, -1)
    datagram(window, (2, 2))
    assert (window.overtaken(1), window.overtaken(2)) == (0, 0)
    window.resend(0, 0, 5.0, 5)
    # Segment 3 was sent after 2 and 0 after all of them.
    assert (window.overtaken(1), window.overtaken(2)) == (-1, -1)


def test_one_datagram_of_many_acks_is_one_event() -> None:
    window = with_segments(6)
    datagram(window, (1, 1), (2, 2), (3, 3))
    assert window.overtaken(2) == -1


def test_events_count_in_any_order() -> None:
    window = with_segments(6)
    datagram(window, (5, 5))
    datagram(window, (2, 2))
    assert window.overtaken(2) == 0
    assert window.acknowledge_before(2) == 2
    # 3 and 4 were overtaken by 5 alone.
    assert (window.overtaken(1), window.overtaken(2)) == (3, -1)


def test_ack_of_an_earlier_transmission_says_nothing_about_the_latest() -> None:
    window = with_segments(3)
    window.resend(2, 1, 9.0, 9)
    assert datagram(window, (2, 2)) == 1
    assert window.overtaken(1) == -1
    window = with_segments(3)
    window.resend(2, 1, 9.0, 9)
    assert datagram(window, (2, 9)) == 1
    assert window.overtaken(1) == 0


def test_a_lost_resend_is_found_by_later_transmissions() -> None:
    window = with_segments(3)
    datagram(window, (1, 1))
    datagram(window, (2, 2))
    window.resend(0, 0, 3.0, 3)
    for number in (3, 4):
        window.add(10 * number, 10, 4.0, 4)
        datagram(window, (number, 4))
    assert window.overtaken(2) == 0


@pytest.mark.parametrize(
    ("gentle", "waits"), [(True, [0.2, 0.3, 0.4, 0.5, 0.6]), (False, [0.2, 0.4, 0.8, 1.6, 3.2])]
)
def test_timeouts_grow(gentle: bool, waits: list[float]) -> None:
    window = with_segments(1, gentle=gentle)
    now = 0.0
    for timeouts, wait in enumerate(waits):
        due = window.next_timeout(RTO)
        assert due == pytest.approx(now + wait)
        assert window.overdue(due - 0.001, RTO) == -1
        assert window.overdue(due, RTO) == 0
        assert window.timeouts(0) == timeouts
        now = due
        window.resend(0, timeouts + 1, now, 0)


@pytest.mark.parametrize("gentle", [True, False])
def test_timeouts_stop_growing_at_a_minute(gentle: bool) -> None:
    window = with_segments(1, gentle=gentle)
    window.resend(0, 1000, 0.0, 0)
    assert window.next_timeout(RTO) == 60.0


def test_each_segment_is_due_by_its_own_timeouts() -> None:
    window = SendWindow(0, 2, True)
    for sequence in range(3):
        window.add(0, 1, 0.0, 0)
        window.resend(sequence, 3 - sequence, 0.0, 0)
    assert [window.overdue(now, RTO) for now in (0.29, 0.31, 0.51)] == [-1, 2, 2]
    window.acknowledge(2, 0)
    assert window.overdue(0.39, RTO) == -1
    assert window.overdue(0.41, RTO) == 1


def test_sends_in_vain_are_counted_since_progress() -> None:
    window = with_segments(2)
    assert window.sends_in_vain() == 1
    for _ in range(4):
        window.resend(0, 1, 0.0, 0)
    assert window.sends_in_vain() == 5
    datagram(window, (1, 1))
    window.note_progress()
    assert window.sends_in_vain() == 0
    window.resend(0, 1, 0.0, 0)
    assert window.sends_in_vain() == 1
    window.acknowledge_before(2)
    window.note_progress()
    assert window.sends_in_vain() == 0
    window.add(0, 1, 0.0, 0)
    assert window.sends_in_vain() == 1


MANY = 40 * SMALLEST


@pytest.mark.parametrize("start", [0, 0xFFFFFFF0])
def test_growing_keeps_everything(start: int) -> None:
    window = with_segments(MANY, start)
    assert window.capacity == 1024 > MANY
    for number in range(MANY):
        assert window.position(start + number) == 10 * number
    # Each but the first acknowledged: the lists survived if the first is the one that is left.
    for number in range(1, MANY):
        assert datagram(window, (start + number, number)) == 1
    assert window.overtaken(2) == window.overdue(1e9, RTO) == start
    assert window.acknowledge_before((start + MANY) & 0xFFFFFFFF) == 1
    assert window.next_timeout(RTO) == math.inf
    window.resize(SMALLEST)
    assert window.capacity == SMALLEST


def test_agrees_with_a_search_of_the_window() -> None:
    """Compare the lists' answers with those of a plain model that looks at every segment."""
    chance = random.Random(3)
    window = SendWindow(0xFFFFFFE0, 2, True)
    sent: dict[int, tuple[int, float, int, int]] = {}
    events: list[int] = []
    transmissions = 0
    now = 0.0
    for _ in range(4000):
        now += chance.random() * 0.02
        stamp = int(now * 1000)
        action = chance.random()
        if action < 0.4:
            transmissions += 1
            sent[window.add(0, 1, now, stamp)] = (transmissions, now, 0, stamp)
        elif action < 0.6 and sent:
            sequence = chance.choice(list(sent))
            timeouts = chance.choice([0, sent[sequence][2] + 1])
            window.resend(sequence, timeouts, now, stamp)
            transmissions += 1
            sent[sequence] = (transmissions, now, timeouts, stamp)
        elif action < 0.9 and sent:
            acks = chance.sample(list(sent), min(len(sent), chance.randint(1, 4)))
            datagram(window, *((sequence, sent[sequence][3]) for sequence in acks))
            events.append(max(sent[sequence][0] for sequence in acks))
            for sequence in acks:
                del sent[sequence]
        elif chance.random() < 0.3:
            end = chance.randint(window.first, min(window.next, window.first + 20))
            waiting = [sequence for sequence in sent if sequence < end]
            assert window.acknowledge_before(end & 0xFFFFFFFF) == len(waiting)
            for sequence in waiting:
                del sent[sequence]
            assert window.first == min(sent, default=window.next)
        overtaken = [
            sequence
            for sequence, (number, *_rest) in sent.items()
            if sum(event > number for event in events) >= 2
        ]
        assert (window.overtaken(2) in overtaken) if overtaken else window.overtaken(2) == -1
        dues = [at + RTO + RTO / 2 * timeouts for _, at, timeouts, _ in sent.values()]
        if all(timeouts < 15 for _, _, timeouts, _ in sent.values()):
            assert window.next_timeout(RTO) == pytest.approx(min(dues, default=math.inf))
