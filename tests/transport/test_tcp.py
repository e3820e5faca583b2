"""What we ask of the kernel's TCP."""

from __future__ import annotations

import math
import socket
import sys

import pytest
import trio

from polevpn_trio.transport.tcp import (
    BBR,
    FIRST_LIMIT,
    LARGEST_LIMIT,
    NOT_SENT_SECONDS,
    SHORT_PATH,
    SMALLEST_LIMIT,
    BbrOnLongPaths,
    NotSentLimit,
    choose_congestion_control,
    congestion_control,
    limit_rate,
    restart_bbr,
)


def after_sending(rate: float, seconds: float, limit: NotSentLimit | None = None) -> NotSentLimit:
    """Send at so many bytes a second over a connection that is always full."""
    limit = NotSentLimit() if limit is None else limit
    sent = 0
    for tick in range(int(seconds * 100)):
        limit.note_waited(sent, 5.0 + tick / 100)
        sent += int(rate / 100)
    return limit


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (12_500_000, 12_500_000 * NOT_SENT_SECONDS),
        (5_000_000, 5_000_000 * NOT_SENT_SECONDS),
        (100_000, SMALLEST_LIMIT),
        (300_000_000, LARGEST_LIMIT),
    ],
)
def test_the_limit_follows_the_rate(rate: float, expected: float) -> None:
    assert after_sending(rate, 2.0).bytes == pytest.approx(expected, rel=0.15)


def test_it_is_changed_seldom() -> None:
    limit = NotSentLimit()
    sent = 0
    changes = 0
    for tick in range(1000):
        changes += limit.note_waited(sent, tick / 100)
        sent += 60_000 if tick % 2 else 65_000
    # From the first limit down to what fits the rate, in two steps.
    assert changes == 2


def test_one_slow_moment_only_halves_it() -> None:
    limit = after_sending(25_000_000, 1.0)
    before = limit.bytes
    limit.note_waited(1 << 30, 10.0)
    limit.note_waited(1 << 30, 10.2)
    assert limit.bytes == before // 2


def test_a_pause_is_no_slow_connection() -> None:
    limit = NotSentLimit()
    for tick in range(10):
        assert not limit.note_waited(tick, tick * 3.0)
    assert limit.bytes == FIRST_LIMIT


def test_the_congestion_control_is_inherited_by_what_is_accepted() -> None:
    async def main() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            assert choose_congestion_control(listener.socket, "reno")
            dialled = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
            async with dialled, await listener.accept() as accepted:
                name = accepted.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
                assert name.rstrip(b"\0") == b"reno"

    trio.run(main)


def test_a_congestion_control_that_the_kernel_lacks_is_no_error() -> None:
    async def main() -> None:
        with trio.socket.socket() as connection:
            assert not choose_congestion_control(connection, "no_such_thing")

    trio.run(main)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(1_000_000.7, 1_000_000), (6e9, 6_000_000_000), (0.0, 1), (math.inf, 2**64 - 1)],
)
def test_the_rate_is_limited_and_freed(rate: float, expected: int) -> None:
    with socket.socket() as connection:
        limit_rate(connection, 5e5)
        limit_rate(connection, rate)
        set_to = connection.getsockopt(socket.SOL_SOCKET, 47, 8)
    assert int.from_bytes(set_to, sys.byteorder) == expected


def bbr_or_skip(connection: socket.socket) -> None:
    if not choose_congestion_control(connection, BBR):
        pytest.skip("this kernel does not let us use bbr")


def test_bbr_is_left_aside_while_the_path_is_short() -> None:
    with socket.socket() as connection:
        bbr_or_skip(connection)
        choice = BbrOnLongPaths(connection)
        seen = []
        for min_rtt in (4294.0, 0.1, SHORT_PATH, SHORT_PATH / 2, 1e-6, SHORT_PATH, 0.1, 0.0001):
            choice.follow_path(min_rtt)
            seen.append(congestion_control(connection) == BBR)
    assert seen == [True, True, True, False, False, True, True, False]


@pytest.mark.parametrize("name", ["reno", "cubic"])
def test_another_congestion_control_stays_whatever_the_path(name: str) -> None:
    with socket.socket() as connection:
        if not choose_congestion_control(connection, name):
            pytest.skip(f"this kernel does not let us use {name}")
        choice = BbrOnLongPaths(connection)
        for min_rtt in (0.1, 0.0001, 0.1):
            choice.follow_path(min_rtt)
            assert congestion_control(connection) == name


def test_what_takes_the_place_of_bbr_is_not_looked_for_again_and_again() -> None:
    """Whoever chooses another one meanwhile keeps it."""
    with socket.socket() as connection:
        bbr_or_skip(connection)
        choice = BbrOnLongPaths(connection)
        choice.follow_path(0.0001)
        assert choose_congestion_control(connection, "reno")
        choice.follow_path(0.0001)
        assert congestion_control(connection) == "reno"


def test_a_closed_socket_has_no_congestion_control_and_is_no_error() -> None:
    connection = socket.socket()
    choice = BbrOnLongPaths(connection)
    connection.close()
    choice.follow_path(0.0001)
    choice.follow_path(0.1)
    restart_bbr(connection)
    assert congestion_control(connection) == ""


@pytest.mark.parametrize("name", ["bbr", "reno"])
def test_bbr_is_in_use_after_a_restart_and_others_are_not_touched(name: str) -> None:
    with socket.socket() as connection:
        option = (socket.IPPROTO_TCP, socket.TCP_CONGESTION)
        try:
            connection.setsockopt(*option, name.encode())
        except OSError:
            pytest.skip(f"this kernel does not let us use {name}")
        restart_bbr(connection)
        assert connection.getsockopt(*option, 16).rstrip(b"\0") == name.encode()
