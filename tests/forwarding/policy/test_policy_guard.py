"""What a policy lets pass: flows that a rule allows, and what belongs to them, and nothing else."""

from __future__ import annotations

import struct
from ipaddress import ip_network

import pytest

from polevpn_trio.batch import SEQUENCES_OFFLOAD
from polevpn_trio.forwarding.policy.guard import RESUME_SECONDS, Denial, PolicyGuard
from polevpn_trio.forwarding.policy.rules import Policy, Rule
from polevpn_trio.forwarding.policy.sifter import (
    FRAGMENTS_SECONDS,
    ICMP_SECONDS,
    OTHER_SECONDS,
    TCP_ESTABLISHED_SECONDS,
    TCP_TRANSITORY_SECONDS,
    UDP_SECONDS,
    UDP_UNANSWERED_SECONDS,
)
from tests.forwarding.policy.packets import (
    ACK_ONLY,
    FIN_ACK,
    LATER,
    RST_ONLY,
    SYN,
    SYN_ACK,
    Border,
    echo,
    icmp_error,
    ip,
    tcp,
    tcp_body,
    udp,
    udp_body,
)

A, B = "10.1.0.5", "10.2.0.6"
A6, B6 = "fd00:1::5", "fd00:2::6"
BOTH = pytest.mark.parametrize(("a", "b"), [(A, B), (B, A), (A6, B6), (B6, A6)])

WEB = Rule("web", True, ("a",), ("b",), frozenset({6}), ((80, 80), (443, 443)))
NAMES = Rule("names", True, ("a",), ("b",), frozenset({17}), ((53, 53),))
PING = Rule("ping", True, ("a",), ("b",), frozenset({1, 58}))
TUNNEL = Rule("gre", True, ("a",), ("b",), frozenset({47}))
ONE_WAY = Policy((WEB, NAMES, PING, TUNNEL), default_allows=False)


@pytest.fixture
def border() -> Border:
    return Border.of(ONE_WAY)


@BOTH
def test_a_tcp_connection_passes_in_the_direction_that_may_open_it(
    a: str, b: str, border: Border
) -> None:
    opening, answer = tcp(a, 4000, b, 443), tcp(b, 443, a, 4000, SYN_ACK)
    assert border.answer(answer) == []
    assert border.send(opening) == [opening]
    assert border.answer(answer) == [answer]
    for _ in range(3):
        data, back = tcp(a, 4000, b, 443, ACK_ONLY), tcp(b, 443, a, 4000, ACK_ONLY)
        assert border.send(data, data) == [data, data]
        assert border.answer(back) == [back]
    assert border.openings() == {"web": 1}
    assert border.denials() == {"default": 1}


@BOTH
def test_what_nobody_may_open_does_not_pass(a: str, b: str, border: Border) -> None:
    for packet in (tcp(a, 4000, b, 22), udp(a, 4000, b, 443), ip(a, b, 50, bytes(20))):
        assert border.send(packet) == []
    for packet in (tcp(b, 4000, a, 443), udp(b, 4000, a, 53), echo(b, a), ip(b, a, 47, bytes(8))):
        assert border.answer(packet) == []
    # By a flow with the same ports, but the other way round, nothing is let in.
    border.send(tcp(a, 443, b, 443))
    assert border.answer(tcp(b, 443, a, 443, SYN)) == []
    assert border.openings() == {"web": 1}
    assert border.denials() == {"default": 8}


@BOTH
def test_datagrams_and_echoes_are_answered(a: str, b: str, border: Border) -> None:
    for packet, answer in (
        (udp(a, 4000, b, 53), udp(b, 53, a, 4000)),
        (echo(a, b), echo(b, a, reply=True)),
        (ip(a, b, 47, bytes(8)), ip(b, a, 47, bytes(12))),
    ):
        assert border.answer(answer) == []
        assert border.send(packet) == [packet]
        assert border.answer(answer) == [answer]
    assert border.answer(echo(b, a, reply=True, identifier=8)) == []
    # What asks is no answer, although the addresses and the identifier are those of the flow.
    assert border.answer(echo(b, a)) == []


def test_only_what_is_denied_is_taken_out_of_a_run(border: Border) -> None:
    run = [tcp(A, 4000 + n, B, [443, 22, 80, 8080][n % 4]) for n in range(20)]
    assert border.send(*run) == [packet for n, packet in enumerate(run) if n % 2 == 0]
    assert border.denials() == {"default": 10}
    assert border.openings() == {"web": 10}


@BOTH
def test_an_icmp_error_passes_if_it_quotes_what_was_let_in(a: str, b: str, border: Border) -> None:
    opening = tcp(a, 4000, b, 443)
    error = icmp_error(b, a, opening)
    assert border.answer(error) == []
    border.send(opening)
    assert border.answer(error) == [error]
    # A router inside the other site sends them, too.
    middle = icmp_error("fd00:2::1" if ":" in a else "10.2.0.1", a, opening)
    assert border.answer(middle) == [middle]
    answered = tcp(b, 443, a, 4000, ACK_ONLY)
    back = icmp_error(a, b, answered)
    border.answer(answered)
    assert border.send(back) == [back]


@BOTH
def test_an_icmp_error_about_something_else_does_not_pass(a: str, b: str, border: Border) -> None:
    border.send(tcp(a, 4000, b, 443))
    for quoted in (
        tcp(a, 4001, b, 443),
        tcp(a, 4000, b, 444),
        udp(a, 4000, b, 443),
        tcp(b, 443, a, 4000),
        b"",
        bytes(28),
        tcp(a, 4000, b, 443)[:19],
    ):
        assert border.answer(icmp_error(b, a, quoted)) == []
    # About that flow, but to somebody else.
    other = "fd00:1::9" if ":" in a else "10.1.0.9"
    assert border.answer(icmp_error(b, other, tcp(a, 4000, b, 443))) == []
    assert border.denials() == {"unrelated": 8}


@pytest.mark.parametrize("kind", [0, 1, 2, 5, 6, 7, 9, 10, 13, 17, 255])
def test_an_icmp_message_is_no_way_around_the_rules(kind: int, border: Border) -> None:
    border.send(tcp(A, 4000, B, 443), echo(A, B))
    assert border.answer(icmp_error(B, A, tcp(A, 4001, B, 443), kind=kind)) == []


def first_and_later(a: str, b: str, port: int, number: int = 99) -> tuple[bytes, bytes]:
    """Two fragments of one UDP datagram."""
    body = udp_body(4000, port, bytes(24))
    if ":" not in a:
        return (
            ip(a, b, 17, body[:16], fragment=0x2000),
            ip(a, b, 17, body[16:], fragment=2),
        )
    extension = struct.pack("!BBHI", 17, 0, 1, number), struct.pack("!BBHI", 17, 0, 16, number)
    return ip(a, b, 44, extension[0] + body[:16]), ip(a, b, 44, extension[1] + body[16:])


@BOTH
def test_later_fragments_pass_with_their_first(a: str, b: str, border: Border) -> None:
    first, later = first_and_later(a, b, 53)
    assert border.send(later) == []
    assert border.send(first, later, later) == [first, later, later]
    assert border.answer(later) == []
    assert border.send(later, now=LATER + FRAGMENTS_SECONDS + 1) == []
    denied, rest = first_and_later(b, a, 54)
    assert border.answer(denied, rest) == []
    assert border.denials() == {"default": 1, "unrelated": 4}


def test_fragments_that_hide_a_header_do_not_pass() -> None:
    border = Border.of(Policy((Rule("no ssh", False, (), (), frozenset({6}), ((22, 22),)),)))
    whole = tcp_body(4000, 80)
    first = ip(A, B, 6, whole, fragment=0x2000)
    assert border.send(first) == [first]
    # Over the flags, by a fragment at byte 8; and a first one without its flags.
    assert border.send(ip(A, B, 6, whole, fragment=1)) == []
    assert border.send(ip(A, B, 6, whole[:16], fragment=0x2000)) == []
    assert border.send(ip(A6, B6, 44, struct.pack("!BBHI", 60, 0, 1, 5))) == []
    assert border.send(ip(A, B, 17, bytes(7))) == []
    assert border.denials() == {"unrelated": 4}


def test_ports_are_found_behind_the_extension_headers_of_ipv6(border: Border) -> None:
    def extended(count: int, port: int) -> bytes:
        headers = b"".join(struct.pack("!BB6x", 60, 0) for _ in range(count - 1))
        return ip(A6, B6, 60, headers + struct.pack("!BB6x", 6, 0) + tcp_body(4000, port))

    assert border.send(extended(3, 443)) == [extended(3, 443)]
    assert border.send(extended(3, 22)) == []
    assert border.send(extended(9, 443)) == []
    # A fragment that is no part of anything.
    atomic = ip(A6, B6, 44, struct.pack("!BBHI", 6, 0, 0, 5) + tcp_body(4001, 443))
    assert border.send(atomic) == [atomic]


def test_a_super_packet_counts_for_the_packets_in_it(border: Border) -> None:
    def super_packet(port: int) -> bytes:
        body = tcp_body(4000, port, ACK_ONLY) + bytes(2500)
        return ip(A, B, 6, body)

    opening = tcp(A, 4000, B, 443)
    sent = [(0, opening), (1000, super_packet(443)), (1000, super_packet(22)), (0, opening)]
    passed = border.send_frames(sent, sequences=SEQUENCES_OFFLOAD, packets=8)
    assert passed == [sent[0], sent[1], sent[3]]
    assert border.denials() == {"default": 3}


SECONDS = {
    "tcp": ([tcp(A, 1, B, 443)], tcp(B, 443, A, 1, SYN_ACK), TCP_TRANSITORY_SECONDS),
    "udp": ([udp(A, 1, B, 53)], udp(B, 53, A, 1), UDP_UNANSWERED_SECONDS),
    "echo": ([echo(A, B)], echo(B, A, reply=True), ICMP_SECONDS),
    "other": ([ip(A, B, 47, bytes(8))], ip(B, A, 47, bytes(8)), OTHER_SECONDS),
}


@pytest.mark.parametrize("name", SECONDS)
def test_a_flow_that_nobody_answers_is_forgotten(name: str) -> None:
    packets, answer, seconds = SECONDS[name]
    for after, passes in ((seconds - 1, True), (seconds + 1, False)):
        border = Border.of(ONE_WAY)
        border.send(*packets)
        assert border.answer(answer, now=LATER + after) == ([answer] if passes else [])
        assert border.guard.flows_in_use(LATER + after) == passes


def test_an_answered_flow_lives_longer_and_each_packet_prolongs_it(border: Border) -> None:
    packet, answer = udp(A, 1, B, 53), udp(B, 53, A, 1)
    border.send(packet)
    now = LATER
    for _ in range(3):
        assert border.answer(answer, now=now) == [answer]
        now += UDP_SECONDS - 1
    assert border.answer(answer, now=now + UDP_SECONDS) == []


@pytest.mark.parametrize(
    "ending",
    [
        [("b", RST_ONLY)],
        [("a", RST_ONLY)],
        [("a", FIN_ACK), ("b", FIN_ACK)],
        [("b", FIN_ACK), ("a", FIN_ACK)],
    ],
)
def test_an_idle_connection_is_kept_for_hours_and_a_closed_one_for_minutes(
    ending: list[tuple[str, int]],
) -> None:
    answer = tcp(B, 443, A, 1, ACK_ONLY)
    border = Border.of(ONE_WAY)
    border.send(tcp(A, 1, B, 443))
    border.answer(tcp(B, 443, A, 1, SYN_ACK))
    assert border.answer(answer, now=LATER + TCP_ESTABLISHED_SECONDS - 1) == [answer]
    now = LATER + TCP_ESTABLISHED_SECONDS
    for side, flags in ending[:1]:
        _close(border, side, flags, now)
    if len(ending) == 2:
        now += TCP_TRANSITORY_SECONDS + 1
        assert border.answer(answer, now=now) == [answer]
        _close(border, *ending[1], now)
    assert border.answer(answer, now=now + TCP_TRANSITORY_SECONDS + 1) == []


def _close(border: Border, side: str, flags: int, now: float) -> None:
    if side == "a":
        assert border.send(tcp(A, 1, B, 443, flags), now=now)
    else:
        assert border.answer(tcp(B, 443, A, 1, flags), now=now)


def test_a_port_is_used_again_for_a_new_connection(border: Border) -> None:
    for _ in range(2):
        assert border.send(tcp(A, 1, B, 443))
        assert border.answer(tcp(B, 443, A, 1, SYN_ACK))
        assert border.send(tcp(A, 1, B, 443, RST_ONLY))
    border.send(tcp(A, 1, B, 443))
    border.answer(tcp(B, 443, A, 1, SYN_ACK))
    later = tcp(B, 443, A, 1, ACK_ONLY)
    assert border.answer(later, now=LATER + TCP_TRANSITORY_SECONDS + 1) == [later]


def test_a_scan_takes_no_memory_and_no_flow_that_is_in_use() -> None:
    border = Border.of(Policy((WEB, NAMES), default_allows=False, flows=1024))
    connections = range(100)
    for port in connections:
        border.send(tcp(A, port, B, 443))
        border.answer(tcp(B, 443, A, port, SYN_ACK))
    for port in range(20_000):
        border.send(udp(A, port, B, 53))
    assert border.guard.flows_in_use(LATER) <= 1024
    assert border.guard.evicted >= 19_000
    for port in connections:
        data = tcp(B, 443, A, port, ACK_ONLY)
        assert border.answer(data) == [data]


def test_what_is_denied_takes_no_place_in_the_table(border: Border) -> None:
    for port in range(1000):
        border.send(tcp(A, port, B, 22))
        border.answer(tcp(B, port, A, 443))
    assert border.guard.flows_in_use(LATER) == 0


def test_a_changed_policy_judges_flows_that_are_open(border: Border) -> None:
    flows = {443: "web", 80: "web"}
    for port in flows:
        border.send(tcp(A, 1, B, port))
        border.answer(tcp(B, port, A, 1, SYN_ACK))
    border.send(udp(A, 1, B, 53))
    only_tls = Rule("tls", True, ("a",), ("b",), frozenset({6}), ((443, 443),))
    border.guard.change(Policy((only_tls,), default_allows=False))
    assert border.answer(tcp(B, 443, A, 1, ACK_ONLY)) != []
    assert border.answer(tcp(B, 80, A, 1, ACK_ONLY)) == []
    assert border.send(tcp(A, 1, B, 80, ACK_ONLY)) == []
    assert border.answer(udp(B, 53, A, 1)) == []
    assert border.answer(icmp_error(B, A, tcp(A, 1, B, 80))) == []
    # And back again: what was closed must be opened anew.
    border.guard.change(ONE_WAY)
    assert border.answer(udp(B, 53, A, 1)) == []
    assert border.answer(tcp(B, 443, A, 1, ACK_ONLY)) != []


def test_counters_outlive_a_change_by_the_name_of_the_rule(border: Border) -> None:
    border.send(tcp(A, 1, B, 443), tcp(A, 1, B, 22))
    border.guard.change(Policy((Rule("new", True), WEB), default_allows=False))
    border.guard.change(ONE_WAY)
    border.send(tcp(A, 2, B, 443), tcp(A, 1, B, 22))
    assert border.openings() == {"web": 2}
    assert border.denials() == {"default": 2}


def test_a_flow_belongs_to_the_sites_that_it_was_opened_between(border: Border) -> None:
    border.send(tcp(A, 1, B, 443))
    data = tcp(B, 443, A, 1, ACK_ONLY)
    assert border.send(data, origin="c", target="a") == []
    # It stays so when nothing but a stranger's packets came: the flow is gone.
    assert border.answer(data) == []


def test_a_connection_that_is_older_than_the_table_goes_on_from_either_side() -> None:
    back = tcp(B, 443, A, 1, ACK_ONLY)
    border = Border(PolicyGuard(ONE_WAY, seed=1, resume_until=RESUME_SECONDS))
    assert border.answer(back, now=RESUME_SECONDS - 1) == [back]
    assert border.answer(back, now=RESUME_SECONDS + 1) == [back]
    assert border.answer(tcp(B, 443, A, 2, ACK_ONLY), now=RESUME_SECONDS + 1) == []
    strict = Border(PolicyGuard(ONE_WAY, seed=1, resume_until=RESUME_SECONDS))
    for flags in (SYN, SYN_ACK, RST_ONLY):
        assert strict.answer(tcp(B, 443, A, 3, flags), now=1.0) == []
    assert strict.answer(tcp(B, 22, A, 3, ACK_ONLY), now=1.0) == []
    assert strict.answer(udp(B, 53, A, 3), now=1.0) == []


def test_where_all_may_pass_both_ways_no_flow_is_remembered() -> None:
    border = Border.of(Policy((Rule("not c", False, ("c",)),)))
    packet = tcp(A, 1, B, 443, ACK_ONLY)
    assert border.send(packet) == [packet]
    assert border.guard.flows_in_use(LATER) == 0
    assert border.send(packet, origin="c") == []
    assert border.send(packet, target="c") == [packet]
    assert border.guard.flows_in_use(LATER) == 1


def test_networks_are_told_apart_by_version_and_length() -> None:
    def one(text: str) -> Policy:
        return Policy((Rule("one", True, (ip_network(text),)),), default_allows=False)

    for text, inside, outside in (
        ("10.1.0.0/24", "10.1.0.255", "10.1.1.0"),
        ("10.1.0.5/32", "10.1.0.5", "10.1.0.4"),
        ("0.0.0.0/0", "203.0.113.1", "fd00::1"),
        ("::/0", "fd00::1", "203.0.113.1"),
        ("fd00:0:0:1:8000::/65", "fd00:0:0:1:8000::1", "fd00:0:0:1:7fff::1"),
    ):
        for source, passes in ((inside, True), (outside, False)):
            packet = udp(source, 1, "fd00:2::1" if ":" in source else "10.2.0.1", 2)
            assert bool(Border.of(one(text)).send(packet)) is passes


def test_a_denial_is_told_with_what_is_known_of_it() -> None:
    heard: list[Denial] = []

    def note(_sender: object, guard: PolicyGuard, _now: float) -> None:
        heard.append(guard.last_denial())

    border = Border(PolicyGuard(ONE_WAY, seed=1, on_denied=note))
    border.send(tcp(A, 9, B, 443), tcp(A, 4000, B, 22), tcp(A, 4001, B, 23))
    border.send(ip(A6, B6, 50, bytes(8)))
    border.send(first_and_later(A, B, 53)[1])
    assert [str(denial) for denial in heard] == [
        "tcp 10.1.0.5 port 4000 -> 10.2.0.6 port 22",
        "protocol 50 fd00:1::5 -> fd00:2::6",
        "udp 10.1.0.5 -> 10.2.0.6",
    ]
    assert [denial.name for denial in heard] == ["default", "default", "unrelated"]
