"""Where a conversation takes its packets from."""

from __future__ import annotations

from typing import Protocol

from polevpn_trio.batch import FrameBatch


class PacketSource(Protocol):
    """A queue of packets, such as a fair one, that the conversation empties at its own pace.

    Packets stay there until they may leave, so that whoever decides about order and drops
    decides late.
    """

    def dequeue_batch(self, most_bytes: int, now: float) -> FrameBatch:
        """Give whole frames, each with an ordinary packet; an empty batch if nothing waits.

        They are about ``most_bytes`` long at most; one frame is given even if it is longer.
        The conversation reads them until the next call and does not change them. ``now`` is in
        seconds.
        """
