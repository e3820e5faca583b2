"""What a check has found, what it means, and what mends it."""

from __future__ import annotations

import enum

import attrs


class Status(enum.StrEnum):
    """How bad it is; the worst of a run decides the exit status."""

    OK = "ok"
    WARN = "warn"
    """It works, but not as well, or not in every case."""
    FAIL = "fail"
    """It will not work."""
    SKIP = "skip"
    """It could not be found out; the text says why."""


@attrs.frozen
class Finding:
    """The outcome of one check; all texts are one line each."""

    check: str
    """Which one, a name that stays the same from release to release."""
    status: Status
    text: str
    """What is the case."""
    meaning: str = ""
    """What follows from it; "" when all is well."""
    remedy: str = ""
    """The command or the configuration key that mends it; "" when there is nothing to mend."""


def ok(check: str, text: str) -> Finding:
    return Finding(check, Status.OK, text)


def warn(check: str, text: str, meaning: str, remedy: str = "") -> Finding:
    return Finding(check, Status.WARN, text, meaning, remedy)


def fail(check: str, text: str, meaning: str, remedy: str = "") -> Finding:
    return Finding(check, Status.FAIL, text, meaning, remedy)


def skip(check: str, text: str, meaning: str = "", remedy: str = "") -> Finding:
    return Finding(check, Status.SKIP, text, meaning, remedy)
