"""What a KCP conversation tells about itself."""

from __future__ import annotations

import attrs


@attrs.frozen
class ConversationStatistics:
    """Counters since the conversation began, and its state at this moment.

    Segments are PUSH segments unless said otherwise; bytes are stream bytes, without headers.
    """

    datagrams_sent: int
    segments_sent: int
    """Resends included."""
    bytes_sent: int
    """Stream bytes sent, each counted once."""
    resent_timeout: int
    """Resends because no acknowledgement came in time."""
    resent_fast: int
    """Resends because ``fast_resend`` datagrams acknowledged later transmissions."""
    resent_early: int
    """Resends because one datagram did, and there was nothing new to send."""
    acks_sent: int
    acks_dropped: int
    """ACKs not sent because too many were waiting for one flush."""
    probes_sent: int
    """WASK segments."""

    datagrams_received: int
    segments_received: int
    bytes_received: int
    """Stream bytes put in order."""
    acks_received: int
    early_received: int
    """Segments that came before one that precedes them."""
    duplicates: int
    """Segments that were here before; dropped, and acknowledged again."""
    out_of_window: int
    """Segments beyond the receive window; dropped."""
    bad_conversation: int
    """Datagrams cut short at a segment of another conversation."""
    bad_command: int
    """Datagrams cut short at a segment of unknown kind."""
    bad_length: int
    """Datagrams cut short at a segment that says it is longer than they are."""
    bad_acknowledgement: int
    """Segments whose ``una`` was never sent; it was ignored."""

    unsent_bytes: int
    in_flight: int
    """Segments sent, from the first that is not acknowledged on."""
    send_limit: int
    """How many segments may be in flight now."""
    peer_window: int
    """Segments that the peer has room for, as it said last."""
    congestion_window: int
    """Bytes on the wire that may be under way."""
    pacing_rate: float
    """Bytes on the wire per second at which new data leaves."""
    unread: int
    """Segments received in order and not yet fetched."""
    smoothed_rtt: float
    """Milliseconds; 0 before the first sample."""
    rtt_variation: float
    """Milliseconds."""
    rto: float
    """Milliseconds."""
    buffer_bytes: int
    """Memory for segments and payload, in bytes; the output buffer, of fixed size, not counted."""
