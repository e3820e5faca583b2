"""One conversation against hand-made datagrams and the recorded behaviour of the originals."""

from __future__ import annotations

import json
import math
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.kcp.conversation import BATCH, Conversation

VECTORS = Path(__file__).parents[1] / "vectors"
SEGMENTS = json.loads((VECTORS / "kcp_segments.json").read_text())
DATAGRAMS = {vector["name"]: bytes.fromhex(vector["hex"]) for vector in SEGMENTS["datagrams"]}

PUSH, ACK, WASK, WINS = 81, 82, 83, 84
HEADER = struct.Struct("<IBBHIIII")


class Segment(NamedTuple):
    """A segment as an independent codec sees it."""

    cmd: int
    sn: int = 0
    una: int = 0
    ts: int = 0
    wnd: int = 512
    payload: bytes = b""
    conv: int = 0
    frg: int = 0

    def encode(self) -> bytes:
        return self.header(len(self.payload)) + self.payload

    def header(self, length: int) -> bytes:
        return HEADER.pack(
            self.conv, self.cmd, self.frg, self.wnd, self.ts, self.sn, self.una, length
        )


def push(sn: int, payload: bytes = b"x", **fields: Any) -> Segment:
    return Segment(PUSH, sn & 0xFFFFFFFF, payload=payload, **fields)


def ack(sn: int, **fields: Any) -> Segment:
    return Segment(ACK, sn & 0xFFFFFFFF, **fields)


def decode(datagram: bytes) -> Iterator[Segment]:
    while datagram:
        conv, cmd, frg, wnd, ts, sn, una, length = HEADER.unpack_from(datagram)
        payload = datagram[HEADER.size : HEADER.size + length]
        assert len(payload) == length
        yield Segment(cmd, sn, una, ts, wnd, payload, conv, frg)
        datagram = datagram[HEADER.size + length :]


def feed_raw(conversation: Conversation, now: float, *datagrams: bytes) -> None:
    sizes = array("H", [len(datagram) for datagram in datagrams])
    conversation.receive_datagrams_untrusted(b"".join(datagrams), sizes, len(sizes), now)


def feed(conversation: Conversation, now: float, *segments: Segment) -> None:
    """Hand in one datagram."""
    feed_raw(conversation, now, b"".join(segment.encode() for segment in segments))


def poll_raw(conversation: Conversation, now: float) -> list[bytes]:
    datagrams = []
    while count := conversation.poll_datagrams(now):
        assert count <= BATCH
        at = 0
        for size in conversation.sizes[:count]:
            assert 0 < size <= conversation.mtu
            datagrams.append(bytes(conversation.datagrams[at : at + size]))
            at += size
    # Whatever was due is done, so nobody may be called back at once.
    assert conversation.next_timeout() > now
    return datagrams


def poll(conversation: Conversation, now: float) -> list[Segment]:
    return [segment for datagram in poll_raw(conversation, now) for segment in decode(datagram)]


def commands(segments: list[Segment]) -> list[tuple[int, int]]:
    return [(segment.cmd, segment.sn) for segment in segments]


def run_until(conversation: Conversation, end: float) -> list[tuple[float, Segment]]:
    """Follow the timer up to a point in time; gives what was sent and when."""
    sent = []
    while (now := conversation.next_timeout()) <= end:
        sent += [(now, segment) for segment in poll(conversation, now)]
    return sent


def recorded(file: str, case: str) -> list[dict[str, Any]]:
    cases = json.loads((VECTORS / file).read_text())["cases"]
    (found,) = [entry["records"] for entry in cases if entry["name"] == case]
    return list(found)


# --- Parameters --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {"conversation_id": -1},
        {"conversation_id": 2**32},
        {"initial_sequence": 2**32},
        {"mtu": 49},
        {"mtu": 1501},
        {"send_window": 0},
        {"receive_window": 65536},
        {"interval": 0.0},
        {"fast_resend": 0},
        {"dead_link": 0},
    ],
    ids=str,
)
def test_parameters_out_of_range(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(parameters))).partition("_")[0]):
        Conversation(**parameters)


def test_a_new_conversation_is_idle() -> None:
    conversation = Conversation()
    assert conversation.next_timeout() == math.inf
    assert poll(conversation, 1.0) == []
    assert (conversation.receive(), conversation.unsent_bytes, conversation.in_flight) == (
        b"",
        0,
        0,
    )
    assert not conversation.dead_link


# --- Sending -----------------------------------------------------------------------------


def test_stream_is_cut_as_the_originals_cut_it() -> None:
    names = [f"flush_of_1508_byte_write_two_pushes_{part}_of_2" for part in (1, 2)]
    payload = b"".join(DATAGRAMS[name][24:] for name in names)
    conversation = Conversation(receive_window=512)
    conversation.send(payload)
    assert conversation.unsent_bytes == 1508
    assert poll_raw(conversation, 0.0) == [DATAGRAMS[name] for name in names]
    assert (conversation.unsent_bytes, conversation.in_flight) == (0, 2)


def test_writes_that_wait_together_share_a_segment() -> None:
    conversation = Conversation()
    for piece in (b"one", b"two", bytearray(b"three"), memoryview(b"four")):
        conversation.send(piece)
    (segment,) = poll(conversation, 12.345)
    assert segment == Segment(PUSH, 0, 0, 12345, 2048, b"onetwothreefour")


def test_a_write_after_a_poll_is_a_segment_of_its_own() -> None:
    conversation = Conversation()
    conversation.send(b"one")
    poll(conversation, 1.0)
    conversation.send(b"two")
    assert [segment.payload for segment in poll(conversation, 1.0)] == [b"two"]


def test_timestamp_wraps() -> None:
    conversation = Conversation()
    conversation.send(b"x")
    (segment,) = poll(conversation, 2**32 / 1000 + 0.5)
    assert segment.ts == 500


def test_resends_when_nobody_answers_at_the_recorded_times() -> None:
    records = recorded("kcp_session_router.json", "raw_no_ack_at_all")
    pushes = [
        record["t_ms"]
        for record in records
        if " sn=0 " in record["segs"]
        and record["dir"] == "s2c"
        and record["segs"].startswith("PUSH")
    ]
    conversation = Conversation()
    conversation.send(b"{}")
    sent = run_until(conversation, 5.5)
    assert [segment.payload for _, segment in sent] == [b"{}"] * len(pushes)
    assert [1000 * at for at, _ in sent] == pytest.approx([at - pushes[0] for at in pushes], abs=15)
    assert [segment.ts for _, segment in sent] == [int(at * 1000) for at, _ in sent]
    assert conversation.statistics().resent_timeout == len(pushes) - 1


def test_resends_faster_once_a_short_round_trip_is_known() -> None:
    conversation = Conversation()
    conversation.send(b"a")
    poll(conversation, 1.0)
    feed(conversation, 1.001, ack(0, ts=1000, una=1))
    assert conversation.next_timeout() == math.inf
    conversation.send(b"b")
    sent = run_until(conversation, 1.13)
    assert [round(1000 * (at - 1.001)) for at, _ in sent] == [0, 30, 75]


def test_without_nodelay_the_timeout_doubles() -> None:
    conversation = Conversation(nodelay=False)
    conversation.send(b"a")
    sent = run_until(conversation, 3.1)
    assert [at for at, _ in sent] == pytest.approx([0.0, 0.2, 0.6, 1.4, 3.0])


def test_fast_resend_after_two_later_acks() -> None:
    conversation = Conversation()
    for _ in range(5):
        conversation.send(b"x")
        poll(conversation, 1.0)
    feed(conversation, 1.001, ack(1, ts=1000))
    assert poll(conversation, 1.001) == []
    feed(conversation, 1.002, ack(2, ts=1000))
    assert conversation.next_timeout() <= 1.002
    assert commands(poll(conversation, 1.002)) == [(PUSH, 0)]
    feed(conversation, 1.003, ack(3, ts=1000))
    feed(conversation, 1.003, ack(4, ts=1000))
    assert poll(conversation, 1.003) == []
    assert conversation.statistics().resent_fast == 1


def test_early_resend_after_one_later_ack_and_an_interval() -> None:
    conversation = Conversation()
    conversation.send(bytes(3 * 1326))
    poll(conversation, 1.0)
    feed(conversation, 1.050, ack(1, ts=1000), ack(2, ts=1000))
    assert conversation.next_timeout() == pytest.approx(1.060)
    assert poll(conversation, 1.059) == []
    assert commands(poll(conversation, 1.0601)) == [(PUSH, 0)]
    assert conversation.statistics().resent_early == 1


def test_early_resend_is_called_off_when_the_ack_was_just_late() -> None:
    conversation = Conversation()
    conversation.send(bytes(3 * 1326))
    poll(conversation, 1.0)
    feed(conversation, 1.050, ack(1, ts=1000))
    feed(conversation, 1.055, ack(0, ts=1000, una=2))
    assert conversation.next_timeout() > 1.1
    assert poll(conversation, 1.061) == []


def test_early_resend_waits_while_there_is_something_new_to_send() -> None:
    conversation = Conversation()
    conversation.send(bytes(2 * 1326))
    poll(conversation, 1.0)
    feed(conversation, 1.050, ack(1, ts=1000))
    conversation.send(b"new")
    assert commands(poll(conversation, 1.061)) == [(PUSH, 2)]
    assert commands(poll(conversation, 1.0711)) == [(PUSH, 0)]


def test_first_burst_is_small_and_grows_with_acknowledgements() -> None:
    conversation = Conversation(send_window=100)
    conversation.send(bytes(1326 * 1000))
    assert len(poll(conversation, 1.0)) == 32
    feed(conversation, 1.01, ack(31, ts=1000, una=32, wnd=2048))
    assert len(poll(conversation, 1.01)) == 64
    feed(conversation, 1.02, ack(95, ts=1010, una=96, wnd=2048))
    assert len(poll(conversation, 1.02)) == conversation.in_flight == 100


def test_peer_window_limits_what_is_in_flight() -> None:
    conversation = Conversation()
    conversation.send(bytes(1326 * 100))
    poll(conversation, 1.0)
    feed(conversation, 1.01, ack(31, ts=1000, una=32, wnd=3))
    assert commands(poll(conversation, 1.01)) == [(PUSH, 32), (PUSH, 33), (PUSH, 34)]
    feed(conversation, 1.02, Segment(WINS, una=32, wnd=5))
    assert commands(poll(conversation, 1.02)) == [(PUSH, 35), (PUSH, 36)]


def test_window_news_of_an_overtaken_datagram_are_old() -> None:
    conversation = Conversation()
    conversation.send(b"x")
    poll(conversation, 1.0)
    feed(conversation, 1.01, ack(0, ts=1000, una=1, wnd=9))
    feed(conversation, 1.02, Segment(WINS, una=0, wnd=0))
    assert conversation.statistics().peer_window == 9


def test_probes_a_closed_window_at_the_recorded_times() -> None:
    conversation = Conversation()
    conversation.send(b"x")
    poll(conversation, 1.0)
    feed(conversation, 2.0, ack(0, ts=1000, una=1, wnd=0))
    assert conversation.next_timeout() == math.inf
    conversation.send(b"y")
    sent = run_until(conversation, 300.0)
    assert {segment for _, segment in sent} == {Segment(WASK, wnd=2048)}
    gaps = [7.0, 10.5, 15.75, 23.625, 35.4375, 53.15625, 79.734375]
    expected = [2.0 + sum(gaps[: count + 1]) for count in range(len(gaps))]
    assert [at for at, _ in sent] == pytest.approx(expected)
    late = run_until(conversation, 700.0)
    assert late[-1][0] - late[-2][0] == pytest.approx(120.0)
    feed(conversation, 701.0, Segment(WINS, una=1, wnd=1))
    assert commands(poll(conversation, 701.0)) == [(PUSH, 1)]
    # The next time begins with the short wait again.
    feed(conversation, 702.0, ack(1, ts=701000, una=2, wnd=0))
    conversation.send(b"z")
    assert conversation.next_timeout() == pytest.approx(709.0)


def test_segments_acknowledged_one_by_one_make_room_without_una() -> None:
    """A peer whose reader stalls has them, but cannot count them in its una."""
    conversation = Conversation(send_window=2)
    conversation.send(bytes(4 * 1326))
    poll(conversation, 1.0)
    feed(conversation, 1.1, ack(1, ts=1000, una=0, wnd=1))
    assert poll(conversation, 1.1) == []
    feed(conversation, 1.11, ack(0, ts=1000, una=0, wnd=1))
    assert commands(poll(conversation, 1.11)) == [(PUSH, 2)]
    feed(conversation, 1.2, ack(2, ts=1110, una=0, wnd=0))
    assert poll(conversation, 1.2) == []
    assert conversation.next_timeout() == pytest.approx(8.2)
    feed(conversation, 1.3, Segment(WINS, una=2, wnd=2))
    assert commands(poll(conversation, 1.3)) == [(PUSH, 3)]
    feed(conversation, 1.4, Segment(WINS, una=4, wnd=0))
    assert (conversation.in_flight, conversation.next_timeout()) == (0, math.inf)


def test_answers_a_window_probe() -> None:
    conversation = Conversation(receive_window=512)
    feed(conversation, 1.0, Segment(WASK))
    assert poll_raw(conversation, 1.0) == [DATAGRAMS["wins_alone"]]


def test_wask_and_wins_and_push_share_a_datagram() -> None:
    wire = DATAGRAMS["wask_wins_push_in_one_datagram"]
    conversation = Conversation(receive_window=512)
    feed(conversation, 0.0, Segment(WASK, wnd=0))
    conversation.send(wire[-10:])
    assert poll_raw(conversation, 0.0) == [wire[24:48]]
    feed(conversation, 8.0, Segment(WASK, wnd=0))
    assert poll_raw(conversation, 8.0) == [wire[:48]]


def test_full_segments_follow_each_other_without_a_break() -> None:
    conversation = Conversation(send_window=200)
    feed(conversation, 1.0, push(0), Segment(WASK))
    conversation.send(bytes(1326 * 20 + 100))
    assert [len(datagram) for datagram in poll_raw(conversation, 1.0)] == [48, *[1350] * 20, 124]
    feed(conversation, 1.1, push(1), ack(20, una=21, ts=1000, wnd=512))
    conversation.send(b"short")
    assert [len(datagram) for datagram in poll_raw(conversation, 1.1)] == [24 + 29]


def test_a_batch_is_bounded_and_the_rest_follows() -> None:
    conversation = Conversation(send_window=300)
    conversation.send(bytes(1326 * 300))
    poll(conversation, 1.0)
    feed(conversation, 1.1, ack(31, una=32, ts=1000, wnd=2000))
    poll(conversation, 1.1)
    feed(conversation, 1.2, ack(95, una=96, ts=1100, wnd=2000))
    counts = []
    while count := conversation.poll_datagrams(1.2):
        counts.append(count)
        assert len(counts) == 3 or conversation.next_timeout() <= 1.2
    assert counts == [46, 46, 36]


def test_a_new_mtu_counts_for_segments_not_yet_cut() -> None:
    conversation = Conversation(mtu=1000)
    conversation.send(bytes(976 + 1400))
    feed(conversation, 0.0, ack(0))
    assert [len(datagram) for datagram in poll_raw(conversation, 1.0)] == [1000, 1000, 24 + 424]
    feed(conversation, 1.1, ack(0, una=3, ts=1000))
    conversation.set_mtu(1400)
    conversation.send(bytes(1376))
    assert [len(datagram) for datagram in poll_raw(conversation, 1.1)] == [1400]
    conversation.set_mtu(600)
    conversation.send(bytes(1000))
    assert conversation.poll_datagrams(1.9) == 3
    assert list(conversation.sizes[:3]) == [1400, 600, 24 + 424]
    with pytest.raises(ValueError, match="mtu 1501"):
        conversation.set_mtu(1501)


def test_dead_link_shows_after_twenty_sends_and_goes_with_progress() -> None:
    conversation = Conversation(dead_link=20)
    conversation.send(bytes(2 * 1326))
    while not conversation.dead_link:
        poll(conversation, conversation.next_timeout())
        assert conversation.statistics().segments_sent <= 40
    assert conversation.statistics().segments_sent in (39, 40)
    assert conversation.next_timeout() < math.inf
    feed(conversation, 60.0, ack(1, ts=1))
    assert not conversation.dead_link


# --- Receiving ---------------------------------------------------------------------------


def acknowledgements(window: int, start: int, order: list[int]) -> list[bytes]:
    """Give the answer to segments that arrive, in one flush, in the order given."""
    conversation = Conversation(receive_window=window, initial_sequence=start)
    for sequence in order:
        feed(conversation, 6.0, push(sequence, ts=5000 + sequence))
    return poll_raw(conversation, 6.0)


@pytest.mark.parametrize(
    ("name", "start", "order"),
    [
        ("ack_of_five_in_order_pushes_only_last_ack_kept", 0, [0, 1, 2, 3, 4]),
        ("ack_of_sn_0_2_4_3_missing_1", 0, [0, 2, 4, 3]),
        ("ack_of_sn_5_6_7_nothing_in_order", 0, [5, 6, 7]),
        ("ack_across_sn_wrap", 0xFFFFFFFE, [-2, -1, 0, 1]),
    ],
)
def test_acknowledges_as_the_originals_do(name: str, start: int, order: list[int]) -> None:
    assert acknowledgements(512, start, order) == [DATAGRAMS[name]]


def test_many_acknowledgements_are_split_as_the_originals_split_them() -> None:
    name = "one_hundred_out_of_order_acks_split_at_mtu_{}_of_2"
    expected = [DATAGRAMS[name.format(part)] for part in (1, 2)]
    assert acknowledgements(512, 0, list(range(1, 101))) == expected


def test_more_acknowledgements_than_a_batch_holds() -> None:
    conversation = Conversation(mtu=50, receive_window=512)
    for sequence in range(1, 200):
        feed(conversation, 1.0, push(sequence))
    conversation.send(b"after")
    sent = commands(poll(conversation, 1.0))
    assert sent == [*((ACK, sequence) for sequence in range(1, 200)), (PUSH, 0)]


def test_ack_and_push_share_a_datagram_with_a_closed_window() -> None:
    wire = DATAGRAMS["ack_and_push_with_wnd_zero"]
    conversation = Conversation(receive_window=4)
    for sequence in range(4):
        feed(conversation, 0.0, push(sequence, ts=5000 + sequence))
    conversation.send(wire[-30:])
    assert poll_raw(conversation, 0.0) == [wire]


@pytest.mark.parametrize(
    "case",
    ["raw_out_of_order_and_gap", "raw_duplicate_push", "raw_bad_segments", "raw_message_mode_frg"],
)
def test_answers_hand_made_segments_as_the_router_did(case: str) -> None:
    records = recorded("kcp_session_router.json", case)
    # Datagrams that came within the same flush were answered together.
    conversation = Conversation(receive_window=512)
    expected, answered = [], []
    flush = 0.0
    for record in records:
        now = record["t_ms"] / 1000
        wire = bytes.fromhex(record["hex"])
        if record["dir"] == "c2s":
            # Acknowledgements of what the router sent concern nobody here.
            if wire[4] == ACK:
                continue
            if now - flush > 0.005:
                answered += poll(conversation, now)
                conversation.receive()
                flush = now
            feed_raw(conversation, now, wire)
        else:
            expected += [(s.sn, s.ts, s.una) for s in decode(wire) if s.cmd == ACK]
    answered += poll(conversation, 10.0)
    assert [(s.sn, s.ts, s.una) for s in answered if s.cmd == ACK] == expected


def test_a_duplicate_is_acknowledged_again() -> None:
    conversation = Conversation()
    for now in (1.0, 2.0, 3.0):
        feed(conversation, now, push(0, b"once", ts=7))
        assert [(s.cmd, s.sn, s.ts, s.una) for s in poll(conversation, now)] == [(ACK, 0, 7, 1)]
    assert conversation.receive() == b"once"
    assert conversation.statistics().duplicates == 2


def test_edge_of_the_receive_window() -> None:
    conversation = Conversation(receive_window=512)
    feed(conversation, 1.0, push(0))
    conversation.receive()
    poll(conversation, 1.0)
    feed(conversation, 1.1, push(513))
    assert poll(conversation, 1.1) == []
    feed(conversation, 1.2, push(512))
    assert commands(poll(conversation, 1.2)) == [(ACK, 512)]
    assert conversation.statistics().out_of_window == 1


def test_window_shrinks_with_unread_segments_and_opens_unasked() -> None:
    conversation = Conversation(receive_window=4)
    windows = []
    for sequence in range(4):
        feed(conversation, 1.0, push(sequence, b"abcd"[sequence : sequence + 1]))
        windows += [segment.wnd for segment in poll(conversation, 1.0)]
    assert windows == [3, 2, 1, 0]
    assert conversation.receive() == b"abcd"
    assert conversation.next_timeout() <= 1.0
    assert poll(conversation, 1.5) == [Segment(WINS, una=4, wnd=4)]
    feed(conversation, 2.0, push(4))
    poll(conversation, 2.0)
    conversation.receive()
    assert poll(conversation, 2.0) == []


def test_an_empty_push_is_acknowledged_and_passed_over() -> None:
    conversation = Conversation()
    feed(conversation, 1.0, push(0, b"a"), push(1, b""), push(2, b"b"))
    assert conversation.receive() == b"ab"
    assert [(s.sn, s.una) for s in poll(conversation, 1.0)] == [(2, 3)]


def test_fragments_are_read_as_a_stream() -> None:
    conversation = Conversation()
    feed(conversation, 1.0, push(0, b"a", frg=2), push(1, b"b", frg=1), push(2, b"c"))
    assert conversation.receive() == b"abc"


def test_payload_larger_than_ours_is_welcome() -> None:
    conversation = Conversation()
    payload = bytes(range(256)) * 5 + bytes(196)
    feed(conversation, 1.0, push(1, b"early" + payload[5:]), push(0, payload))
    assert conversation.receive() == payload + b"early" + payload[5:]


def test_una_counts_in_every_kind_of_segment() -> None:
    for kind in (push(0, una=1), ack(9, una=1), Segment(WASK, una=1), Segment(WINS, una=1)):
        conversation = Conversation()
        conversation.send(b"x")
        poll(conversation, 1.0)
        feed(conversation, 1.1, kind)
        assert conversation.in_flight == 0


def test_acks_and_una_of_what_was_never_sent_are_ignored() -> None:
    conversation = Conversation()
    conversation.send(b"x")
    poll(conversation, 1.0)
    feed(conversation, 1.1, ack(1, una=2, wnd=0), ack(0xFFFFFFFF, una=0xFFFFFFFF, wnd=0))
    assert conversation.in_flight == 1
    statistics = conversation.statistics()
    assert (statistics.bad_acknowledgement, statistics.peer_window) == (1, 32)


def test_round_trip_comes_from_the_last_ack_of_a_datagram() -> None:
    conversation = Conversation()
    conversation.send(bytes(2000))
    poll(conversation, 1.0)
    feed(conversation, 1.070, ack(0, ts=900), ack(1, ts=1000, una=2))
    assert conversation.statistics().smoothed_rtt == 70


def test_a_timestamp_of_the_future_is_no_round_trip() -> None:
    conversation = Conversation()
    conversation.send(b"x")
    poll(conversation, 1.0)
    feed(conversation, 1.070, ack(0, ts=2000, una=1))
    statistics = conversation.statistics()
    assert (statistics.smoothed_rtt, statistics.rto, statistics.in_flight) == (0, 200, 0)


def test_round_trip_across_the_wrap_of_the_clock() -> None:
    conversation = Conversation()
    conversation.send(b"x")
    (segment,) = poll(conversation, 2**32 / 1000 - 0.010)
    feed(conversation, 2**32 / 1000 + 0.020, ack(0, ts=segment.ts, una=1))
    assert conversation.statistics().smoothed_rtt == pytest.approx(30, abs=1)


@pytest.mark.parametrize(
    ("bad", "counter"),
    [
        (push(1, b"no", conv=1).encode(), "bad_conversation"),
        (Segment(85, 1).encode(), "bad_command"),
        (Segment(80, 1).encode(), "bad_command"),
        (push(1).header(38) + b"12345678", "bad_length"),
        (push(1).header(0xFFFFFFFF) + b"12345678", "bad_length"),
    ],
    ids=["conversation", "command 85", "command 80", "length by one", "length by far"],
)
def test_a_bad_segment_ends_its_datagram_only(bad: bytes, counter: str) -> None:
    conversation = Conversation()
    good = [push(sequence, b"abc"[sequence : sequence + 1]).encode() for sequence in range(3)]
    feed_raw(conversation, 1.0, good[0] + bad + good[1], good[2] + b"trailing")
    assert conversation.receive() == b"a"
    assert [(s.sn, s.una) for s in poll(conversation, 1.0)] == [(2, 1)]
    feed_raw(conversation, 1.0, good[1])
    assert conversation.receive() == b"bc"
    assert getattr(conversation.statistics(), counter) == 1


def test_conversations_are_told_apart_by_their_number() -> None:
    conversation = Conversation(conversation_id=0x89ABCDEF)
    feed(conversation, 1.0, push(0, b"yes", conv=0x89ABCDEF))
    feed(conversation, 1.0, push(0, b"no"))
    assert conversation.receive() == b"yes"
    assert [segment.conv for segment in poll(conversation, 1.0)] == [0x89ABCDEF]


def test_arguments_that_do_not_fit_together() -> None:
    conversation = Conversation()
    with pytest.raises(ValueError, match="2 datagrams but 1 sizes"):
        conversation.receive_datagrams_untrusted(b"x", array("H", [1]), 2, 1.0)
    with pytest.raises(ValueError, match="in 1 bytes"):
        conversation.receive_datagrams_untrusted(b"x", array("H", [2]), 1, 1.0)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_input_may_be_reused_at_once(
    kind: type[bytes] | type[bytearray] | type[memoryview],
) -> None:
    conversation = Conversation()
    wire = bytearray(push(1, b"early").encode() + push(0, b"first").encode())
    sizes = array("H", [29, 29])
    conversation.receive_datagrams_untrusted(kind(wire), sizes, 2, 1.0)
    wire[:] = bytes(len(wire))
    assert conversation.receive() == b"firstearly"


def test_memory_of_a_burst_is_given_back() -> None:
    conversation = Conversation()
    before = conversation.statistics().buffer_bytes
    assert before < 4_096
    conversation.send(bytes(2_000_000))
    assert conversation.statistics().buffer_bytes > 2_000_000
    now, sequence = 1.0, 0
    while conversation.unsent_bytes or conversation.in_flight:
        sequence += len(poll(conversation, now))
        feed(
            conversation, now + 0.01, ack(sequence - 1, una=sequence, ts=int(now * 1000), wnd=2048)
        )
        now += 0.02
    # What is left is for the segments under way.
    assert before < conversation.statistics().buffer_bytes < 100_000
    conversation.send(b"heartbeat")
    poll(conversation, now + 10.0)
    feed(conversation, now + 10.1, ack(sequence, una=sequence + 1, wnd=2048))
    assert conversation.statistics().buffer_bytes == before
    assert conversation.next_timeout() == math.inf


# --- Anything at all ---------------------------------------------------------------------

numbers = st.one_of(
    st.integers(0, 40), st.integers(0xFFFFFFD0, 0xFFFFFFFF), st.integers(0, 2**32 - 1)
)
segments = st.builds(
    lambda cmd, sn, una, ts, wnd, payload, conv, length: (
        Segment(cmd, sn, una, ts, wnd, b"", conv).header(len(payload) if length is None else length)
        + payload
    ),
    st.sampled_from([PUSH, PUSH, ACK, ACK, WASK, WINS, 0, 80, 85]),
    numbers,
    numbers,
    numbers,
    st.integers(0, 65535),
    st.binary(max_size=60),
    st.sampled_from([0, 0, 0, 0, 1]),
    st.one_of(st.none(), st.none(), numbers),
)
datagrams = st.one_of(st.binary(max_size=80), st.lists(segments, max_size=5).map(b"".join))


@given(st.lists(st.lists(datagrams, max_size=4), max_size=12), st.sampled_from([0, 0xFFFFFFF0]))
def test_no_datagram_breaks_a_conversation(batches: list[list[bytes]], start: int) -> None:
    conversation = Conversation(receive_window=32, initial_sequence=start)
    now = 1.0
    received = 0
    for batch in batches:
        conversation.send(b"something")
        feed_raw(conversation, now, *batch)
        received += len(conversation.receive())
        poll(conversation, now)
        now = max(now + 0.001, min(conversation.next_timeout(), now + 1))
    statistics = conversation.statistics()
    assert statistics.bytes_received == received
    # It still works in both directions, whatever the sequence numbers are by now.
    for _ in range(len(batches) + 1):
        state = conversation.statistics()
        resent = state.resent_timeout + state.resent_fast + state.resent_early
        una = (start + state.segments_sent - resent) & 0xFFFFFFFF
        feed(conversation, now, Segment(WINS, una=una, wnd=512))
        poll(conversation, now)
    assert (conversation.in_flight, conversation.unsent_bytes) == (0, 0)
    feed(conversation, now, Segment(WASK))
    (wins,) = [segment for segment in poll(conversation, now) if segment.cmd == WINS]
    feed(conversation, now, push(wins.una, b"usable"))
    assert conversation.receive().startswith(b"usable")
