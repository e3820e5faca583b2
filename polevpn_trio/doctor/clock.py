"""The clocks: this machine's by itself, and compared with the router's."""

from __future__ import annotations

import ctypes
import datetime
from pathlib import Path

import attrs

import polevpn_trio
from polevpn_trio.doctor.finding import Finding, fail, ok, warn

LARGEST_SKEW = datetime.timedelta(seconds=30)
"""Between two machines that are kept in time it is a thousand times smaller."""

_TIMEX_BYTES = 512
"""More than a struct timex has (adjtimex(2)); all zero, it asks and changes nothing."""
_TIME_ERROR = 5

_REMEDY = "timedatectl set-ntp true, on the one that is wrong (date -u tells)"


@attrs.frozen
class ClockFacts:
    now: datetime.datetime
    """UTC."""
    latest_file: datetime.datetime
    """When the newest of the files that are known was written; it cannot be earlier now."""
    kept: bool
    """Something such as NTP keeps the kernel's clock in time."""


def look_at_clock(*files: Path) -> ClockFacts:
    """Ask the kernel; ``files`` are some that were written lately."""
    written = [Path(polevpn_trio.__file__).stat().st_mtime]
    for file in files:
        try:
            written.append(file.stat().st_mtime)
        except OSError:
            continue
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return ClockFacts(
        datetime.datetime.now(datetime.UTC),
        datetime.datetime.fromtimestamp(max(written), datetime.UTC),
        0 <= state < _TIME_ERROR,
    )


def judge_clock(facts: ClockFacts) -> Finding:
    behind = facts.latest_file - facts.now
    if behind > LARGEST_SKEW:
        return fail(
            "clock",
            f"this machine's clock says {facts.now:%Y-%m-%d %H:%M} UTC, but there are files of "
            f"{facts.latest_file:%Y-%m-%d %H:%M}",
            "certificates and the days on which sites expire are judged wrongly",
            "timedatectl set-ntp true",
        )
    kept = "kept in time" if facts.kept else "not kept in time by NTP, as far as the kernel knows"
    return ok("clock", f"{facts.now:%Y-%m-%d %H:%M} UTC, {kept}")


def judge_skew(
    ours: datetime.datetime, theirs: datetime.datetime, round_trip: float, router: str
) -> Finding:
    """Compare this clock with a router's, asked at the same time; ``round_trip`` in seconds."""
    # Dates in HTTP have whole seconds.
    doubt = datetime.timedelta(seconds=1 + 2 * round_trip)
    skew = theirs - ours
    if abs(skew) <= LARGEST_SKEW + doubt:
        return ok("clock-skew", f"the clock of {router} agrees with this one")
    which = "ahead of" if skew > datetime.timedelta() else "behind"
    return warn(
        "clock-skew",
        f"the clock of {router} is {abs(round(skew.total_seconds()))} s {which} this one",
        "certificates and the days on which sites expire are judged differently on both sides; "
        "logs cannot be compared",
        _REMEDY,
    )
