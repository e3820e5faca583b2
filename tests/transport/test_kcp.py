"""The KCP link between the sans-IO conversation and the socket, with records left out."""

from __future__ import annotations

import contextlib
import gc
import math
import random
import struct
import weakref
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from polevpn_trio.batch import SEQUENCES_OFFLOAD, FrameBatch
from polevpn_trio.control.config import KcpOptions
from polevpn_trio.errors import BadPacket, LinkLost
from polevpn_trio.frames import codec
from polevpn_trio.kcp.conversation import INITIAL_WINDOW
from polevpn_trio.kcp.segment import HEADER_SIZE, WASK, WINS
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport.base import SEND_BATCH_BYTES
from polevpn_trio.transport.dtls_session import Owner
from polevpn_trio.transport.kcp import UNSENT_LIMIT, KcpLink, format_address
from polevpn_trio.transport.outgoing import OutgoingQueue
from polevpn_trio.transport.packet_channel import PacketChannelStatistics
from tests.memory_links import IDENTITY, Stock, stream

Phases = list[tuple[float, Callable[[], None]]]
"""What changes, and after how many seconds."""


class PlainOpener:
    """Takes datagrams for what they are."""

    def __init__(self) -> None:
        self.datagrams = b""
        self.sizes = array("H")


class PlainSession:
    """A DtlsSession without DTLS: datagrams go to the other one after ``delay`` seconds."""

    def __init__(self, nursery: trio.Nursery, delay: float) -> None:
        self.peer_address = ("192.0.2.1", 443)
        self.peer_closed = False
        self.identity = IDENTITY
        self.opener = PlainOpener()
        self.carries = True
        self.writable = trio.Event()
        """Set while the socket takes more."""
        self.writable.set()
        self.owner: Owner | None = None
        self.taken_at_once = 0
        self.lost: Callable[[bytes], bool] = lambda datagram: False
        self.other: PlainSession
        self._delay = delay
        self._line, under_way = trio.open_memory_channel[tuple[float, bytes]](math.inf)
        nursery.start_soon(self._carry, under_way)
        self._put, self.incoming = trio.open_memory_channel[tuple[bytes, int]](math.inf)

    def path_mtu(self) -> int:
        return 1500

    def send_batch_nowait(self, datagrams: Any, sizes: Any, count: int) -> bool:
        if self.carries and not self.closed:
            whole = bytes(datagrams)
            start = 0
            for size in sizes[:count]:
                datagram = whole[start : start + size]
                if not self.lost(datagram):
                    self._line.send_nowait((trio.current_time() + self._delay, datagram))
                start += size
        return self.writable.is_set()

    async def drain(self) -> None:
        await self.writable.wait()

    async def _carry(self, under_way: trio.MemoryReceiveChannel[tuple[float, bytes]]) -> None:
        async for arrival, datagram in under_way:
            await trio.sleep_until(arrival)
            if not self.other.closed:
                self._arrive(datagram)

    def _arrive(self, datagram: bytes) -> None:
        other = self.other
        if other.owner is not None and other.owner.take_untrusted(datagram, len(datagram)):
            other.taken_at_once += 1
            other.owner.end_turn()
        else:
            other._put.send_nowait((datagram, len(datagram)))

    def wake(self) -> None:
        self._put.send_nowait((b"", 1))

    closed = False

    def open_batch_untrusted(self, data: bytes, segment_size: int) -> int:
        self.opener.datagrams = data
        self.opener.sizes = array("H", [segment_size])
        return 1 if data else 0

    def close(self) -> None:
        self.closed = True
        self._put.close()
        self._line.close()

    def statistics(self) -> None:
        return None


def over_pair(
    body: Callable[[KcpLink, KcpLink, Any], Awaitable[None]], delay: float = 0.01
) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            near, far = PlainSession(nursery, delay), PlainSession(nursery, delay)
            near.other, far.other = far, near
            links = [
                KcpLink(session, KcpOptions())  # type: ignore[arg-type]  # no records
                for session in (near, far)
            ]
            for link in links:
                await nursery.start(link.run)
            with trio.fail_after(1000):
                await body(links[0], links[1], near)
            for link in links:
                link.close()
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_stream_arrives_whole_and_an_idle_link_needs_no_timer() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        data = bytes(range(256)) * 400
        received = bytearray()

        async def receive() -> None:
            while len(received) < len(data):
                received.extend((await far.receive()).take())

        async def listen() -> None:
            while True:
                await near.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            nursery.start_soon(receive)
            await near.send_batch([data[:1000], data[1000:]])
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        assert bytes(received) == data
        assert near._conversation.next_timeout() == math.inf
        assert near.statistics().smoothed_rtt == pytest.approx(0.02, rel=1)

    over_pair(body)


def test_what_is_acknowledged_in_time_wakes_nobody_for_its_timeout() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        async def listen(link: KcpLink) -> None:
            while True:
                await link.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, near)
            nursery.start_soon(listen, far)
            await near.send_batch([b"heartbeat"])
            assert near._timer.when <= trio.current_time() + 0.2
            # The round trip and the delay of the acknowledgement: long before the timeout.
            await trio.sleep(0.03)
            assert near._timer.when == far._timer.when == math.inf
            nursery.cancel_scope.cancel()

    over_pair(body)


def test_a_sender_waits_for_a_peer_that_acknowledges_nothing_until_the_link_ends() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        session.carries = False

        async def listen() -> None:
            with contextlib.suppress(LinkLost):
                while True:
                    await near.receive()

        async def send() -> None:
            while True:
                await near.send_batch([bytes(65_536)])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            with pytest.raises(LinkLost, match="acknowledges nothing"):
                await send()

    over_pair(body)


def test_what_a_link_holds_unsent_is_bounded() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        with trio.move_on_after(1):
            while True:
                await near.send_batch([bytes(10_000)])
        assert near._conversation.unsent_bytes <= UNSENT_LIMIT + 10_000

    over_pair(body)


def test_only_what_the_window_takes_leaves_the_source() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        async def listen(link: KcpLink) -> None:
            while True:
                received.extend((await link.receive()).take())

        received = bytearray()
        stock = Stock(1_000_000)
        session.carries = False
        near.pull_from(stock)
        segment = 1350 - HEADER_SIZE
        # Nothing is known of the path yet: it is not hit by all at once.
        assert segment < stock.taken < 4 * segment
        async with trio.open_nursery() as nursery:
            await trio.sleep(0.1)
            # Nor of the peer's window. What is no full segment waits for more.
            assert (INITIAL_WINDOW - 2) * segment < stock.taken <= INITIAL_WINDOW * segment
            assert near._conversation.unsent_bytes < segment
            assert near.room == 0
            session.carries = True
            nursery.start_soon(listen, near)
            nursery.start_soon(listen, far)
            # Each acknowledgement makes it go on: nobody has to flush.
            while len(received) < stock.size:
                await trio.sleep(0.1)
                assert near._conversation.unsent_bytes < segment
            nursery.cancel_scope.cancel()
        assert received == stream(0, stock.size)
        assert near.statistics().bytes_sent == stock.size

    over_pair(body)


def test_a_socket_that_takes_no_more_leaves_the_rest_in_the_source() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        async def listen(link: KcpLink) -> None:
            while True:
                received.extend((await link.receive()).take())

        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, near)
            nursery.start_soon(listen, far)
            first, then = Stock(500_000), Stock(2_000_000)
            near.pull_from(first)
            await trio.sleep(10)
            session.writable = trio.Event()
            near.pull_from(then)
            assert 0 < then.taken <= SEND_BATCH_BYTES
            assert near.room == 0
            await trio.sleep(0.01)
            assert then.taken <= SEND_BATCH_BYTES
            session.writable.set()
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        assert received == stream(0, first.size) + stream(0, then.size)

    over_pair(body)


def test_a_stream_is_handed_on_at_once_and_in_order_also_around_waits() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        received: list[bytes] = []
        awaited = 0

        async def finish(stream: bytes) -> None:
            nonlocal awaited
            await trio.sleep(0.5)
            received.append(stream)
            awaited += 1

        def consume(stream: StreamBuffer) -> Awaitable[None] | None:
            # Every piece with a multiple of seven in it takes waiting; more arrives meanwhile.
            piece = stream.take()
            if any(byte % 7 == 0 for byte in piece):
                return finish(piece)
            received.append(piece)
            return None

        def ignore(stream: Any) -> None:
            pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.receive_each, ignore)
            nursery.start_soon(far.receive_each, consume)
            for number in range(200):
                assert near.room
                near.send_nowait([bytes([number])])
                near.flush()
                await trio.sleep(0.1)
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        assert b"".join(received) == bytes(range(200))
        assert awaited > 10
        assert session.other.taken_at_once > 50

    over_pair(body)


def test_what_goes_wrong_in_handing_on_ends_that_link_with_the_reason() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        def refuse(stream: Any) -> None:
            raise BadPacket("nonsense")

        async def send() -> None:
            await trio.sleep(0.1)
            near.send_nowait([b"x"])
            near.flush()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            with pytest.raises(BadPacket, match="nonsense"):
                await far.receive_each(refuse)
        assert not far.room
        assert near.room

    over_pair(body)


def packet(size: int, protocol: int = 17) -> bytes:
    header = struct.pack("!BBHHHBBH8x", 0x45, 0, size, 0, 0, 64, protocol, 0)
    return header.ljust(size, b"\0")


def lengths(frames: bytes) -> list[int]:
    """Give the lengths of frames back to back."""
    found = []
    while frames:
        found.append(int.from_bytes(frames[:2], "big"))
        frames = frames[found[-1] :]
    return found


async def exchange(
    near: KcpLink, far: KcpLink, act: Callable[[], Awaitable[None]]
) -> tuple[bytes, bytes]:
    """Receive at both ends while ``act`` runs; give the stream and the packets at ``far``."""
    stream, packets = bytearray(), bytearray()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.receive_each, lambda data: None, lambda frames: None)
        nursery.start_soon(far.receive_each, lambda new: stream.extend(new.take()), packets.extend)
        await trio.testing.wait_all_tasks_blocked()
        await act()
        nursery.cancel_scope.cancel()
    return bytes(stream), bytes(packets)


def test_packets_travel_beside_the_stream_once_that_is_agreed() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        heartbeat = codec.build_frame(codec.HEART_BEAT)
        sent = [packet(100), packet(1343, 6), packet(1500), packet(1500, 6), packet(9000)]

        async def act() -> None:
            near.open_datagrams(codec.S2C_IPDATA, repair=True)
            far.open_datagrams(codec.C2S_IPDATA, repair=True)
            for each in sent:
                near.send_nowait([codec.build_frame(codec.C2S_IPDATA, each)])
            near.send_nowait([heartbeat])
            near.flush()
            # A lone packet leaves in the turn in which it came, and is not acknowledged late.
            await trio.sleep(1)
            assert near._timer.when == far._timer.when == math.inf

        stream, packets = await exchange(near, far, act)
        # What no datagram can hold travels in the stream.
        assert stream == heartbeat + codec.build_frame(codec.C2S_IPDATA, sent.pop())
        frames = [codec.build_frame(codec.C2S_IPDATA, each) for each in sent]
        assert len(packets) == sum(map(len, frames))
        assert all(frame in packets for frame in frames)
        assert near.largest_packet == 1343
        assert near.statistics().smoothed_rtt == pytest.approx(0.02, rel=0.1)

    over_pair(body)


def test_a_question_for_a_sign_of_life_takes_two_datagrams() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        sent: list[int] = []

        def note(datagram: bytes) -> bool:
            sent.append(datagram[4])
            return False

        session.lost = session.other.lost = note
        heard = far.heard

        async def ask() -> None:
            near.ask()
            await trio.sleep(1)

        near.open_datagrams(codec.S2C_IPDATA, repair=True)
        far.open_datagrams(codec.C2S_IPDATA, repair=True)
        assert await exchange(near, far, ask) == (b"", b"")
        assert sent == [WASK, WINS]
        assert near.heard == pytest.approx(heard + 0.02)
        assert far.heard == pytest.approx(heard + 0.01)
        assert near._timer.when == far._timer.when == math.inf
        assert near.statistics().smoothed_rtt == pytest.approx(0.02)
        # Who is asked learns it the next time.
        await exchange(near, far, ask)
        assert far.statistics().smoothed_rtt == pytest.approx(0.02)

    over_pair(body)


def test_a_lost_question_is_asked_again() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        lost = [True, True, False]
        session.lost = lambda datagram: lost.pop(0)
        heard = near.heard

        async def act() -> None:
            near.ask()
            await trio.sleep(10)

        await exchange(near, far, act)
        assert lost == []
        # 200 and 300 ms for two that were lost.
        assert near.heard == pytest.approx(heard + 0.52)

    over_pair(body)


@pytest.mark.parametrize("repair", [True, False])
def test_a_lost_packet_is_made_up_for_by_its_repair_if_that_is_agreed(repair: bool) -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        chance = random.Random(1)
        session.lost = lambda datagram: datagram[0] & 0xF0 == 0x10 and chance.random() < 0.2
        sent = [codec.build_frame(codec.C2S_IPDATA, packet(100 + size)) for size in range(50)]

        async def act() -> None:
            near.open_datagrams(codec.S2C_IPDATA, repair=repair)
            far.open_datagrams(codec.C2S_IPDATA, repair=repair)
            for frame in sent:
                near.send_nowait([frame])
                near.flush()
                await trio.sleep(0.02)
            await trio.sleep(1)
            assert near._timer.when == math.inf

        _, packets = await exchange(near, far, act)
        assert sorted(map(len, sent)) == sorted(lengths(packets))
        _, _, seen = far.statistics().detail
        assert isinstance(seen, PacketChannelStatistics)
        assert (seen.conversation.recovered > 5) == repair
        _, _, seen = near.statistics().detail
        assert isinstance(seen, PacketChannelStatistics)
        assert seen.conversation.resent == 0 or not repair

    over_pair(body)


def test_datagrams_before_they_are_agreed_on_are_dropped_and_counted() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        async def act() -> None:
            near.open_datagrams(codec.S2C_IPDATA, repair=True)
            near.send_nowait([codec.build_frame(codec.C2S_IPDATA, packet(100))])
            near.flush()
            await trio.sleep(0.1)

        assert await exchange(near, far, act) == (b"", b"")
        assert far.statistics().detail[0].bad_conversation > 0  # type: ignore[attr-defined]

    over_pair(body)


def test_packets_wait_in_the_queue_while_the_socket_is_full() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        async def act() -> None:
            near.open_datagrams(codec.S2C_IPDATA, repair=True)
            far.open_datagrams(codec.C2S_IPDATA, repair=True)
            session.writable = trio.Event()
            for _ in range(3):
                near.send_nowait([codec.build_frame(codec.C2S_IPDATA, packet(1000))])
                near.flush()
            assert near.room
            await trio.testing.wait_all_tasks_blocked()
            session.writable.set()
            await trio.sleep(0.1)

        _, packets = await exchange(near, far, act)
        assert len(packets) == 3 * 1008

    over_pair(body)


def test_addresses_are_written_as_people_do() -> None:
    assert format_address(("192.0.2.1", 443)) == "192.0.2.1:443"
    assert format_address(("::ffff:192.0.2.1", 443)) == "192.0.2.1:443"
    assert format_address(("2001:db8::1", 443, 0, 0)) == "[2001:db8::1]:443"


def test_a_link_that_has_ended_is_gone_without_the_garbage_collector() -> None:
    """A full collection holds up everybody for as long as it takes to look at all gateways."""

    async def use(nursery: trio.Nursery) -> weakref.ref[KcpLink]:
        session = PlainSession(nursery, 0.01)
        link = KcpLink(session, KcpOptions())  # type: ignore[arg-type]  # no records
        await nursery.start(link.run)
        session.close()
        with pytest.raises(LinkLost, match="session ended"):
            await link.receive_each(lambda data: None)
        with pytest.raises(LinkLost, match="session ended"):
            await link.send_batch([b"too late"])
        return weakref.ref(link)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            reference = await use(nursery)
            await trio.testing.wait_all_tasks_blocked()
            assert reference() is None

    gc.disable()
    try:
        trio.run(main)
    finally:
        gc.enable()


def test_a_link_has_settled_when_all_packets_have_arrived_and_no_sooner() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        chance = random.Random(2)
        session.lost = lambda datagram: datagram[0] & 0xF0 == 0x10 and chance.random() < 0.3
        settled_with: list[int] = []

        async def act() -> None:
            near.open_datagrams(codec.S2C_IPDATA, repair=False)
            far.open_datagrams(codec.C2S_IPDATA, repair=False)
            for _ in range(40):
                near.send_nowait([codec.build_frame(codec.C2S_IPDATA, packet(1000))])
            await near.settle()
            detail = far.statistics().detail[2]
            assert isinstance(detail, PacketChannelStatistics)
            settled_with.append(detail.conversation.packets_received)
            # Nothing is under way: there is nothing to wait for.
            await near.settle()

        await exchange(near, far, act)
        detail = near.statistics().detail[2]
        assert isinstance(detail, PacketChannelStatistics)
        assert settled_with == [40 - detail.conversation.expired]
        assert detail.conversation.resent > 0

    over_pair(body)


SEGMENT = 1200
"""Bytes of UDP payload: a super-packet has `SEGMENTS` times as many."""
SEGMENTS = 20


def numbered(first: int) -> FrameBatch:
    """Make a super-packet of datagrams that bear numbers from ``first`` on."""
    payload = b"".join(struct.pack("!I", first + n).ljust(SEGMENT) for n in range(SEGMENTS))
    udp = struct.pack("!HHHH", 4000, 4001, 8 + len(payload), 0) + payload
    header = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, 1, 2)
    frame = codec.build_frame(codec.C2S_IPDATA, header + udp, SEGMENT)
    return FrameBatch(frame, SEGMENTS, SEQUENCES_OFFLOAD)


class Numbers:
    """What comes, whichever way: the numbers in order, and how many of them in super-packets."""

    def __init__(self) -> None:
        self.sent = 0
        self.seen: list[int] = []
        self.whole = 0
        self._reader = codec.FrameReader(codec.C2S_IPDATA, codec.C2S_IPDATA)
        self._reader.sequences = SEQUENCES_OFFLOAD

    def take(self, frames: Any) -> None:
        for run in self._reader.receive_data_untrusted(bytes(frames)):
            data = bytes(run.data)
            while data:
                size = int.from_bytes(data[:2], "big")
                payload = data[8 + 28 : size]
                numbers = [
                    int.from_bytes(payload[at : at + 4], "big")
                    for at in range(0, len(payload), SEGMENT)
                ]
                self.seen += numbers
                self.whole += len(numbers) if len(numbers) > 1 else 0
                data = data[size:]


async def carry(near: KcpLink, far: KcpLink, seconds: float, phases: Phases) -> Numbers:
    """Send numbered packets, 7 MB a second of them but in the last three seconds, to ``far``."""
    numbers, outgoing = Numbers(), OutgoingQueue(1 << 22)
    sent = 0
    for link, command in ((near, codec.S2C_IPDATA), (far, codec.C2S_IPDATA)):
        link.open_datagrams(command, repair=True, whole=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.receive_each, lambda data: None, lambda frames: None)
        nursery.start_soon(far.receive_each, lambda new: numbers.take(new.take()), numbers.take)
        await trio.testing.wait_all_tasks_blocked()
        near.pull_from(outgoing)
        began = trio.current_time()
        while (passed := trio.current_time() - began) < seconds:
            while phases and phases[0][0] <= passed:
                phases.pop(0)[1]()
            batch = numbered(sent)
            sent += SEGMENTS
            if outgoing.passable and len(batch.data) <= near.room:
                near.send_nowait((batch.data,))
            else:
                outgoing.put_nowait(batch, trio.current_time())
            near.flush()
            await trio.sleep(SEGMENT * SEGMENTS / 7e6 if passed < seconds - 3 else 0.1)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    numbers.sent = sent
    return numbers


@pytest.mark.long_simulation
def test_bulk_on_a_short_clean_path_travels_whole_in_the_stream_and_stays_in_order() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        numbers = await carry(near, far, 6.5, [])
        assert numbers.seen == list(range(numbers.sent))
        assert 0.5 * len(numbers.seen) < numbers.whole < len(numbers.seen) - 100
        # Little traffic is back beside it.
        *_, last = near.statistics().detail
        assert isinstance(last, PacketChannelStatistics)

    over_pair(body, delay=0.0005)


@pytest.mark.long_simulation
def test_bulk_on_a_longer_path_travels_beside_the_stream() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        numbers = await carry(near, far, 4.5, [])
        assert sorted(numbers.seen) == list(range(numbers.sent))
        assert numbers.whole == 0

    over_pair(body, delay=0.005)


@pytest.mark.long_simulation
def test_where_losses_begin_bulk_leaves_the_stream_and_nothing_is_lost() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        chance = random.Random(3)
        in_stream: list[bool] = []

        def lose() -> None:
            in_stream.append(near._in_stream)
            session.lost = lambda datagram: chance.random() < 0.02

        numbers = await carry(near, far, 6.5, [(2.0, lose)])
        assert sorted(numbers.seen) == list(range(numbers.sent))
        assert in_stream == [True]
        assert not near._in_stream

    over_pair(body, delay=0.0005)


@pytest.mark.long_simulation
def test_packets_held_back_for_a_change_that_takes_too_long_go_on_as_before() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        seen: list[bool] = []

        def cut() -> None:
            seen.append(near._held_until is not None or near._in_stream)
            # Acknowledgements get lost: nobody can tell whether all has arrived.
            session.other.carries = False

        def mend() -> None:
            session.other.carries = True
            seen.append(near._in_stream)

        numbers = await carry(near, far, 4.5, [(0.4, cut), (0.9, mend)])
        # What waited for too long was dropped by the queue.
        assert numbers.seen[-10:] == list(range(numbers.sent - 10, numbers.sent))
        assert seen == [False, False]

    over_pair(body, delay=0.0005)
