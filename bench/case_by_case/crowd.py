"""A program that is many idle gateways: it logs them in, says how long that took, and stays.

Prints one line of JSON when all are registered. Started by the benchmarks in a namespace of the
lab; ends by SIGTERM, or with the first link that is lost.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from pathlib import Path

import trio

from bench.case_by_case.gateways import (
    LARGEST_CROWD,
    Member,
    SimulatedGateway,
    be_idle_class,
    key_from,
    nth_address,
    nth_network,
    server_url,
)
from polevpn_trio.control.config import ServerUrl

AT_ONCE = 32
"""Logins under way at the same time, unless the command line says otherwise."""


async def _log_in(
    gateway: SimulatedGateway,
    turns: trio.CapacityLimiter,
    living: trio.Nursery,
) -> None:
    """Wait for a turn, then for the login; the gateway lives on in the nursery ``living``."""
    async with turns:
        await living.start(gateway.serve)


async def be_a_crowd(server: ServerUrl, key: str, first: int, size: int, at_once: int) -> None:
    """Be gateways number ``first`` to ``first`` + ``size`` - 1, for ever."""
    turns = trio.CapacityLimiter(at_once)
    members = [
        Member(key, nth_address(number), (nth_network(number),))
        for number in range(first, first + size)
    ]
    async with trio.open_nursery() as living:
        started = trio.current_time()
        async with trio.open_nursery() as logging_in:
            for member in members:
                logging_in.start_soon(_log_in, SimulatedGateway(server, member), turns, living)
        taken = trio.current_time() - started
        print(json.dumps({"registered": size, "seconds": taken}), flush=True)


def main(argv: list[str]) -> int:
    """Run the program; it ends with the first link that is lost."""
    parser = argparse.ArgumentParser(prog="python -m bench.case_by_case.crowd")
    parser.add_argument("server", type=server_url)
    parser.add_argument("key_file", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--at-once", type=int, default=AT_ONCE)
    parser.add_argument("--idle-class", action="store_true", help="take what others leave")
    options = parser.parse_args(argv)
    if not 0 < options.first + options.size <= LARGEST_CROWD:
        parser.error(f"at most {LARGEST_CROWD} gateways")
    if options.idle_class:
        be_idle_class()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    trio.run(
        be_a_crowd,
        options.server,
        key_from(options.key_file),
        options.first,
        options.size,
        options.at_once,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
