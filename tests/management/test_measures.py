"""Readings of links, and what is made of them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from polevpn_trio.batch import DatagramBuffer
from polevpn_trio.frames.codec import S2C_IPDATA
from polevpn_trio.kcp.conversation import Conversation
from polevpn_trio.management.answers import Loss, Path, Repair
from polevpn_trio.management.measures import Counters, Passage, Reading, measured, read_link
from polevpn_trio.management.roster import Site
from polevpn_trio.transport.base import LinkStatistics
from polevpn_trio.transport.outgoing import OutgoingQueue, OutgoingStatistics
from polevpn_trio.transport.packet_channel import PacketChannel, PacketChannelStatistics
from polevpn_trio.transport.tcp_info import TcpStatistics


def outgoing(**waiting: Any) -> OutgoingStatistics:
    """Statistics of an empty queue, with changes to what it says of packets."""
    empty = OutgoingQueue(1 << 20).statistics()
    return attrs.evolve(empty, waiting=attrs.evolve(empty.waiting, **waiting))


def test_a_kcp_link_tells_round_trip_jitter_and_what_was_sent_again() -> None:
    conversation = Conversation(0, 1350, 128, 128)
    conversation.send(b"x" * 5000)
    conversation.poll_datagrams(0.0)
    conversation.poll_datagrams(5.0)
    statistics = conversation.statistics()
    assert statistics.resent_timeout > 0
    link = LinkStatistics("kcp", "192.0.2.1:443", 10, 20, 0.05, (statistics,))
    reading = read_link(link, outgoing())
    assert (reading.rtt, reading.jitter) == (0.05, None)
    resent = statistics.resent_timeout + statistics.resent_fast + statistics.resent_early
    assert reading.counters.passage_sent == Passage(statistics.segments_sent, resent, resent)


def test_a_tcp_link_tells_what_the_kernel_knows() -> None:
    tcp = TcpStatistics(0.02, 0.004, segments_sent=100, resent=3, path_mtu=1500)
    link = LinkStatistics("tls", "192.0.2.1:443", 10, 20, None, (tcp,))
    waiting = outgoing(dropped_full=4, dropped_codel=6, queued_bytes=77, delay=0.003)
    reading = read_link(link, waiting, malformed=2)
    assert (reading.rtt, reading.jitter) == (0.02, 0.004)
    assert (reading.queue_delay, reading.queued_bytes) == (0.003, 77)
    found = measured(reading)
    assert found.drops == {"malformed": 2, "queue_full": 4, "queue_delay": 6}
    assert found.loss_sent == Loss(0.03, 0.03)


def test_what_the_queue_dropped_before_the_link_came_is_not_counted_again() -> None:
    link = LinkStatistics("tls", "192.0.2.1:443", 10, 20)
    before = outgoing(dropped_full=4, dropped_codel=6)
    assert measured(read_link(link, before, before=before)).drops == {}
    now = outgoing(dropped_full=5, dropped_codel=8)
    found = measured(read_link(link, now, before=before))
    assert found.drops == {"queue_full": 1, "queue_delay": 2}


def test_rates_and_losses_are_those_since_the_reading_before() -> None:
    before = Counters(1000, 2000, Passage(100, 50), Passage(), {"queue_full": 1})
    now = Reading(Counters(3000, 2500, Passage(300, 60, 2), Passage(), {"queue_full": 5}))
    found = measured(now, before, 2.0)
    assert found.rates is not None
    assert (found.rates.bytes_sent, found.rates.bytes_received) == (1000, 250)
    assert found.rates.drops == 2
    assert found.loss_sent.before_repair == pytest.approx(0.05)
    assert found.loss_sent.after_repair == pytest.approx(0.01)
    assert found.loss_received == Loss(None, None)
    assert (found.bytes_sent, found.drops) == (3000, {"queue_full": 5})


def test_counters_of_connections_one_after_the_other_add_up() -> None:
    one = Counters(1, 2, Passage(3, 1), Passage(4), {"a": 1, "b": 2})
    two = Counters(10, 20, Passage(30, 2), Passage(40), {"b": 3, "c": 4})
    both = one.plus(two)
    assert both == Counters(11, 22, Passage(33, 3), Passage(44), {"a": 1, "b": 5, "c": 4})
    assert measured(Reading(Counters(drops={"a": 0}))).drops == {}


def test_packets_beside_the_stream_tell_losses_both_ways_queue_and_repair() -> None:
    channel = PacketChannel(
        S2C_IPDATA,
        mtu=1350,
        widest=1400,
        window=128,
        overhead=37,
        output=DatagramBuffer(),
        repair_share=0.25,
    )
    statistics = attrs.evolve(
        channel.statistics().conversation,
        peer_expected=100,
        peer_arrived=90,
        peer_recovered=8,
        expected=50,
        arrived=49,
        recovered=1,
        expired=3,
        resent=6,
        malformed=2,
        smoothed_rtt=0.05,
        rtt_variation=0.002,
    )
    queue = attrs.evolve(channel.statistics().queue, delay=0.007, queued_bytes=11, dropped_codel=5)
    repair = channel.statistics().repair
    assert repair is not None
    repair = attrs.evolve(
        repair,
        sent=attrs.evolve(repair.sent, repair_bytes=300, source_bytes=9000),
        estimate=attrs.evolve(repair.estimate, ratio=0.03),
    )
    detail = PacketChannelStatistics(statistics, queue, repair)
    link = LinkStatistics("kcp", "192.0.2.1:443", 10, 20, 0.05, (detail,))
    reading = read_link(link, outgoing(dropped_full=4, queued_bytes=77, delay=1.0), malformed=1)
    assert (reading.jitter, reading.queue_delay, reading.queued_bytes) == (0.002, 0.007, 88)
    found = measured(reading)
    assert found.loss_sent == Loss(0.1, 0.02)
    assert found.loss_received == Loss(0.02, 0.0)
    assert found.drops == {"malformed": 3, "queue_full": 4, "queue_delay": 5, "expired": 3}
    assert (found.path_sent, found.path_received) == (Path(100, 90, 8), Path(50, 49, 1))
    assert (found.resent, found.repair) == (6, Repair(300, 9000, 0.03))
    ended = Site("berlin", 0.0, ended=reading.counters).status(1.0).link
    assert (ended.path_sent, ended.resent) == (found.path_sent, 6)
    assert ended.repair == Repair(300, 9000, None)
