"""What a flow queue tells about itself."""

from __future__ import annotations

import attrs


@attrs.frozen
class FlowQueueStatistics:
    """Counters since the start, and the state at the moment.

    Packets and bytes are frames with their headers. ``enqueued`` counts what was taken in,
    ``dequeued`` what left in batches; the difference is ``dropped_full`` (the memory limit was
    reached, and the packet was at the head of the fattest flow), ``dropped_codel`` (the flow's
    queue stood too long), and what is still ``queued``. ``marked`` counts packets that got a
    congestion mark (ECN CE) in place of a drop. ``oversize`` counts frames larger than the whole
    queue, ``malformed`` batches whose end was no whole frame; neither were taken in.

    ``flows`` is the number of flows that have their turn, ``new_flows`` how often one became
    active, ``memory`` the bytes of memory held, and ``delay`` the smoothed time in seconds
    that packets spent in the queue.
    """

    enqueued: int
    enqueued_bytes: int
    dequeued: int
    dequeued_bytes: int
    dropped_full: int
    dropped_codel: int
    marked: int
    oversize: int
    malformed: int
    queued: int
    queued_bytes: int
    flows: int
    new_flows: int
    memory: int
    delay: float
