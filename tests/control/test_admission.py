"""Who waits at the door, and who has to go."""

from __future__ import annotations

from collections import Counter

import pytest

from polevpn_trio.control.admission import MOST_SOURCES, Admission, Place
from polevpn_trio.control.limits import Limits


class Door:
    def __init__(self, limit: int) -> None:
        self.admission = Admission(Limits(unauthenticated=limit), 0.0)
        self.evicted: list[str] = []

    def knock(self, host: str, name: str) -> Place:
        return self.admission.enter(host, lambda: self.evicted.append(name))


def test_the_oldest_of_the_greediest_host_makes_room() -> None:
    door = Door(4)
    door.knock("192.0.2.1", "honest")
    door.knock("203.0.113.9", "flood 1")
    door.knock("203.0.113.9", "flood 2")
    door.knock("192.0.2.2", "honest too")
    door.knock("203.0.113.9", "flood 3")
    door.knock("192.0.2.3", "newest")
    assert door.evicted == ["flood 1", "flood 2"]
    statistics = door.admission.statistics()
    assert (statistics.waiting, statistics.refused) == (4, {"unauthenticated": 2})


def test_who_left_is_not_evicted() -> None:
    door = Door(1)
    place = door.knock("192.0.2.1", "logged in")
    place.leave()
    place.leave()
    second = door.knock("192.0.2.1", "second")
    door.knock("192.0.2.1", "third")
    second.leave()
    assert door.evicted == ["second"]
    assert door.admission.statistics().waiting == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8::ffff:2"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%lo", "fe80::2"),
    ],
)
def test_addresses_of_one_site_count_as_one(one: str, other: str) -> None:
    door = Door(3)
    door.knock("198.51.100.1", "honest")
    door.knock(one, "first")
    door.knock(other, "second")
    door.knock("198.51.100.2", "newest")
    assert door.evicted == ["first"]


def test_who_has_logged_in_makes_no_crowd_and_is_not_evicted() -> None:
    door = Door(2)
    for number in range(10):
        door.knock("192.0.2.1", f"site {number}").admit()
    door.knock("192.0.2.2", "stranger")
    assert not door.evicted
    statistics = door.admission.statistics()
    assert (statistics.waiting, statistics.connections) == (1, 11)


@pytest.mark.parametrize(
    ("host", "neighbour", "foreigner"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
    ],
)
def test_a_source_has_so_many_connections_logged_in_or_not(
    host: str, neighbour: str, foreigner: str
) -> None:
    admission = Admission(Limits(connections_per_source=3), 0.0)
    places = [admission.enter(host, lambda: None) for _ in range(2)]
    assert not admission.refuse_handshake(neighbour, 0.0)
    places.append(admission.enter(neighbour, lambda: None))
    places[0].admit()
    assert admission.refuse_handshake(host, 0.0) == "connections_per_source"
    assert not admission.refuse_handshake(foreigner, 0.0)
    places[0].leave()
    places[0].leave()
    assert not admission.refuse_handshake(host, 0.0)
    assert admission.statistics().refused == {"connections_per_source": 1}


def test_handshakes_are_bounded_for_each_source_and_for_all() -> None:
    limits = Limits(
        handshakes_per_second=4,
        handshake_burst=10,
        source_handshakes_per_second=2,
        source_handshake_burst=6,
    )
    admission = Admission(limits, 0.0)
    first = [admission.refuse_handshake("192.0.2.1", 0.0) for _ in range(8)]
    assert first == [""] * 6 + ["source_handshakes_per_second"] * 2
    second = [admission.refuse_handshake("192.0.2.2", 0.0) for _ in range(6)]
    assert second == [""] * 4 + ["handshakes_per_second"] * 2
    # A second later there are four for all, two of them for each source.
    later = [admission.refuse_handshake("192.0.2.1", 1.0) for _ in range(3)]
    assert later == ["", "", "source_handshakes_per_second"]
    # What the limit for all refused has not been charged to the source.
    assert [admission.refuse_handshake("192.0.2.2", 1.0) for _ in range(3)] == [
        "",
        "",
        "handshakes_per_second",
    ]
    assert admission.statistics().refused == {
        "source_handshakes_per_second": 3,
        "handshakes_per_second": 3,
    }


def test_a_thousand_gateways_behind_one_address_come_back_at_once() -> None:
    admission = Admission(Limits(), 0.0)
    assert not any(admission.refuse_handshake("203.0.113.1", 0.0) for _ in range(1000))
    for _ in range(1000):
        admission.enter("203.0.113.1", lambda: None).admit()
    # Those that a flood of their own neighbour keeps out have to wait, no more.
    turned_away = Counter(admission.refuse_handshake("203.0.113.1", 25.0) for _ in range(1000))
    assert turned_away == {"": 500, "source_handshakes_per_second": 500}


def test_what_is_remembered_of_sources_does_not_grow_with_them() -> None:
    admission = Admission(Limits(handshake_burst=100_000), 0.0)
    for number in range(3 * MOST_SOURCES):
        admission.refuse_handshake(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    assert len(admission._handshakes_of) == MOST_SOURCES
    place = admission.enter("192.0.2.1", lambda: None)
    place.leave()
    assert not admission._connections
    assert not admission._waiting_of
    assert not admission._places


def test_other_limits_hold_from_then_on() -> None:
    admission = Admission(Limits(source_handshake_burst=1), 0.0)
    assert not admission.refuse_handshake("192.0.2.1", 0.0)
    assert admission.refuse_handshake("192.0.2.1", 0.0)
    admission.limit(Limits(source_handshake_burst=2), 0.0)
    assert not admission.refuse_handshake("192.0.2.1", 0.0)
