"""Where packets go, and what is counted when they do not."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import attrs
import pytest
from hypothesis import given

from polevpn_trio.batch import (
    SEQUENCES_FOREIGN,
    SEQUENCES_OFFLOAD,
    SEQUENCES_ZERO,
    FrameBatch,
)
from polevpn_trio.forwarding.forwarder import CACHE_ENTRIES, Forwarder
from polevpn_trio.frames.codec import FrameRun
from tests.forwarding.registrations import STEPS
from tests.memory_links import split
from tests.tun.super_packets import Headers, frame, make_packet


@attrs.define(eq=False)
class Gateway:
    """A peer that remembers what it was given."""

    takes_ipv6: bool = True
    sequences: int = SEQUENCES_FOREIGN
    full: bool = False
    taken: list[FrameBatch] = attrs.field(factory=list)
    flushed: list[int] = attrs.field(factory=list)
    """How many batches it had each time it was told to flush."""

    def enqueue_nowait(self, batch: FrameBatch) -> bool:
        if not self.full:
            self.taken.append(batch)
        return not self.full

    def flush(self) -> None:
        self.flushed.append(len(self.taken))

    def note_refused(self, reason: str, packets: int, source: bytes) -> None:
        raise AssertionError("nothing is refused here")


def run_to(destination: str, packets: int = 1) -> FrameRun:
    address = ip_address(destination)
    return FrameRun(2, 0, address.version, address.packed, memoryview(bytes(28)), packets)


@pytest.mark.parametrize("kind", [SEQUENCES_ZERO, SEQUENCES_OFFLOAD, SEQUENCES_FOREIGN])
@pytest.mark.parametrize("taken", [SEQUENCES_OFFLOAD, SEQUENCES_FOREIGN])
def test_each_peer_gets_the_sequences_that_it_knows(kind: int, taken: int) -> None:
    peer, sender = Gateway(sequences=taken), Gateway()
    forwarder = Forwarder(source_check=False)
    forwarder.register(peer, [ip_address("10.0.1.1")], [])
    data = bytearray(frame(make_packet(Headers(), bytes(300)), sequence=100 if kind else 0))
    run = FrameRun(3, 0, 4, ip_address("10.0.1.1").packed, memoryview(data), 3, kind)
    forwarder.route_batch([run], sender)
    (batch,) = peer.taken
    untouched = kind in (SEQUENCES_ZERO, taken)
    assert (batch.data is run.data) or not untouched
    assert batch.sequences == (kind if untouched else SEQUENCES_ZERO)
    cut = kind == SEQUENCES_OFFLOAD and not untouched
    assert len(split(bytes(batch.data))) == (3 if cut else 1)
    assert batch.packets == forwarder.statistics().forwarded == 3
    assert forwarder.statistics().cut == cut


def test_exact_gateway_address_goes_before_every_network() -> None:
    owner, other, sender = Gateway(), Gateway(), Gateway()
    forwarder = Forwarder(source_check=False)
    forwarder.register(owner, [ip_address("10.8.0.2")], [])
    forwarder.register(other, [], [ip_network("10.8.0.2/32"), ip_network("10.8.0.0/24")])
    forwarder.route_batch([run_to("10.8.0.2"), run_to("10.8.0.3", 4)], sender)
    assert [batch.packets for batch in owner.taken] == [1]
    assert [batch.packets for batch in other.taken] == [4]
    assert forwarder.statistics().forwarded == 5


def test_longest_prefix_then_default_route() -> None:
    wide, narrow, default, sender = Gateway(), Gateway(), Gateway(), Gateway()
    forwarder = Forwarder(source_check=False)
    forwarder.register(wide, [], [ip_network("10.0.0.0/8")])
    forwarder.register(narrow, [], [ip_network("10.1.0.0/16")])
    forwarder.register(default, [], [ip_network("0.0.0.0/0")])
    forwarder.route_batch([run_to("10.1.1.1"), run_to("10.9.1.1"), run_to("8.8.8.8")], sender)
    assert [len(peer.taken) for peer in (narrow, wide, default)] == [1, 1, 1]


def test_network_falls_back_to_its_earlier_owner() -> None:
    first, second, sender = Gateway(), Gateway(), Gateway()
    forwarder = Forwarder(source_check=False)
    network = ip_network("192.168.7.0/24")
    forwarder.register(first, [], [network])
    forwarder.register(second, [], [network])
    forwarder.route_batch([run_to("192.168.7.1")], sender)
    forwarder.unregister(second)
    forwarder.route_batch([run_to("192.168.7.1")], sender)
    forwarder.unregister(first)
    forwarder.route_batch([run_to("192.168.7.1", 3)], sender)
    assert (len(first.taken), len(second.taken)) == (1, 1)
    assert forwarder.statistics().no_route == 3
    assert list(forwarder.routes()) == []


def test_registering_twice_keeps_one_entry() -> None:
    peer, sender = Gateway(), Gateway()
    forwarder = Forwarder(source_check=False)
    network = ip_network("192.168.7.0/24")
    forwarder.register(peer, [], [network])
    forwarder.register(peer, [], [network])
    forwarder.unregister(peer)
    forwarder.route_batch([run_to("192.168.7.1")], sender)
    assert peer.taken == []


def test_what_came_from_a_network_does_not_go_back_to_it() -> None:
    peer = Gateway()
    forwarder = Forwarder(source_check=False)
    forwarder.register(peer, [ip_address("10.8.0.2")], [ip_network("192.168.7.0/24")])
    forwarder.route_batch([run_to("192.168.7.9", 2), run_to("10.8.0.2")], peer)
    assert [batch.packets for batch in peer.taken] == [1]
    assert forwarder.statistics().hairpin == 2


def test_ipv6_never_reaches_a_classic_gateway() -> None:
    classic, sender = Gateway(takes_ipv6=False), Gateway()
    forwarder = Forwarder(source_check=False)
    forwarder.register(classic, [], [ip_network("::/0"), ip_network("10.0.0.0/8")])
    forwarder.route_batch([run_to("2001:db8::1", 2), run_to("10.0.0.1")], sender)
    assert len(classic.taken) == 1
    assert forwarder.statistics().not_ipv4 == 2


def test_a_full_peer_is_counted_and_holds_up_nobody() -> None:
    full, other, sender = Gateway(full=True), Gateway(), Gateway()
    forwarder = Forwarder(source_check=False)
    forwarder.register(full, [ip_address("10.8.0.2")], [])
    forwarder.register(other, [ip_address("10.8.0.3")], [])
    forwarder.route_batch([run_to("10.8.0.2", 5), run_to("10.8.0.3")], sender)
    assert len(other.taken) == 1
    assert forwarder.statistics().queue_full == 5


def test_new_route_takes_effect_although_the_old_answer_was_cached() -> None:
    late, sender = Gateway(), Gateway()
    forwarder = Forwarder(source_check=False)
    forwarder.route_batch([run_to("10.0.0.1")], sender)
    forwarder.register(late, [], [ip_network("10.0.0.0/24")])
    forwarder.route_batch([run_to("10.0.0.1")], sender)
    assert len(late.taken) == 1


def test_a_scan_of_addresses_does_not_grow_the_cache_without_bound() -> None:
    forwarder = Forwarder(source_check=False)
    for number in range(CACHE_ENTRIES + 10):
        forwarder.lookup(number.to_bytes(4, "big"))
    assert len(forwarder._cache) <= CACHE_ENTRIES


def test_gateway_address_moves_to_the_newcomer() -> None:
    old, new = Gateway(), Gateway()
    forwarder = Forwarder(source_check=False)
    address = ip_address("10.8.0.2")
    forwarder.register(old, [address], [])
    assert forwarder.gateway_owner(address) is old
    forwarder.register(new, [address], [])
    forwarder.unregister(old)
    assert forwarder.gateway_owner(address) is new
    assert forwarder.lookup(address.packed) is new


def test_each_peer_is_flushed_once_after_the_batch_was_routed() -> None:
    first, second, sender = Gateway(), Gateway(), Gateway()
    forwarder = Forwarder(source_check=False)
    forwarder.register(first, [ip_address("10.8.0.2")], [])
    forwarder.register(second, [ip_address("10.8.0.3")], [])
    runs = [run_to("10.8.0.2"), run_to("10.8.0.3"), run_to("10.8.0.2"), run_to("10.8.0.9")]
    forwarder.route_batch(runs, sender)
    assert (first.flushed, second.flushed, sender.flushed) == ([2], [1], [])


@given(STEPS)
def test_the_table_agrees_with_a_list_of_all_registrations(
    steps: list[tuple[int, tuple[list[IPv4Address], list[IPv4Network]] | None]],
) -> None:
    """A step is a peer that registers something, or goes."""
    peers = [Gateway() for _ in range(4)]
    forwarder = Forwarder(source_check=False)
    gateways: dict[IPv4Address, Gateway] = {}
    registered: list[tuple[Gateway, IPv4Network]] = []
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
            covering = [
                (each[1].prefixlen, place)
                for place, each in enumerate(registered)
                if address in each[1]
            ]
            expected = gateways.get(address)
            if expected is None and covering:
                expected = registered[max(covering)[1]][0]
            assert forwarder.lookup(address.packed) is expected
    for peer in peers:
        forwarder.unregister(peer)
    assert list(forwarder.routes()) == []
