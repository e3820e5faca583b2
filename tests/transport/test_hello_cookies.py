"""The cookie exchange: who gets in, and that Trio would say the same."""

from __future__ import annotations

import contextlib

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from trio import _dtls as trio_dtls

from polevpn_trio.errors import BadPacket
from polevpn_trio.transport import dtls
from polevpn_trio.transport.handshake import is_hello_verify_request
from polevpn_trio.transport.hello_cookies import (
    CHALLENGE_BURST,
    CHALLENGES_PER_SECOND,
    COOKIE_BYTES,
    SECOND_CHALLENGE_BURST,
    HelloCookies,
)
from tests.transport.memory_network import run

HOST, OTHER = ("192.0.2.1", 4321), ("192.0.2.1", 4322)
SIX = ("2001:db8::1", 4321, 0, 7)

COOKIE_AT = 60
"""Where the length of the cookie stands in a ClientHello without a session to resume."""


def hello(cookie: bytes = b"") -> bytes:
    """Return OpenSSL's ClientHello, with a cookie put into it."""
    connection = SSL.Connection(dtls.client_context())
    connection.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()
    return with_cookie(connection.bio_read(1 << 14), cookie)


def with_cookie(datagram: bytes, cookie: bytes) -> bytes:
    body = datagram[25:COOKIE_AT] + bytes((len(cookie),)) + cookie + datagram[COOKIE_AT + 1 :]
    size = len(body).to_bytes(3, "big")
    message = datagram[13:14] + size + bytes((0, 1)) + bytes(3) + size + body
    return datagram[:11] + len(message).to_bytes(2, "big") + message


def cookie_in(challenge: bytes | None) -> bytes:
    assert challenge
    assert is_hello_verify_request(challenge)
    return challenge[-COOKIE_BYTES:]


@pytest.mark.parametrize("address", [HOST, SIX])
@pytest.mark.parametrize("later", [0.0, 29.0])
def test_who_brings_the_cookie_back_is_let_through(
    address: tuple[object, ...], later: float
) -> None:
    cookies, first = HelloCookies(0.0), hello()
    cookie = cookie_in(cookies.challenge_untrusted(first, address, 100.0))
    second = with_cookie(first, cookie)
    assert cookies.challenge_untrusted(second, address, 100.0 + later) is None


def test_a_cookie_is_good_for_one_address_one_hello_one_key_and_a_minute_at_most() -> None:
    cookies, first = HelloCookies(0.0), hello()
    cookie = cookie_in(cookies.challenge_untrusted(first, HOST, 100.0))
    good = with_cookie(first, cookie)
    assert cookies.challenge_untrusted(good, OTHER, 100.0)
    assert cookies.challenge_untrusted(good, SIX, 100.0)
    assert cookies.challenge_untrusted(with_cookie(hello(), cookie), HOST, 100.0)
    assert HelloCookies(0.0).challenge_untrusted(good, HOST, 100.0)
    for at in range(COOKIE_BYTES):
        wrong = bytearray(cookie)
        wrong[at] ^= 1
        assert cookies.challenge_untrusted(with_cookie(first, bytes(wrong)), HOST, 100.0)
    for part in (cookie[:-1], cookie + b"\0", b""):
        assert cookies.challenge_untrusted(with_cookie(first, part), HOST, 100.0)
    assert cookies.challenge_untrusted(good, HOST, 100.0) is None
    assert cookies.challenge_untrusted(good, HOST, 160.0)


def test_a_flood_is_answered_up_to_a_bound_and_holds_up_nobody_who_has_a_cookie() -> None:
    cookies, first = HelloCookies(0.0), hello()
    proven = with_cookie(first, cookie_in(cookies.challenge_untrusted(first, OTHER, 0.0)))
    made_up = with_cookie(first, bytes(COOKIE_BYTES))
    answers = [
        cookies.challenge_untrusted((first, made_up)[number % 2], HOST, 0.0)
        for number in range(2 * CHALLENGE_BURST)
    ]
    assert sum(map(bool, answers)) == CHALLENGE_BURST - 1
    assert cookies.unanswered == answers.count(b"") == CHALLENGE_BURST + 1
    assert cookies.challenge_untrusted(proven, OTHER, 0.0) is None
    # Some time later, as many again as that time allows.
    later = 0.1
    answers = [cookies.challenge_untrusted(first, HOST, later) for _ in range(CHALLENGE_BURST)]
    assert sum(map(bool, answers)) == pytest.approx(CHALLENGES_PER_SECOND * later, abs=1)


def test_cookies_that_are_made_up_take_few_answers_from_those_who_have_none() -> None:
    cookies, first = HelloCookies(0.0), hello()
    proven = with_cookie(first, cookie_in(cookies.challenge_untrusted(first, OTHER, 0.0)))
    answered = []
    kinds = [with_cookie(first, bytes(size)) for size in (1, COOKIE_BYTES, 255)]
    for made_up in kinds:
        tries = range(SECOND_CHALLENGE_BURST // 2)
        answers = [cookies.challenge_untrusted(made_up, HOST, 1.0) for _ in tries]
        answered.append(sum(map(bool, answers)))
    assert answered == [SECOND_CHALLENGE_BURST // 2] * 2 + [0]
    assert cookies.unanswered == SECOND_CHALLENGE_BURST // 2
    assert cookies.challenge_untrusted(proven, OTHER, 1.0) is None
    assert cookies.challenge_untrusted(first, HOST, 1.0)
    # And later there are some for them again.
    assert cookies.challenge_untrusted(kinds[-1], HOST, 1.1)


def test_trio_takes_our_cookies_for_its_own() -> None:
    async def main() -> None:
        for address in (HOST, SIX):
            cookies, first = HelloCookies(0.0), hello()
            number, _, rest = trio_dtls.decode_client_hello_untrusted(first)
            theirs = trio_dtls.challenge_for(cookies.key, address, number, rest)
            for _ in range(3):
                now = trio.current_time()
                ours = cookies.challenge_untrusted(first, address, now)
                assert ours is not None
                assert ours[:-COOKIE_BYTES] == theirs[:-COOKIE_BYTES]
                for _ in range(2):
                    second = with_cookie(first, cookie_in(ours))
                    assert cookies.challenge_untrusted(second, address, trio.current_time()) is None
                    assert trio_dtls.valid_cookie(cookies.key, cookie_in(ours), address, rest)
                    await trio.sleep(29)

    run(main)


FIRST = hello()
PROVEN = with_cookie(FIRST, bytes(range(COOKIE_BYTES)))


@given(
    st.sampled_from((FIRST, PROVEN)),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
    st.integers(0, 100),
    st.binary(max_size=20),
)
def test_what_is_accepted_is_read_as_trio_reads_it(
    datagram: bytes, changes: list[tuple[int, int]], cut: int, more: bytes
) -> None:
    changed = bytearray(datagram)
    for at, value in changes:
        changed[at % len(changed)] = value
    # The first bytes are what makes it come here at all.
    changed[:5], changed[13:14] = datagram[:5], datagram[13:14]
    read = bytes(changed[: len(changed) - cut] + more)
    try:
        expected = trio_dtls.decode_client_hello_untrusted(read)
    except trio_dtls.BadPacket:
        with pytest.raises(BadPacket):
            HelloCookies(0.0).challenge_untrusted(read, HOST, 0.0)
        return
    challenge = HelloCookies(0.0).challenge_untrusted(read, HOST, 0.0)
    assert challenge is not None
    assert challenge[3:11] == expected[0].to_bytes(8, "big")


@given(st.binary(max_size=300))
def test_nothing_else_comes_out_than_what_is_said(data: bytes) -> None:
    with contextlib.suppress(BadPacket):
        assert HelloCookies(0.0).challenge_untrusted(data, HOST, 0.0)
