"""What simulated gateways and floods are made of."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from bench import attacks
from bench.case_by_case import forged_packets, route_table
from bench.case_by_case.flooder import (
    FORGED_COUNT,
    FORGED_SIZE,
    LARGE,
    SCANNED,
    SMALL,
    batch_of,
    forged_records,
    scanning_batches,
    udp_packet,
)
from bench.case_by_case.gateways import LARGEST_CROWD, nth_address, nth_network, server_url
from bench.side_by_side.network import RunFailed
from polevpn_trio.frames.codec import C2S_IPDATA, GROUP_BY_DESTINATION, S2C_IPDATA, FrameReader
from polevpn_trio.lab.probes import internet_checksum
from polevpn_trio.transport.base import SEND_BATCH_BYTES
from polevpn_trio.transport.hello_cookies import COOKIE_BYTES, HelloCookies
from polevpn_trio.transport.records import RecordOpener


def test_all_of_a_crowd_have_addresses_and_networks_of_their_own() -> None:
    networks = {nth_network(number) for number in range(LARGEST_CROWD)}
    assert len(networks) == len({nth_address(n) for n in range(LARGEST_CROWD)}) == LARGEST_CROWD
    assert all(network.is_private for network in networks)


def test_a_url_is_taken_apart() -> None:
    server = server_url("kcp://192.0.2.1:443")
    assert (server.scheme, server.host, server.port) == ("kcp", "192.0.2.1", 443)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_the_router_takes_a_flood_for_packets(size: int) -> None:
    destination = IPv4Address("10.64.0.0")
    packet = udp_packet(IPv4Address("10.64.0.1"), destination, size)
    assert len(packet) == size
    assert internet_checksum(packet[:20]) == 0
    data, count = batch_of(packet)
    assert SEND_BATCH_BYTES - size - 8 < len(data) <= SEND_BATCH_BYTES
    reader = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
    (run,) = reader.receive_data_untrusted(data)
    assert (run.address, run.packets, reader.malformed) == (destination.packed, count, 0)


def test_forged_records_cost_the_opener_a_try_each_and_open_with_no_key() -> None:
    opener = RecordOpener(bytes(16), bytes(4))
    assert opener.open_batch_untrusted(forged_records(1 << 40), FORGED_SIZE) == 0
    assert opener.bad_tag == FORGED_COUNT


def test_a_scan_goes_to_another_address_with_each_packet() -> None:
    first = IPv4Address("10.64.0.0")
    batches = scanning_batches(IPv4Address("10.64.0.1"), first, SMALL)
    reader = FrameReader(C2S_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
    runs = [run for data in batches for run in reader.receive_data_untrusted(data)]
    assert [run.address for run in runs] == [(first + n).packed for n in range(SCANNED)]
    assert max(map(len, batches)) <= SEND_BATCH_BYTES


def test_the_networks_drawn_are_different_and_always_the_same() -> None:
    drawn = route_table.networks(1000)
    assert len(set(drawn)) == 1000
    assert drawn == route_table.networks(1000)
    assert {network.version for network in drawn} == {4, 6}


def test_the_destinations_looked_up_are_different_and_inside_of_the_table() -> None:
    drawn = route_table.networks(10)
    found = route_table.destinations(drawn)
    assert len(set(found)) == len(found) == route_table.DESTINATIONS
    by_version = {4: 4, 6: 16}
    for packed in found:
        assert any(
            network.network_address.packed <= packed <= network[-1].packed
            for network in drawn
            if by_version[network.version] == len(packed)
        )


def test_forged_packets_are_whole_and_from_many_hosts() -> None:
    target = IPv4Address("198.18.1.1")
    floods = (
        forged_packets.flood_of_syns(target, 443),
        forged_packets.flood_of_hellos(target, 443, cookies=False),
        forged_packets.flood_of_hellos(target, 443, cookies=True),
    )
    for packets in floods:
        sources = {packet[12:16] for packet in packets}
        assert len(sources) == len(packets) == forged_packets.SOURCES
        assert all(IPv4Address(source) in forged_packets.FORGED for source in sources)
        for packet in packets[:10]:
            assert internet_checksum(packet[:20]) == 0
            assert int.from_bytes(packet[2:4], "big") == len(packet)
            assert (packet[16:20], packet[22:24]) == (target.packed, (443).to_bytes(2, "big"))
    for packet in floods[0][:10]:
        assert internet_checksum(packet[12:20] + bytes((0, 6, 0, 20)) + packet[20:]) == 0


@pytest.mark.parametrize("cookies", [False, True])
def test_forged_hellos_are_answered_with_a_cookie(cookies: bool) -> None:
    target = IPv4Address("198.18.1.1")
    hello = forged_packets.flood_of_hellos(target, 443, cookies=cookies)[0][28:]
    assert HelloCookies(0.0).challenge_untrusted(hello, ("198.19.0.1", 1), 0.0)


def test_a_forged_hello_that_brings_its_cookie_back_is_let_through() -> None:
    judge, hello, address = HelloCookies(0.0), forged_packets.client_hello(), ("198.19.0.1", 1)
    challenge = judge.challenge_untrusted(hello, address, 0.0)
    assert challenge
    proven = forged_packets.with_cookie(hello, challenge[-COOKIE_BYTES:])
    assert judge.challenge_untrusted(proven, address, 0.0) is None


def test_what_an_attack_did_to_memory_and_logins_is_told_from_the_calm_before() -> None:
    calm = [(0.0, 60.0), (1.0, 61.0)]
    curve = [*calm, (2.0, 63.0), (3.0, 64.0), (4.0, 66.0), (5.0, 62.0)]
    assert attacks.growth(curve, calm) == {"growth": 5.0, "late": 2.0}
    before, during = (attacks.Phase(began, began + 5, {}) for began in (0.0, 10.0))
    logins = [(1.0, 0.1, True), (2.0, 0.3, True), (3.0, 0.2, True), (12.0, 7.0, False)]
    assert attacks.times_to_log_in(logins, before, during) == pytest.approx(
        {"join_before": 200, "join": 7000, "join_longest": 7000}
    )
    # One that began before, and goes on and on.
    assert attacks.times_to_log_in(logins[:3], before, during)["join"] == pytest.approx(5000)
    with pytest.raises(RunFailed):
        attacks.times_to_log_in(logins[3:], before, during)
