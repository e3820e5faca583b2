"""Becomes the user of the configuration, with no right but those that are still needed.

Once, in the only thread that there is, between opening what takes rights and running: all threads
that are started later have what is left, and nothing can be forgotten in one of them. What stays
is CAP_NET_ADMIN for a program with a TUN device, whose addresses and routes change as long as it
runs; and CAP_NET_BIND_SERVICE for a router on a low UDP port, where busy peers get sockets of
their own, or for metrics and a dashboard on low ports, which are opened later.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import trio

from polevpn_trio.control.config import GatewayConfig, RouterConfig
from polevpn_trio.control.dashboard_config import HISTORY_NAME
from polevpn_trio.control.known_routers import FILE_NAME as KNOWN_ROUTERS
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.control.router_trust import FirstUse
from polevpn_trio.control.run_as import RunAs
from polevpn_trio.control.state_directory import state_file
from polevpn_trio.errors import ConfigError, HostError
from polevpn_trio.management.instances import folders
from polevpn_trio.privileges import capabilities
from polevpn_trio.privileges.account import Account, find_account
from polevpn_trio.privileges.capabilities import Capability
from polevpn_trio.privileges.handing_over import hand_over

log = ContextLogger(logging.getLogger(__name__))

Config = RouterConfig | GatewayConfig

ADVICE = 'set "user" in the configuration to a user without rights, such as "polevpn"'

CODE_ADVICE = "install it where everybody can read it, such as /opt/polevpn_trio"

_FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_USUAL_FIRST_FREE_PORT = 1024


def needed(config: Config) -> frozenset[Capability]:
    """Return what a program cannot do without while it runs."""
    found = set()
    if config.site is not None:
        found.add(Capability.NET_ADMIN)
    later = [config.metrics.port] if config.metrics is not None else []
    if isinstance(config, RouterConfig):
        later += [each.port for each in (config.kcp, config.dashboard) if each is not None]
    if any(0 < port < first_free_port() for port in later):
        found.add(Capability.NET_BIND_SERVICE)
    return frozenset(found)


def names_of(capabilities: Collection[Capability]) -> str:
    """Return their names, or that there are none, for people."""
    names = " and ".join(f"CAP_{each.name}" for each in sorted(capabilities))
    return names or "no capability"


def first_free_port() -> int:
    """Return the lowest port that everybody may listen on."""
    try:
        return int(_FIRST_FREE_PORT.read_text())
    except (OSError, ValueError):
        # Before Linux 4.11 it was fixed.
        return _USUAL_FIRST_FREE_PORT


def give_up(config: Config, interface: str | None, load: Callable[[], object]) -> None:
    """Become the user that the configuration names, if root has started this program.

    ``interface`` is the name of its TUN device, if it has one; ``load`` reads the configuration,
    as a reload does. Raises HostError if it cannot be done, or if nothing would work then; the
    program must not run.
    """
    if os.geteuid() != 0:
        if config.run_as is not None and not _is_us(config.run_as):
            log.info('"user" is for programs that root starts: going on as user %d', os.geteuid())
        return
    if config.run_as is None:
        log.info("running as root", advice=ADVICE)
        return
    account = find_account(config.run_as)
    _prepare_folders(config, interface, account)
    keep = frozenset(each for each in needed(config) if capabilities.permitted() >> each & 1)
    _become(account, keep)
    _check_code(account)
    log.info("running as %s with %s", account.name, names_of(keep))
    _check_files(config, load, account)


def _is_us(wanted: RunAs) -> bool:
    try:
        return find_account(wanted).uid == os.geteuid()
    except HostError:
        return False


def _prepare_folders(config: Config, interface: str | None, account: Account) -> None:
    """Leave to the account where sockets, locks, journals, and what is remembered are kept.

    The environment names these folders from now on, as a service manager would: by default they
    depend on who asks.
    """
    runtime, state = folders()[0], state_file(KNOWN_ROUTERS).parent
    wanted: dict[Path, list[str]] = {}
    if config.control.enabled:
        wanted[runtime] = ["*.lock"]
    if interface is not None:
        # With a library that a router without a site does not need (see `polevpn_trio.site`).
        from polevpn_trio.tun.host_journal import Journal
        from polevpn_trio.tun.host_network import DEFAULT_STATE_DIRECTORY

        journal = Journal(DEFAULT_STATE_DIRECTORY, interface).path
        wanted.setdefault(journal.parent, []).append(journal.name)
    if any(file.parent == state for file in written_files(config)):
        wanted[state] = [KNOWN_ROUTERS, f"{HISTORY_NAME}*"]
    for folder, patterns in wanted.items():
        try:
            hand_over(folder, patterns, account)
        except HostError as error:
            # Whoever misses it will say what for.
            log.warning("%s", error, advice=error.advice)
    os.environ["RUNTIME_DIRECTORY"] = str(runtime)
    os.environ["STATE_DIRECTORY"] = str(state)


def written_files(config: Config) -> list[Path]:
    """Return the files that a running program replaces, each in a folder that it must write to."""
    if isinstance(config, RouterConfig):
        return [config.dashboard.history] if config.dashboard is not None else []
    trust = config.router_trust
    return [trust.file] if isinstance(trust, FirstUse) else []


def _become(account: Account, keep: frozenset[Capability]) -> None:
    """Change user, group and groups, and give up all capabilities but those to keep."""
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("another thread would keep its rights")
    try:
        death_signal = capabilities.death_signal()
        capabilities.gain_no_more()
        capabilities.empty_bounding_set()
        capabilities.keep_over_change_of_user(True)
        os.setgroups(sorted(account.groups))
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        capabilities.keep_over_change_of_user(False)
        capabilities.keep_only(keep)
        capabilities.set_death_signal(death_signal)
    except OSError as error:
        raise HostError(
            f"cannot become the user {account.name}: {(error.strerror or str(error)).lower()}",
            advice='in a container that takes --cap-add SETUID --cap-add SETGID; or take "user" '
            "out, and start it as that user",
        ) from error
    # Kernels have been wrong about this, and callers more often.
    if os.getresuid() != (account.uid,) * 3 or os.getresgid() != (account.gid,) * 3:
        raise RuntimeError("still somebody else")
    if capabilities.permitted() != sum(1 << each for each in keep):
        raise RuntimeError("still other capabilities")


def _check_code(account: Account) -> None:
    """Raise HostError if this user may not read the programs that run: parts are loaded late."""
    for module in (os, trio, sys.modules[__name__]):
        folder = Path(module.__file__ or "/").parent
        if not os.access(folder, os.R_OK | os.X_OK, effective_ids=True):
            raise HostError(
                f"the user {account.name} cannot read this program: {folder}",
                advice=CODE_ADVICE,
            )


def _check_files(config: Config, load: Callable[[], object], account: Account) -> None:
    """Say which files the account will miss. Raises HostError if nothing works without them."""
    pair = config.dashboard if isinstance(config, RouterConfig) else config.certificate
    for file in (pair.cert_file, pair.key_file) if pair is not None else ():
        # Read whenever it is used.
        if file is not None and not os.access(file, os.R_OK, effective_ids=True):
            raise HostError(
                f"the user {account.name} cannot read {file}",
                advice=f"chgrp {account.name} {file}; chmod 640 {file}; and let it into the folder",
            )
    try:
        load()
    except ConfigError as error:
        log.warning(
            "the user %s cannot read all that the configuration takes, so there will be no "
            "reload: %s",
            account.name,
            error,
            advice=f"chgrp the files and folders to {account.name}, chmod 640 and 750",
        )
    for file in written_files(config):
        if not _is_writable(file):
            log.warning(
                "the user %s cannot write %s, so nothing is remembered there",
                account.name,
                file,
                advice=f"chown {account.name} {file.parent}, or name a file somewhere else",
            )


def _is_writable(file: Path) -> bool:
    """Whether a file can be replaced, or made, along with the folder that it is in."""
    folder = file.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        return False
    return not file.exists() or os.access(file, os.R_OK | os.W_OK, effective_ids=True)
