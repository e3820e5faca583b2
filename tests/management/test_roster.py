"""The sites of a router: who is up, who is down, since when, and why."""

from __future__ import annotations

from polevpn_trio.management.answers import DEGRADED, DOWN, UP, Trouble
from polevpn_trio.management.measures import Counters, Passage
from polevpn_trio.management.roster import SILENT_SECONDS, Roster
from tests.management.sites import Peer

SILENCE = Trouble("nothing heard for 60 s", "look at it")


def test_a_site_is_up_while_joined_and_then_down_with_the_reason() -> None:
    roster, peer = Roster(), Peer()
    roster.joined(peer, "berlin", ["10.8.0.2"], ["192.168.1.0/24"], peer.connected(since=10.0))
    [site] = roster.sites()
    status = site.status(now=14.0)
    assert (status.state, status.age, status.troubles) == (UP, 4.0, ())
    assert (status.addresses, status.networks) == (("10.8.0.2",), ("192.168.1.0/24",))
    assert status.connection is not None
    assert (status.connection.age, status.connection.silent) == (4.0, 4.0)
    roster.left(peer, SILENCE, 20.0)
    status = site.status(now=25.0)
    assert (status.state, status.age, status.troubles) == (DOWN, 5.0, (SILENCE,))
    assert status.connection is None
    assert status.networks == ("192.168.1.0/24",)


def test_counters_outlive_the_connection() -> None:
    roster, first, second = Roster(), Peer(Counters(100, 200)), Peer(Counters(1, 2))
    roster.joined(first, "berlin", [], [], first.connected())
    roster.left(first, SILENCE, 5.0)
    roster.joined(second, "berlin", [], [], second.connected(since=6.0))
    [site] = roster.sites()
    link = site.status(now=7.0).link
    assert (link.bytes_sent, link.bytes_received) == (101, 202)
    assert site.connections == 2


def test_who_takes_a_site_over_keeps_it_when_the_stale_connection_ends() -> None:
    roster, stale, fresh = Roster(), Peer(Counters(5)), Peer()
    roster.joined(stale, "berlin", [], ["192.168.1.0/24"], stale.connected())
    roster.joined(fresh, "berlin", [], ["192.168.2.0/24"], fresh.connected(since=1.0))
    roster.left(stale, SILENCE, 2.0)
    [site] = roster.sites()
    status = site.status(now=3.0)
    assert (status.state, status.networks) == (UP, ("192.168.2.0/24",))
    assert status.link.bytes_sent == 5
    assert (roster.of(stale), roster.of(fresh)) == (None, site)


def test_a_second_registration_adds_to_the_first() -> None:
    roster, peer = Roster(), Peer()
    for network in ("192.168.1.0/24", "192.168.2.0/24"):
        roster.joined(peer, "berlin", ["10.8.0.2"], [network], peer.connected())
    [site] = roster.sites()
    assert site.networks == ("192.168.1.0/24", "192.168.2.0/24")
    assert site.connections == 1


def test_expected_sites_are_down_until_they_come_and_tell_why_they_are_refused() -> None:
    roster, peer = Roster(), Peer()
    roster.expect("berlin", 0.0)
    [site] = roster.sites()
    status = site.status(now=9.0)
    assert (status.state, status.age) == (DOWN, 9.0)
    assert status.troubles[0].advice
    expired = Trouble("its key has expired", "renew it")
    roster.refused("berlin", expired)
    assert site.status(now=9.0).troubles == (expired,)
    roster.joined(peer, "berlin", [], [], peer.connected(since=10.0))
    roster.refused("berlin", expired)
    assert site.status(now=11.0).state == UP


def test_silence_loss_and_drops_make_a_site_degraded() -> None:
    roster = Roster()
    counters = Counters(passage_sent=Passage(1000, 200, 0), drops={"queue_full": 3})
    peer = Peer(counters)
    roster.joined(peer, "berlin", [], [], peer.connected())
    [site] = roster.sites()
    assert site.status(now=1.0).state == UP
    status = site.status(1.0, before=Counters(), seconds=1.0)
    assert status.state == DEGRADED
    assert [trouble.what for trouble in status.troubles] == [
        "20% lost on the path to it, and repaired",
        "3 packets dropped",
    ]
    peer.counters = Counters(passage_received=Passage(1000, 200, 40))
    [trouble] = site.status(1.0, before=Counters(), seconds=1.0).troubles
    assert trouble.what == "4.0% of packets from it lost, and sent again"
    [trouble] = site.status(SILENT_SECONDS + 1).troubles
    assert trouble.what == "nothing heard for 16 s"


def test_a_transfer_that_the_queue_slows_down_is_no_trouble() -> None:
    roster, peer = Roster(), Peer(Counters(drops={"queue_delay": 3}))
    roster.joined(peer, "berlin", [], [], peer.connected())
    [site] = roster.sites()
    assert site.status(1.0, before=Counters(), seconds=1.0).state == UP


def test_of_too_many_sites_the_one_away_longest_is_forgotten() -> None:
    roster, peers = Roster(limit=2), [Peer() for _ in range(3)]
    for number, peer in enumerate(peers):
        roster.joined(peer, f"site {number}", [], [], peer.connected(since=float(number)))
        if number == 1:
            roster.left(peers[1], SILENCE, 1.5)
            roster.left(peers[0], SILENCE, 1.7)
    assert [site.name for site in roster.sites()] == ["site 0", "site 2"]


def test_who_never_joined_may_leave() -> None:
    roster = Roster()
    roster.left(Peer(), SILENCE, 0.0)
    assert roster.sites() == []
    assert roster.of(None) is None
