"""Ordering, duplicates, the window edge and the memory of the receive window."""

from __future__ import annotations

import random

import pytest

from polevpn_trio.kcp.conversation import Conversation
from polevpn_trio.kcp.receive_window import (
    DUPLICATE,
    EARLY,
    IN_ORDER,
    OUTSIDE,
    ReceiveWindow,
)


def accept(window: ReceiveWindow, sequence: int, payload: bytes) -> int:
    return window.accept(
        sequence & 0xFFFFFFFF, b"<" + payload + b">", b"<" + payload, 1, len(payload)
    )


def receive(window: ReceiveWindow) -> bytes:
    new = window.fetch()
    assert new == len(window.stream)
    return window.stream.take()


def test_puts_segments_in_order() -> None:
    window = ReceiveWindow(8, 0)
    assert accept(window, 2, b"c") == EARLY
    assert accept(window, 1, b"b") == EARLY
    assert receive(window) == b""
    assert accept(window, 0, b"a") == IN_ORDER
    assert (window.next, window.unread) == (3, 3)
    assert receive(window) == b"abc"
    assert (window.next, window.unread) == (3, 0)


def test_recognises_duplicates_read_unread_and_early() -> None:
    window = ReceiveWindow(8, 0)
    accept(window, 0, b"a")
    receive(window)
    accept(window, 1, b"b")
    accept(window, 3, b"d")
    assert [accept(window, sn, b"x") for sn in (0, 1, 3)] == [DUPLICATE] * 3
    accept(window, 2, b"c")
    assert receive(window) == b"bcd"


@pytest.mark.parametrize("start", [0, 1, 0x7FFFFFF0, 0xFFFFFFFF])
def test_window_edge(start: int) -> None:
    window = ReceiveWindow(512, start)
    assert accept(window, start + 512, b"no") == OUTSIDE
    assert accept(window, start + 511, b"yes") == EARLY
    assert accept(window, start - 1, b"old") == DUPLICATE


def test_a_wider_window_takes_more_and_is_never_narrowed() -> None:
    window = ReceiveWindow(32, 0)
    assert accept(window, 40, b"no") == OUTSIDE
    window.widen(64)
    window.widen(48)
    assert (window.window, accept(window, 63, b"yes")) == (64, EARLY)
    assert accept(window, 64, b"no") == OUTSIDE


def test_a_widened_conversation_says_so() -> None:
    conversation = Conversation(receive_window=32)
    conversation.widen_receive_window(64)
    conversation.send(b"data")
    assert conversation.poll_datagrams(0.0) == 1
    assert int.from_bytes(conversation.datagrams[6:8], "little") == 64
    with pytest.raises(ValueError, match="receive window 65536"):
        conversation.widen_receive_window(65536)


def test_sequence_numbers_wrap() -> None:
    window = ReceiveWindow(8, 0xFFFFFFFE)
    order = [3, 1, 0, 2, 4]
    for ahead in order:
        accept(window, 0xFFFFFFFE + ahead, bytes([ahead]))
    assert receive(window) == bytes(range(5))


def test_what_comes_in_order_beyond_unread_segments_waits_for_the_reader() -> None:
    window = ReceiveWindow(2, 0)
    assert [accept(window, sn, bytes([sn])) for sn in range(4)] == [
        IN_ORDER,
        IN_ORDER,
        EARLY,
        EARLY,
    ]
    assert accept(window, 4, b"x") == OUTSIDE
    assert (window.next, window.unread) == (2, 2)
    assert receive(window) == b"\x00\x01\x02\x03"
    assert (window.next, window.unread) == (4, 0)


def test_empty_segments_count_but_deliver_nothing() -> None:
    window = ReceiveWindow(2, 0)
    for sequence in range(5):
        assert accept(window, sequence, b"") == IN_ORDER
    assert (window.next, window.unread, receive(window)) == (5, 0, b"")


def test_list_of_acks_is_bounded() -> None:
    window = ReceiveWindow(16, 0)
    for sequence in range(5000):
        window.add_ack(sequence, 0)
    assert window.acks == 1024
    assert window.acks_dropped == 5000 - 1024


def test_memory_comes_back() -> None:
    window = ReceiveWindow(2048, 0)
    small = window.buffer_bytes()
    for sequence in reversed(range(1000)):
        accept(window, sequence, bytes(1326))
        window.add_ack(sequence, 0)
    window.shrink()
    assert window.buffer_bytes() > 1_326_000
    assert len(receive(window)) == 1_326_000
    assert window.is_large()
    window.acks = 0
    window.shrink()
    assert not window.is_large()
    assert window.buffer_bytes() == small < 256


def test_random_arrivals_are_delivered_whole() -> None:
    chance = random.Random(5)
    window = ReceiveWindow(64, 0xFFFFFF00)
    pieces = [chance.randbytes(chance.randint(1, 90)) for _ in range(600)]
    received = b""
    while len(received) < sum(map(len, pieces)):
        ahead = window.next - 0xFFFFFF00 + chance.randint(-70, 70)
        if 0 <= ahead < len(pieces):
            accept(window, 0xFFFFFF00 + ahead, pieces[ahead])
        if chance.random() < 0.1:
            received += receive(window)
    assert received == b"".join(pieces)
