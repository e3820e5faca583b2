"""One direction of an emulated path, in virtual time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.lab.wan.conditions import Conditions, GilbertElliott, Knee, Outages, Policer
from polevpn_trio.lab.wan.path import Path

SIZE = 1236
"""Of a packet; with framing it takes exactly 10,000 bits on the wire."""

PACKET = bytes(SIZE)
BITS = 10_000
START = 100.0


def path(conditions: Conditions, seed: int = 0) -> Path:
    return Path(conditions, random.Random(seed), START)


def numbered(count: int) -> list[bytes]:
    return [number.to_bytes(4) + bytes(SIZE - 4) for number in range(count)]


def arrivals(it: Path) -> Iterator[tuple[float, bytes]]:
    """Take all packets at the very times at which they are due."""
    while (due := it.poll_timeout()) < math.inf:
        for packet in it.poll_packets(due):
            yield due, packet


def send_steadily(it: Path, rate: float, seconds: float, start: float = START) -> int:
    """Send packets evenly at ``rate`` bits per second, polling all the time; return how many."""
    count = round(rate * seconds / BITS)
    for number in range(count):
        now = start + number * BITS / rate
        it.receive_packets([PACKET], now)
        it.poll_packets(now)
    return count


def test_a_perfect_path_passes_packets_at_once_and_in_order() -> None:
    it = path(Conditions())
    packets = numbered(5)
    it.receive_packets(packets, START)
    assert it.poll_packets(START) == packets
    assert it.poll_timeout() == math.inf


def test_delay_is_the_time_to_the_far_end() -> None:
    it = path(Conditions(delay=0.025))
    it.receive_packets([PACKET], START)
    assert it.poll_timeout() == START + 0.025
    assert it.poll_packets(START + 0.0249) == []
    assert it.poll_packets(START + 0.0251) == [PACKET]


# --- The bottleneck


def test_packets_leave_the_bottleneck_one_transmission_apart() -> None:
    it = path(Conditions(rate=1e6, queue=1.0, delay=0.5))
    it.receive_packets([PACKET] * 4, START)
    times = [due - START for due, _ in arrivals(it)]
    assert times == pytest.approx([0.51, 0.52, 0.53, 0.54])


def test_a_caller_that_is_late_does_not_slow_the_bottleneck() -> None:
    it = path(Conditions(rate=1e6, queue=10.0))
    # Ten packets in each tenth of a second are all that fits, however they are bunched.
    for tenth in range(20):
        it.receive_packets([PACKET] * 10, START + tenth / 10)
    (*_, (last, _)) = arrivals(it)
    assert last == pytest.approx(START + 2.0)
    assert it.lost_queue == 0


def test_a_full_queue_drops_the_newest() -> None:
    it = path(Conditions(rate=1e6, queue_bytes=3 * BITS // 8))
    packets = numbered(5)
    it.receive_packets(packets, START)
    assert [packet for _, packet in arrivals(it)] == packets[:3]
    statistics = it.statistics()
    assert statistics.lost_queue == 2
    assert statistics.queue_high_water_bytes == 3 * BITS // 8
    assert statistics.queue_high_water_seconds == pytest.approx(0.03)


def test_the_queue_empties_while_time_passes() -> None:
    it = path(Conditions(rate=1e6, queue_bytes=2 * BITS // 8))
    it.receive_packets([PACKET] * 3, START)
    assert it.lost_queue == 1
    it.receive_packets([PACKET] * 3, START + 0.0101)
    assert it.lost_queue == 3
    it.receive_packets([PACKET] * 3, START + 1.0)
    assert it.lost_queue == 4


def test_an_idle_bottleneck_takes_a_packet_larger_than_its_queue() -> None:
    it = path(Conditions(rate=1e6, queue_bytes=0))
    it.receive_packets([PACKET] * 2, START)
    assert it.lost_queue == 1
    assert len(list(arrivals(it))) == 1


def test_a_step_of_the_rate_is_felt_in_the_middle_of_a_packet() -> None:
    it = path(Conditions(rate=1e6, rate_steps=((0.015, 1e5), (0.115, 1e6)), queue=1.0))
    it.receive_packets([PACKET] * 4, START)
    times = [due - START for due, _ in arrivals(it)]
    # The second one is half through when the rate falls to a tenth, the third when it returns.
    assert times == pytest.approx([0.010, 0.065, 0.120, 0.130])


def test_packets_wait_while_the_rate_is_zero() -> None:
    it = path(Conditions(rate=1e6, rate_steps=((0.005, 0.0), (2.005, 1e6))))
    it.receive_packets([PACKET], START)
    it.receive_packets([PACKET], START + 1.0)
    times = [due - START for due, _ in arrivals(it)]
    assert times == pytest.approx([2.010, 2.020])


def test_the_steps_begin_anew_after_a_restart() -> None:
    it = path(Conditions(rate=1e6, rate_steps=((1.0, 1e5),)))
    it.receive_packets([PACKET], START + 5.0)
    assert it.poll_timeout() == pytest.approx(START + 5.1)
    it.restart(START + 10.0)
    it.receive_packets([PACKET], START + 10.0)
    assert list(arrivals(it))[-1][0] == pytest.approx(START + 10.01)


# --- Loss


@pytest.mark.parametrize("loss", [0.0, 0.02, 0.4, 1.0])
def test_random_loss_takes_its_share(loss: float) -> None:
    it = path(Conditions(loss=loss))
    count = 100_000
    for _ in range(count // 100):
        it.receive_packets([PACKET] * 100, START)
        it.poll_packets(START)
    deviation = math.sqrt(count * loss * (1 - loss))
    assert it.lost_random == pytest.approx(count * loss, abs=5 * deviation)
    assert it.packets_out == count - it.lost_random


def test_a_packet_lost_at_random_has_used_the_bottleneck() -> None:
    it = path(Conditions(rate=1e6, queue=10.0, loss=0.5))
    packets = numbered(200)
    it.receive_packets(packets, START)
    for due, packet in arrivals(it):
        number = int.from_bytes(packet[:4])
        assert due == pytest.approx(START + (number + 1) * 0.01)
    assert 0 < it.lost_random < 200


def test_bursts_are_as_long_as_asked_for() -> None:
    it = path(Conditions(bursts=GilbertElliott.bursts(0.05, 4)))
    count = 200_000
    packets = numbered(count)
    arrived = bytearray(count)
    for first in range(0, count, 1000):
        it.receive_packets(packets[first : first + 1000], START)
        for packet in it.poll_packets(START):
            arrived[int.from_bytes(packet[:4])] = 1
    lost = count - sum(arrived)
    bursts = bytes(arrived).count(b"\1\0")
    assert it.lost_bursts == lost
    assert lost / count == pytest.approx(0.05, rel=0.1)
    assert lost / bursts == pytest.approx(4, rel=0.1)


def test_the_two_states_may_each_lose_a_part() -> None:
    bursts = GilbertElliott(0.02, 0.1, loss_good=0.01, loss_bad=0.4)
    it = path(Conditions(bursts=bursts))
    it.receive_packets([PACKET] * 100_000, START)
    assert it.lost_bursts / 100_000 == pytest.approx(bursts.mean_loss, rel=0.1)


def test_an_outage_loses_what_comes_in_meanwhile() -> None:
    it = path(Conditions(delay=0.1, outages=Outages(period=15.0, length=0.3, first=2.0)))
    lost_at = []
    for tenth in range(400):
        before = it.lost_outage
        it.receive_packets([PACKET], START + tenth / 10 + 0.05)
        lost_at += [tenth] * (it.lost_outage - before)
    assert lost_at == [20, 21, 22, 170, 171, 172, 320, 321, 322]


def test_outages_count_from_a_restart() -> None:
    it = path(Conditions(outages=Outages(period=100.0, length=0.3, first=2.0)))
    it.restart(START + 50.0)
    it.receive_packets([PACKET], START + 2.1)
    it.receive_packets([PACKET], START + 52.1)
    assert it.lost_outage == 1


def test_a_policer_passes_a_burst_and_then_its_rate() -> None:
    it = path(Conditions(policer=Policer(rate=1e6, burst=5 * BITS // 8)))
    it.receive_packets([PACKET] * 8, START)
    assert it.packets_in - it.lost_policer == 5
    assert len(it.poll_packets(START)) == 5
    # From here on it is offered twice what it lets pass.
    before = it.packets_out
    send_steadily(it, 2e6, 10.0)
    assert it.packets_out - before == pytest.approx(1000, abs=1)


def test_a_policer_saves_up_no_more_than_its_burst() -> None:
    it = path(Conditions(policer=Policer(rate=1e6, burst=5 * BITS // 8)))
    it.receive_packets([PACKET] * 8, START + 1000.0)
    assert it.packets_out + it.statistics().in_flight == 5


@pytest.mark.parametrize(
    ("rate", "loss"),
    [(5e6, 0.0), (10e6, 0.0), (30e6, 0.01), (50e6, 0.02), (70e6, 0.21), (2e8, 0.4)],
)
def test_loss_at_a_knee_depends_on_the_rate_offered(rate: float, loss: float) -> None:
    it = path(Conditions(knee=Knee(((10e6, 0.0), (50e6, 0.02), (90e6, 0.4)))))
    send_steadily(it, rate, 2.0)
    before = it.lost_knee
    count = send_steadily(it, rate, 10.0, START + 2.0)
    deviation = math.sqrt(count * loss * (1 - loss))
    assert it.lost_knee - before == pytest.approx(count * loss, abs=5 * deviation + count * 0.001)


def test_a_knee_forgives_those_who_slow_down() -> None:
    it = path(Conditions(knee=Knee(((10e6, 0.0), (50e6, 1.0)), average=0.1)))
    send_steadily(it, 50e6, 1.0)
    send_steadily(it, 5e6, 1.0, START + 1.0)
    before = it.lost_knee
    send_steadily(it, 5e6, 1.0, START + 2.0)
    assert before > 0
    assert it.lost_knee == before


# --- Jitter, duplicates


def test_jitter_without_reordering_keeps_the_order(seeds: Callable[[int], range]) -> None:
    for seed in seeds(20):
        it = path(Conditions(delay=0.03, jitter=0.01), seed)
        packets = numbered(200)
        for number, packet in enumerate(packets):
            it.receive_packets([packet], START + number * 0.001)
        assert [packet for _, packet in arrivals(it)] == packets
        assert it.overtaken == 0


def test_jitter_with_reordering_lets_packets_overtake(seeds: Callable[[int], range]) -> None:
    for seed in seeds(20):
        it = path(Conditions(delay=0.03, jitter=0.01, reorder=True), seed)
        packets = numbered(200)
        for number, packet in enumerate(packets):
            it.receive_packets([packet], START + number * 0.001)
        took = {}
        order = []
        for due, packet in arrivals(it):
            number = int.from_bytes(packet[:4])
            order.append(number)
            took[number] = due - START - number * 0.001
        assert sorted(order) == list(range(200))
        assert order != sorted(order)
        assert it.overtaken > 0
        assert 0.02 - 1e-9 <= min(took.values()) < 0.022
        assert 0.038 < max(took.values()) <= 0.04 + 1e-9


def test_duplicates_arrive_twice_and_are_counted() -> None:
    it = path(Conditions(duplicate=0.1))
    it.receive_packets([PACKET] * 10_000, START)
    assert len(it.poll_packets(START)) == 10_000 + it.duplicated
    assert it.duplicated == pytest.approx(1000, abs=150)


# --- As a whole


def test_the_same_seed_loses_the_same_packets() -> None:
    conditions = Conditions(
        delay=0.02, jitter=0.01, reorder=True, loss=0.1, duplicate=0.05, rate=5e6, queue=1.0
    )

    def run(seed: int) -> list[tuple[float, bytes]]:
        it = path(conditions, seed)
        it.receive_packets(numbered(300), START)
        return list(arrivals(it))

    assert run(7) == run(7)
    assert run(7) != run(8)


def test_packets_on_the_way_survive_a_change() -> None:
    it = path(Conditions(rate=1e6, queue=1.0, delay=0.1))
    packets = numbered(4)
    it.receive_packets(packets[:2], START)
    it.change(Conditions(rate=2e6, queue=1.0, delay=0.2, loss=0.0), START + 0.005)
    it.receive_packets(packets[2:], START + 0.005)
    taken = list(arrivals(it))
    assert [packet for _, packet in taken] == packets
    # A packet and a half were left in the queue, and leave at the new rate.
    assert [due - START for due, _ in taken] == pytest.approx([0.11, 0.12, 0.2175, 0.2225])


FLOATS = st.floats(0, 0.5)
CONDITIONS = st.builds(
    Conditions,
    rate=st.none() | st.floats(1e5, 1e9),
    queue=st.floats(0, 0.2),
    delay=st.floats(0.01, 0.2),
    jitter=st.floats(0, 0.01),
    reorder=st.booleans(),
    loss=FLOATS,
    bursts=st.none() | st.builds(GilbertElliott, FLOATS, FLOATS, FLOATS, FLOATS),
    duplicate=FLOATS,
    outages=st.none() | st.builds(Outages, st.floats(0.1, 1), st.floats(0.01, 0.2)),
    policer=st.none() | st.builds(Policer, st.floats(1e5, 1e8), st.integers(100, 10_000)),
    knee=st.none() | st.just(Knee(((1e5, 0.0), (1e7, 0.9)))),
)
SENDINGS = st.lists(st.tuples(st.floats(0, 0.1), st.integers(1, 20), st.integers(0, 1500)))


@given(CONDITIONS, SENDINGS, st.integers(0, 100))
def test_every_packet_is_accounted_for(
    conditions: Conditions, sendings: list[tuple[float, int, int]], seed: int
) -> None:
    it = path(conditions, seed)
    now = START
    received = 0
    for pause, count, size in sendings:
        now += pause
        it.receive_packets([bytes(size)] * count, now)
        received += len(it.poll_packets(now))
        statistics = it.statistics()
        assert statistics.packets_out == received
        assert (
            statistics.packets_in + statistics.duplicated
            == statistics.packets_out + statistics.lost + statistics.in_flight
        )
        assert statistics.queue_high_water_bytes <= max(conditions.queue_limit, 1514) + 1
    assert it.packets_in == sum(count for _, count, _ in sendings)
    assert it.bytes_in == sum(count * (size + 14) for _, count, size in sendings)
    it.poll_packets(math.inf)
    assert it.statistics().in_flight == 0


def test_statistics_say_how_late_packets_were_polled() -> None:
    it = path(Conditions())
    assert it.statistics().late_percentile(99) == 0.0
    for late in (0.0, 0.0000015, 0.0003, 0.0004, 5.0, 50.0):
        it.receive_packets([PACKET], START)
        it.poll_packets(START + late)
    statistics = it.statistics()
    assert sum(statistics.late) == 6
    assert statistics.late_percentile(1) == 1e-6
    assert statistics.late_percentile(30) == 2e-6
    assert statistics.late_percentile(60) == 512e-6
    assert statistics.late_percentile(100) == pytest.approx(2**23 * 1e-6)
    assert statistics.lost == 0


def test_statistics_are_a_snapshot() -> None:
    it = path(Conditions())
    before = it.statistics()
    it.receive_packets([PACKET], START)
    it.poll_packets(START)
    assert before.packets_in == 0
    assert sum(before.late) == 0
    assert attrs.asdict(before) != attrs.asdict(it.statistics())
