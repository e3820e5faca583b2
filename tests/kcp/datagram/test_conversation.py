"""One conversation at a time, step by step, and what it makes of hostile input."""

from __future__ import annotations

import math
import struct
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.batch import FrameBatch
from polevpn_trio.kcp.congestion.base import AckEvent, CongestionControl
from polevpn_trio.kcp.datagram import reassembly, wire
from polevpn_trio.kcp.datagram.conversation import BATCH, OVERHEAD, DatagramConversation

FRAME = struct.Struct("!HHI")


def ipv4(protocol: int, size: int, tos: int = 0, port: int = 1) -> bytes:
    header = struct.pack("!BBHHHBBH8x", 0x45, tos, size, 0, 0, 64, protocol, 0)
    body = struct.pack("!HHIIBB", port, 80, 0, 0, 0x50, 0x10)
    return (header + body).ljust(size, b"\0")[:size]


def frame(packet: bytes) -> bytes:
    return FRAME.pack(8 + len(packet), 2, 0) + packet


class Queue:
    """Frames to send; gives them as long as there is room."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.asked: list[int] = []

    def dequeue_batch(self, most_bytes: int, now: float) -> FrameBatch:
        self.asked.append(most_bytes)
        given = b""
        while self.frames and len(given) < most_bytes:
            given += self.frames.pop(0)
        return FrameBatch(given, 1)


def make(mtu: int = 1350, window: int = 8192) -> tuple[Queue, DatagramConversation]:
    queue = Queue()
    return queue, DatagramConversation(queue, CongestionControl(), 3, mtu, window)


def poll(conversation: DatagramConversation, now: float) -> list[bytes]:
    datagrams = []
    while count := conversation.poll_datagrams(now):
        at = 0
        for size in conversation.sizes[:count]:
            datagrams.append(bytes(conversation.datagrams[at : at + size]))
            at += size
    return datagrams


def take(
    conversation: DatagramConversation, *datagrams: bytes, now: float, recovered: bool = False
) -> None:
    sizes = array("H", [len(datagram) for datagram in datagrams])
    conversation.receive_datagrams_untrusted(
        b"".join(datagrams), sizes, len(datagrams), now, recovered
    )


def send(queue: Queue, conversation: DatagramConversation, packet: bytes, now: float) -> bytes:
    """Send one packet and give the datagram it left in."""
    queue.frames.append(frame(packet))
    (datagram,) = poll(conversation, now)
    return datagram


@pytest.mark.parametrize("arguments", [{"mtu": 299}, {"mtu": 1501}, {"send_window": 0}])
def test_parameters_out_of_range_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not in"):
        DatagramConversation(Queue(), CongestionControl(), 3, **arguments)


def test_a_full_packet_costs_seven_bytes_besides_itself() -> None:
    queue, sender = make()
    _, receiver = make()
    packet = ipv4(6, 1343)
    datagram = send(queue, sender, packet, 1.0)
    assert len(datagram) == len(packet) + 7 == sender.mtu
    take(receiver, datagram, now=1.1)
    assert receiver.receive() == FRAME.pack(8 + len(packet), 3, 0) + packet
    assert receiver.receive() == b""


def test_small_packets_share_a_datagram_and_full_ones_follow_without_a_break() -> None:
    queue, sender = make()
    queue.frames = [frame(ipv4(17, 100)) for _ in range(20)]
    assert [len(datagram) for datagram in poll(sender, 1.0)] == [4 + 13 * 103, 4 + 7 * 103]
    queue.frames = [frame(ipv4(6, 1343)) for _ in range(100)]
    assert [len(datagram) for datagram in poll(sender, 1.0)] == [1350] * 100


def test_a_packet_too_large_is_put_aside_and_a_malformed_one_dropped() -> None:
    queue, sender = make()
    queue.frames = [frame(ipv4(6, 1501)), frame(b"\x45" * 30), frame(ipv4(17, 60) + b"padding")]
    (datagram,) = poll(sender, 1.0)
    assert len(datagram) == 4 + 3 + 60
    state = sender.statistics()
    assert (state.oversize, state.malformed, state.packets_sent) == (1, 1, 1)
    assert sender.take_oversize() == frame(ipv4(6, 1501))
    assert sender.take_oversize() == b""


@pytest.mark.parametrize(("protocol", "mtu"), [(6, 1350), (17, 1350), (6, 300)])
def test_a_packet_too_large_for_one_datagram_travels_in_parts(protocol: int, mtu: int) -> None:
    queue, sender = make(mtu)
    _, receiver = make()
    packets = [ipv4(protocol, 1500, port=number) for number in (1, 1, 1)]
    queue.frames = [frame(packet) for packet in packets]
    datagrams = poll(sender, 1.0)
    assert all(len(datagram) <= mtu for datagram in datagrams)
    # The first part comes late, and twice.
    take(receiver, *datagrams[1:], now=1.1)
    expected = 1508 * (2 if protocol == 17 else 0)
    assert len(receiver.receive()) == expected
    take(receiver, datagrams[0], datagrams[0], now=1.2)
    assert len(receiver.receive()) == 3 * 1508 - expected
    assert receiver.statistics().bad_format == 0


def test_a_packet_in_parts_whose_place_is_taken_holds_nobody_up() -> None:
    queue, sender = make()
    _, receiver = make()
    queue.frames = [frame(ipv4(6, 1500)) for _ in range(reassembly.SLOTS + 1)]
    datagrams = poll(sender, 1.0)
    first_part, *others = datagrams
    del others[0]
    take(receiver, first_part, *others, now=1.1)
    assert len(receiver.receive()) == reassembly.SLOTS * 1508
    assert receiver.statistics().abandoned_parts == 1


def test_a_source_that_gives_half_a_frame_is_at_fault() -> None:
    queue, sender = make()
    queue.frames = [frame(ipv4(17, 60))[:-1]]
    with pytest.raises(ValueError, match="not whole"):
        sender.poll_datagrams(1.0)


def test_frames_that_nothing_waits_before_go_past_the_source_and_the_rest_comes_back() -> None:
    _, sender = make(window=3)
    frames = [frame(ipv4(6, 1300, port=number)) for number in range(5)]
    assert sender.offer(b"".join(frames))
    assert len(poll(sender, 1.0)) == 3
    assert sender.take_back() == b"".join(frames[3:])
    assert sender.take_back() == b""


def test_of_offered_frames_one_begun_in_parts_is_kept() -> None:
    _, sender = make(window=1)
    frames = [frame(ipv4(6, 1500, port=number)) for number in range(2)]
    assert sender.offer(b"".join(frames))
    assert len(poll(sender, 1.0)) == 1
    assert sender.take_back() == frames[1]
    assert not sender.offer(frames[1])


def test_what_came_from_the_source_is_not_given_back() -> None:
    queue, sender = make(window=1)
    queue.frames = [b"".join(frame(ipv4(6, 1300)) for _ in range(2))]
    assert len(poll(sender, 1.0)) == 1
    assert sender.take_back() == b""


def test_the_window_bounds_what_is_under_way() -> None:
    queue, sender = make(window=10)
    queue.frames = [frame(ipv4(6, 1300)) for _ in range(30)]
    assert len(poll(sender, 1.0)) == 10
    assert len(queue.frames) > 10
    assert sender.in_flight == 10


def test_one_poll_fills_one_batch_at_most() -> None:
    queue, sender = make()
    queue.frames = [frame(ipv4(6, 1300)) for _ in range(100)]
    assert 0 < sender.poll_datagrams(1.0) <= BATCH
    assert sender.next_timeout() <= 1.0


def test_an_idle_conversation_wakes_nobody() -> None:
    queue, sender = make()
    _, receiver = make()
    assert sender.next_timeout() == math.inf
    take(receiver, send(queue, sender, ipv4(17, 100), 1.0), now=1.1)
    now = 1.1
    ends = [receiver, sender]
    spoke = 0
    while any(end.next_timeout() < math.inf for end in ends):
        now += 0.1
        for end, other in zip(ends, reversed(ends), strict=True):
            if datagrams := poll(end, now):
                take(other, *datagrams, now=now + 0.05)
                spoke += 1
        assert now < 2.0
    # The acknowledgement, how long to hold back the next on this path, and its acknowledgement.
    assert spoke == 3


def test_the_last_datagram_of_a_burst_asks_to_be_acknowledged_and_is_worth_protecting() -> None:
    queue, sender = make()
    queue.frames = [frame(ipv4(6, 1300)) for _ in range(3)]
    kinds = [datagram[0] for datagram in poll(sender, 1.0)]
    assert kinds == [wire.DATA, wire.DATA, wire.DATA | wire.AT_ONCE]


@pytest.mark.parametrize(("rtt", "waits"), [(0.002, True), (0.020, False)])
def test_on_a_short_path_the_acknowledgement_travels_with_the_answer(
    rtt: float, waits: bool
) -> None:
    (near_queue, near), (far_queue, far) = make(), make()
    now = 1.0
    for queue in (near_queue, far_queue, near_queue):
        queue.frames.append(frame(ipv4(17, 100)))
        while near_queue.frames or far_queue.frames or not (near.all_arrived and far.all_arrived):
            now += 0.1
            assert now < 10
            for end, other in ((near, far), (far, near)):
                if datagrams := poll(end, now):
                    take(other, *datagrams, now=now + rtt / 2)
    now += 0.1
    question = send(near_queue, near, ipv4(17, 100), now)
    assert question[0] & wire.AT_ONCE == (0 if waits else wire.AT_ONCE)
    take(far, question, now=now + rtt / 2)
    alone = poll(far, now + rtt / 2 + 0.004)
    assert len(alone) == (0 if waits else 1)
    answer = send(far_queue, far, ipv4(17, 100), now + rtt / 2 + 0.0045)
    assert answer[0] & wire.WITH_ACK == (wire.WITH_ACK if waits else 0)
    take(near, *alone, answer, now=now + rtt + 0.0045)
    assert near.all_arrived


class Listener(CongestionControl):
    """Notes when what was acknowledged had arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived_at = 0.0

    def take_event(self, event: AckEvent) -> None:
        self.arrived_at = event.arrived_at


def test_congestion_control_hears_when_something_arrived_however_late_that_is_told() -> None:
    queue, listener = Queue(), Listener()
    near, (_, far) = DatagramConversation(queue, listener, 3), make()
    for now, late in ((1.0, 0.0), (2.0, 0.05), (3.0, 0.01)):
        take(far, send(queue, near, ipv4(17, 100), now), now=now + 0.02)
        take(near, *poll(far, now + 0.02), now=now + 0.04 + late)
        assert listener.arrived_at == pytest.approx(now + 0.04, abs=2 / wire.TICKS)


def test_what_is_lost_is_sent_again_as_soon_as_something_overtook_it() -> None:
    queue, sender = make()
    _, receiver = make()
    lost = send(queue, sender, ipv4(6, 1000), 1.0)
    later = send(queue, sender, ipv4(6, 1001), 1.01)
    take(receiver, later, now=1.06)
    assert receiver.receive() == b""
    take(sender, *poll(receiver, 1.06), now=1.11)
    assert sender.next_timeout() < 1.12
    again = poll(sender, sender.next_timeout())
    assert any(len(datagram) == len(lost) for datagram in again)
    take(receiver, *again, now=1.17)
    assert [len(lost) - 7, len(lost) - 6] == [
        size - 8
        for size in (
            struct.unpack_from("!H", receiver.receive())[0],
            1001 + 8,
        )
    ]
    assert sender.statistics().resent == 1


def test_silence_is_answered_by_a_probe() -> None:
    queue, sender = make()
    _, receiver = make()
    lost = send(queue, sender, ipv4(17, 200), 1.0)
    due = sender.next_timeout()
    assert due == pytest.approx(1.205)
    (probe,) = poll(sender, due)
    assert probe[4:] == lost[4:]
    assert probe[0] & wire.AT_ONCE
    take(receiver, probe, now=due)
    take(receiver, lost, now=due)
    assert len(receiver.receive()) == 208
    assert receiver.statistics().duplicate_packets == 1


def test_a_packet_past_its_deadline_is_not_sent_again() -> None:
    queue, sender = make()
    send(queue, sender, ipv4(17, 200, tos=46 << 2), 1.0)
    assert poll(sender, sender.next_timeout()) == []
    state = sender.statistics()
    assert (state.expired, state.probes) == (1, 0)
    assert sender.next_timeout() == math.inf


def test_the_peer_is_told_what_will_never_come() -> None:
    queue, sender = make()
    _, receiver = make()
    send(queue, sender, ipv4(6, 1000), 1.0)
    # Nothing was heard for longer than the first packet was of use.
    queue.frames.append(frame(ipv4(6, 1001)))
    datagrams = poll(sender, 5.2)
    assert sorted(datagram[4] == wire.SKIP for datagram in datagrams) == [False, True]
    datagrams.sort(key=lambda datagram: datagram[4] == wire.SKIP)
    take(receiver, datagrams[0], now=5.3)
    assert receiver.receive() == b""
    take(receiver, datagrams[1], now=5.4)
    assert len(receiver.receive()) == 1009
    assert sender.statistics().expired == 1


def test_acknowledgements_ride_on_small_datagrams() -> None:
    first_queue, first = make()
    second_queue, second = make()
    take(second, send(first_queue, first, ipv4(17, 100), 1.0), now=1.1)
    answer = send(second_queue, second, ipv4(17, 100), 1.1)
    assert answer[0] & wire.WITH_ACK
    take(first, answer, now=1.2)
    assert first.in_flight == 0
    assert len(first.receive()) == 108


def test_what_repair_made_up_is_delivered_and_told_apart() -> None:
    queue, sender = make()
    _, receiver = make()
    datagrams = [send(queue, sender, ipv4(6, 1000), 1.0) for _ in range(3)]
    take(receiver, datagrams[0], datagrams[2], now=1.05)
    take(receiver, datagrams[1], now=1.06, recovered=True)
    assert len(receiver.receive()) == 3 * 1008
    take(sender, *poll(receiver, 1.06), now=1.11)
    state = sender.statistics()
    assert (state.peer_expected, state.peer_arrived, state.peer_recovered) == (3, 2, 1)
    assert (state.lost, sender.in_flight) == (0, 0)


def test_repair_is_charged_and_delays_resends() -> None:
    queue, sender = make()
    _, receiver = make()
    sender.repair_wait = 0.020
    send(queue, sender, ipv4(6, 1000), 1.0)
    sender.charge_repair(500, 1.0)
    assert sender.statistics().in_flight_bytes == 1007 + OVERHEAD + 500
    take(receiver, send(queue, sender, ipv4(6, 1000), 1.0), now=1.05)
    take(sender, *poll(receiver, 1.05), now=1.10)
    poll(sender, 1.10)
    assert sender.next_timeout() > 1.12


def test_datagrams_of_conversation_0_are_left_alone_and_counted_for_the_caller() -> None:
    queue, sender = make()
    _, receiver = make()
    ours = send(queue, sender, ipv4(17, 100), 1.0)
    sizes = array("H", [24, len(ours), 24])
    batch = bytes(24) + ours + bytes(24)
    assert receiver.receive_datagrams_untrusted(batch, sizes, 3, 1.1) == 2
    assert len(receiver.receive()) == 108
    assert receiver.statistics().bad_kind == 0


def test_a_duplicate_datagram_is_dropped_whole() -> None:
    queue, sender = make()
    _, receiver = make()
    datagram = send(queue, sender, ipv4(17, 100), 1.0)
    take(receiver, datagram, datagram, now=1.1)
    assert len(receiver.receive()) == 108
    assert receiver.statistics().duplicate_datagrams == 1


def test_an_acknowledgement_of_what_was_never_sent_is_ignored() -> None:
    _, sender = make()
    other_queue, other = make()
    _, receiver = make()
    for _ in range(3):
        take(receiver, send(other_queue, other, ipv4(17, 100), 1.0), now=1.1)
    take(sender, *poll(receiver, 1.1), now=1.2)
    assert sender.statistics().bad_acknowledgement == 1


def test_what_came_after_it_was_made_up_counts_as_having_come() -> None:
    _, receiver = make()
    take(receiver, b"\x10\0\0\0", now=1.0, recovered=True)
    take(receiver, b"\x10\0\0\0", now=1.0)
    receiver.note_overtaken(1)
    seen = receiver.statistics()
    assert (seen.arrived, seen.recovered) == (1, 0)


def test_repair_is_passed_over() -> None:
    _, receiver = make()
    take(receiver, b"\x30" + bytes(30), now=1.0)
    seen = receiver.statistics()
    assert (seen.bad_kind, seen.arrived) == (0, 0)


@pytest.mark.parametrize(
    ("datagram", "counter"),
    [
        (b"", "bad_format"),
        (b"\x40" * 30, "bad_kind"),
        (b"\x50" + bytes(30), "bad_kind"),
        (b"\x10\0\0", "bad_format"),
        (b"\x10\xff\xff\xff", "bad_number"),
        (b"\x10\0\0\0\x7f", "bad_format"),
        (b"\x10\0\0\0\x00\0\0" + ipv4(17, 100)[:99], "bad_format"),
        (b"\x10\0\0\0\x01\x80\0\0\1", "bad_format"),
        (b"\x10\0\0\0\x02\0", "bad_format"),
        (b"\x10\0\0\0\x03\0\0\0\0\x64\0\0\0", "bad_format"),
        (b"\x10\0\0\0\x03\0\0\0\0\x64\0\x60\0\x05" + bytes(5), "bad_format"),
        (b"\x10\0\0\0\x03\0\0\0\x07\0\0\0\0\x05" + bytes(5), "bad_format"),
        (b"\x10\0\0\0\x03\x01\0\0\0\x64\0\0\0\x05" + bytes(5), "bad_format"),
        (b"\x10\0\0\0\x03\0\0\0\0\x05\0\0\0\x05" + bytes(5), "bad_format"),
        (b"\x11\0\0\0" + bytes(15), "bad_format"),
        (b"\x20" + bytes(15), "bad_format"),
    ],
)
def test_what_breaks_the_format_is_counted_by_name(datagram: bytes, counter: str) -> None:
    _, receiver = make()
    take(receiver, datagram, now=1.0)
    assert getattr(receiver.statistics(), counter) == 1
    assert receiver.receive() == b""


item = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda head, size, noise: head + ipv4(17, size) + noise,
        st.binary(min_size=3, max_size=3),
        st.integers(20, 80),
        st.binary(max_size=3),
    ),
    st.builds(
        lambda item, *numbers: struct.pack("!BBHHHH", wire.PART, item, *numbers) + bytes(40),
        st.sampled_from([0, 0x80, 0xFF, 7]),
        st.integers(0, 3),
        st.sampled_from([40, 41, 80, 1500, 1501, 65535]),
        st.sampled_from([0, 40, 1460, 1461, 65535]),
        st.sampled_from([0, 1, 40, 41, 65535]),
    ),
)


@given(
    st.lists(
        st.builds(
            lambda kind, body: bytes(kind) + body,
            st.sampled_from([b"", b"\x10\0\0\0", b"\x11\0\0\1", b"\x12\0\0\7", b"\x20", b"\x13"]),
            st.lists(item, max_size=4).map(b"".join),
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_no_input_raises_and_the_conversation_goes_on(
    datagrams: list[bytes], recovered: bool
) -> None:
    queue, conversation = make(mtu=300)
    send(queue, conversation, ipv4(6, 200), 1.0)
    take(conversation, *datagrams, now=1.1, recovered=recovered)
    conversation.receive()
    poll(conversation, 1.2)
    conversation.next_timeout()
    queue.frames.append(frame(ipv4(17, 100)))
    assert poll(conversation, 1.3)


def test_arguments_that_do_not_fit_together_are_refused() -> None:
    _, conversation = make()
    with pytest.raises(ValueError, match="2 datagrams"):
        conversation.receive_datagrams_untrusted(b"xx", array("H", [1]), 2, 1.0)
    with pytest.raises(ValueError, match="3 bytes or more"):
        conversation.receive_datagrams_untrusted(b"xx", array("H", [3]), 1, 1.0)
