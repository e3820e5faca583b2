"""Who waits at the door, and who has to go."""

from __future__ import annotations

import pytest

from polevpn_trio.control.admission import Admission, Place


class Door:
    def __init__(self, limit: int) -> None:
        self.admission = Admission(limit)
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
    assert (statistics.waiting, statistics.evicted) == (4, 2)


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
