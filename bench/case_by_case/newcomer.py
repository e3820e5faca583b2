"""A program that is a new site, again and again: it logs in, says goodbye, and begins anew.

It says in a line of JSON that it begins, and at SIGTERM when each login began (monotonic clock)
and how many seconds it took; the one that it was about at the end counts as far as it came.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from bench.case_by_case.gateways import (
    Member,
    SimulatedGateway,
    key_from,
    nth_address,
    nth_network,
    server_url,
)
from polevpn_trio.control.config import ServerUrl
from polevpn_trio.errors import LinkLost, Refused

NUMBER = 4095
"""Of the gateway whose address and network it has."""

PAUSE = 0.3
"""Seconds between two logins."""

PATIENCE = 15.0
"""Seconds after which a login is given up, and begun anew, at the latest."""

Login = tuple[float, float, bool]
"""When it began, how long it took, whether it came to an end."""


@contextmanager
def noting(logins: list[Login]) -> Iterator[list[bool]]:
    """Note how long the body takes; it puts something into the list when it has come through."""
    through: list[bool] = []
    began = time.monotonic()
    try:
        yield through
    finally:
        logins.append((began, time.monotonic() - began, bool(through)))


async def log_in_and_out(server: ServerUrl, member: Member, logins: list[Login]) -> None:
    """Log in once, and take leave."""
    with trio.move_on_after(PATIENCE):
        try:
            async with trio.open_nursery() as nursery:
                with noting(logins) as through:
                    await nursery.start(SimulatedGateway(server, member).serve)
                    through.append(True)
                nursery.cancel_scope.cancel()
        except* (Refused, LinkLost):
            pass


async def come_again(server: ServerUrl, member: Member) -> None:
    """Be a new site until SIGTERM, and tell of it."""
    logins: list[Login] = []
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def again() -> None:
                while True:
                    await log_in_and_out(server, member, logins)
                    await trio.sleep(PAUSE)

            nursery.start_soon(again)
            print(json.dumps({"began": 1}), flush=True)
            async for _ in signals:
                break
            nursery.cancel_scope.cancel()
    print(json.dumps({"logins": logins}), flush=True)


def main(argv: list[str]) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m bench.case_by_case.newcomer")
    parser.add_argument("server", type=server_url)
    parser.add_argument("key_file", type=Path)
    options = parser.parse_args(argv)
    member = Member(key_from(options.key_file), nth_address(NUMBER), (nth_network(NUMBER),))
    trio.run(come_again, options.server, member)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
