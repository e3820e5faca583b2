"""Users and groups of this machine."""

from __future__ import annotations

import grp
import os
import pwd

import attrs

from polevpn_trio.control.log import printable
from polevpn_trio.control.run_as import RunAs
from polevpn_trio.errors import HostError


@attrs.frozen
class Account:
    """A user, with the groups that a process of that user has."""

    name: str
    uid: int
    gid: int
    groups: frozenset[int]
    """All of them, `gid` included."""


def find_account(wanted: RunAs) -> Account:
    """Look up a user, by default with the group and the groups that it has on this machine.

    Raises HostError if there is no such user or group, or if it is root.
    """
    entry = _user(wanted.user)
    gid = _group(wanted.group) if wanted.group is not None else None
    if entry is None:
        # A number will do, as in containers, whose files often know nobody.
        if gid is None:
            raise HostError(
                f"user: this machine has no user {wanted.user}, so nobody knows its group",
                advice='set "group" as well',
            )
        return Account(wanted.user, int(wanted.user), gid, frozenset((gid,)))
    if gid is None:
        gid = entry.pw_gid
    if entry.pw_uid == 0:
        raise HostError(
            f"user: {printable(wanted.user)} is root by another name",
            advice="name a user without rights, such as polevpn",
        )
    groups = frozenset((gid, *os.getgrouplist(entry.pw_name, gid)))
    return Account(entry.pw_name, entry.pw_uid, gid, groups)


def _user(name: str) -> pwd.struct_passwd | None:
    """Look a user up; None for a number that nobody has. Raises HostError for a name."""
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        if name.isdecimal():
            return None
        raise HostError(
            f"user: this machine has no user {printable(name)}",
            advice=f"useradd --system --no-create-home --shell /usr/sbin/nologin {printable(name)}"
            ", or name another one",
        ) from None


def _group(name: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise HostError(
            f"group: this machine has no group {printable(name)}",
            advice=f"groupadd --system {printable(name)}, or name another one",
        ) from None
