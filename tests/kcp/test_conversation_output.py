"""Conversations that make their datagrams in one buffer."""

from __future__ import annotations

from polevpn_trio.batch import DatagramBuffer
from polevpn_trio.kcp.conversation import Conversation


def poll(conversation: Conversation, now: float) -> list[bytes]:
    datagrams = []
    while count := conversation.poll_datagrams(now):
        at = 0
        for size in conversation.sizes[:count]:
            datagrams.append(bytes(conversation.datagrams[at : at + size]))
            at += size
    return datagrams


def test_conversations_that_share_their_output_make_the_same_datagrams() -> None:
    output = DatagramBuffer()
    alone = [Conversation(mtu=mtu) for mtu in (1000, 1400)]
    sharing = [Conversation(mtu=mtu, output=output) for mtu in (1000, 1400)]
    assert sharing[0].datagrams is sharing[1].datagrams
    for now in (1.0, 1.5, 2.0):
        for own, shared in zip(alone, sharing, strict=True):
            for conversation in (own, shared):
                conversation.send(bytes(range(256)) * 300)
            made = poll(own, now)
            assert made == poll(shared, now)
            assert made
