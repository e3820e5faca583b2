"""Users and groups of this machine."""

from __future__ import annotations

import grp
import pwd

import pytest

from polevpn_trio.control.run_as import RunAs
from polevpn_trio.errors import HostError
from polevpn_trio.privileges.account import find_account

NOBODY = pwd.getpwnam("nobody")
OTHER = next(group for group in grp.getgrall() if group.gr_gid not in (0, NOBODY.pw_gid))
UNUSED = "1999999999"
"""A number that nobody has."""


def test_a_user_has_its_own_groups() -> None:
    account = find_account(RunAs("nobody"))
    assert (account.name, account.uid, account.gid) == ("nobody", NOBODY.pw_uid, NOBODY.pw_gid)
    assert account.gid in account.groups
    assert find_account(RunAs(str(NOBODY.pw_uid))) == account


def test_a_group_takes_the_place_of_the_users_own() -> None:
    for name in (OTHER.gr_name, str(OTHER.gr_gid)):
        account = find_account(RunAs("nobody", name))
        assert account.gid == OTHER.gr_gid
        assert OTHER.gr_gid in account.groups


def test_a_number_that_nobody_has_will_do_with_a_group() -> None:
    account = find_account(RunAs(UNUSED, UNUSED))
    assert (account.uid, account.gid, account.groups) == (
        int(UNUSED),
        int(UNUSED),
        frozenset((int(UNUSED),)),
    )
    with pytest.raises(HostError, match="nobody knows its group") as caught:
        find_account(RunAs(UNUSED))
    assert caught.value.advice == 'set "group" as well'


def test_who_is_not_there_is_named() -> None:
    with pytest.raises(HostError, match="user: this machine has no user no-such") as caught:
        find_account(RunAs("no-such"))
    assert caught.value.advice.startswith("useradd --system ")
    with pytest.raises(HostError, match="group: this machine has no group no-such") as caught:
        find_account(RunAs("nobody", "no-such"))
    assert caught.value.advice.startswith("groupadd --system ")


def test_root_by_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda name: pwd.getpwuid(0))
    with pytest.raises(HostError, match="toor is root by another name"):
        find_account(RunAs("toor"))
