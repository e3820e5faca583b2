"""The user that a program becomes: whether there is one, and what it can read."""

from __future__ import annotations

import os
import subprocess
import sys

import attrs

from polevpn_trio.control.config import GatewayConfig, RouterConfig
from polevpn_trio.control.log import printable
from polevpn_trio.control.run_as import RunAs
from polevpn_trio.doctor.finding import Finding, fail, ok, skip, warn
from polevpn_trio.errors import HostError
from polevpn_trio.privileges.account import find_account
from polevpn_trio.privileges.rights import CODE_ADVICE, names_of, needed

_SECONDS = 60
"""For a `check` on a slow machine; with thousands of sites it takes some seconds."""


@attrs.frozen
class UserFacts:
    """What came of looking the user up, and of reading the configuration as that user."""

    missing: str = ""
    """Why there is no such user."""
    advice: str = ""
    runs: bool = True
    """Whether the user can run this program at all."""
    complaint: str = ""
    """The first mistake that `check` finds as that user; "" for none."""
    tried: bool = True
    """False if it could not be tried, since only root can."""


def look_at_user(config: RouterConfig | GatewayConfig, run_as: RunAs) -> UserFacts:
    """Look the user up, and let it `check` the file of this configuration."""
    try:
        account = find_account(run_as)
    except HostError as error:
        return UserFacts(str(error), error.advice)
    if os.geteuid() != 0:
        return UserFacts(tried=False)
    command = [sys.executable, "-m", "polevpn_trio", "check", str(config.path)]
    try:
        done = subprocess.run(
            command,
            user=account.uid,
            group=account.gid,
            extra_groups=sorted(account.groups),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return UserFacts(runs=False)
    if done.returncode == 0:
        return UserFacts()
    lines = done.stderr.splitlines()
    if done.returncode != 2 or not lines:
        return UserFacts(runs=False)
    return UserFacts(complaint=printable(lines[0]))


def judge_user(config: RouterConfig | GatewayConfig, run_as: RunAs, facts: UserFacts) -> Finding:
    if facts.missing:
        meaning = "the program ends at once when root starts it"
        return fail("user", facts.missing, meaning, facts.advice)
    if not facts.tried:
        return skip("user", f"what {run_as.user} can read is only found out by root")
    if not facts.runs:
        return fail(
            "user",
            f"{run_as.user} cannot run this program ({sys.executable})",
            "it ends at once when root starts it",
            CODE_ADVICE,
        )
    if facts.complaint:
        return warn(
            "user",
            f"{run_as.user} cannot read all that the configuration takes: {facts.complaint}",
            "a reload is refused, and a certificate that a gateway or a dashboard shows is missing",
            f"chgrp the files and folders to the group of {run_as.user}; chmod 640 and 750",
        )
    return ok("user", f"becomes {run_as.user} with {names_of(needed(config))}")
