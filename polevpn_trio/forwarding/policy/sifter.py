# cython: annotation_typing=False
"""Takes out of runs of packets what a policy does not let pass.

The rules say who may open a flow. What answers one, and ICMP errors about one, pass with it;
so do the later fragments of a packet whose first one did.
"""

from __future__ import annotations

from array import array

from polevpn_trio.batch import SEQUENCES_OFFLOAD
from polevpn_trio.forwarding.policy.flow_table import ANSWERED, FlowTable
from polevpn_trio.forwarding.policy.headers import (
    ACK,
    ERROR,
    FIN,
    LATER_FRAGMENT,
    RST,
    SYN,
    WHOLE,
    PacketHeaders,
)
from polevpn_trio.forwarding.policy.rule_table import RuleTable
from polevpn_trio.frames.segmentation import segments_in, sequence_of

TCP_ESTABLISHED_SECONDS = 7440
"""2 hours 4 minutes (RFC 5382, section 5)."""
TCP_TRANSITORY_SECONDS = 240
"""While it opens, and once it is closed (RFC 5382, section 5)."""
UDP_SECONDS = 300
"""What RFC 4787, section 4.3, recommends."""
UDP_UNANSWERED_SECONDS = 120
"""The least that it allows."""
ICMP_SECONDS = 60
"""RFC 5508, section 3.2."""
OTHER_SECONDS = 600
FRAGMENTS_SECONDS = 60
"""As long as a host waits for the rest of a packet (RFC 8200, section 4.5)."""

# Copies that the compiled build holds as C integers, which other modules cannot import.
_TCP_ESTABLISHED = 1000 * TCP_ESTABLISHED_SECONDS
_TCP_TRANSITORY = 1000 * TCP_TRANSITORY_SECONDS
_UDP_ANSWERED = 1000 * UDP_SECONDS
_UDP_UNANSWERED = 1000 * UDP_UNANSWERED_SECONDS
_ICMP_LIFE = 1000 * ICMP_SECONDS
_OTHER_LIFE = 1000 * OTHER_SECONDS
_FRAGMENTS_LIFE = 1000 * FRAGMENTS_SECONDS
_ERROR = ERROR
_LATER_FRAGMENT = LATER_FRAGMENT
_WHOLE = WHOLE
_FIN = FIN
_SYN = SYN
_RST = RST
_ACK = ACK
_OFFLOAD = SEQUENCES_OFFLOAD
_FRAME_HEADER = 8
_ICMP = 1
_TCP = 6
_UDP = 17
_ICMPV6 = 58

# Words of an entry behind its key (`flow_table`).
_EXPIRES = 5
_STATE = 6
_SITES = 7
# Bits of the state, beside ANSWERED. TURNED tells which way the opener sends.
_ANSWERED = ANSWERED
_TURNED = 2
_OPENER_CLOSED = 4
_OTHER_CLOSED = 8
_CLOSED = _OPENER_CLOSED | _OTHER_CLOSED
_GENERATION_SHIFT = 32
_SITE_SHIFT = 32
_PASSES = -1

_INTERPRETED = __file__.endswith(".py")


class Sifter:
    """Sifts what goes from one site to another, run by run.

    After each `sift_untrusted`, ``denied`` tells how many packets it took out (those in
    super-packets each); ``denied_by`` the counter that the first of them was counted in, and
    ``headers`` what was read of that one. ``denials`` and ``openings`` count packets and flows
    since the start: by rule, then for the default, and ``denials`` for what is unrelated to
    anything that was let in.
    """

    def __init__(self, rules: RuleTable, flows: FlowTable) -> None:
        self.flows = flows
        self.headers = PacketHeaders()
        self._headers = PacketHeaders()
        self._quoted = PacketHeaders()
        self._generation = 0
        self.denied = 0
        self.denied_by = 0
        self.change(rules, 0)

    def change(self, rules: RuleTable, resume_until: int) -> None:
        """Go on with other rules: they judge the flows that are known, too. Counters begin anew.

        Until ``resume_until`` (milliseconds), TCP connections that began before there was a table
        may go on with a packet of either side, if the other one may open them.
        """
        self._rules = rules
        self._resume_until = resume_until
        self._generation = self._generation + 1 & 0x7FFFFFFF
        self.denials = array("Q", bytes(8 * (rules.count + 2)))
        self.openings = array("Q", bytes(8 * (rules.count + 2)))

    def sift_untrusted(
        self, data: bytearray | memoryview, sequences: int, origin: int, target: int, now: int
    ) -> int:
        """Move the frames that may pass to the front of ``data``; return how many bytes they take.

        ``data`` is whole frames back to back with an IP packet in each, ``sequences`` one of the
        ``SEQUENCES_`` constants; what is neither is left out. ``origin`` and ``target`` are the
        numbers that the rules have for the sites, ``now`` is in milliseconds.
        """
        view = memoryview(data) if _INTERPRETED else data
        self.denied = 0
        total = len(view)
        at = 0
        kept = 0
        while total - at >= _FRAME_HEADER:
            size = view[at] << 8 | view[at + 1]
            if size < _FRAME_HEADER or size > total - at:
                break
            self._headers.read_untrusted(view, at + _FRAME_HEADER, size - _FRAME_HEADER)
            counter = self._judge(view, origin, target, now)
            if counter == _PASSES:
                if kept != at:
                    _move(view, at, kept, size)
                kept += size
            else:
                self._deny(view, at, size, sequences, counter)
            at += size
        return kept

    def _deny(
        self, view: bytearray | memoryview, at: int, size: int, sequences: int, counter: int
    ) -> None:
        """Count the frame of ``size`` bytes at byte ``at``, whose headers were read last."""
        start = at + _FRAME_HEADER
        packets = 1
        sequence = sequence_of(view, at)
        if sequence != 0 and sequences == _OFFLOAD:
            packets = segments_in(view, start, size - _FRAME_HEADER, sequence)
        if self.denied == 0:
            self.denied_by = counter
            self.headers, self._headers = self._headers, self.headers
        self.denied += packets
        self.denials[counter] += packets

    def _judge(self, view: bytearray | memoryview, origin: int, target: int, now: int) -> int:
        """Return `_PASSES`, or what to count the packet under whose headers were read."""
        headers = self._headers
        unrelated = self._rules.count + 1
        if headers.kind == _WHOLE:
            counter = self._judge_flow(origin, target, now)
            if counter == _PASSES and headers.begins_fragments:
                self._expect_fragments(origin, target, now)
            return counter
        if headers.kind == _LATER_FRAGMENT:
            headers.become_fragments()
            at = self._find(headers, now)
            if at < 0 or not self._is_current(at, origin, target):
                return unrelated
            return _PASSES
        if headers.kind == _ERROR:
            quoted = self._quoted
            if (
                quoted.read_quoted_untrusted(view, headers) == _WHOLE
                and quoted.source_low == headers.destination_low
                and quoted.source_high == headers.destination_high
            ):
                at = self._find(quoted, now)
                # It has gone from target to origin.
                if at >= 0 and self._stands(at, quoted, target, origin):
                    return _PASSES
        return unrelated

    def _find(self, headers: PacketHeaders, now: int) -> int:
        return self.flows.find(
            headers.key_0, headers.key_1, headers.key_2, headers.key_3, headers.key_4, now
        )

    def _insert(self, headers: PacketHeaders, now: int) -> int:
        return self.flows.insert(
            headers.key_0, headers.key_1, headers.key_2, headers.key_3, headers.key_4, now
        )

    def _judge_flow(self, origin: int, target: int, now: int) -> int:
        headers = self._headers
        at = self._find(headers, now)
        if at >= 0 and not self._stands(at, headers, origin, target):
            self.flows.entry[at + _EXPIRES] = 0
            at = -1
        if at >= 0 and not (headers.opens and self._is_answer(at, headers)):
            self._follow(at, now)
            return _PASSES
        rule = self._decide(headers, origin, target)
        if self._rules.allows(rule):
            if at < 0:
                self.openings[rule] += 1
                self._open(headers.turned, origin, target, now)
            return _PASSES
        if (
            now < self._resume_until
            and at < 0
            and headers.protocol == _TCP
            and headers.flags & (_SYN | _RST) == 0
        ):
            opening = self._decide_answered(headers, target, origin)
            if self._rules.allows(opening):
                self.openings[opening] += 1
                self._open(not headers.turned, target, origin, now)
                return _PASSES
        return rule

    def _open(self, turned: bool, opener: int, other: int, now: int) -> None:
        """Remember the flow of the packet that was read."""
        at = self._insert(self._headers, now)
        self.flows.entry[at + _STATE] = _TURNED if turned else 0
        self._make_current(at, opener, other)
        self._follow(at, now)

    def _is_answer(self, at: int, headers: PacketHeaders) -> bool:
        """Whether a packet of a flow goes to who has opened it."""
        return (self.flows.entry[at + _STATE] & _TURNED != 0) != headers.turned

    def _stands(self, at: int, headers: PacketHeaders, origin: int, target: int) -> bool:
        """Whether a known flow may go on, which a packet from ``origin`` to ``target`` is of."""
        answer = self._is_answer(at, headers)
        opener = target if answer else origin
        other = origin if answer else target
        if self._is_current(at, opener, other):
            return True
        # The rules have changed, or one end is at another site now.
        if answer:
            rule = self._decide_answered(headers, opener, other)
        else:
            rule = self._decide(headers, opener, other)
        if not self._rules.allows(rule):
            return False
        self._make_current(at, opener, other)
        return True

    def _is_current(self, at: int, opener: int, other: int) -> bool:
        return (
            self.flows.entry[at + _STATE] >> _GENERATION_SHIFT == self._generation
            and self.flows.entry[at + _SITES] == opener << _SITE_SHIFT | other
        )

    def _make_current(self, at: int, opener: int, other: int) -> None:
        """Note by which rules, and between which sites, a flow was allowed."""
        flags = self.flows.entry[at + _STATE] & 0xFF
        self.flows.entry[at + _STATE] = flags | self._generation << _GENERATION_SHIFT
        self.flows.entry[at + _SITES] = opener << _SITE_SHIFT | other

    def _decide(self, headers: PacketHeaders, origin: int, target: int) -> int:
        return self._rules.decide(
            origin,
            target,
            headers.version,
            headers.source_high,
            headers.source_low,
            headers.destination_high,
            headers.destination_low,
            headers.protocol,
            headers.port,
        )

    def _decide_answered(self, headers: PacketHeaders, origin: int, target: int) -> int:
        """Find the rule for the flow that a packet answers, opened from ``origin``."""
        return self._rules.decide(
            origin,
            target,
            headers.version,
            headers.destination_high,
            headers.destination_low,
            headers.source_high,
            headers.source_low,
            headers.protocol,
            headers.back_port,
        )

    def _expect_fragments(self, origin: int, target: int, now: int) -> None:
        """Let the others of a packet pass, whose first fragment did."""
        headers = self._headers
        headers.become_fragments()
        at = self._find(headers, now)
        if at < 0:
            at = self._insert(headers, now)
        self.flows.entry[at + _STATE] = 0
        self._make_current(at, origin, target)
        self.flows.entry[at + _EXPIRES] = now + _FRAGMENTS_LIFE

    def _follow(self, at: int, now: int) -> None:
        """Note that a packet of a known flow has passed."""
        headers = self._headers
        state = self.flows.entry[at + _STATE]
        answer = self._is_answer(at, headers)
        if answer:
            state |= _ANSWERED
        life = _OTHER_LIFE
        protocol = headers.protocol
        if protocol == _TCP:
            if headers.opens:
                # A new connection with the ports of an old one.
                state &= ~(_CLOSED | _ANSWERED)
            if headers.flags & _RST:
                state |= _CLOSED
            elif headers.flags & _FIN:
                state |= _OTHER_CLOSED if answer else _OPENER_CLOSED
            open_both_ways = state & _ANSWERED != 0 and state & _CLOSED != _CLOSED
            life = _TCP_ESTABLISHED if open_both_ways else _TCP_TRANSITORY
        elif protocol == _UDP:
            life = _UDP_ANSWERED if state & _ANSWERED else _UDP_UNANSWERED
        elif protocol in (_ICMP, _ICMPV6):
            life = _ICMP_LIFE
        self.flows.entry[at + _STATE] = state
        self.flows.entry[at + _EXPIRES] = now + life


def _move(view: bytearray | memoryview, source: int, target: int, size: int) -> None:
    """Copy bytes towards the front; the two places may overlap."""
    if _INTERPRETED:
        view[target : target + size] = view[source : source + size]
    else:
        for index in range(size):
            view[target + index] = view[source + index]
