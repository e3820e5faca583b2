"""The keys ``user`` and ``group`` of both roles' files: whom a program that root starts becomes."""

from __future__ import annotations

import attrs

from polevpn_trio.control.commented_json import kind
from polevpn_trio.control.members import Members, shown

LARGEST_ID = (1 << 32) - 2
"""All ones mean "leave it as it is" to the kernel (setresuid(2))."""


@attrs.frozen
class RunAs:
    """A user, and a group, by name or number. Whether this machine has them is not known yet."""

    user: str
    group: str | None = None
    """None: the user's own."""


def run_as(top: Members) -> RunAs | None:
    """Read both keys from the members of a file; mistakes are reported there."""
    user = _name(top, "user")
    group = _name(top, "group")
    if group is not None and not top.has("user"):
        top.problem("group", "given without user, expected both, or user alone")
    return RunAs(user, group) if user is not None else None


def _name(top: Members, name: str) -> str | None:
    """The name, or the number as digits; None if it is not there, or wrong."""
    if not top.has(name):
        return None
    value = top.value(name)
    expected = f'the name or the number of a {name} other than root, such as "polevpn"'
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        top.problem(name, f"{kind(value)}, expected {expected}")
    elif value.isascii() and value.isdecimal() and not 0 < int(value) <= LARGEST_ID:
        top.problem(name, f"{shown(value)}, expected {expected}")
    elif value in ("", "root") or value.startswith("-") or "\0" in value:
        top.problem(name, f'"{shown(value)}", expected {expected}')
    else:
        return value
    return None
