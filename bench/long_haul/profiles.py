"""The paths that tunnels are measured on: between the router and the second gateway.

``forward`` is from the router to that gateway, the way of the bulk transfers. Delays are told as
round trips and split evenly.
"""

from __future__ import annotations

import attrs

from polevpn_trio.lab.wan.conditions import Conditions, GilbertElliott, Knee, Outages, Policer


@attrs.frozen
class Profile:
    """One path."""

    name: str
    title: str
    """What it is, in a few words."""
    forward: Conditions
    backward: Conditions
    least_seconds: int = 0
    """Length of a transfer at least, for all that the path does to be in it."""

    @property
    def round_trip(self) -> float:
        """Seconds, without queues."""
        return self.forward.delay + self.backward.delay

    @property
    def rate(self) -> float:
        """Bits per second that it carries at most, forward; what its queue or policer says."""
        rates = [self.forward.rate]
        if self.forward.policer is not None:
            rates.append(self.forward.policer.rate)
        return min(rate for rate in rates if rate is not None)


def _even(name: str, title: str, conditions: Conditions, least_seconds: int = 0) -> Profile:
    return Profile(name, title, conditions, conditions, least_seconds)


_COMMON = Conditions(rate=100e6, queue=0.05, delay=0.025)
_DEEP = attrs.evolve(_COMMON, queue=0.2)

LOSSES = (0, 2, 5, 10, 20)
"""Per cent of random loss each way, over which one chart is drawn."""

PROFILES = (
    *(
        _even(
            f"loss-{percent}",
            f"100 Mbit/s, 50 ms, {percent} % loss",
            attrs.evolve(_COMMON, loss=percent / 100),
        )
        for percent in LOSSES
    ),
    _even("deep-0", "100 Mbit/s, 50 ms, queue of 200 ms, no loss", _DEEP),
    _even("deep-2", "100 Mbit/s, 50 ms, queue of 200 ms, 2 % loss", attrs.evolve(_DEEP, loss=0.02)),
    _even(
        "ocean",
        "30 Mbit/s, 260 ms, 3 % loss",
        Conditions(rate=30e6, queue=0.1, delay=0.13, loss=0.03),
    ),
    _even(
        "bursts",
        "20 Mbit/s, 20 ms, 5 % loss in bursts of 4",
        Conditions(rate=20e6, queue=0.05, delay=0.01, bursts=GilbertElliott.bursts(0.05, 4)),
    ),
    _even(
        "mobile",
        "50 Mbit/s, 60 ms +- 20 ms with reordering, 1 % loss",
        Conditions(rate=50e6, queue=0.1, delay=0.03, jitter=0.01, reorder=True, loss=0.01),
    ),
    _even(
        "satellite",
        "100 Mbit/s, 40 ms, away for 300 ms every 15 s",
        Conditions(rate=100e6, queue=0.05, delay=0.02, outages=Outages(15.0, 0.3, first=3.0)),
    ),
    _even(
        "drop",
        "100 Mbit/s, 50 ms, for 5 s only 10 Mbit/s",
        attrs.evolve(_COMMON, rate_steps=((4.0, 10e6), (9.0, 100e6))),
        least_seconds=14,
    ),
    Profile(
        "one-way",
        "100 Mbit/s, 50 ms, 14 % loss, forward only",
        attrs.evolve(_COMMON, loss=0.14),
        _COMMON,
    ),
    _even(
        "thin",
        "2 Mbit/s, 50 ms, 40 % loss",
        Conditions(rate=2e6, queue=0.2, delay=0.025, loss=0.4),
    ),
    _even("narrow", "10 Mbit/s, 50 ms, no loss", attrs.evolve(_COMMON, rate=10e6)),
    _even(
        "policer",
        "40 Mbit/s policed, no queue, 50 ms",
        Conditions(rate=1e9, delay=0.025, policer=Policer(rate=40e6, burst=50_000)),
    ),
    _even(
        "knee",
        "50 ms, loss by own rate: 0, 2, 40 % at 10, 50, 90 Mbit/s",
        attrs.evolve(_COMMON, knee=Knee(((10e6, 0.0), (50e6, 0.02), (90e6, 0.4)))),
    ),
)

SHARED = attrs.evolve(_COMMON)
"""Both directions of the path on which tunnels and plain flows share."""
