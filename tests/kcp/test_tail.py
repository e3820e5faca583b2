"""What is left of the stream after a full batch, and when it leaves."""

from __future__ import annotations

import math
from array import array

from polevpn_trio.kcp.conversation import BATCH, SHORT_TAIL, Conversation
from polevpn_trio.kcp.segment import HEADER_SIZE
from polevpn_trio.kcp.tail import PAUSE

MTU = 1000
SEGMENT = MTU - HEADER_SIZE
WAIT = 0.001


def pair(wait: float = WAIT) -> tuple[Conversation, Conversation]:
    """Make two conversations, the first with as much of a window as the tests need."""
    sender = Conversation(mtu=MTU, send_window=1024, tail_wait=wait)
    receiver = Conversation(mtu=MTU, receive_window=1024)
    for number in range(10):
        sender.send(bytes(32 * SEGMENT))
        carry(sender, receiver, number / 100)
        receiver.receive()
    return sender, receiver


def carry(sender: Conversation, receiver: Conversation, now: float) -> list[int]:
    """Carry what is due to the receiver, and its answers back; return the sizes of the batches."""
    batches = []
    for source, target in ((sender, receiver), (receiver, sender)):
        while count := source.poll_datagrams(now):
            if source is sender:
                batches.append(count)
            size = sum(source.sizes[:count])
            target.receive_datagrams_untrusted(
                bytes(source.datagrams[:size]), array("H", source.sizes[:count]), count, now
            )
    return batches


def test_a_short_rest_after_a_full_batch_leaves_with_what_follows() -> None:
    sender, receiver = pair()
    sender.send(b"a" * (BATCH + 3) * SEGMENT)
    assert carry(sender, receiver, 1.0) == [BATCH]
    assert sender.next_timeout() == 1.0 + WAIT
    assert carry(sender, receiver, 1.0 + WAIT / 2) == []
    sender.send(b"b" * 10 * SEGMENT)
    assert sender.next_timeout() <= 1.0 + WAIT / 2
    assert carry(sender, receiver, 1.0 + WAIT / 2) == [13]
    assert sender.next_timeout() == math.inf
    assert receiver.receive() == b"a" * (BATCH + 3) * SEGMENT + b"b" * 10 * SEGMENT
    # It was right to wait: the next rest does, too.
    sender.send(bytes((BATCH + 3) * SEGMENT))
    assert carry(sender, receiver, 2.0) == [BATCH]


def test_it_leaves_in_time_if_nothing_follows_and_then_others_do_not_wait_for_a_while() -> None:
    sender, receiver = pair()
    sender.send(bytes(BATCH * SEGMENT + 1))
    assert carry(sender, receiver, 1.0) == [BATCH]
    assert carry(sender, receiver, 1.0 + WAIT) == [1]
    assert sender.unsent_bytes == 0
    for number in range(PAUSE):
        sender.send(bytes(BATCH * SEGMENT + 1))
        expected = [BATCH, 1] if number < PAUSE - 1 else [BATCH]
        assert carry(sender, receiver, 2.0 + number) == expected
        receiver.receive()


def test_what_is_less_than_a_batch_or_more_than_a_short_rest_never_waits() -> None:
    sender, receiver = pair()
    sender.send(bytes((BATCH - 1) * SEGMENT))
    assert carry(sender, receiver, 1.0) == [BATCH - 1]
    sender.send(bytes((BATCH + SHORT_TAIL) * SEGMENT + 1))
    assert carry(sender, receiver, 2.0) == [BATCH, SHORT_TAIL + 1]
    assert sender.next_timeout() == math.inf


def test_whole_segments_do_not_wait_for_more_that_there_is_no_room_for() -> None:
    sender, receiver = pair()
    sender.more = True
    sender.send(bytes((BATCH + 3) * SEGMENT))
    assert carry(sender, receiver, 1.0) == [BATCH, 3]


def test_none_waits_unless_that_is_asked_for() -> None:
    sender, receiver = pair(wait=0.0)
    sender.send(bytes(BATCH * SEGMENT + 1))
    assert carry(sender, receiver, 1.0) == [BATCH, 1]


def test_acknowledgements_leave_without_the_rest_that_waits() -> None:
    sender, receiver = pair()
    sender.send(bytes(BATCH * SEGMENT + 1))
    assert carry(sender, receiver, 1.0) == [BATCH]
    receiver.send(bytes(8 * SEGMENT))
    assert carry(receiver, sender, 1.0) == [8]
    assert receiver.in_flight == 0
    assert sender.unsent_bytes == 1
    assert sender.next_timeout() == 1.0 + WAIT


def test_a_rest_leaves_with_acknowledgements_that_leave_at_that_moment() -> None:
    sender, receiver = pair()
    sender.send(bytes(BATCH * SEGMENT + 1))
    assert sender.poll_datagrams(1.0) == BATCH
    receiver.send(bytes(8 * SEGMENT))
    count = receiver.poll_datagrams(1.0)
    datagrams = bytes(receiver.datagrams[: count * MTU])
    sender.receive_datagrams_untrusted(datagrams, array("H", receiver.sizes[:count]), count, 1.0)
    assert sender.poll_datagrams(1.0) == 1
    assert sender.unsent_bytes == 0
