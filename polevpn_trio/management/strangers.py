"""Counts, and logs within limits, who knocks at the router and does not log in."""

from __future__ import annotations

import logging
from collections import Counter

import trio

from polevpn_trio.control.authentication import CAUSES
from polevpn_trio.control.line_limit import LineLimit
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.management.answers import Trouble

log = ContextLogger(logging.getLogger("polevpn_trio.router"))

REGISTRATION = "registration"
"""Cause of a refusal: the site asked for what it was not given."""

LINES = 20
LINE_SECONDS = 30.0
"""Lines in the log about connections that ended without a login: so many at once, then one
in so many seconds. Any port scanner could write there otherwise."""


class Strangers:
    """Connections that ended without a login, whatever they tried.

    ``refused`` counts logins by their cause, and registrations under `REGISTRATION`.
    """

    def __init__(self) -> None:
        self._lines = LineLimit(LINES, LINE_SECONDS)
        self.count = 0
        self.refused = Counter(dict.fromkeys((*CAUSES, REGISTRATION), 0))

    def note(self, name: str, trouble: Trouble, connection: str = "") -> None:
        """Log the end of a connection that never logged in, if it is not one of too many."""
        self.count += 1
        its = log.bind(connection=connection)
        suppressed = self._lines.take(trio.current_time())
        if suppressed is None:
            its.debug("%s: ended without a login: %s", name, trouble.what, advice=trouble.advice)
            return
        more = f" (and {suppressed} more since the last such line)" if suppressed else ""
        its.warning(
            "%s: ended without a login: %s%s", name, trouble.what, more, advice=trouble.advice
        )

    def note_failed_start(self, name: str, error: Exception | None) -> None:
        """Count a connection that did not get as far as speaking our protocol."""
        self.count += 1
        log.debug("%s: no connection came about: %s", name, error)
