"""Who may look: tokens, sessions, and those who guess."""

from __future__ import annotations

from polevpn_trio.dashboard.sessions import (
    GUESS_SECONDS,
    GUESSES,
    MOST_HOSTS,
    MOST_SESSIONS,
    SESSION_SECONDS,
    Doorkeeper,
)

TOKEN = "correct horse battery staple"
HOST = "198.51.100.7"


def entered(door: Doorkeeper, now: float = 0.0) -> str:
    session = door.login(TOKEN, HOST, now)
    assert session is not None
    return session


def test_the_token_begins_a_session_that_ends_by_itself() -> None:
    door = Doorkeeper(TOKEN)
    session = entered(door, 100.0)
    assert door.ends(session, 100.0) == 100.0 + SESSION_SECONDS
    assert door.ends(session, 99.9 + SESSION_SECONDS) is not None
    assert door.ends(session, 100.0 + SESSION_SECONDS) is None


def test_nothing_else_does() -> None:
    door = Doorkeeper(TOKEN)
    for wrong in ("", TOKEN[:-1], TOKEN + " ", "\ud800"):
        assert door.login(wrong, HOST, 0.0) is None
    assert door.failures == 4
    for unknown in ("", "x", TOKEN):
        assert door.ends(unknown, 0.0) is None


def test_sessions_differ_and_end_one_by_one() -> None:
    door = Doorkeeper(TOKEN)
    first, second = entered(door), entered(door)
    assert first != second
    door.logout(first)
    door.logout("unknown")
    assert door.ends(first, 0.0) is None
    assert door.ends(second, 0.0) is not None


def test_of_too_many_sessions_the_oldest_ends() -> None:
    door = Doorkeeper(TOKEN)
    sessions = [entered(door, float(now)) for now in range(MOST_SESSIONS + 2)]
    alive = [session for session in sessions if door.ends(session, 100.0) is not None]
    assert alive == sessions[2:]


def test_a_host_that_guesses_has_to_wait_and_others_do_not() -> None:
    door = Doorkeeper(TOKEN)
    for _ in range(GUESSES):
        assert door.waits(HOST, 0.0) == 0.0
        door.login("guess", HOST, 0.0)
    assert door.waits(HOST, 0.0) == GUESS_SECONDS
    assert door.waits("198.51.100.8", 0.0) == 0.0
    # Then one guess at a time.
    assert door.waits(HOST, GUESS_SECONDS) == 0.0
    door.login("guess", HOST, GUESS_SECONDS)
    assert door.waits(HOST, GUESS_SECONDS) == GUESS_SECONDS


def test_guesses_are_bounded_however_patient() -> None:
    door = Doorkeeper(TOKEN)
    tries = 0
    for second in range(3600):
        while door.waits(HOST, float(second)) == 0.0:
            door.login("guess", HOST, float(second))
            tries += 1
            assert tries < 1000
    assert tries <= GUESSES + 3600 / GUESS_SECONDS + 1


def test_the_addresses_of_one_ipv6_network_are_one_host() -> None:
    door = Doorkeeper(TOKEN)
    for number in range(GUESSES):
        door.login("guess", f"2001:db8::{number + 1:x}", 0.0)
    assert door.waits("2001:db8::ffff", 0.0) > 0
    assert door.waits("2001:db8:0:1::1", 0.0) == 0
    for _ in range(GUESSES):
        door.login("guess", "::ffff:192.0.2.1", 0.0)
    assert door.waits("192.0.2.1", 0.0) > 0


def test_hosts_that_guess_are_remembered_up_to_a_number() -> None:
    door = Doorkeeper(TOKEN)
    for _ in range(GUESSES):
        door.login("guess", "first", 0.0)
    assert door.waits("first", 0.0) > 0
    for number in range(MOST_HOSTS):
        door.login("guess", f"host {number}", 0.0)
    assert door.waits("first", 0.0) == 0.0
