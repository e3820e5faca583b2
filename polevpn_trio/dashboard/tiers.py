"""What is remembered of each site's link, finer for the last hours than for the last weeks. No I/O.

A `Cell` is what a site did in some span of time. Cells add up, so that a sample, ten seconds, and
half an hour are all the same kind of thing, and no sample is ever looked at twice: each goes into
one cell of every tier. A time is in seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from polevpn_trio.management.answers import DOWN, Loss, SiteStatus, Status

TOTAL = ""
"""Stands where a site's name does, for all sites together."""


@attrs.frozen
class Tier:
    """Cells of ``seconds`` each, of which the last ``kept`` of a site are remembered."""

    seconds: int
    kept: int


TIERS = (Tier(10, 720), Tier(120, 1440), Tier(1800, 2880))
"""Two hours, two days, and sixty days."""

MOST_CELLS = 300_000
"""Of one tier, all sites together; some 220 bytes each. More sites have shorter memories."""


@attrs.frozen
class Cell:
    """What one site did. Unless said otherwise a number is a sum over the span of time.

    ``rtt_area`` is the round trip (seconds) times the seconds for which it was known, which are
    ``rtt_seconds``; so with the shares that were lost.
    """

    seconds: float = 0.0
    """How much of the span was watched."""
    up_seconds: float = 0.0
    bytes_sent: float = 0.0
    bytes_received: float = 0.0
    drops: float = 0.0
    rtt_seconds: float = 0.0
    rtt_area: float = 0.0
    rtt_worst: float = 0.0
    """The largest."""
    loss_seconds: float = 0.0
    loss_area: float = 0.0
    """Of the worse direction, before repair."""
    unrepaired_area: float = 0.0
    """Of the worse direction, after it."""

    def plus(self, other: Cell) -> Cell:
        """Both together."""
        return Cell(
            self.seconds + other.seconds,
            self.up_seconds + other.up_seconds,
            self.bytes_sent + other.bytes_sent,
            self.bytes_received + other.bytes_received,
            self.drops + other.drops,
            self.rtt_seconds + other.rtt_seconds,
            self.rtt_area + other.rtt_area,
            max(self.rtt_worst, other.rtt_worst),
            self.loss_seconds + other.loss_seconds,
            self.loss_area + other.loss_area,
            self.unrepaired_area + other.unrepaired_area,
        )


COLUMNS = tuple(field.name for field in attrs.fields(Cell))


@attrs.frozen
class Point:
    """A cell as a chart shows it: rates per second, shares of 0 to 1; None is not known."""

    time: int
    """When the cell begins."""
    up: float | None
    sent: float | None
    received: float | None
    drops: float | None
    rtt: float | None
    rtt_worst: float | None
    loss: float | None
    unrepaired: float | None


def point(time: int, cell: Cell) -> Point:
    """Make the means of a cell's sums."""
    rtt, lossy = cell.rtt_seconds > 0, cell.loss_seconds > 0
    return Point(
        time=time,
        up=_mean(cell.up_seconds, cell.seconds),
        sent=_mean(cell.bytes_sent, cell.seconds),
        received=_mean(cell.bytes_received, cell.seconds),
        drops=_mean(cell.drops, cell.seconds),
        rtt=_mean(cell.rtt_area, cell.rtt_seconds),
        rtt_worst=cell.rtt_worst if rtt else None,
        loss=_mean(cell.loss_area, cell.loss_seconds),
        unrepaired=cell.unrepaired_area / cell.loss_seconds if lossy else None,
    )


def _mean(area: float, seconds: float) -> float | None:
    return area / seconds if seconds > 0 else None


def cells(status: Status) -> Iterator[tuple[str, Cell]]:
    """What each site did in the time over which a status was measured, then all together."""
    total = Cell()
    for site in status.sites:
        cell = _cell(site)
        if cell is not None:
            # The longest span of a site is that of the whole.
            seconds = max(total.seconds, cell.seconds)
            total = attrs.evolve(
                total.plus(_only_amounts(cell)), seconds=seconds, up_seconds=seconds
            )
            yield site.name, cell
    if total.seconds:
        yield TOTAL, total


def _cell(site: SiteStatus) -> Cell | None:
    rates = site.link.rates
    if rates is None:
        return None
    seconds = rates.seconds
    up = site.state != DOWN
    cell = Cell(
        seconds=seconds,
        up_seconds=seconds if up else 0.0,
        bytes_sent=max(0.0, rates.bytes_sent * seconds),
        bytes_received=max(0.0, rates.bytes_received * seconds),
        drops=max(0.0, rates.drops * seconds),
    )
    rtt = site.link.rtt
    if up and rtt is not None:
        cell = attrs.evolve(cell, rtt_seconds=seconds, rtt_area=rtt * seconds, rtt_worst=rtt)
    loss = _worse(site.link.loss_sent, site.link.loss_received)
    if up and loss is not None:
        before, after = loss
        cell = attrs.evolve(
            cell,
            loss_seconds=seconds,
            loss_area=before * seconds,
            unrepaired_area=after * seconds,
        )
    return cell


def _worse(sent: Loss, received: Loss) -> tuple[float, float] | None:
    known = [loss for loss in (sent, received) if loss.before_repair is not None]
    if not known:
        return None
    return (
        max(loss.before_repair or 0.0 for loss in known),
        max(loss.after_repair or 0.0 for loss in known),
    )


def _only_amounts(cell: Cell) -> Cell:
    """Round trips and losses of several links make no sense together."""
    return Cell(bytes_sent=cell.bytes_sent, bytes_received=cell.bytes_received, drops=cell.drops)


Key = tuple[int, str, int]
"""Number of the tier, name of the site, and when the cell begins."""

Batch = dict[Key, Cell]


def add(batch: Batch, time: float, name: str, cell: Cell) -> None:
    """Add what a site did at ``time`` to its cells, in every tier."""
    for number, tier in enumerate(TIERS):
        key = (number, name, beginning(tier, time))
        known = batch.get(key)
        batch[key] = cell if known is None else known.plus(cell)


def beginning(tier: Tier, time: float) -> int:
    """When the cell begins that this time falls into."""
    return int(time // tier.seconds) * tier.seconds
