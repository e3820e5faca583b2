"""Says now and then that a policy has denied packets. No I/O but the log."""

from __future__ import annotations

import logging
from collections.abc import Callable

from polevpn_trio.control import advice
from polevpn_trio.control.line_limit import LineLimit
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.forwarding.policy.guard import PolicyGuard
from polevpn_trio.forwarding.policy.rules import DEFAULT_NAME, UNRELATED_NAME

log = ContextLogger(logging.getLogger("polevpn_trio.policy"))

LINE_SECONDS = 60.0
"""A line for each rule that often, at most."""


class DenialLog:
    """Names the first packet that a rule denies, and then one a minute.

    ``name_of`` gives the name of the site that a peer is of.
    """

    def __init__(self, name_of: Callable[[object], str]) -> None:
        self._name_of = name_of
        self._limits: dict[str, LineLimit] = {}

    def note(self, sender: object, guard: PolicyGuard, now: float) -> None:
        """Log what was denied last, if it is time to; ``now`` is in seconds, monotonic."""
        name = guard.denied_by
        limit = self._limits.get(name)
        if limit is None:
            # Reloads with ever other names must not add up.
            names = guard.policy.names
            self._limits = {each: self._limits[each] for each in names if each in self._limits}
            limit = self._limits[name] = LineLimit(1, LINE_SECONDS)
        if limit.take(now) is None:
            return
        denial, site = guard.last_denial(), self._name_of(sender)
        counts = {count.name: count.denials for count in guard.counts()}
        by = {DEFAULT_NAME: "by default", UNRELATED_NAME: "as no part of a flow that was allowed"}
        log.warning(
            "denied %s: %s, from site %s (%s so far)",
            by.get(name, f'by rule "{name}"'),
            denial,
            site,
            "1 packet" if counts[name] == 1 else f"{counts[name]} packets",
            site=site,
            advice=advice.UNRELATED if name == UNRELATED_NAME else advice.DENIED,
        )
