"""What a datagram conversation tells about itself."""

from __future__ import annotations

import attrs


@attrs.frozen
class DatagramStatistics:
    """Counters since the conversation began, and its state at this moment.

    Sizes are bytes, times are seconds; "packets" are IP packets. Loss before repair in the
    direction to the peer is ``peer_expected - peer_arrived``, in the other ``expected -
    arrived``; what is lost after repair is sent again.
    """

    datagrams_sent: int
    bytes_sent: int
    """Without the headers of lower layers."""
    packets_sent: int
    packet_bytes_sent: int
    resent: int
    """Datagrams that carried a body again because it was lost."""
    probes: int
    """Datagrams sent because nothing was heard of the last ones."""
    repair_bytes: int
    acks_sent: int
    lost: int
    """Datagrams given up for lost."""
    spurious_losses: int
    """Of them, those that arrived nevertheless."""
    expired: int
    """Packets not sent again since they were no longer of use."""
    skips_sent: int
    """Words to the peer not to wait for them."""
    skips_dropped: int
    oversize: int
    """Packets longer than 1,500 bytes, which go another way."""
    oversize_dropped: int
    """Of them, those dropped because too many of them waited for that."""
    malformed: int
    """Packets dropped because their own lengths do not add up."""

    peer_expected: int
    """Datagrams sent up to the newest that the peer has acknowledged."""
    peer_arrived: int
    """Of them, those that arrived by themselves, as the peer says."""
    peer_recovered: int
    """Those that repair made up for."""
    peer_gaps: int
    """How often a run of losses began."""
    peer_reordering: float
    """How late the latest straggler of late was."""

    datagrams_received: int
    expected: int
    arrived: int
    recovered: int
    gaps: int
    late: int
    """Datagrams that came after their gap was seen."""
    duplicate_datagrams: int
    acks_received: int
    packets_received: int
    packet_bytes_received: int
    duplicate_packets: int
    late_packets: int
    """Packets that came after their place was given up."""
    abandoned_gaps: int
    """Gaps in a bucket given up without word from the peer."""
    abandoned_parts: int
    """Packets in parts that were given up because too many others were not whole."""
    held_packets: int
    bad_kind: int
    bad_format: int
    bad_number: int
    bad_acknowledgement: int
    """Acknowledgements of what was never sent."""

    in_flight: int
    in_flight_bytes: int
    smoothed_rtt: float
    """0 before the first sample."""
    rtt_variation: float
    congestion: dict[str, float | str]
