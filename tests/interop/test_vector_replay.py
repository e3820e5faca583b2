"""The recordings, and the independent endpoint, against the product's own sans-IO parts."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from polevpn_trio.errors import BadPacket
from polevpn_trio.frames.codec import FrameReader as ProductReader
from polevpn_trio.kcp.conversation import Conversation
from tests.interop.classic_frames import (
    C2S_IPDATA,
    S2C_IPDATA,
    Frame,
    FrameError,
    FrameReader,
    frame,
    ipv4,
    ipv4_fault,
)
from tests.interop.classic_kcp import ACK, PUSH, WASK, WINS, ClassicKcp, Segment, decode
from tests.interop.test_vectors import cases, connections, load

WINDOWS = {"c2s": 512, "s2c": 2048}
TICK = 0.001


def received_by(case: dict[str, Any], connection: str, direction: str) -> list[tuple[float, bytes]]:
    return [
        (item["t_ms"] / 1000, bytes.fromhex(item["hex"]))
        for item in case["records"]
        if item["conn"] == connection and item["dir"] == direction and not item.get("dropped")
    ]


def feed(conversation: Conversation, datagram: bytes, now: float) -> None:
    conversation.receive_datagrams_untrusted(datagram, array("H", [len(datagram)]), 1, now)


def poll(conversation: Conversation, now: float) -> list[bytes]:
    """All datagrams that are due."""
    found = []
    while count := conversation.poll_datagrams(now):
        at = 0
        for size in conversation.sizes[:count]:
            found.append(bytes(conversation.datagrams[at : at + size]))
            at += size
    return found


# --- Recorded KCP ------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["c2s", "s2c"])
@pytest.mark.parametrize(
    "case", [*cases("kcp_session_router.json"), *cases("kcp_session_client.json")]
)
def test_recorded_datagrams(case: dict[str, Any], direction: str) -> None:
    """The same stream as the independent endpoint reads, and answers that it understands."""
    for connection in connections(case):
        window = WINDOWS[direction]
        conversation = Conversation(send_window=window, receive_window=window)
        classic = ClassicKcp(window)
        ours = theirs = b""
        pushed: set[tuple[int, int]] = set()
        to_acknowledge: set[int] = set()
        acknowledged: set[int] = set()
        highest_una = 0
        for now, datagram in received_by(case, connection, direction):
            if len(datagram) > 1500:
                break
            pushed |= {(s.sn, s.ts) for s in decode(datagram)[0] if s.command == PUSH}
            for answer in classic.input(datagram, now):
                to_acknowledge |= {s.sn for s in decode(answer)[0] if s.command == ACK}
            theirs += classic.read()
            feed(conversation, datagram, now)
            ours += conversation.receive()
            for answer in poll(conversation, now):
                segments, fault = decode(answer)
                assert fault is None
                for segment in segments:
                    assert segment.command in (ACK, WINS)
                    assert segment.payload == b""
                    assert segment.wnd <= window
                    assert segment.una >= highest_una
                    highest_una = segment.una
                    if segment.command == ACK:
                        assert (segment.sn, segment.ts) in pushed
                        acknowledged.add(segment.sn)
        if case["name"] == "raw_zero_length_push_stalls_receiver" and direction == "c2s":
            # Theirs reads nothing any more; ours may.
            assert ours.startswith(theirs)
        else:
            assert ours == theirs
        assert highest_una == (classic.receive_next if to_acknowledge else 0)
        assert to_acknowledge <= acknowledged | set(range(highest_una))


# --- A conversation with the independent endpoint, in virtual time -----------------------


class Wire:
    """One direction of a path: delays, loses, duplicates and reorders datagrams."""

    def __init__(self, random: Random, *, delay: float, loss: float, odd: float) -> None:
        self.random, self.delay, self.loss, self.odd = random, delay, loss, odd
        self.under_way: list[tuple[float, int, bytes]] = []
        self.count = 0

    def carry(self, datagrams: list[bytes], now: float) -> None:
        for datagram in datagrams:
            if self.random.random() < self.loss:
                continue
            copies = 2 if self.random.random() < self.odd else 1
            for _ in range(copies):
                late = self.random.random() * 0.02 if self.random.random() < self.odd else 0.0
                self.count += 1
                self.under_way.append((now + self.delay + late, self.count, datagram))

    def arrivals(self, now: float) -> list[bytes]:
        due = sorted(item for item in self.under_way if item[0] <= now)
        self.under_way = [item for item in self.under_way if item[0] > now]
        return [datagram for _, _, datagram in due]


class Talk:
    """The product's conversation and a classic endpoint, joined by two wires."""

    def __init__(self, seed: int, window: int, *, loss: float, delay: float = 0.01) -> None:
        random = Random(seed)
        odd = 0.05 if loss else 0.0
        self.product = Conversation()
        self.classic = ClassicKcp(window)
        self.to_classic = Wire(random, delay=delay, loss=loss, odd=odd)
        self.to_product = Wire(random, delay=delay, loss=loss, odd=odd)
        self.now = 100.0
        self.product_read = self.classic_read = b""

    def turn(self) -> None:
        self.now += TICK
        now = self.now
        for datagram in self.to_classic.arrivals(now):
            self.to_product.carry(self.classic.input(datagram, now), now)
        self.classic_read += self.classic.read()
        self.to_product.carry(self.classic.timer(now), now)
        for datagram in self.to_product.arrivals(now):
            feed(self.product, datagram, now)
        self.product_read += self.product.receive()
        if self.product.next_timeout() <= now:
            self.to_classic.carry(poll(self.product, now), now)

    def until(self, condition: Callable[[], bool], seconds: float) -> None:
        end = self.now + seconds
        while not condition():
            assert self.now < end, "virtual time is up"
            self.turn()

    def write_classic(self, data: bytes) -> None:
        self.to_product.carry(self.classic.write(data, self.now), self.now)


def some_frames(random: Random, count: int) -> list[bytes]:
    sizes = [random.choice((0, 20, 60, 500, 1300, 1318, 1319, 1480)) for _ in range(count)]
    return [
        frame(C2S_IPDATA, ipv4("10.8.0.1", "10.8.0.2", random.randbytes(size))) for size in sizes
    ]


@pytest.mark.parametrize("window", [512, 2048])
@pytest.mark.parametrize("loss", [0.0, 0.02, 0.2])
def test_talk_with_classic(window: int, loss: float, seeds: Callable[[int], range]) -> None:
    for seed in seeds(4):
        talk = Talk(seed, window, loss=loss)
        random = Random(seed)
        outward, inward = some_frames(random, 400), some_frames(random, 400)
        for there, back in zip(outward, inward, strict=True):
            talk.product.send(there)
            talk.write_classic(back)
            if random.random() < 0.2:
                talk.turn()
        there, back = b"".join(outward), b"".join(inward)
        talk.until(
            lambda talk=talk, there=there, back=back: (  # type: ignore[misc]
                len(talk.classic_read) >= len(there) and len(talk.product_read) >= len(back)
            ),
            60,
        )
        assert talk.classic_read == there
        assert talk.product_read == back
        talk.until(
            lambda talk=talk: not talk.product.in_flight and not talk.classic.unacknowledged,  # type: ignore[misc]
            30,
        )
        assert talk.classic.violations == []
        if loss == 0.0:
            # On a clean path nothing is sent twice: their sender is as easily misled as ours.
            assert talk.classic.duplicates == 0
            assert talk.product.statistics().duplicates == 0


def test_window_that_closes_and_opens() -> None:
    """Their reader pauses for 25 s: probes at 7 and 17.5 s, nothing beyond the window."""
    talk = Talk(1, 16, loss=0.0)
    talk.product.send(frame(4))
    talk.until(lambda: talk.classic_read != b"", 2)
    talk.classic.reading = False
    data = b"".join(some_frames(Random(1), 100))
    talk.product.send(data)
    talk.until(lambda: talk.classic.unused_window() == 0, 5)
    closed_at = talk.now
    talk.until(lambda: talk.classic.probes_seen == 1, 12)
    assert talk.now - closed_at == pytest.approx(7.0, abs=0.3)
    talk.until(lambda: talk.classic.probes_seen == 2, 15)
    assert talk.now - closed_at == pytest.approx(17.5, abs=0.6)
    talk.classic.reading = True
    talk.until(lambda: len(talk.classic_read) >= 8 + len(data), 5)
    assert talk.classic_read == frame(4) + data
    assert talk.classic.violations == []


def test_lost_news_of_an_open_window() -> None:
    """The WINS is lost: the next probe finds the window open."""
    talk = Talk(2, 16, loss=0.0)
    talk.classic.reading = False
    data = b"".join(some_frames(Random(2), 60))
    talk.product.send(data)
    talk.until(lambda: talk.classic.unused_window() == 0, 5)
    talk.until(lambda: not talk.to_product.under_way, 1)
    for _ in range(50):
        talk.turn()
    talk.to_product.loss = 1.0
    talk.classic.reading = True
    for _ in range(500):
        talk.turn()
    talk.to_product.loss = 0.0
    talk.until(lambda: len(talk.classic_read) >= len(data), 12)
    assert talk.classic_read == data
    assert talk.classic.violations == []


def test_answers_a_probe_and_tells_of_an_open_window() -> None:
    conversation = Conversation(receive_window=8)
    stream = [bytes([n]) * 10 for n in range(8)]
    for sn, data in enumerate(stream):
        feed(conversation, Segment(PUSH, sn, data, wnd=512, ts=sn).encode(), 1.0)
    segments = [s for d in poll(conversation, 1.0) for s in decode(d)[0]]
    assert segments[-1].wnd == 0
    feed(conversation, Segment(WASK, wnd=512).encode(), 2.0)
    (answer,) = [s for d in poll(conversation, 2.0) for s in decode(d)[0]]
    assert (answer.command, answer.wnd, answer.una) == (WINS, 0, 8)
    # A PUSH a whole window ahead of what came in order is not even acknowledged.
    feed(conversation, Segment(PUSH, 16, b"beyond", wnd=512, ts=9).encode(), 2.5)
    assert conversation.receive() == b"".join(stream)
    (news,) = [s for d in poll(conversation, 3.0) for s in decode(d)[0]]
    assert (news.command, news.wnd) == (WINS, 8)


def test_never_an_empty_push() -> None:
    """It would stop the originals' reader for ever."""
    talk = Talk(3, 512, loss=0.0)
    for _ in range(20):
        talk.product.send(b"")
        talk.turn()
    talk.product.send(frame(4))
    talk.product.send(b"")
    talk.until(lambda: talk.classic_read == frame(4), 2)
    assert talk.classic.violations == []


def test_silent_peer_is_resent_to_like_the_original() -> None:
    """Nobody acknowledges: about 200, 300, 400, ... ms apart, each with a fresh timestamp."""
    conversation = Conversation()
    conversation.send(frame(0, b'{"key":"123456"}'))
    now, sent = 5.0, []
    while now < 8.0:
        sent += [(now, decode(d)[0][0]) for d in poll(conversation, now)]
        now += TICK
    times = [t - sent[0][0] for t, _ in sent]
    assert times == pytest.approx([0, 0.2, 0.5, 0.9, 1.4, 2.0, 2.7], abs=0.06)
    assert len({s.ts for _, s in sent}) == len(sent)
    assert {s.sn for _, s in sent} == {0}


# --- Recorded frames ---------------------------------------------------------------------


def product_frames(chunks: list[bytes], command: int) -> tuple[list[Frame], int, str | None]:
    """What the product's reader makes of a stream, as single frames; packets left out; error."""
    reader = ProductReader(command, command)
    found: list[Frame] = []
    failure = None
    try:
        for chunk in chunks:
            for run in reader.receive_data_untrusted(chunk):
                if run.version:
                    packets = FrameReader().feed(bytes(run.data))
                    assert len(packets) == run.packets
                    found += packets
                else:
                    found.append(Frame(run.command, run.sequence, bytes(run.data)))
    except BadPacket as error:
        failure = str(error)
    return found, reader.malformed, failure


def classic_frames(stream: bytes, command: int) -> tuple[list[Frame], int, bool]:
    reader, malformed = FrameReader(), 0
    found: list[Frame] = []
    for at in range(0, len(stream), 1):
        try:
            frames = reader.feed(stream[at : at + 1])
        except FrameError:
            return found, malformed, True
        for item in frames:
            six = item.payload[:1] and item.payload[0] >> 4 == 6
            if item.command == command and not six and ipv4_fault(item.payload):
                fault = ipv4_fault(item.payload) or ""
                if "checksum" not in fault:
                    malformed += 1
                    continue
            found.append(item)
    return found, malformed, False


@pytest.mark.parametrize("direction", ["c2s", "s2c"])
@pytest.mark.parametrize(
    "case", [*cases("tls_session_router.json"), *cases("tls_session_client.json")]
)
def test_recorded_streams(case: dict[str, Any], direction: str) -> None:
    command = C2S_IPDATA if direction == "c2s" else S2C_IPDATA
    random = Random(len(case["records"]))
    for connection in connections(case):
        chunks = [data for _, data in received_by(case, connection, direction)]
        stream = b"".join(chunks)
        if len(stream) > 20_000:
            continue
        expected, malformed, short = classic_frames(stream, command)
        cut_anew = []
        rest = stream
        while rest:
            size = random.randint(1, 40)
            cut_anew.append(rest[:size])
            rest = rest[size:]
        for cutting in (cut_anew, chunks):
            found, left_out, failure = product_frames(cutting, command)
            assert (failure is not None) == short
            if short:
                # What came in one chunk with the frame that breaks the stream may be lost.
                assert found == expected[: len(found)]
            else:
                assert (found, left_out) == (expected, malformed)


def test_recorded_bulk_stream() -> None:
    """The largest frame there is, as it was recorded."""
    (case,) = [
        c for c in load("tls_session_router.json")["cases"] if c["name"] == "largest_frame_65535"
    ]
    chunks = [data for _, data in received_by(case, "A", "c2s")]
    found, left_out, failure = product_frames(chunks, C2S_IPDATA)
    assert failure is None
    largest = [f for f in FrameReader().feed(b"".join(chunks)) if len(f.payload) == 65527]
    assert len(largest) == 1
    assert left_out + sum(f in largest for f in found) == 1
