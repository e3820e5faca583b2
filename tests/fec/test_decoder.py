"""fec/decoder: recovers as soon as it can be done, and nothing else."""

from __future__ import annotations

import heapq
import itertools
import random
from array import array
from collections.abc import Callable, Iterator

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.fec.decoder import EQUATIONS, HORIZON, QUIET, RING, RepairDecoder
from polevpn_trio.fec.encoder import RepairEncoder
from polevpn_trio.fec.gf256 import multiply
from polevpn_trio.fec.plan import RepairPlan
from polevpn_trio.fec.symbols import REPAIR, SOURCE, coefficient
from tests.fec.links import (
    Sender,
    SlowSolver,
    bursty_losses,
    id_of,
    is_repair,
    random_losses,
    receive,
    source,
    window_of,
)


def encode(
    payloads: list[bytes], repairs: int, window: int = 128
) -> tuple[list[bytes], list[bytes]]:
    """Give the sources of one batch, and that many repairs over them."""
    encoder = RepairEncoder(window=window, share=4, allowance=1e6)
    encoder.set_plan(RepairPlan(ratio=(repairs + 0.001) / len(payloads), tail=0))
    got = Sender(encoder).protect(payloads, 0.0)
    return got[: len(payloads)], got[len(payloads) :]


def payloads_of(count: int, seed: int = 0) -> list[bytes]:
    chance = random.Random(seed)
    return [
        number.to_bytes(4, "big") + chance.randbytes(chance.randrange(200))
        for number in range(count)
    ]


def make_decoder() -> RepairDecoder:
    """Make one that has seen a repair, and so remembers what arrives."""
    decoder = RepairDecoder()
    receive(decoder, [bytes([REPAIR, 0xFF, 0, 0, 0, 15, 0, 0]) + bytes(6)], 0.0)
    assert decoder.statistics().too_old == 1
    return decoder


# --- Recovery ----------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [[0], [9], [3, 4], [0, 5, 9], list(range(10))])
def test_as_many_repairs_as_losses_recover_them(lost: list[int]) -> None:
    payloads = payloads_of(10)
    sources, repairs = encode(payloads, len(lost))
    decoder = make_decoder()
    arrived = [datagram for index, datagram in enumerate(sources) if index not in lost]
    receive(decoder, arrived, 0.0)
    assert receive(decoder, repairs[:-1], 0.0) == []
    assert sorted(receive(decoder, repairs[-1:], 0.0)) == [payloads[index] for index in lost]
    assert decoder.statistics().recovered == len(lost)


def test_repairs_may_come_before_their_sources() -> None:
    payloads = payloads_of(6)
    sources, repairs = encode(payloads, 2)
    decoder = make_decoder()
    assert receive(decoder, repairs, 0.0) == []
    assert receive(decoder, sources[:3], 0.0) == []
    # The fourth leaves two unknown, for which there are two equations.
    assert sorted(receive(decoder, sources[3:4], 0.0)) == payloads[4:]


def test_a_lone_datagram_is_recovered_from_its_repair_alone() -> None:
    (_,), (repair,) = encode([b"ping"], 1)
    assert receive(make_decoder(), [repair], 0.0) == [b"ping"]


def test_an_empty_datagram_is_recovered_too() -> None:
    (_, second), repairs = encode([b"", b"other"], 1)
    assert receive(make_decoder(), [second, *repairs], 0.0) == [b""]


def test_nothing_is_recovered_twice_or_after_it_came() -> None:
    payloads = payloads_of(4)
    sources, repairs = encode(payloads, 3)
    decoder = make_decoder()
    got = receive(decoder, [*sources[1:], *repairs, *sources, *sources, *repairs], 0.0)
    assert got == payloads[:1]
    seen = decoder.statistics()
    assert (seen.unneeded, seen.overtaken) == (5, 1)


def test_other_datagrams_are_passed_over() -> None:
    decoder = RepairDecoder()
    others = [b"\x00 KCP", b"\x20 acknowledgement", b"", b"\xf3", b"\x10\x00"]
    assert receive(decoder, others, 0.0) == []
    assert decoder.statistics().malformed == 0


def test_nothing_is_remembered_before_the_first_repair() -> None:
    payloads = payloads_of(30)
    sources, repairs = encode(payloads, 1)
    decoder = RepairDecoder()
    receive(decoder, sources[:29], 0.0)
    assert receive(decoder, repairs, 0.0) == []
    assert decoder.statistics().too_old == 1
    sender = Sender(RepairEncoder(share=4), first_id=30)
    sender.encoder.set_plan(RepairPlan(ratio=0.11, tail=0))
    datagrams = sender.protect(payloads_of(10, 1), 0.0)
    assert receive(decoder, datagrams[1:], 0.0) == payloads_of(1, 1)


def test_a_lost_datagram_whose_repair_is_the_first_is_recovered() -> None:
    decoder = RepairDecoder()
    receive(decoder, [source(number, b"x") for number in range(1000)], 0.0)
    sender = Sender(RepairEncoder(share=4), first_id=1000)
    sender.encoder.set_plan(RepairPlan(ratio=1))
    assert receive(decoder, sender.protect([b"lone"], 5.0)[1:], 5.0) == [b"lone"]


def test_a_repair_for_nothing_missing_costs_no_equation() -> None:
    sources, repairs = encode(payloads_of(10), 5)
    decoder = make_decoder()
    receive(decoder, sources + repairs, 0.0)
    assert decoder.statistics().unneeded == 5


def test_it_recovers_exactly_what_the_equations_determine(seeds: Callable[[int], range]) -> None:
    for seed in seeds(150):
        chance = random.Random(seed)
        encoder = RepairEncoder(
            window=chance.choice([3, 10, 40]),
            share=4,
            allowance=1e6,
            density=chance.choice([3, 15, 15]),
        )
        encoder.set_plan(RepairPlan(ratio=chance.choice([0.1, 0.3, 1.0]), tail=2))
        sender = Sender(encoder)
        sent: list[bytes] = []
        payloads = payloads_of(chance.choice([10, 60]), seed)
        at = 0
        while at < len(payloads):
            count = chance.choice([1, 2, 9])
            marks = bytes(chance.choice([0, 0, 0, 1]) for _ in payloads[at : at + count])
            sent += sender.protect(payloads[at : at + count], at / 1000, marks)
            sent += sender.poll(at / 1000 + chance.choice([0.0, 0.004, 0.03]))
            at += count
        losses = random_losses(chance, chance.choice([0.05, 0.3, 0.5]))
        arrived = [datagram for datagram in sent if not next(losses)]
        if chance.random() < 0.5:
            jitter = chance.choice([3, 20])
            arrived = [
                datagram
                for _, datagram in sorted(
                    enumerate(arrived), key=lambda item: item[0] + chance.random() * jitter
                )
            ]
        decoder = make_decoder()
        solver = SlowSolver()
        got: set[int] = set()
        for datagram in arrived:
            for payload in receive(decoder, [datagram], 0.0):
                number = int.from_bytes(payload[:4], "big")
                assert payload == payloads[number], f"seed {seed}"
                assert number not in got, f"seed {seed}"
                got.add(number)
            solver.add(datagram)
            if not is_repair(datagram):
                got.add(id_of(datagram))
            assert got == solver.solve(), f"seed {seed}"


# --- Bounds ------------------------------------------------------------------------------


def test_a_symbol_is_given_up_after_the_horizon() -> None:
    payloads = payloads_of(4)
    sources, repairs = encode(payloads, 2)
    decoder = make_decoder()
    receive(decoder, [sources[0], sources[3], repairs[0]], 0.0)
    receive(decoder, [sources[0]], HORIZON)
    assert decoder.statistics().given_up == 2
    assert receive(decoder, [repairs[1]], HORIZON) == []
    assert decoder.statistics().unneeded == 1


def test_what_leaves_the_ring_is_given_up() -> None:
    decoder = make_decoder()
    receive(decoder, [source(1, b"x")], 0.0)
    receive(decoder, [source(RING - 1, b"x")], 0.0)
    assert decoder.statistics().given_up == 0
    receive(decoder, [source(RING, b"x")], 0.0)
    assert decoder.statistics().given_up == 1


def test_what_is_older_than_the_ring_is_not_looked_at() -> None:
    decoder = make_decoder()
    receive(decoder, [source(1000, b"x")], 0.0)
    receive(decoder, [source(1000 - RING, b"late")], 0.0)
    _, (repair,) = encode([b"x"] * 2, 1)
    receive(decoder, [repair], 0.0)
    assert decoder.statistics().too_old == 2


def test_a_gap_longer_than_the_ring_is_given_up_at_once() -> None:
    decoder = make_decoder()
    receive(decoder, [source(0, b"x"), source(5_000_001, b"x")], 0.0)
    assert decoder.statistics().given_up == 5_000_001 + 1 - RING - 1
    receive(decoder, [source(5_000_002, b"x")], HORIZON)
    assert decoder.statistics().given_up == 5_000_000


def test_more_equations_than_there_is_room_for_push_out_the_oldest() -> None:
    payloads = payloads_of(250)
    sources, repairs = encode(payloads, EQUATIONS + 6, window=256)
    decoder = make_decoder()
    missing = EQUATIONS + 30
    receive(decoder, sources[missing:], 0.0)
    receive(decoder, repairs, 0.0)
    assert decoder.statistics().dropped_equations == 6
    # Still of use: with as many missing as there are equations, all are found.
    got = receive(decoder, sources[: missing - EQUATIONS], 0.0)
    assert sorted(got) == payloads[missing - EQUATIONS : missing]


def test_ids_wrap_around_in_the_middle_of_a_burst() -> None:
    sender = Sender(RepairEncoder(window=8, share=4, allowance=1e6), (1 << 24) - 100)
    decoder = RepairDecoder()
    receive(decoder, [source((1 << 23) - 1, b""), source((1 << 24) - 101, b"")], 0.0)
    sender.encoder.set_plan(RepairPlan(ratio=0.25, tail=0))
    payloads = payloads_of(200)
    got = []
    for at in range(0, 200, 4):
        datagrams = sender.protect(payloads[at : at + 4], 0.0)
        # Until the first repair nothing is remembered.
        got += receive(decoder, datagrams[1 if at >= 12 else 0 :], 0.0)
    assert got == payloads[12::4]


def test_memory_is_given_back_when_no_repairs_come_and_taken_again() -> None:
    payloads = payloads_of(20)
    sources, repairs = encode(payloads, 2)
    decoder = make_decoder()
    assert receive(decoder, [sources[0], *sources[2:], repairs[0]], 0.0) == [payloads[1]]
    decoder.release_idle(QUIET / 2)
    assert len(decoder.datagrams) > 0
    receive(decoder, [source(30, b"x")], QUIET)
    assert len(decoder.datagrams) == 0
    assert decoder.statistics().given_up == 10
    sender = Sender(RepairEncoder(share=4), first_id=31)
    sender.encoder.set_plan(RepairPlan(ratio=1))
    assert receive(decoder, sender.protect([b"x"], QUIET)[1:], QUIET) == [b"x"]


# --- What the peer may do wrong ----------------------------------------------------------


@pytest.mark.parametrize(
    "junk",
    [
        bytes([REPAIR]),
        bytes([REPAIR, 0, 0, 0, 0, 15, 0, 0]),
        bytes([REPAIR, 0, 0, 0, 0, 15, 0, 0, 0]),
        bytes([REPAIR, 0, 0, 0, 0, 16, 0, 0, 0, 0]),
        bytes([REPAIR, 0, 0, 0, 0, 15, 0, 0]) + bytes(1503),
    ],
)
def test_what_is_no_repair_is_counted(junk: bytes) -> None:
    decoder = RepairDecoder()
    assert receive(decoder, [junk], 0.0) == []
    assert decoder.statistics().malformed == 1


@pytest.mark.parametrize(
    "symbol",
    [
        b"\xff\xff\x01",
        b"\x00\x03" + source(0, b""),
        b"\x00\x04\x20" + source(0, b"")[1:],
        b"\x00\x04" + source(1, b""),
    ],
)
def test_a_repair_that_gives_no_datagram_gives_nothing(symbol: bytes) -> None:
    decoder = RepairDecoder()
    # One symbol, times its coefficient.
    factor = coefficient(0, 0, 15)
    product = bytes(multiply(factor, byte) for byte in symbol)
    assert receive(decoder, [bytes([REPAIR, 0, 0, 0, 0, 15, 0, 0]) + product], 0.0) == []
    seen = decoder.statistics()
    assert (seen.inconsistent, seen.given_up, seen.recovered) == (1, 1, 0)


DATAGRAMS = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.builds(
            lambda number, rest: bytes([SOURCE]) + number.to_bytes(3, "big") + rest,
            st.sampled_from([0, 1, 2, 3, 5, 8, 255, 256, 300, 0x7FFFFF, 0xFFFFFF]),
            st.binary(max_size=20),
        ),
        st.builds(
            lambda number, rest: bytes([REPAIR]) + number.to_bytes(3, "big") + rest,
            st.sampled_from([0, 1, 2, 3, 5, 8, 100, 255, 0x7FFFFF, 0xFFFFFF]),
            st.binary(max_size=40),
        ),
        st.builds(
            lambda number, span, key, rest: (
                bytes([REPAIR]) + number.to_bytes(3, "big") + bytes([span, 15, 0, key]) + rest
            ),
            st.integers(0, 12),
            st.integers(0, 9),
            st.integers(0, 9),
            st.binary(min_size=2, max_size=12),
        ),
    ),
    max_size=40,
)


@given(DATAGRAMS, st.lists(st.sampled_from([0.0, 0.01, 0.6, 20.0]), max_size=40))
def test_any_datagrams_are_survived(datagrams: list[bytes], steps: list[float]) -> None:
    decoder = RepairDecoder(mtu=64)
    now = 0.0
    recovered = 0
    for index, datagram in enumerate(datagrams):
        now += steps[index] if index < len(steps) else 0.0
        got = receive(decoder, [datagram], now)
        recovered += len(got)
        assert all(len(payload) <= 60 for payload in got)
    seen = decoder.statistics()
    assert seen.recovered == recovered
    assert min(attrs.astuple(seen)) >= 0


def test_buffers_that_hold_too_little_are_refused() -> None:
    decoder = RepairDecoder()
    with pytest.raises(ValueError, match="cut short"):
        decoder.receive_batch_untrusted(b"123", array("H", [4]), 1, 0.0)
    with pytest.raises(ValueError, match="2 datagrams, but 1 sizes"):
        decoder.receive_batch_untrusted(b"123", array("H", [3]), 2, 0.0)
    assert decoder.receive_batch_untrusted(b"", array("H"), 0, 0.0) == 0


@pytest.mark.parametrize("wrong", [{"mtu": 0}, {"mtu": 65535}, {"horizon": 0}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not"):
        RepairDecoder(**wrong)  # type: ignore[arg-type] # some are wrong on purpose


# --- Whole links -------------------------------------------------------------------------


def losses_of(chance: random.Random) -> Iterator[bool]:
    loss = chance.choice([0.0, 0.01, 0.05, 0.2, 0.4])
    if chance.random() < 0.5:
        return bursty_losses(chance, loss, chance.choice([2.0, 4.0, 10.0]))
    return random_losses(chance, loss)


class BadLink:
    """An encoder, a network that loses, delays, reorders and repeats, and a decoder."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = chance = random.Random(seed)
        self.sender = Sender(
            RepairEncoder(window=chance.choice([4, 32, 128, 256]), share=chance.choice([0.25, 4]))
        )
        self.decoder = make_decoder()
        self.losses = losses_of(chance)
        self.jitter = chance.choice([0.0, 0.0, 0.002, 0.05])
        self.repeated = chance.choice([0.0, 0.02])
        self.now = 0.0
        self.under_way: list[tuple[float, int, bytes]] = []
        self.order = itertools.count()
        self.payloads: list[bytes] = []
        self.arrived: set[int] = set()
        self.recovered: set[int] = set()

    def send(self, count: int) -> None:
        chance = self.chance
        first = len(self.payloads)
        for number in range(first, first + count):
            rest = chance.randbytes(chance.choice([0, 40, 40, 1346]))
            self.payloads.append(number.to_bytes(4, "big") + rest)
        marks = bytes(chance.randrange(2) for _ in range(count))
        self.carry(self.sender.protect(self.payloads[first:], self.now, marks))

    def carry(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            if next(self.losses):
                continue
            for _ in range(2 if self.chance.random() < self.repeated else 1):
                due = self.now + 0.02 + self.chance.random() * self.jitter
                heapq.heappush(self.under_way, (due, next(self.order), datagram))

    def arrive(self) -> None:
        while self.under_way and self.under_way[0][0] <= self.now:
            due, _, datagram = heapq.heappop(self.under_way)
            if not is_repair(datagram):
                self.arrived.add(id_of(datagram))
            for payload in receive(self.decoder, [datagram], due):
                number = int.from_bytes(payload[:4], "big")
                assert payload == self.payloads[number], f"seed {self.seed}"
                assert number not in self.recovered, f"seed {self.seed}"
                self.recovered.add(number)


def test_over_a_bad_link_all_that_is_recovered_was_lost_or_late(
    seeds: Callable[[int], range],
) -> None:
    for seed in seeds(200):
        link = BadLink(seed)
        chance = link.chance
        for _ in range(150):
            link.now += chance.choice([0.0, 0.001, 0.001, 0.01, 0.08])
            if chance.random() < 0.1:
                link.sender.encoder.set_plan(
                    RepairPlan(
                        ratio=chance.choice([0, 0.05, 0.3]),
                        tail=chance.randrange(3),
                        important=chance.randrange(4),
                    )
                )
            link.carry(link.sender.poll(link.now))
            link.send(chance.choice([0, 1, 1, 2, 8]))
            link.arrive()
        link.now += 1.0
        link.arrive()
        seen = link.decoder.statistics()
        assert seen.recovered == len(link.recovered), f"seed {seed}"
        assert seen.overtaken <= len(link.recovered & link.arrived), f"seed {seed}"
        assert seen.malformed == seen.inconsistent == 0, f"seed {seed}"


@pytest.mark.long_simulation
@pytest.mark.parametrize(
    ("ratio", "loss", "burst", "residue"),
    [
        (0.04, 0.01, 1, 0.0003),
        (0.09, 0.05, 1, 0.004),
        (0.16, 0.1, 1, 0.008),
        (0.12, 0.02, 4, 0.005),
    ],
)
def test_enough_repair_leaves_little_to_resend(
    ratio: float, loss: float, burst: float, residue: float
) -> None:
    chance = random.Random(8)
    encoder = RepairEncoder(share=1.0)
    encoder.set_plan(RepairPlan(ratio=ratio, tail=1))
    decoder = make_decoder()
    losses = bursty_losses(chance, loss, burst) if burst > 1 else random_losses(chance, loss)
    sender = Sender(encoder)
    total = 30_000
    left = 0
    for at in range(0, total, 10):
        datagrams = sender.protect([bytes(50)] * 10, at / 5000)
        arrived = [datagram for datagram in datagrams if not next(losses)]
        left += 10 - sum(not is_repair(datagram) for datagram in arrived)
        left -= len(receive(decoder, arrived, at / 5000))
    assert left / total <= residue


def test_a_window_is_named_by_its_first_id_and_span() -> None:
    _, (repair,) = encode([b"x"] * 7, 1)
    assert window_of(repair) == range(7)
