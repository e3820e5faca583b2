"""When a link is asked, doubted, and given up."""

from __future__ import annotations

import random

from polevpn_trio.control.liveness import (
    DEAD_SECONDS,
    HEART_BEAT_SECONDS,
    LONGEST_PATIENCE,
    PATIENCE_SECONDS,
    QUIET_SECONDS,
    Liveness,
)


class Simulated:
    """A link and the task that looks after it, in virtual time."""

    def __init__(self, round_trip: float = 0.02, measured: float | None = None) -> None:
        self.now = self.heard = 100.0
        self.liveness = Liveness(self.now)
        self.round_trip = round_trip
        self.measured = measured
        self.router_lives = True
        self.beats: list[float] = []
        self.doubts: list[float] = []
        self.dead_at: float | None = None
        self.looks = 0
        self._answers: list[float] = []

    def run(self, seconds: float, uses: list[float] | None = None, acked: bool = False) -> None:
        """Let time pass; ``uses`` are offsets at which packets are sent, ``acked`` or not."""
        end = self.now + seconds
        pending = sorted(self.now + use for use in uses or [])
        look_at = self.now
        while self.dead_at is None:
            event = min([look_at, *pending[:1], *self._answers[:1]])
            if event > end:
                break
            self.now = max(self.now, event)
            if self._answers and self._answers[0] <= self.now:
                self._answers.pop(0)
                self.heard = self.now
                self.liveness.answered(self.now)
                continue
            if pending and pending[0] <= self.now:
                pending.pop(0)
                if acked and self.router_lives:
                    self.heard = self.now
                if not self.liveness.used(self.now):
                    continue
            look_at = self.look()
        self.now = end

    def look(self) -> float:
        self.looks += 1
        verdict = self.liveness.judge(self.now, self.heard, self.measured)
        if verdict.beat:
            self.beats.append(self.now)
            if self.router_lives:
                self._answers.append(self.now + self.round_trip)
        if verdict.doubtful:
            self.doubts.append(self.now)
        if verdict.dead:
            self.dead_at = self.now
        assert verdict.look_again_at > self.now or verdict.dead
        return verdict.look_again_at


def steady(seconds: float, every: float = 0.1) -> list[float]:
    return [every * step for step in range(int(seconds / every))]


def test_an_idle_link_is_asked_every_ten_seconds_and_costs_nothing_else() -> None:
    link = Simulated()
    link.run(100)
    assert [beat - link.beats[0] for beat in link.beats] == [10.0 * n for n in range(11)]
    assert link.doubts == []
    assert link.looks <= 4 * len(link.beats)


def test_a_busy_link_beats_every_ten_seconds_all_the_same() -> None:
    link = Simulated()
    link.run(100, steady(100), acked=True)
    gaps = [later - sooner for sooner, later in zip(link.beats, link.beats[1:], strict=False)]
    assert max(gaps) <= HEART_BEAT_SECONDS + 1e-9
    assert len(link.beats) == 11


def test_silence_in_use_is_noticed_within_two_seconds() -> None:
    link = Simulated()
    link.run(15, steady(15), acked=True)
    link.router_lives = False
    killed = link.now
    link.run(5, steady(5))
    assert link.doubts[0] - killed <= QUIET_SECONDS + PATIENCE_SECONDS + 0.2


def test_silence_on_an_idle_link_is_noticed_at_the_next_beat() -> None:
    link = Simulated()
    link.run(3)
    link.router_lives = False
    link.run(20)
    assert link.doubts[0] == link.beats[1] + PATIENCE_SECONDS


def test_a_second_outage_is_noticed_as_soon_although_the_first_was_survived() -> None:
    link = Simulated()
    link.router_lives = False
    link.run(2, steady(2))
    assert link.doubts
    link.router_lives = True
    link.heard = link.now
    link.run(1, steady(1), acked=True)
    link.router_lives = False
    killed, before = link.now, len(link.doubts)
    link.run(6, steady(6))
    # Patience has doubled.
    assert link.doubts[before] - killed <= QUIET_SECONDS + 2 * PATIENCE_SECONDS + QUIET_SECONDS


def test_a_long_path_is_not_doubted() -> None:
    link = Simulated(round_trip=1.5)
    link.run(60, steady(60, every=5.0))
    # Once, before the first answer has shown how long it takes.
    first = [doubt for doubt in link.doubts if doubt < link.beats[0] + 2]
    assert link.doubts == first
    link = Simulated(round_trip=1.5, measured=1.5)
    link.run(60, steady(60, every=5.0))
    assert link.doubts == []


def test_one_way_traffic_without_acknowledgements_is_no_reason_for_doubt() -> None:
    link = Simulated()
    link.run(60, steady(60))
    assert link.doubts == []
    # One question in each time of silence, not one a packet.
    assert len(link.beats) <= 60 / QUIET_SECONDS + 2


def test_dead_after_two_unanswered_beats() -> None:
    link = Simulated()
    link.run(1)
    link.router_lives = False
    link.run(60)
    assert link.dead_at is not None
    assert link.dead_at == link.heard + DEAD_SECONDS
    assert len(link.beats) == 3


def test_false_alarms_make_patient_and_calm_makes_forget() -> None:
    liveness = Liveness(0.0)
    assert liveness.patience(None) == PATIENCE_SECONDS
    now = 0.0
    for expected in (2, 4, 8, 8):
        verdict = liveness.judge(now, now - 1, None)
        assert verdict.beat
        now += 6.0
        assert liveness.judge(now, now - 7, None).doubtful
        now += 1.0
        liveness.judge(now, now, None)
        assert liveness.patience(None) == expected * PATIENCE_SECONDS
        now += HEART_BEAT_SECONDS
    now += 61.0
    liveness.judge(now, now, None)
    assert liveness.patience(None) == PATIENCE_SECONDS


def test_patience_has_an_end() -> None:
    assert Liveness(0.0).patience(1000.0) == LONGEST_PATIENCE


def test_answers_to_several_beats_measure_nothing() -> None:
    liveness = Liveness(0.0)
    liveness.judge(0.0, 0.0, None)
    liveness.judge(10.0, 0.0, None)
    liveness.answered(10.1)
    assert liveness.patience(None) == PATIENCE_SECONDS
    liveness.judge(20.0, 20.0, None)
    liveness.answered(21.0)
    assert liveness.patience(None) == 4.0


def test_no_order_of_events_makes_it_spin() -> None:
    for seed in range(200):
        chooser = random.Random(seed)
        link = Simulated(round_trip=chooser.choice([0.001, 0.3, 2.0]))
        for _ in range(20):
            link.router_lives = chooser.random() < 0.7
            length = chooser.uniform(0.1, 15)
            uses = [chooser.uniform(0, length) for _ in range(chooser.choice([0, 1, 50]))]
            looks = link.looks
            link.run(length, uses, acked=chooser.random() < 0.5)
            # One look a use that begins, and a handful a second besides.
            assert link.looks - looks <= 10 + 6 * length
