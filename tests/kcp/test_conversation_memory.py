"""What a conversation may not give back."""

from __future__ import annotations

from polevpn_trio.kcp.conversation import Conversation
from tests.kcp.test_conversation import ack, commands, feed, poll, run_until


def test_many_small_segments_under_way_keep_their_memory() -> None:
    conversation = Conversation()
    payloads = [bytes([number]) for number in range(30)]
    for payload in payloads:
        conversation.send(payload)
        poll(conversation, 1.0)
    assert conversation.in_flight == len(payloads)
    run_until(conversation, 10.0)
    resent = {segment.sn: segment.payload for _, segment in run_until(conversation, 30.0)}
    assert [resent[number] for number in range(30)] == payloads
    feed(conversation, 30.1, ack(29, una=30, ts=30_000))
    assert conversation.in_flight == 0
    conversation.send(b"next")
    assert commands(poll(conversation, 30.2)) == [(81, 30)]
