"""Whose packets may bear which source, by the router's table."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import attrs
from hypothesis import given

from polevpn_trio.batch import SEQUENCES_ZERO, FrameBatch
from polevpn_trio.forwarding.forwarder import Forwarder
from polevpn_trio.forwarding.source_filter import MARTIAN, OWN, SPOOFED
from polevpn_trio.frames.codec import C2S_IPDATA, GROUP_BY_DESTINATION, S2C_IPDATA, FrameReader
from tests.forwarding.registrations import STEPS
from tests.memory_links import frames, ipv4, ipv6, split


@attrs.define(eq=False)
class Site:
    """A peer that remembers the packets that it was given, and what it was told of refusals."""

    takes_ipv6: bool = True
    sequences: int = SEQUENCES_ZERO
    taken: list[bytes] = attrs.field(factory=list)
    refused: list[tuple[str, int, bytes]] = attrs.field(factory=list)

    def enqueue_nowait(self, batch: FrameBatch) -> bool:
        packets = [frame.payload for frame in split(bytes(batch.data))]
        assert len(packets) == batch.packets
        self.taken += packets
        return True

    def flush(self) -> None:
        pass

    def note_refused(self, reason: str, packets: int, source: bytes) -> None:
        self.refused.append((reason, packets, source))


def send(forwarder: Forwarder, sender: Site, *packets: bytes) -> None:
    reader = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
    forwarder.route_batch(reader.receive_data_untrusted(frames(C2S_IPDATA, *packets)), sender)


def pair(forwarder: Forwarder) -> tuple[Site, Site]:
    """Join two sites."""
    berlin, oslo = Site(), Site()
    forwarder.register(berlin, [ip_address("10.8.0.2")], [ip_network("192.168.1.0/24")])
    forwarder.register(
        oslo, [ip_address("10.8.0.3")], [ip_network("192.168.2.0/24"), ip_network("fd02::/64")]
    )
    return berlin, oslo


def test_a_packet_passes_only_with_a_source_of_its_site() -> None:
    forwarder = Forwarder()
    berlin, oslo = pair(forwarder)
    own = [ipv4("192.168.1.5", "192.168.2.6"), ipv4("10.8.0.2", "192.168.2.6")]
    others = [ipv4(source, "192.168.2.6") for source in ("192.168.2.7", "10.8.0.3", "8.8.8.8")]
    send(forwarder, berlin, others[0], own[0], *others[1:], own[1])
    assert oslo.taken == own
    assert berlin.refused == [("spoofed", 3, ip_address("192.168.2.7").packed)]
    statistics = forwarder.statistics()
    assert (statistics.spoofed, statistics.forwarded) == (3, 2)


def test_ipv6_sources_are_checked_alike_although_the_site_has_none() -> None:
    forwarder = Forwarder()
    berlin, oslo = pair(forwarder)
    target = int(ip_address("fd02::6"))
    spoofed, link_local = int(ip_address("fd02::7")), int(ip_address("fe80::1"))
    send(forwarder, berlin, ipv6(spoofed, target), ipv6(link_local, target), ipv6(0, target))
    assert oslo.taken == []
    assert [each[:2] for each in berlin.refused] == [("spoofed", 1), ("martian", 2)]
    forwarder.register(berlin, [], [ip_network("fd01::/64")])
    packet = ipv6(int(ip_address("fd01::7")), target)
    send(forwarder, berlin, packet)
    assert oslo.taken == [packet]


def test_who_has_registered_nothing_can_send_nothing() -> None:
    forwarder = Forwarder()
    _, oslo = pair(forwarder)
    stranger = Site()
    send(forwarder, stranger, ipv4("192.168.9.1", "192.168.2.6"))
    assert oslo.taken == []
    assert stranger.refused == [("unregistered", 1, b"")]
    assert forwarder.statistics().unregistered == 1


def test_the_site_with_the_default_route_may_send_as_the_internet_but_not_as_other_sites() -> None:
    forwarder = Forwarder()
    berlin, oslo = pair(forwarder)
    internet = Site()
    forwarder.register(internet, [ip_address("10.8.0.9")], [ip_network("0.0.0.0/0")])
    outside = ipv4("8.8.8.8", "192.168.2.6")
    others = [ipv4(source, "192.168.2.6") for source in ("192.168.1.5", "10.8.0.2")]
    send(forwarder, internet, outside, *others)
    assert oslo.taken == [outside]
    assert forwarder.statistics().spoofed == 2
    # When the owner has gone, the default route is the best that there is.
    forwarder.unregister(berlin)
    send(forwarder, internet, ipv4("192.168.1.5", "192.168.2.6"))
    assert len(oslo.taken) == 2


def test_of_several_sites_with_one_network_each_may_send_from_it() -> None:
    forwarder = Forwarder()
    berlin, oslo = pair(forwarder)
    standby = Site()
    forwarder.register(standby, [ip_address("10.8.0.4")], [ip_network("192.168.1.0/24")])
    packet = ipv4("192.168.1.5", "192.168.2.6")
    send(forwarder, berlin, packet)
    send(forwarder, standby, packet)
    assert oslo.taken == [packet, packet]


def test_a_decision_does_not_outlive_the_registration() -> None:
    forwarder = Forwarder()
    berlin, oslo = pair(forwarder)
    packet = ipv4("192.168.1.5", "192.168.2.6")
    send(forwarder, berlin, packet)
    newcomer = Site()
    forwarder.register(newcomer, [], [ip_network("192.168.1.0/28")])
    send(forwarder, berlin, packet)
    assert oslo.taken == [packet]
    forwarder.unregister(newcomer)
    send(forwarder, berlin, packet)
    assert oslo.taken == [packet, packet]
    forwarder.unregister(berlin)
    send(forwarder, berlin, packet)
    assert oslo.taken == [packet, packet]


def test_one_site_may_be_exempt_and_so_may_all() -> None:
    packet = ipv4("203.0.113.7", "192.168.2.6")
    forwarder = Forwarder()
    berlin, oslo = pair(forwarder)
    forwarder.exempt(berlin)
    send(forwarder, berlin, packet)
    assert oslo.taken == [packet]
    forwarder = Forwarder(source_check=False)
    _, oslo = pair(forwarder)
    send(forwarder, Site(), packet)
    assert oslo.taken == [packet]


def test_who_was_exempt_is_not_any_more_after_it_has_gone() -> None:
    forwarder = Forwarder()
    berlin, oslo = pair(forwarder)
    forwarder.exempt(berlin)
    forwarder.unregister(berlin)
    send(forwarder, berlin, ipv4("203.0.113.7", "192.168.2.6"))
    assert oslo.taken == []


@given(STEPS)
def test_the_check_agrees_with_a_list_of_all_registrations(
    steps: list[tuple[int, tuple[list[IPv4Address], list[IPv4Network]] | None]],
) -> None:
    """A step is a peer that registers something, or goes."""
    peers = [Site() for _ in range(4)]
    forwarder = Forwarder()
    gateways: dict[IPv4Address, Site] = {}
    registered: list[tuple[Site, IPv4Network]] = []
    for number, taken in steps:
        peer = peers[number]
        if taken is None:
            forwarder.unregister(peer)
            gateways = {key: owner for key, owner in gateways.items() if owner is not peer}
            registered = [each for each in registered if each[0] is not peer]
        else:
            forwarder.register(peer, *taken)
            gateways |= dict.fromkeys(taken[0], peer)
            registered += [(peer, network) for network in taken[1]]
        for last in range(5):
            address = IPv4Address("10.8.0.0") + last
            covering = [each for each in registered if address in each[1]]
            longest = max((network.prefixlen for _, network in covering), default=0)
            owners = [owner for owner, network in covering if network.prefixlen == longest]
            if address in gateways:
                owners = [gateways[address]]
            for sender in peers:
                expected = OWN if sender in owners else SPOOFED
                assert forwarder.judge_source(sender, address.packed) == expected
    assert forwarder.judge_source(peers[0], IPv4Address("127.0.0.1").packed) == MARTIAN
