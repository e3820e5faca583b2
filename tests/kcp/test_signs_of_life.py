"""Questions for a sign of life: no acknowledgement, no wait, repeated until answered."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.kcp.conversation import Conversation
from tests.kcp.test_conversation import (
    PUSH,
    WASK,
    WINS,
    Segment,
    ack,
    commands,
    decode,
    feed,
    feed_raw,
    poll,
    poll_raw,
    push,
    run_until,
)


def test_a_question_is_repeated_until_it_is_answered() -> None:
    conversation = Conversation()
    conversation.ask(1.0)
    assert conversation.next_timeout() == 1.0
    sent = run_until(conversation, 2.0)
    assert [at for at, _ in sent] == pytest.approx([1.0, 1.2, 1.5, 1.9])
    assert [(segment.cmd, segment.frg, segment.ts) for _, segment in sent] == [
        (WASK, 1, int(at * 1000)) for at, _ in sent
    ]
    assert conversation.statistics().probes_sent == 4
    # The third was the one that arrived: so the round trip is known, and not in doubt.
    feed(conversation, 2.0, Segment(WINS, frg=1, ts=1500))
    assert conversation.next_timeout() == math.inf
    assert conversation.statistics().smoothed_rtt == 500
    feed(conversation, 2.1, Segment(WINS, frg=1, ts=1900))
    assert conversation.statistics().smoothed_rtt == 500


def test_it_is_answered_at_once_and_once() -> None:
    conversation = Conversation(receive_window=512)
    feed(conversation, 1.0, Segment(WASK, frg=1, ts=0xFFFFFFFF, sn=80))
    assert poll(conversation, 1.0) == [Segment(WINS, frg=1, ts=0xFFFFFFFF, wnd=512)]
    assert conversation.next_timeout() == math.inf
    # The next question wants nothing repeated.
    feed(conversation, 2.0, Segment(WASK, sn=7, ts=8))
    assert poll(conversation, 2.0) == [Segment(WINS, wnd=512)]


def test_who_answers_learns_the_round_trip_from_the_question() -> None:
    conversation = Conversation()
    for told, smoothed in ((0, 0), (80, 80), (0, 80), (80, 80), (60_001, 80), (0xFFFFFFFF, 80)):
        feed(conversation, 1.0, Segment(WASK, frg=1, sn=told))
        assert conversation.statistics().smoothed_rtt == smoothed
    # What an original has there is no round trip.
    feed(conversation, 1.0, Segment(WASK, sn=3000, ts=3))
    assert conversation.statistics().smoothed_rtt == 80


def test_the_question_tells_the_round_trip_that_was_measured() -> None:
    conversation = Conversation()
    for number, (now, told) in enumerate([(1.0804, 80), (1.086, 81)]):
        conversation.send(b"x")
        poll(conversation, 1.0)
        # The second makes 80.75 of it.
        feed(conversation, now, ack(number, ts=1000, una=number + 1))
        conversation.ask(2.0)
        assert poll(conversation, 2.0) == [Segment(WASK, frg=1, sn=told, ts=2000, wnd=2048)]


def test_the_question_tells_the_round_trip_of_the_last_answer() -> None:
    conversation = Conversation()
    for at, trip, told in ((1.0, 0.080, 0), (2.0, 0.160, 80), (3.0, 0.0, 160), (4.0, 0.1, 0)):
        conversation.ask(at)
        assert [segment.sn for segment in poll(conversation, at)] == [told]
        feed(conversation, at + trip, Segment(WINS, frg=1, ts=int(at * 1000)))


def test_news_of_a_window_are_no_answer() -> None:
    conversation = Conversation()
    conversation.ask(1.0)
    poll(conversation, 1.0)
    feed(conversation, 1.1, Segment(WINS))
    assert conversation.next_timeout() == pytest.approx(1.2)
    assert conversation.statistics().smoothed_rtt == 0
    # Nor is one from the future a round trip.
    feed(conversation, 1.1, Segment(WINS, frg=1, ts=1101))
    assert conversation.statistics().smoothed_rtt == 0


def test_nobody_who_was_not_asked_tells_the_round_trip() -> None:
    conversation = Conversation()
    feed(conversation, 1.1, Segment(WINS, frg=1, ts=1000))
    assert conversation.statistics().smoothed_rtt == 0


def test_to_ask_again_asks_at_once_and_goes_on_counting() -> None:
    conversation = Conversation(dead_link=6)
    conversation.ask(1.0)
    run_until(conversation, 2.0)
    assert not conversation.dead_link
    conversation.ask(2.1)
    assert [at for at, _ in run_until(conversation, 3.3)] == pytest.approx([2.1, 2.7])
    assert conversation.dead_link
    feed(conversation, 3.0, Segment(WINS, frg=1, ts=2100))
    assert not conversation.dead_link
    assert conversation.next_timeout() == math.inf


def test_questions_and_answers_leave_data_alone() -> None:
    conversation = Conversation(receive_window=512)
    feed(conversation, 1.0, push(0), Segment(WASK, frg=1, ts=5))
    conversation.receive()
    conversation.ask(1.0)
    conversation.send(b"data")
    (datagram,) = poll_raw(conversation, 1.0)
    told = list(decode(datagram))
    assert commands(told) == [(82, 0), (WASK, 0), (WINS, 0), (PUSH, 0)]
    assert [segment.frg for segment in told] == [0, 1, 1, 0]
    assert [segment.ts for segment in told[1:3]] == [1000, 5]


def before_a_closed_window() -> Conversation:
    """Give one that has something to send, to a peer that closed its window at 2 s."""
    conversation = Conversation()
    conversation.send(b"x")
    poll(conversation, 1.0)
    feed(conversation, 2.0, ack(0, ts=1000, una=1, wnd=0))
    conversation.send(b"y")
    return conversation


def test_a_closed_window_is_asked_for_at_its_own_times() -> None:
    conversation = before_a_closed_window()
    conversation.ask(3.0)
    assert [segment.frg for segment in poll(conversation, 3.0)] == [1]
    feed(conversation, 3.1, Segment(WINS, frg=1, ts=3000, una=1, wnd=0))
    # 7 s after it closed, then half as much more.
    sent = run_until(conversation, 20.0)
    assert [at for at, _ in sent] == pytest.approx([9.0, 19.5])
    assert [segment.frg for _, segment in sent] == [0, 0]


def test_a_question_for_both_counts_for_both() -> None:
    conversation = before_a_closed_window()
    conversation.ask(9.0)
    assert [segment.frg for segment in poll(conversation, 9.0)] == [1]
    feed(conversation, 9.1, Segment(WINS, frg=1, ts=9000, una=1, wnd=0))
    assert conversation.next_timeout() == pytest.approx(19.5)


def test_to_ask_for_the_window_repeats_no_question_before_its_time() -> None:
    conversation = before_a_closed_window()
    conversation.ask(8.9)
    sent = run_until(conversation, 20.0)
    # A round trip of a second makes a timeout of three.
    assert [(at, segment.frg) for at, segment in sent[:3]] == [(8.9, 1), (9.0, 0), (11.9, 1)]


LOST = 1 / 4
"""Share of the datagrams that are lost, each way."""
AT_MOST = 600.0
"""Seconds for an answer: 18 questions, of which one in two is answered."""


def test_whatever_is_lost_all_questions_are_answered(seeds: Callable[[int], range]) -> None:
    """In the end nothing is left to be done."""
    for seed in seeds(1000):
        _ask_over_a_bad_path(random.Random(seed))


def _ask_over_a_bad_path(chance: random.Random) -> None:
    trip = chance.uniform(0.001, 0.15)
    near, far = Conversation(), Conversation()
    now = 1.0
    under_way: list[tuple[float, Conversation, bytes]] = []
    for _ in range(5):
        asked = now
        near.ask(now)
        while True:
            due = min(near.next_timeout(), far.next_timeout(), *(at for at, _, _ in under_way))
            if due == math.inf:
                break
            now = max(now, due)
            for arrival in [entry for entry in under_way if entry[0] <= now]:
                under_way.remove(arrival)
                feed_raw(arrival[1], now, arrival[2])
            for one, other in ((near, far), (far, near)):
                under_way += [
                    (now + trip, other, datagram)
                    for datagram in poll_raw(one, now)
                    if chance.random() >= LOST
                ]
        assert now - asked < AT_MOST
        now = asked + AT_MOST
    heard = near.statistics()
    assert heard.datagrams_received >= 5
    assert heard.in_flight == heard.segments_sent == far.statistics().segments_sent == 0
    assert abs(heard.smoothed_rtt - 2000 * trip) <= 2


@given(
    st.lists(
        st.tuples(
            st.sampled_from([WASK, WINS]),
            st.integers(0, 0xFFFFFFFF),
            st.integers(0, 0xFFFFFFFF),
            st.integers(0, 255),
        )
    )
)
def test_no_question_or_answer_leaves_more_to_do_than_one_datagram(
    segments: list[tuple[int, int, int, int]],
) -> None:
    conversation = Conversation()
    conversation.ask(1.0)
    for command, sequence, timestamp, fragment in segments:
        feed(conversation, 1.5, Segment(command, sequence, ts=timestamp, frg=fragment))
        assert len(poll_raw(conversation, 1.5)) <= 1
        state = conversation.statistics()
        assert 0 <= state.smoothed_rtt <= 60_000
        assert state.rto <= 60_000
