"""fec/encoder: when repairs are sent, over what, and what they may cost."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable

import pytest

from polevpn_trio.fec.budget import PACKET_BYTES
from polevpn_trio.fec.encoder import FLUSH, IDLE_SHRINK, LONGEST_FLUSH, RepairEncoder
from polevpn_trio.fec.gf256 import add_scaled
from polevpn_trio.fec.plan import CLEAN, STAGGER, RepairPlan
from polevpn_trio.fec.symbols import coefficient
from tests.fec.links import Sender, id_of, is_repair, join, source, window_of

PLENTY = 4.0
SYMBOL = 2 + 4
"""Bytes of a symbol before the payload: a length, kind and id."""


def make_sender(plan: RepairPlan, first_id: int = 0, **options: float) -> Sender:
    encoder = RepairEncoder(**({"share": PLENTY, "allowance": 1e6} | options))  # type: ignore[arg-type] # ints and floats
    encoder.set_plan(plan)
    return Sender(encoder, first_id)


def reasons(sender: Sender) -> tuple[int, int, int]:
    seen = sender.encoder.statistics()
    return seen.regular, seen.tail, seen.priority


# --- On the wire -------------------------------------------------------------------------


def test_a_repair_is_the_sum_of_its_window() -> None:
    sender = make_sender(RepairPlan(ratio=1 / 3))
    payloads = [b"one", b"a longer one", b""]
    *_, repair = sender.protect(payloads, 0.0)
    assert repair[:8] == bytes([0x30, 0, 0, 0, 2, 15, 0, 0])
    expected = bytearray(SYMBOL + 12)
    for number, payload in enumerate(payloads):
        symbol = (4 + len(payload)).to_bytes(2, "big") + source(number, payload)
        add_scaled(expected, symbol, coefficient(0, number, 15))
    assert repair[8:] == expected


def test_any_repair_is_the_sum_of_its_window(seeds: Callable[[int], range]) -> None:
    for seed in seeds(200):
        chance = random.Random(seed)
        window = chance.choice([1, 4, 30])
        sender = make_sender(RepairPlan(), window=window, density=chance.choice([5, 15]))
        payloads: list[bytes] = []
        now = 0.0
        for _ in range(60):
            now += chance.choice([0.0, 0.001, 0.01, 0.1])
            sender.encoder.set_plan(
                RepairPlan(
                    ratio=chance.choice([0, 0.3]),
                    tail=chance.randrange(3),
                    important=1 + chance.randrange(3),
                )
            )
            sent = sender.poll(now)
            batch = [bytes(chance.choice([0, 40, 40, 100])) for _ in range(chance.randrange(7))]
            payloads += [chance.randbytes(len(each)) for each in batch]
            batch = payloads[len(payloads) - len(batch) :]
            sent += sender.protect(batch, now, bytes(chance.randrange(2) for _ in batch))
            for repair in filter(is_repair, sent):
                covered = window_of(repair)
                assert len(covered) <= window, f"seed {seed}"
                total = bytearray(SYMBOL + max(len(payloads[number]) for number in covered))
                key = int.from_bytes(repair[6:8], "big")
                for number in covered:
                    datagram = source(number, payloads[number])
                    symbol = len(datagram).to_bytes(2, "big") + datagram
                    add_scaled(total, symbol, coefficient(key, number, repair[5]))
                assert repair[8:] == total, f"seed {seed}"


def test_each_repair_has_a_key_of_its_own() -> None:
    sender = make_sender(RepairPlan(ratio=2))
    keys = [datagram[6:8] for datagram in sender.protect([b"x"] * 20, 0.0) if is_repair(datagram)]
    assert len(set(keys)) == len(keys) == 40


def test_what_has_no_packets_is_passed_over() -> None:
    sender = make_sender(RepairPlan(ratio=1))
    others = [b"\x00 stream", b"\x20 acknowledgement", b"", b"\x10\x00"]
    assert sender.encoder.protect_batch(*join(others), 0.0, bytes(4)) == 0
    assert sender.encoder.protect_batch(*join([*others, source(0, b"x")]), 0.0, bytes(5)) == 1
    assert sender.encoder.statistics().sources == 1


def test_what_is_too_long_goes_unprotected() -> None:
    sender = make_sender(RepairPlan(ratio=1), mtu=10)
    assert sender.protect([bytes(7)], 0.0) == [source(0, bytes(7))]
    assert len(sender.protect([bytes(6)], 0.0)) == 2


def test_ids_wrap_around() -> None:
    sender = make_sender(RepairPlan(ratio=0.5), first_id=0xFFFFFF)
    *_, repair = sender.protect([b"last", b"first"], 0.0)
    assert (id_of(repair), repair[4]) == (0xFFFFFF, 1)


def test_nothing_is_kept_while_nothing_is_to_be_repaired() -> None:
    sender = make_sender(RepairPlan(ratio=0.25, tail=0))
    sender.protect([b"x"] * 3, 0.0)
    sender.encoder.set_plan(CLEAN)
    assert sender.protect([b"x"] * 1000, 0.0, bytes([1] * 1000)) == [
        source(3 + number, b"x") for number in range(1000)
    ]
    assert sender.encoder.next_timeout() == math.inf
    assert sender.encoder.statistics().sources == 3
    sender.encoder.set_plan(RepairPlan(ratio=0.25, tail=0))
    assert window_of(sender.protect([b"x"] * 4, 0.0)[-1]) == range(1003, 1007)


def test_a_number_that_does_not_follow_begins_anew() -> None:
    sender = make_sender(RepairPlan(ratio=0.25, tail=0))
    sender.protect([b"x"] * 3, 0.0)
    sender.next = 100
    sender.protect([b"x"] * 3, 0.0)
    assert window_of(sender.protect([b"x"] * 1, 0.0)[-1]) == range(100, 104)


# --- Regular repairs ---------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.01, 0.07, 0.25, 1.0, 2.5])
def test_repairs_keep_to_the_ratio(ratio: float) -> None:
    sender = make_sender(RepairPlan(ratio=ratio, tail=0))
    for _ in range(100):
        sender.protect([bytes(100)] * 17, 0.0)
    assert sender.encoder.statistics().regular == pytest.approx(1700 * ratio, abs=1.01)


def test_the_window_is_bounded_by_number() -> None:
    sender = make_sender(RepairPlan(ratio=1, tail=0), window=5)
    got = sender.protect([b"x"] * 20, 0.0)
    assert {window_of(datagram) for datagram in got if is_repair(datagram)} == {range(15, 20)}


def test_the_window_is_bounded_by_age() -> None:
    sender = make_sender(RepairPlan(ratio=0.5, tail=0), horizon=0.1)
    sender.protect([b"x"] * 3, 0.0)
    sender.protect([b"x"] * 3, 0.09)
    got = sender.protect([b"x"] * 4, 0.11)
    assert window_of(got[-1]) == range(3, 10)
    sender.encoder.set_horizon(0.01)
    assert window_of(sender.protect([b"x"] * 4, 0.15)[-1]) == range(10, 14)


def test_the_largest_window_fits_the_wire() -> None:
    sender = make_sender(RepairPlan(ratio=0.0034, tail=0), window=256)
    got = sender.protect([b"x"] * 300, 0.0)
    assert window_of(got[-1]) == range(44, 300)


def test_density_leaves_out_of_regular_repairs_alone() -> None:
    sender = make_sender(RepairPlan(ratio=1, tail=0), density=7)
    got = sender.protect([b"x"] * 4, 0.0, bytes([0, 0, 0, 1]))
    got += sender.poll(STAGGER)
    assert [datagram[5] for datagram in got if is_repair(datagram)] == [7, 7, 7, 15]


# --- Priority ----------------------------------------------------------------------------


@pytest.mark.parametrize("repairs", [0, 1, 2])
def test_a_lone_important_datagram_gets_repairs_of_its_own(repairs: int) -> None:
    sender = make_sender(RepairPlan(tail=0, ratio=0.001, important=repairs))
    assert len(sender.protect([b"hello"], 1.0, b"\1")) == 1
    for number in range(repairs):
        due = 1.0 + (number + 1) * STAGGER
        assert sender.encoder.next_timeout() == pytest.approx(due)
        assert sender.poll(due - 0.0001) == []
        (repair,) = sender.poll(due)
        assert window_of(repair) == range(1)
        assert len(repair) == 8 + SYMBOL + 5
    assert sender.encoder.next_timeout() == math.inf


def test_without_stagger_the_repair_follows_at_once() -> None:
    sender = make_sender(RepairPlan(tail=0, stagger=0))
    assert len(sender.protect([b"hello"], 1.0, b"\1")) == 2


def test_a_priority_repair_is_no_longer_than_what_it_is_for() -> None:
    sender = make_sender(RepairPlan(tail=0))
    sender.protect([bytes(1300)] * 5 + [b"small"], 0.0, bytes([0] * 5 + [1]))
    (repair,) = sender.poll(STAGGER)
    assert window_of(repair) == range(5, 6)
    assert len(repair) == 8 + SYMBOL + 5


def test_a_priority_repair_covers_older_ones_of_its_size_too() -> None:
    sender = make_sender(RepairPlan(tail=0, reach=4))
    for number in range(6):
        sender.protect([b"alike"], number / 100, b"\1")
        (repair,) = sender.poll(number / 100 + STAGGER)
        assert window_of(repair) == range(max(0, number - 3), number + 1)


def test_neighbours_share_their_repairs() -> None:
    sender = make_sender(RepairPlan(tail=0))
    sender.protect([b"alike"] * 8, 0.0, bytes([1] * 8))
    got = sender.poll(STAGGER)
    assert [window_of(repair) for repair in got] == [range(8)] * 2


def test_ever_so_many_priority_datagrams_are_all_repaired() -> None:
    sender = make_sender(RepairPlan(tail=0))
    # Each between two bulk ones, so that none has a neighbour to share with.
    got = sender.protect([b"bulk bulk", b"x"] * 60, 0.0, bytes([0, 1] * 60))
    got += sender.poll(STAGGER)
    covered = [number for datagram in got if is_repair(datagram) for number in window_of(datagram)]
    assert covered == list(range(1, 120, 2))


def test_what_is_too_old_is_not_repaired_any_more() -> None:
    sender = make_sender(RepairPlan(tail=0), window=4)
    sender.protect([b"x"], 0.0, b"\1")
    sender.protect([b"x"] * 4, 0.001)
    assert sender.poll(1.0) == []
    assert sender.encoder.next_timeout() == math.inf


# --- The end of a burst ------------------------------------------------------------------


def test_the_end_of_a_burst_is_repaired() -> None:
    sender = make_sender(RepairPlan(tail=2))
    sender.protect([bytes(100)] * 5, 0.0)
    due = sender.encoder.next_timeout()
    assert FLUSH <= due <= LONGEST_FLUSH
    assert sender.poll(due - 1e-6) == []
    assert [window_of(repair) for repair in sender.poll(due)] == [range(5)] * 2
    assert sender.encoder.next_timeout() == math.inf
    assert reasons(sender) == (0, 2, 0)


def test_a_burst_that_goes_on_is_not_at_its_end() -> None:
    sender = make_sender(RepairPlan(tail=1))
    for step in range(1000):
        now = step / 100
        sender.protect([bytes(100)], now)
        assert sender.poll(now + 0.009) == [] or step < 20
    assert len(sender.poll(10 + LONGEST_FLUSH)) == 1


def test_what_a_regular_repair_has_covered_needs_no_tail() -> None:
    sender = make_sender(RepairPlan(ratio=0.5, tail=1))
    sender.protect([bytes(100)] * 4, 0.0)
    assert sender.encoder.next_timeout() == math.inf
    sender.protect([bytes(100)], 0.0)
    (repair,) = sender.poll(sender.encoder.next_timeout())
    assert 4 in window_of(repair)


def test_what_a_priority_repair_has_covered_needs_no_tail() -> None:
    sender = make_sender(RepairPlan(tail=1))
    sender.protect([bytes(100)], 0.0, b"\1")
    assert len(sender.poll(STAGGER)) == 1
    assert sender.encoder.next_timeout() == math.inf


# --- The budget --------------------------------------------------------------------------


@pytest.mark.long_simulation
def test_repair_stays_within_its_share() -> None:
    sender = make_sender(RepairPlan(ratio=1), share=0.1, allowance=0)
    for step in range(1000):
        sender.protect([bytes(1000)] * 10, step / 100)
    seen = sender.encoder.statistics()
    assert 0.08 < seen.overhead <= 0.1
    assert seen.over_budget > 0


def test_a_lone_ping_lives_on_the_allowance() -> None:
    sender = make_sender(RepairPlan(important=1), share=0.25, allowance=24_000)
    for step in range(1000):
        sender.protect([bytes(140)], step / 100, b"\1")
        sender.poll(step / 100 + STAGGER)
    assert sender.encoder.statistics().priority == 1000
    assert sender.encoder.statistics().over_budget == 0


def test_bulk_leaves_the_allowance_alone() -> None:
    sender = make_sender(RepairPlan(ratio=1, tail=0), share=0, allowance=10_000)
    sender.protect([bytes(1000)] * 5 + [b"!"], 0.0, bytes([0] * 5 + [1]))
    assert reasons(sender) == (0, 0, 0)
    assert len(sender.poll(STAGGER)) == 1


def test_the_budget_holds_whatever_the_plan(seeds: Callable[[int], range]) -> None:
    for seed in seeds(200):
        chance = random.Random(seed)
        share, allowance = chance.choice([0.05, 0.25]), chance.choice([0.0, 24_000.0])
        encoder = RepairEncoder(window=chance.choice([8, 128]), share=share, allowance=allowance)
        sender = Sender(encoder)
        now = sent = wire = cost = 0.0
        for _ in range(150):
            now += chance.choice([0.0, 0.001, 0.02, 0.3])
            sender.encoder.set_plan(
                RepairPlan(
                    ratio=chance.choice([0, 0.1, 2]),
                    tail=chance.randrange(4),
                    important=chance.randrange(4),
                    reach=chance.choice([1, 16, 256]),
                )
            )
            while sender.encoder.next_timeout() < now:
                due = sender.encoder.next_timeout()
                repairs = sender.poll(due)
                wire += sum(map(len, repairs))
                cost += PACKET_BYTES * len(repairs)
                assert sender.encoder.next_timeout() > due, (
                    f"seed {seed}: wants to be called again at once"
                )
            count = chance.choice([1, 1, 3, 20])
            batch = [bytes(chance.choice([1, 100, 1346])) for _ in range(count)]
            sent += sum(PACKET_BYTES + 4 + len(datagram) for datagram in batch)
            levels = bytes(chance.randrange(2) for _ in batch)
            got = sender.protect(batch, now, levels)
            wire += sum(len(datagram) for datagram in got if is_repair(datagram))
            cost += PACKET_BYTES * sum(map(is_repair, got))
            assert sum(not is_repair(datagram) for datagram in got) == count
        assert wire == sender.encoder.statistics().repair_bytes
        assert wire + cost <= share * sent + allowance * (now + 2) + 32 * 1024, f"seed {seed}"


# --- Memory and misuse -------------------------------------------------------------------


def test_idle_memory_is_given_back_and_traffic_goes_on() -> None:
    sender = make_sender(RepairPlan(ratio=1, tail=0))
    sender.protect([b"before"] * 3, 0.0)
    sender.encoder.release_idle(IDLE_SHRINK / 2)
    assert len(sender.encoder.datagrams) > 0
    sender.encoder.release_idle(IDLE_SHRINK)
    assert len(sender.encoder.datagrams) == 0
    got = sender.protect([b"after"], IDLE_SHRINK)
    assert window_of(got[1]) == range(3, 4)


def test_buffers_that_hold_too_little_are_refused() -> None:
    encoder = make_sender(RepairPlan()).encoder
    with pytest.raises(ValueError, match="cut short"):
        encoder.protect_batch(b"123", array("H", [4]), 1, 0.0, b"\0")
    with pytest.raises(ValueError, match="2 datagrams, but 1 sizes"):
        encoder.protect_batch(b"123", array("H", [3]), 2, 0.0, b"\0")
    with pytest.raises(ValueError, match="1 datagrams, but 0 marks"):
        encoder.protect_batch(b"123", array("H", [3]), 1, 0.0, b"")
    assert encoder.protect_batch(b"", array("H"), 0, 0.0, b"") == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"mtu": 0},
        {"mtu": 65530},
        {"window": 0},
        {"window": 257},
        {"horizon": 0},
        {"flush": 0},
        {"density": 16},
        {"share": -1},
    ],
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"not|must"):
        RepairEncoder(**wrong)  # type: ignore[arg-type] # some are wrong on purpose
    with pytest.raises(ValueError, match="not positive"):
        RepairEncoder().set_horizon(0)
