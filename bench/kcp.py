"""What a KCP segment costs: two conversations back to back in memory, in virtual time.

Run ``python bench/kcp.py [--json] [--segments N]``. Each round the sender fills its window, the
receiver gets the datagrams in batches of up to 46 and answers; one round is one millisecond.
Only processor time inside the conversations is counted, apart for the two ends: the sender's is
handing in bytes, making datagrams and taking acknowledgements, the receiver's is taking
datagrams, fetching bytes and making acknowledgements. The figure must not grow with the
window: nothing in a conversation searches it.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from array import array

import attrs

from polevpn_trio import kernels
from polevpn_trio.kcp.conversation import BATCH, Conversation

WINDOWS = (128, 1024, 8192)
LOSSES = (0.0, 0.02)
MSS = 1326
PIECE = 16 * MSS
"""Bytes handed in at a time: what a read of a TUN device may well give."""


@attrs.frozen
class Result:
    """Microseconds per segment delivered, at either end."""

    window: int
    loss: float
    segments: int
    sender: float
    receiver: float
    resent: int


class Clock:
    """Adds up the processor time between ``start`` and ``stop``."""

    def __init__(self) -> None:
        self.total = 0.0
        self._started = 0.0

    def start(self) -> None:
        self._started = time.thread_time()

    def stop(self) -> None:
        self.total += time.thread_time() - self._started


def measure(window: int, loss: float, segments: int) -> Result:
    """Carry ``segments`` full segments one way; ``loss`` is the share of datagrams lost."""
    chance = random.Random(window)
    sender = Conversation(send_window=window, receive_window=window)
    receiver = Conversation(send_window=window, receive_window=window)
    at_sender, at_receiver = Clock(), Clock()
    piece = chance.randbytes(PIECE)
    total = segments * MSS
    handed_in = received = 0
    now = 1.0
    while received < total:
        while True:
            at_sender.start()
            while handed_in < total and sender.unsent_bytes < BATCH * MSS:
                sender.send(piece)
                handed_in += len(piece)
            count = sender.poll_datagrams(now)
            at_sender.stop()
            if not count:
                break
            datagrams, sizes, count = lose(sender.datagrams, sender.sizes, count, loss, chance)
            at_receiver.start()
            receiver.receive_datagrams_untrusted(datagrams, sizes, count, now)
            received += len(receiver.receive())
            at_receiver.stop()
            now += 0.00001
        now += 0.001
        while True:
            at_receiver.start()
            count = receiver.poll_datagrams(now)
            at_receiver.stop()
            if not count:
                break
            datagrams, sizes, count = lose(receiver.datagrams, receiver.sizes, count, loss, chance)
            at_sender.start()
            sender.receive_datagrams_untrusted(datagrams, sizes, count, now)
            at_sender.stop()
    delivered = received / MSS
    sent = sender.statistics()
    return Result(
        window=window,
        loss=loss,
        segments=int(delivered),
        sender=round(at_sender.total / delivered * 1e6, 3),
        receiver=round(at_receiver.total / delivered * 1e6, 3),
        resent=sent.resent_fast + sent.resent_early + sent.resent_timeout,
    )


def lose(
    datagrams: bytearray, sizes: array[int], count: int, loss: float, chance: random.Random
) -> tuple[bytes | bytearray, array[int], int]:
    """Take datagrams out of a batch at random."""
    if not loss:
        return datagrams, sizes, count
    kept = []
    lengths = array("H")
    at = 0
    for size in sizes[:count]:
        if chance.random() >= loss:
            kept.append(datagrams[at : at + size])
            lengths.append(size)
        at += size
    return b"".join(kept), lengths, len(lengths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--segments", type=int, help="segments per measurement")
    options = parser.parse_args()
    compiled = kernels.compiled()["polevpn_trio.kcp.conversation"]
    segments = options.segments or (200_000 if compiled else 5_000)
    results = [measure(window, loss, segments) for loss in LOSSES for window in WINDOWS]
    if options.json:
        print(json.dumps({"compiled": compiled, "results": [attrs.asdict(r) for r in results]}))
        return
    print(f"kcp, {'compiled' if compiled else 'not compiled'}: microseconds per segment")
    print("window   loss   sender   receiver   resent")
    for result in results:
        print(
            f"{result.window:6d}  {result.loss:5.1%}  {result.sender:7.3f}  {result.receiver:9.3f}"
            f"  {result.resent:7d}"
        )


if __name__ == "__main__":
    main()
