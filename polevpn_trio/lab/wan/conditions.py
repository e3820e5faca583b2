"""What a path does to packets in one direction, as plain values that survive JSON.

Rates are bits per second, counted with `Conditions.framing` for each packet; times are seconds,
shares and probabilities lie between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

ETHERNET_HEADER = 14
"""Bytes that a packet takes on the wire beyond its own: an MTU of 1500 makes frames of 1514."""


def _is_share(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name}: {value} is not between 0 and 1")


def _is_positive(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not (0 < value < math.inf):
        raise ValueError(f"{attribute.name}: {value} is not above 0")


def _is_not_negative(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not (0 <= value < math.inf):
        raise ValueError(f"{attribute.name}: {value} is below 0")


def _pairs(value: Any) -> tuple[tuple[float, float], ...]:
    return tuple((float(first), float(second)) for first, second in value)


@attrs.frozen
class GilbertElliott:
    """Bursty loss: a chain of two states that moves before each packet.

    As Gilbert (1960) and Elliott (1963) describe it; it begins in the good state.
    """

    to_bad: float = attrs.field(validator=_is_share)
    """Probability of leaving the good state."""
    to_good: float = attrs.field(validator=_is_share)
    """Probability of leaving the bad state."""
    loss_good: float = attrs.field(default=0.0, validator=_is_share)
    loss_bad: float = attrs.field(default=1.0, validator=_is_share)

    @classmethod
    def bursts(cls, loss: float, mean_length: float) -> GilbertElliott:
        """Lose the share ``loss`` of the packets, in runs of ``mean_length`` on average."""
        if not 0 <= loss < 1 or mean_length < 1:
            raise ValueError(f"no such bursts: loss {loss}, mean length {mean_length}")
        to_good = 1 / mean_length
        return cls(to_bad=to_good * loss / (1 - loss), to_good=to_good)

    @property
    def mean_loss(self) -> float:
        """Share lost in the long run."""
        leaving = self.to_bad + self.to_good
        bad = self.to_bad / leaving if leaving else 0.0
        return bad * self.loss_bad + (1 - bad) * self.loss_good


@attrs.frozen
class Outages:
    """Nothing passes for ``length`` seconds, ``first`` after the start and each ``period`` then."""

    period: float = attrs.field(validator=_is_positive)
    length: float = attrs.field(validator=_is_positive)
    first: float = attrs.field(default=0.0, validator=_is_not_negative)


@attrs.frozen
class Policer:
    """A token bucket without a queue: what exceeds ``rate`` by over ``burst`` bytes is lost."""

    rate: float = attrs.field(validator=_is_positive)
    burst: int = attrs.field(validator=_is_positive)


@attrs.frozen
class Knee:
    """Loss that grows with the rate that is offered, as on paths that throttle whoever sends much.

    ``points`` are pairs of rate and loss, by rising rate; between them the loss is interpolated,
    outside it stays as at the nearest. The rate offered is an exponential average.
    """

    points: tuple[tuple[float, float], ...] = attrs.field(converter=_pairs)
    average: float = attrs.field(default=0.2, validator=_is_positive)
    """Time constant of the average, seconds."""

    @points.validator
    def _points_rise(self, _: object, points: tuple[tuple[float, float], ...]) -> None:
        rates = [rate for rate, _ in points]
        if not points or rates != sorted(set(rates)):
            raise ValueError("points: the rates of a knee must rise")
        if not all(0 <= loss <= 1 for _, loss in points):
            raise ValueError("points: a loss is not between 0 and 1")


@attrs.frozen
class Conditions:
    """One direction of a path; by default a perfect one.

    A packet meets, in this order: outages, policer, knee, the queue in front of the bottleneck,
    loss behind it (a lost packet has used the bottleneck's time, as on a real path), delay,
    jitter, and duplication.
    """

    rate: float | None = attrs.field(default=None, validator=_is_positive)
    """Of the bottleneck; None if there is none."""
    rate_steps: tuple[tuple[float, float], ...] = attrs.field(default=(), converter=_pairs)
    """Pairs of a time after the start and the rate from then on, by rising time; only with a
    ``rate``, which holds until the first of them. A rate of 0 stalls the path; the last one is
    above 0."""
    queue: float = attrs.field(default=0.05, validator=_is_not_negative)
    """Length of the bottleneck's drop-tail queue in seconds of ``rate``."""
    queue_bytes: int | None = attrs.field(default=None, validator=_is_not_negative)
    """The same in bytes; takes precedence."""
    delay: float = attrs.field(default=0.0, validator=_is_not_negative)
    """One way, without queue and serialisation."""
    jitter: float = attrs.field(default=0.0, validator=_is_not_negative)
    """The delay varies evenly by as much up and down, from packet to packet."""
    reorder: bool = False
    """Whether packets overtake each other by jitter, rather than wait for those before them."""
    loss: float = attrs.field(default=0.0, validator=_is_share)
    """Of each packet by itself."""
    bursts: GilbertElliott | None = None
    """Loss in addition to ``loss``."""
    duplicate: float = attrs.field(default=0.0, validator=_is_share)
    """Share of packets that arrive twice; both copies vary in delay."""
    outages: Outages | None = None
    policer: Policer | None = None
    knee: Knee | None = None
    framing: int = attrs.field(default=ETHERNET_HEADER, validator=_is_not_negative)
    """Bytes that each packet takes on the wire beyond its own."""

    @rate_steps.validator
    def _steps_rise(self, _: object, steps: tuple[tuple[float, float], ...]) -> None:
        if steps and self.rate is None:
            raise ValueError("rate_steps: there is no rate to begin with")
        times = [time for time, _ in steps]
        if times != sorted(set(times)) or any(time <= 0 for time in times):
            raise ValueError("rate_steps: the times must rise, from above 0")
        if any(rate < 0 for _, rate in steps) or (steps and steps[-1][1] == 0):
            raise ValueError("rate_steps: a rate is below 0, or the last one is 0")

    @jitter.validator
    def _jitter_fits(self, _: object, jitter: float) -> None:
        if jitter > self.delay:
            raise ValueError(f"jitter: {jitter} exceeds the delay of {self.delay}")

    @property
    def queue_limit(self) -> float:
        """Bytes that the queue holds; without end where there is no bottleneck."""
        if self.rate is None:
            return math.inf
        return self.queue * self.rate / 8 if self.queue_bytes is None else float(self.queue_bytes)

    def as_json(self) -> dict[str, Any]:
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> Conditions:
        """Read what `as_json` gave. Raises ValueError or TypeError for what makes no sense."""
        parts = {"bursts": GilbertElliott, "outages": Outages, "policer": Policer, "knee": Knee}
        nested = {
            name: kind(**members[name])
            for name, kind in parts.items()
            if members.get(name) is not None
        }
        return cls(**{**members, **nested})
