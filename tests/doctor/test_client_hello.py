"""The ClientHello of any size, and which datagrams count as its answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.doctor.client_hello import client_hello, is_answer_untrusted, smallest_hello
from polevpn_trio.transport.handshake import is_client_hello_untrusted

RANDOM = bytes(range(32))


@given(st.integers(smallest_hello(), 9000), st.integers(0, 2**48 - 1))
def test_a_hello_has_the_size_that_was_asked_for(size: int, sequence: int) -> None:
    hello = client_hello(RANDOM, sequence, size)
    assert len(hello) == size
    assert int.from_bytes(hello[5:11], "big") == sequence
    assert is_client_hello_untrusted(hello)
    assert not is_answer_untrusted(hello)
    assert RANDOM in hello


def test_lengths_in_a_hello_agree() -> None:
    hello = client_hello(RANDOM, 1, 1000)
    assert int.from_bytes(hello[11:13], "big") == len(hello) - 13
    assert int.from_bytes(hello[14:17], "big") == len(hello) - 25
    assert hello[22:25] == hello[14:17]


@given(st.binary(max_size=100))
def test_any_datagram_is_an_answer_or_none(datagram: bytes) -> None:
    assert is_answer_untrusted(datagram) in (True, False)


@pytest.mark.parametrize(
    ("kind", "epoch", "message", "answer"),
    [(22, 0, 3, True), (22, 0, 2, True), (22, 0, 1, False), (22, 1, 3, False), (21, 0, 2, False)],
)
def test_an_answer_is_a_handshake_message_of_a_server(
    kind: int, epoch: int, message: int, answer: bool
) -> None:
    datagram = bytes([kind, 0xFE, 0xFD, 0, epoch]) + bytes(8) + bytes([message, 0, 0, 0])
    assert is_answer_untrusted(datagram) is answer
