"""Reads what the parts of a link count, and makes of it what an operator asks for. No I/O.

Nothing is counted here, and nothing is computed before somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from polevpn_trio.forwarding.statistics import FlowQueueStatistics
from polevpn_trio.kcp.statistics import ConversationStatistics
from polevpn_trio.management.answers import Loss, Measured, Path, Rates, Repair
from polevpn_trio.site import SiteStatistics
from polevpn_trio.transport.base import LinkStatistics
from polevpn_trio.transport.outgoing import OutgoingStatistics
from polevpn_trio.transport.packet_channel import PacketChannelStatistics
from polevpn_trio.transport.tcp_info import TcpStatistics
from polevpn_trio.tun.device import TunStatistics

NOTHING: Mapping[str, int] = {}


@attrs.frozen
class Passage:
    """What was sent one way: units sent, those lost on the path, those that repair did not save."""

    sent: int = 0
    lost: int = 0
    unrepaired: int = 0
    recovered: int = 0
    """Datagrams computed from repairs, of which some may have come late all the same."""

    def plus(self, other: Passage) -> Passage:
        return Passage(
            self.sent + other.sent,
            self.lost + other.lost,
            self.unrepaired + other.unrepaired,
            self.recovered + other.recovered,
        )

    def since(self, before: Passage) -> Passage:
        return Passage(
            self.sent - before.sent,
            self.lost - before.lost,
            self.unrepaired - before.unrepaired,
            self.recovered - before.recovered,
        )

    def path(self) -> Path:
        """The same as counts that only ever grow."""
        return Path(self.sent, self.sent - self.lost, self.recovered)

    def loss(self) -> Loss:
        """The shares; None where nothing was sent, or nobody counted."""
        if self.sent <= 0:
            return Loss(None, None)
        return Loss(
            min(max(self.lost / self.sent, 0.0), 1.0),
            min(max(self.unrepaired / self.sent, 0.0), 1.0),
        )


@attrs.frozen
class Counters:
    """What only grows, of one connection or of several."""

    bytes_sent: int = 0
    bytes_received: int = 0
    passage_sent: Passage = Passage()
    passage_received: Passage = Passage()
    drops: Mapping[str, int] = NOTHING
    resent: int = 0
    """Datagrams or segments sent again."""
    repair_bytes: int = 0
    protected_bytes: int = 0

    def plus(self, other: Counters) -> Counters:
        """The sum, of connections that came one after the other."""
        names = dict.fromkeys((*self.drops, *other.drops))
        return Counters(
            self.bytes_sent + other.bytes_sent,
            self.bytes_received + other.bytes_received,
            self.passage_sent.plus(other.passage_sent),
            self.passage_received.plus(other.passage_received),
            {name: self.drops.get(name, 0) + other.drops.get(name, 0) for name in names},
            self.resent + other.resent,
            self.repair_bytes + other.repair_bytes,
            self.protected_bytes + other.protected_bytes,
        )


@attrs.frozen
class Reading:
    """The counters of a connection, and its state at this moment."""

    counters: Counters
    rtt: float | None = None
    jitter: float | None = None
    queue_delay: float | None = None
    queued_bytes: int | None = None
    repair_ratio: float | None = None


def read_link(
    link: LinkStatistics,
    outgoing: OutgoingStatistics,
    *,
    before: OutgoingStatistics | None = None,
    **drops: int,
) -> Reading:
    """Make a reading of what a link and the queue in front of it count.

    What a queue that is older than the link had dropped ``before`` is left out. ``drops`` come
    from others. Of two ways that packets may take, the last is the one in use.
    """
    jitter = None
    rtt = link.smoothed_rtt
    sent, received = Passage(), Passage()
    waiting = outgoing.waiting
    queue_delay, queued = waiting.delay, waiting.queued_bytes
    found = drops | {
        name: count - (0 if before is None else _queue_drops(before.waiting)[name])
        for name, count in _queue_drops(waiting).items()
    }
    resent = 0
    repair = Repair()
    for part in link.detail:
        match part:
            case ConversationStatistics():
                jitter = part.rtt_variation / 1000 if part.smoothed_rtt else None
                again = part.resent_timeout + part.resent_fast + part.resent_early
                sent = sent.plus(Passage(part.segments_sent, again, again))
                resent += again
                queue_delay = waiting.delay
            case TcpStatistics():
                rtt, jitter = part.rtt, part.rtt_variation
                sent = Passage(part.segments_sent, part.resent, part.resent)
                resent += part.resent
            case PacketChannelStatistics():
                packets = part.conversation
                resent += packets.resent
                if part.repair is not None:
                    cost = part.repair.sent
                    ratio = part.repair.estimate.ratio
                    repair = Repair(cost.repair_bytes, cost.source_bytes, ratio)
                jitter = packets.rtt_variation if packets.smoothed_rtt else None
                sent = sent.plus(
                    _passage(packets.peer_expected, packets.peer_arrived, packets.peer_recovered)
                )
                received = _passage(packets.expected, packets.arrived, packets.recovered)
                # They wait in the conversation's queue, and go past the other one.
                queue_delay = part.queue.delay
                queued += part.queue.queued_bytes
                for name, count in _queue_drops(part.queue).items():
                    found[name] += count
                found["oversize"] += packets.oversize_dropped
                found["malformed"] = found.get("malformed", 0) + packets.malformed
                found["expired"] = packets.expired
    counters = Counters(
        bytes_sent=link.bytes_sent,
        bytes_received=link.bytes_received,
        passage_sent=sent,
        passage_received=received,
        drops=found,
        resent=resent,
        repair_bytes=repair.repair_bytes,
        protected_bytes=repair.protected_bytes,
    )
    return Reading(counters, rtt, jitter, queue_delay, queued, repair.ratio)


def _queue_drops(queue: FlowQueueStatistics) -> dict[str, int]:
    return {
        "queue_full": queue.dropped_full,
        "queue_delay": queue.dropped_codel,
        "oversize": queue.oversize,
    }


def _passage(sent: int, arrived: int, recovered: int) -> Passage:
    lost = sent - arrived
    return Passage(sent, lost, max(0, lost - recovered), recovered)


def read_site(statistics: SiteStatistics, **more: int) -> Reading:
    """Make a reading of a router's own site: "sent" is what the router wrote to its device.

    ``more`` are drops that others count.
    """
    drops = {"not_in_acls": statistics.not_in_acls, "writer_full": statistics.writer_full, **more}
    device = statistics.device
    if not isinstance(device, TunStatistics):
        return Reading(Counters(drops=drops))
    return Reading(
        Counters(
            bytes_sent=device.bytes_written,
            bytes_received=device.bytes_read,
            drops=drops | device_drops(device),
        )
    )


def device_drops(device: TunStatistics) -> dict[str, int]:
    """Packets that a TUN device dropped, by reason."""
    return {
        "read_malformed": device.read_malformed,
        "read_bad_offload": device.read_bad_offload,
        "read_oversize": device.read_oversize,
        "write_malformed": device.write_malformed,
        "write_refused": device.write_refused,
        "write_interface_down": device.write_interface_down,
        "write_no_memory": device.write_no_memory,
    }


def measured(now: Reading, before: Counters | None = None, seconds: float = 0.0) -> Measured:
    """What to tell of a link; with its counters of ``seconds`` ago, the rates since then."""
    counters = now.counters
    sent, received = counters.passage_sent, counters.passage_received
    rates = None
    if before is not None and seconds > 0:
        rates = Rates(
            seconds=seconds,
            bytes_sent=(counters.bytes_sent - before.bytes_sent) / seconds,
            bytes_received=(counters.bytes_received - before.bytes_received) / seconds,
            drops=(sum(counters.drops.values()) - sum(before.drops.values())) / seconds,
        )
        sent, received = sent.since(before.passage_sent), received.since(before.passage_received)
    return Measured(
        rtt=now.rtt,
        jitter=now.jitter,
        queue_delay=now.queue_delay,
        queued_bytes=now.queued_bytes,
        bytes_sent=counters.bytes_sent,
        bytes_received=counters.bytes_received,
        loss_sent=sent.loss(),
        loss_received=received.loss(),
        drops={name: count for name, count in counters.drops.items() if count},
        rates=rates,
        path_sent=counters.passage_sent.path(),
        path_received=counters.passage_received.path(),
        resent=counters.resent,
        repair=Repair(counters.repair_bytes, counters.protected_bytes, now.repair_ratio),
    )
