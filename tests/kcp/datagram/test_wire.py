"""The wire format: acknowledgements survive the trip, and nothing the network sends is trusted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.kcp.datagram import wire
from polevpn_trio.kcp.datagram.wire import Acknowledgement, expand

short = st.integers(0, wire.LONGEST)


@st.composite
def acknowledgements(draw: st.DrawFn) -> Acknowledgement:
    ack = Acknowledgement()
    ack.largest = draw(st.integers(0, 2**24 - 1))
    ack.delay = draw(st.integers(0, 0xFFFF))
    ack.received_at = draw(st.integers(0, 2**24 - 1))
    ack.reordering = draw(st.integers(0, 255))
    ack.arrived = draw(st.integers(0, 0xFFFF))
    ack.recovered = draw(st.integers(0, 0xFFFF))
    ack.gaps = draw(st.integers(0, 0xFFFF))
    back = 0
    for gap, length in draw(st.lists(st.tuples(short, short), min_size=1, max_size=64)):
        newest = back + gap + 2 if ack.runs else 0
        assert ack.add_run(newest, newest + length)
        back = newest + length
    return ack


@given(acknowledgements(), st.integers(0, 3))
def test_an_acknowledgement_reads_as_it_was_written(ack: Acknowledgement, at: int) -> None:
    buffer = bytearray(at + wire.LARGEST_ACK)
    end = ack.write(memoryview(buffer), at)
    assert end - at <= wire.LARGEST_ACK
    read = Acknowledgement()
    assert read.read_untrusted(bytes(buffer), at, end) == end
    names = ("largest", "delay", "received_at", "reordering", "arrived", "recovered", "gaps")
    for name in names:
        assert getattr(read, name) == getattr(ack, name)
    assert read.listed() == ack.listed()


@given(acknowledgements(), st.data())
def test_an_acknowledgement_cut_short_is_none(ack: Acknowledgement, data: st.DataObject) -> None:
    buffer = bytearray(wire.LARGEST_ACK)
    end = ack.write(memoryview(buffer), 0)
    cut = data.draw(st.integers(0, end - 1))
    assert Acknowledgement().read_untrusted(bytes(buffer), 0, cut) == -1


@given(st.binary(max_size=300))
def test_any_bytes_are_an_acknowledgement_or_not(noise: bytes) -> None:
    ack = Acknowledgement()
    end = ack.read_untrusted(noise, 0, len(noise))
    assert end == -1 or wire.ACK_HEADER_SIZE < end <= len(noise)
    if end > 0:
        runs = ack.listed()
        assert 1 <= len(runs) <= wire.MOST_RUNS
        assert runs[0][0] == 0
        edges = [edge for run in runs for edge in run]
        assert edges == sorted(edges)


def test_runs_beyond_the_most_and_gaps_too_wide_are_left_out() -> None:
    ack = Acknowledgement()
    for index in range(wire.MOST_RUNS):
        assert ack.add_run(3 * index, 3 * index)
    assert not ack.add_run(1000, 1000)
    ack = Acknowledgement()
    assert ack.add_run(0, 100_000)
    assert ack.listed() == [(0, wire.LONGEST)]
    assert not ack.add_run(2 * wire.LONGEST + 3, 2 * wire.LONGEST + 3)


@given(st.integers(0, 2**40), st.integers(-(2**15) + 1, 2**15 - 1))
def test_a_number_is_found_again_from_its_low_bits(near: int, step: int) -> None:
    number = near + step
    assert expand(number & 0xFFFF, 1 << 16, near) == number
