"""What a WebSocket message of 64 KiB costs, built and read: ours and wsproto's.

Run ``python bench/websocket.py [--json] [--messages N]``. The client's messages are masked, the
server's are not. Ours is measured as compiled (if it is) and as plain Python; beside it stand
wsproto, through which trio-websocket takes every message, and a bare copy of the payload, which
is what is left to be won. Figures are microseconds of processor time per message, the best of
several rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import attrs
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage

from polevpn_trio import kernels
from polevpn_trio.transport.websocket_frames import WebSocketFrameBuilder, WebSocketFrameReader

SIZE = 65_536
ROUNDS = 5


@attrs.frozen
class Result:
    """Microseconds per message."""

    name: str
    build_masked: float
    read_masked: float
    build_unmasked: float
    read_unmasked: float


def best(work: Callable[[], object], messages: int) -> float:
    """Give the shortest time per message over some rounds, in microseconds."""
    shortest = float("inf")
    for _ in range(ROUNDS):
        started = time.thread_time()
        for _ in range(messages):
            work()
        shortest = min(shortest, time.thread_time() - started)
    return shortest / messages * 1e6


def measure_ours(name: str, messages: int) -> Result:
    """Build and read with our frames."""
    payload = os.urandom(SIZE)
    figures = []
    for masked in (True, False):
        builder = WebSocketFrameBuilder(masked, random.SystemRandom())
        reader = WebSocketFrameReader(masked)
        message = bytes(builder.build_message([payload]))
        if reader.receive_data_untrusted(message).tobytes() != payload:
            raise SystemExit("what was read is not what was built")
        figures.append(best(partial(builder.build_message, [payload]), messages))
        figures.append(best(partial(reader.receive_data_untrusted, message), messages))
    return Result(name, *figures)


def measure_wsproto(messages: int) -> Result:
    """Build and read with wsproto's connection, as trio-websocket does after its handshake."""
    payload = os.urandom(SIZE)
    figures = []
    for sender_type in (ConnectionType.CLIENT, ConnectionType.SERVER):
        is_client = sender_type is ConnectionType.CLIENT
        sender = Connection(sender_type)
        receiver = Connection(ConnectionType.SERVER if is_client else ConnectionType.CLIENT)
        message = sender.send(BytesMessage(data=payload))

        def read(receiver: Connection = receiver, message: bytes = message) -> bytes:
            receiver.receive_data(message)
            # Of the kinds of events, only messages come here, and those have data.
            return b"".join(event.data for event in receiver.events())  # type: ignore[attr-defined]

        if read() != payload:
            raise SystemExit("what wsproto read is not what it built")
        figures.append(best(partial(sender.send, BytesMessage(data=payload)), messages))
        figures.append(best(read, messages))
    return Result("wsproto", *figures)


def measure_copy(messages: int) -> Result:
    """Only copy the payload, once."""
    payload = os.urandom(SIZE)
    target = memoryview(bytearray(SIZE))

    def copy() -> None:
        target[:] = payload

    figure = best(copy, messages)
    return Result("a copy", figure, figure, figure, figure)


def measure_plain_python(messages: int) -> list[Result]:
    """Measure our plain Python build in a process of its own."""
    command = [sys.executable, __file__, "--json", "--only-ours", f"--messages={messages}"]
    environment = os.environ | {"POLEVPN_TRIO_PURE": "1"}
    output = subprocess.run(
        command, env=environment, capture_output=True, check=True, text=True
    ).stdout
    return [Result(**line) for line in json.loads(output)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--messages", type=int, default=1000, help="messages in each round")
    parser.add_argument("--only-ours", action="store_true", help="leave the others out")
    options = parser.parse_args()
    compiled = kernels.compiled()["polevpn_trio.transport.websocket_frames"]
    results = [measure_ours("ours, compiled" if compiled else "ours, plain", options.messages)]
    if not options.only_ours:
        if compiled:
            results += measure_plain_python(options.messages)
        results.append(measure_wsproto(options.messages))
        results.append(measure_copy(options.messages))
    if options.json:
        print(json.dumps([attrs.asdict(result) for result in results]))
        return
    print(f"{'µs per message of 64 KiB':26}{'masked':>16}{'unmasked':>16}")
    print(f"{'':26}{'build':>8}{'read':>8}{'build':>8}{'read':>8}")
    for result in results:
        print(
            f"{result.name:26}{result.build_masked:8.1f}{result.read_masked:8.1f}"
            f"{result.build_unmasked:8.1f}{result.read_unmasked:8.1f}"
        )


if __name__ == "__main__":
    main()
