"""A KCP endpoint that behaves as the one of the originals, and watches its peer.

Sans-IO; time is in seconds and passed in. Each oddity is one of theirs: message mode with
every frame in pieces of its own, ack filtering, a zero-length PUSH that blocks the reader for
ever, no dead link. What the peer does wrong is kept in ``violations``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

HEADER = struct.Struct("<IBBHIIII")
PUSH, ACK, WASK, WINS = 81, 82, 83, 84
MTU = 1350
MSS = MTU - HEADER.size
INTERVAL_MS = 10
FAST_RESEND = 2
FIRST_PROBE_MS = 7000
LONGEST_PROBE_MS = 120_000


def difference(later: int, earlier: int) -> int:
    """later - earlier of 32-bit counters, signed."""
    return ((later - earlier + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000


@dataclass
class Segment:
    command: int
    sn: int = 0
    payload: bytes = b""
    frg: int = 0
    wnd: int = 0
    ts: int = 0
    una: int = 0
    conversation: int = 0
    # Of a segment that we send:
    transmissions: int = 0
    rto: int = 0
    resend_at: int = 0
    passed_over: int = 0

    def encode(self) -> bytes:
        return (
            HEADER.pack(
                self.conversation,
                self.command,
                self.frg,
                self.wnd,
                self.ts,
                self.sn,
                self.una,
                len(self.payload),
            )
            + self.payload
        )


def decode(datagram: bytes) -> tuple[list[Segment], str | None]:
    """The segments of a datagram, and what is wrong with its rest."""
    segments: list[Segment] = []
    position = 0
    while len(datagram) - position >= HEADER.size:
        conversation, command, frg, wnd, ts, sn, una, length = HEADER.unpack_from(
            datagram, position
        )
        position += HEADER.size
        if conversation != 0:
            return segments, f"conversation {conversation}"
        if length > len(datagram) - position:
            return segments, f"segment length {length} beyond the datagram"
        if command not in (PUSH, ACK, WASK, WINS):
            return segments, f"unknown segment command {command}"
        payload = datagram[position : position + length]
        position += length
        segments.append(Segment(command, sn, payload, frg, wnd, ts, una))
    if position != len(datagram):
        return segments, f"{len(datagram) - position} trailing bytes"
    return segments, None


@dataclass
class ClassicKcp:
    """``window`` is 512 for a router, 2048 for a gateway."""

    window: int
    first_sn: int = 0
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.origin: float | None = None
        self.send_queue: list[bytes] = []
        self.in_flight: list[Segment] = []
        self.send_una = self.send_next = self.first_sn
        self.receive_next = self.first_sn
        self.early: dict[int, Segment] = {}
        self.ready: list[Segment] = []
        self.acks: list[tuple[int, int]] = []
        self.peer_window = 32
        self.rto = 200
        self.srtt = self.rttvar = 0
        self.probe_wait = self.probe_at = 0
        self.tell_window = self.ask_window = False
        self.next_flush = 0
        self.reading = True
        self.stalled = False
        # For the watching only:
        self.sent_timestamps: dict[int, set[int]] = {}
        self.pushes_seen: dict[int, bytes] = {}
        self.duplicates = 0
        self.sent_datagrams: list[bytes] = []
        self.probes_seen = 0

    def milliseconds(self, now: float) -> int:
        if self.origin is None:
            self.origin = now
        return int((now - self.origin) * 1000) & 0xFFFF_FFFF

    # -- sending ------------------------------------------------------------------------------

    def write(self, data: bytes, now: float) -> list[bytes]:
        """Queue one write, cut in pieces; the datagrams of the flush it causes."""
        for start in range(0, len(data), MSS):
            self.send_queue.append(data[start : start + MSS])
        return self.flush(now)

    @property
    def unacknowledged(self) -> int:
        return len(self.send_queue) + len(self.in_flight)

    def unused_window(self) -> int:
        return max(self.window - len(self.ready), 0)

    def flush(self, now: float, *, acks_only: bool = False) -> list[bytes]:
        current = self.milliseconds(now)
        out: list[bytes] = []
        pending = b""

        def put(segment: Segment) -> None:
            nonlocal pending
            if len(pending) + HEADER.size + len(segment.payload) > MTU:
                out.append(pending)
                pending = b""
            segment.wnd = self.unused_window()
            segment.una = self.receive_next
            pending += segment.encode()

        last_ack = (0, 0)
        for index, (sn, ts) in enumerate(self.acks):
            if difference(sn, self.receive_next) >= 0 or index == len(self.acks) - 1:
                put(Segment(ACK, sn, ts=ts))
                last_ack = (sn, ts)
        self.acks.clear()
        if not acks_only:
            self._flush_probes(current, last_ack, put)
            self._flush_data(current, put)
            self.next_flush = current + INTERVAL_MS
        if pending:
            out.append(pending)
        self.sent_datagrams += out
        return out

    def _flush_probes(
        self, current: int, last_ack: tuple[int, int], put: Callable[[Segment], None]
    ) -> None:
        if self.peer_window == 0:
            if self.probe_wait == 0:
                self.probe_wait = FIRST_PROBE_MS
                self.probe_at = current + self.probe_wait
            elif current >= self.probe_at:
                self.probe_wait = min(self.probe_wait * 3 // 2, LONGEST_PROBE_MS)
                self.probe_at = current + self.probe_wait
                self.ask_window = True
        else:
            self.probe_wait = self.probe_at = 0
        if self.ask_window:
            put(Segment(WASK, last_ack[0], ts=last_ack[1]))
        if self.tell_window:
            put(Segment(WINS, last_ack[0], ts=last_ack[1]))
        self.ask_window = self.tell_window = False

    def _flush_data(self, current: int, put: Callable[[Segment], None]) -> None:
        fresh = 0
        limit = min(self.window, self.peer_window)
        while self.send_queue and difference(self.send_next, self.send_una) < limit:
            self.in_flight.append(Segment(PUSH, self.send_next, self.send_queue.pop(0)))
            self.send_next = (self.send_next + 1) & 0xFFFF_FFFF
            fresh += 1
        for segment in self.in_flight:
            if (
                segment.transmissions == 0
                or segment.passed_over >= FAST_RESEND
                or (segment.passed_over and not fresh)
            ):
                segment.rto = self.rto
            elif current >= segment.resend_at:
                segment.rto += self.rto // 2
            else:
                continue
            segment.passed_over = 0
            segment.resend_at = current + segment.rto
            segment.transmissions += 1
            segment.ts = current
            self.sent_timestamps.setdefault(segment.sn, set()).add(current)
            put(segment)

    def timer(self, now: float) -> list[bytes]:
        """What the 10 ms ticker sends; an RTO that is due sooner comes sooner."""
        current = self.milliseconds(now)
        due = any(s.transmissions and current >= s.resend_at for s in self.in_flight)
        return self.flush(now) if due or current >= self.next_flush else []

    # -- receiving ----------------------------------------------------------------------------

    def input(self, datagram: bytes, now: float) -> list[bytes]:
        """Take one datagram; the datagrams that its acknowledgement sends at once."""
        current = self.milliseconds(now)
        segments, fault = decode(datagram)
        if fault:
            self.violations.append(fault)
        una_before = self.send_una
        latest: int | None = None
        for segment in segments:
            self.peer_window = segment.wnd
            self._take_una(segment)
            if segment.command == ACK:
                self._take_ack(segment)
                latest = segment.ts
            elif segment.command == PUSH:
                self._take_push(segment)
            elif segment.command == WASK:
                self.probes_seen += 1
                self.tell_window = True
        if latest is not None and difference(current, latest) >= 0:
            self._round_trip(difference(current, latest))
        if fault is not None and "trailing" not in fault:
            return []
        if self.send_una != una_before:
            return self.flush(now)
        return self.flush(now, acks_only=True) if self.acks else []

    def _take_una(self, segment: Segment) -> None:
        if difference(segment.una, self.send_next) > 0:
            self.violations.append(f"una {segment.una} of data never sent ({self.send_next} next)")
            return
        self.in_flight = [s for s in self.in_flight if difference(s.sn, segment.una) >= 0]
        self._shrink()

    def _take_ack(self, segment: Segment) -> None:
        if segment.payload:
            self.violations.append(f"ACK with {len(segment.payload)} bytes of payload")
        if difference(segment.sn, self.send_next) >= 0:
            self.violations.append(f"ACK of sn {segment.sn}, never sent")
            return
        if segment.ts not in self.sent_timestamps.get(segment.sn, set()):
            self.violations.append(f"ACK of sn {segment.sn} with a foreign timestamp {segment.ts}")
        self.in_flight = [s for s in self.in_flight if s.sn != segment.sn]
        for other in self.in_flight:
            if difference(segment.sn, other.sn) > 0 and difference(segment.ts, other.ts) >= 0:
                other.passed_over += 1
        self._shrink()

    def _shrink(self) -> None:
        self.send_una = self.in_flight[0].sn if self.in_flight else self.send_next

    def _take_push(self, segment: Segment) -> None:
        if not segment.payload:
            self.violations.append(f"PUSH sn {segment.sn} of length 0")
        if difference(segment.sn, self.receive_next) >= self.window:
            self.violations.append(f"PUSH sn {segment.sn} beyond the window of {self.window}")
            return
        known = self.pushes_seen.setdefault(segment.sn, segment.payload)
        if known != segment.payload:
            self.violations.append(f"PUSH sn {segment.sn} came again with other contents")
        self.acks.append((segment.sn, segment.ts))
        if difference(segment.sn, self.receive_next) < 0 or segment.sn in self.early:
            self.duplicates += 1
            return
        self.early[segment.sn] = segment
        self._move_ready()

    def _move_ready(self) -> None:
        while self.receive_next in self.early and len(self.ready) < self.window:
            self.ready.append(self.early.pop(self.receive_next))
            self.receive_next = (self.receive_next + 1) & 0xFFFF_FFFF

    def _round_trip(self, sample: int) -> None:
        if self.srtt == 0:
            self.srtt, self.rttvar = sample, sample // 2
        else:
            delta = sample - self.srtt
            self.srtt += delta // 8
            self.rttvar += (abs(delta) - self.rttvar) // 4
        self.rto = min(max(self.srtt + max(INTERVAL_MS, self.rttvar * 4), 30), 60_000)

    def read(self) -> bytes:
        """All whole messages, in order; nothing more after an empty one."""
        out = b""
        was_full = len(self.ready) >= self.window
        while self.reading and not self.stalled and self.ready:
            needed = self.ready[0].frg + 1
            if len(self.ready) < needed:
                break
            message = b"".join(s.payload for s in self.ready[:needed])
            if not message:
                self.stalled = True
                break
            out += message
            del self.ready[:needed]
            self._move_ready()
        if was_full and len(self.ready) < self.window:
            self.tell_window = True
        return out
