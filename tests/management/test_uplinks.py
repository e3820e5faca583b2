"""A gateway's link and its servers."""

from __future__ import annotations

from polevpn_trio.management.answers import DEGRADED, DOWN, UP, Trouble
from polevpn_trio.management.measures import Counters
from polevpn_trio.management.uplinks import Uplinks
from tests.management.sites import Peer

REFUSED = Trouble("invalid key", "compare the keys")
UNREACHABLE = Trouble("no answer", "see whether it runs")


def uplinks() -> Uplinks:
    servers = ("kcp://192.0.2.1:443", "tls://192.0.2.1:443")
    return Uplinks("10.8.0.2", ("10.8.0.2",), ("192.168.1.0/24",), servers, 0.0)


def test_before_the_first_link_it_is_down_and_tells_what_the_servers_said() -> None:
    links = uplinks()
    assert links.status(1.0).state == DOWN
    links.answered(0, UNREACHABLE, 1.0)
    links.answered(1, REFUSED, 2.0)
    status = links.status(3.0)
    [trouble] = status.troubles
    assert trouble == Trouble("no answer; invalid key", "see whether it runs; compare the keys")
    assert [(server.state, server.age) for server in links.servers(3.0)] == [
        ("failed", 2.0),
        ("failed", 1.0),
    ]


def test_on_the_first_server_it_is_up_and_since_when() -> None:
    links, peer = uplinks(), Peer()
    links.answered(0, None, 1.0)
    links.joined(0, peer.connected(since=1.0))
    status = links.status(5.0)
    assert (status.state, status.age, status.troubles) == (UP, 4.0, ())
    assert [server.state for server in links.servers(5.0)] == ["used", "untried"]


def test_on_a_fallback_it_is_degraded_and_says_why() -> None:
    links, peer = uplinks(), Peer()
    links.answered(0, UNREACHABLE, 1.0)
    links.answered(1, None, 2.0)
    links.joined(1, peer.connected(since=2.0))
    status = links.status(3.0)
    assert status.state == DEGRADED
    assert status.troubles[0].what.endswith("kcp://192.0.2.1:443 does not work: no answer")
    assert [server.state for server in links.servers(3.0)] == ["failed", "used"]


def test_moving_to_another_link_is_no_outage_and_loses_no_counters() -> None:
    links, first, second = uplinks(), Peer(Counters(10, 20)), Peer(Counters(1, 2))
    links.joined(1, first.connected(since=1.0))
    links.joined(0, second.connected(since=50.0))
    status = links.status(60.0)
    assert (status.state, status.age, status.connections) == (UP, 59.0, 2)
    assert (status.link.bytes_sent, status.link.bytes_received) == (11, 22)


def test_a_lost_link_tells_why_until_attempts_tell_more() -> None:
    links, peer = uplinks(), Peer()
    links.joined(0, peer.connected(since=1.0))
    links.lost(Trouble("nothing heard for 25 s"), 10.0)
    status = links.status(12.0)
    assert (status.state, status.age) == (DOWN, 2.0)
    assert status.troubles[0].what == "nothing heard for 25 s"
    links.answered(0, REFUSED, 13.0)
    assert links.status(14.0).troubles == (REFUSED,)
    assert links.status(14.0).age == 4.0


def test_what_is_known_of_servers_that_stay_is_kept_when_the_configuration_changes() -> None:
    links, peer = uplinks(), Peer()
    links.answered(0, UNREACHABLE, 1.0)
    links.answered(1, None, 2.0)
    links.joined(1, peer.connected(since=2.0))
    links.reconfigured(
        "berlin", ("192.168.9.0/24",), ("tls://192.0.2.1:443", "wss://192.0.2.1:443")
    )
    status = links.status(3.0)
    assert (status.name, status.networks, status.state) == ("berlin", ("192.168.9.0/24",), UP)
    assert [(server.url, server.state) for server in links.servers(3.0)] == [
        ("tls://192.0.2.1:443", "used"),
        ("wss://192.0.2.1:443", "untried"),
    ]


def test_what_servers_said_of_another_login_is_forgotten() -> None:
    links, peer = uplinks(), Peer()
    links.answered(1, REFUSED, 1.0)
    links.answered(0, None, 2.0)
    links.joined(0, peer.connected(since=2.0))
    urls = ("kcp://192.0.2.1:443", "tls://192.0.2.1:443")
    links.reconfigured("berlin", (), urls)
    assert [server.state for server in links.servers(3.0)] == ["used", "failed"]
    links.reconfigured("berlin", (), urls, same_login=False)
    assert [server.state for server in links.servers(3.0)] == ["used", "untried"]
    assert links.outage().what == ""


def test_the_link_of_a_server_that_is_not_configured_any_more_is_that_of_none() -> None:
    links, peer = uplinks(), Peer()
    links.joined(1, peer.connected(since=2.0))
    links.reconfigured("10.8.0.2", (), ("kcp://192.0.2.9:443",))
    assert links.status(3.0).state == UP
    assert [server.state for server in links.servers(3.0)] == ["untried"]
    # And one whose login began before, at a rank that there is no more.
    links.joined(1, peer.connected(since=4.0))
    assert [server.state for server in links.servers(5.0)] == ["untried"]
