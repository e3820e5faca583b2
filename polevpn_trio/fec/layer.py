"""Repair of one link, both directions: encoder, decoder, and who decides how much.

It stands between a ``datagram`` conversation and what carries its datagrams. Those go past it
as they are; it adds repairs behind them, and hands out lost ones that it could compute. On a
clean link it keeps nothing and copies nothing.
"""

from __future__ import annotations

from array import array

import attrs

from polevpn_trio.fec.controller import (
    INTERVAL,
    LEAST_USEFUL,
    BaseLoss,
    ControllerStatistics,
    PathCounters,
    RepairController,
)
from polevpn_trio.fec.decoder import RepairDecoder
from polevpn_trio.fec.encoder import ALLOWANCE, SHARE, RepairEncoder
from polevpn_trio.fec.statistics import DecoderStatistics, EncoderStatistics

MOST_PER_BYTE = 4.0
"""Bytes of repair per byte of other traffic at most, whatever share of all they may have."""

LEAST_HORIZON = LEAST_USEFUL
LARGEST_HORIZON = 1.0
"""Seconds that a datagram stays in the window, at least and at most."""

HORIZON_ROUNDS = 1.5
"""Round trips that it stays there, between these two: then it arrives that was sent anew."""


@attrs.frozen
class RepairStatistics:
    """What repair of a link costs and gives.

    ``sent`` is of our direction, ``received`` of the other; ``estimate`` is about ours.
    """

    sent: EncoderStatistics
    received: DecoderStatistics
    estimate: ControllerStatistics


class RepairLayer:
    """Adds and uses the repairs of one link; sans-IO, ``now`` in seconds.

    ``mtu`` is the length of the longest datagram to protect, in bytes; ``share`` how much of all
    bytes sent may be repair (0 to 1, 0 for no repair at all). Raises ValueError
    if out of range.

    After each batch that is sent, `protect_batch`; at `next_timeout`, `poll_repairs`: then there
    are repairs to send in ``repairs`` and ``repair_sizes``. For each batch that came,
    `receive_batch_untrusted`: then lost datagrams are in ``recovered`` and ``recovered_sizes``.
    All these are valid until the next call. `adapt` now and then, when `adapt_at` has come.
    """

    def __init__(self, mtu: int, share: float = SHARE) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share {share} not in 0 to 1")
        per_byte = min(share / (1 - share), MOST_PER_BYTE) if share < 1 else MOST_PER_BYTE
        self._encoder = RepairEncoder(mtu, share=per_byte, allowance=ALLOWANCE if share else 0.0)
        self._decoder = RepairDecoder()
        self._controller = RepairController(per_byte)
        self._encoder.set_plan(self._controller.plan)
        self.adapt_at = 0.0
        """When to call `adapt` next, if there is traffic."""

    @property
    def repairs(self) -> bytearray:
        """The repairs to be sent, back to back."""
        return self._encoder.datagrams

    @property
    def repair_sizes(self) -> array[int]:
        """Their lengths."""
        return self._encoder.sizes

    @property
    def recovered(self) -> bytearray:
        """The datagrams that were computed, back to back."""
        return self._decoder.datagrams

    @property
    def recovered_sizes(self) -> array[int]:
        """Their lengths."""
        return self._decoder.sizes

    @property
    def overtaken(self) -> int:
        """How many datagrams of the last batch had been computed before they came."""
        return self._decoder.overtaken

    @property
    def wait(self) -> float:
        """Seconds that repair of our direction may take to make up for a loss."""
        return self._controller.wait

    def protect_batch(
        self,
        datagrams: bytes | bytearray | memoryview,
        sizes: array[int],
        count: int,
        important: bytes | bytearray | array[int],
        now: float,
    ) -> int:
        """Look at ``count`` datagrams that are being sent; return how many repairs follow.

        ``important`` has a byte for each, not 0 if it shall have a repair of its own.
        """
        return self._encoder.protect_batch(datagrams, sizes, count, now, important)

    def poll_repairs(self, now: float) -> int:
        """Return how many repairs are to be sent now."""
        return self._encoder.poll_repairs(now)

    def next_timeout(self) -> float:
        """Tell when to call `poll_repairs`; inf if there is nothing to wait for."""
        return self._encoder.next_timeout()

    def receive_batch_untrusted(
        self,
        datagrams: bytes | bytearray | memoryview,
        sizes: array[int],
        count: int,
        now: float,
    ) -> int:
        """Look at ``count`` datagrams that came; return how many lost ones could be computed."""
        return self._decoder.receive_batch_untrusted(datagrams, sizes, count, now)

    def adapt(
        self,
        seen: PathCounters,
        base_loss: BaseLoss,
        round_trip: float,
        now: float,
        headroom: float = 0.0,
    ) -> None:
        """Adapt to what the peer says of our direction; see `RepairController.take_counters`.

        ``round_trip`` is in seconds: after that, what was lost is sent anew. ``headroom`` is the
        share of the path's rate that is not in use.
        """
        self.adapt_at = now + INTERVAL
        horizon = min(max(HORIZON_ROUNDS * round_trip, LEAST_HORIZON), LARGEST_HORIZON)
        self._controller.useful = horizon
        before = self._controller.plan
        self._controller.take_counters(seen, base_loss, now, headroom)
        if self._controller.plan != before:
            self._encoder.set_plan(self._controller.plan)
        self._encoder.set_horizon(horizon)

    def release_idle(self, now: float) -> None:
        """Give memory back if there was no traffic, or nothing to repair, for a while."""
        self._encoder.release_idle(now)
        self._decoder.release_idle(now)

    def statistics(self) -> RepairStatistics:
        """Return the counters."""
        return RepairStatistics(
            sent=self._encoder.statistics(),
            received=self._decoder.statistics(),
            estimate=self._controller.statistics(),
        )
