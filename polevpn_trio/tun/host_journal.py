"""Remembers on disk which changes to the host would outlive this process.

The TUN device takes its addresses and routes along when the process dies; sysctls, routes
pinned on other interfaces and the nftables table stay. They are written down before they
are made, so that after a crash or SIGKILL the next start on the same interface can take
them back. The file lives in a directory that a reboot clears, and is one JSON object::

    {"version": 1, "boot": "<boot id>", "namespace": <cookie>, "interface": "pole0",
     "changes": [{"kind": "sysctl", "key": "net/ipv4/ip_forward", "before": 0, "after": 1},
                 {"kind": "route", "destination": "192.0.2.1/32", "interface": "eth0",
                  "gateway": "198.51.100.1", "onlink": false, "source": null},
                 {"kind": "masquerade"}]}

Its name holds the interface and the network namespace, since namespaces may share the
directory and each may have an interface of that name. What is read back is not trusted: a
file that somebody else could have written, or that asks for anything else than undoing
what we do, is removed and otherwise ignored.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import stat
import sys
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from polevpn_trio.control.log import ContextLogger
from polevpn_trio.tun.host_changes import Change, Masquerade, Route, Sysctl

logger = ContextLogger(logging.getLogger(__name__))

VERSION = 1
LARGEST_FILE = 65_536
"""Bytes; a journal of ours is a few hundred."""

INTERFACE_NAME = re.compile(r"(?!\.{1,2}\Z)[^\s/:%\x00-\x1f\x7f]{1,15}", re.ASCII)
"""What the kernel takes as the name of an interface (IFNAMSIZ, dev_valid_name)."""

_NAMESPACE_COOKIE = 71
"""SO_NETNS_COOKIE, which the socket module lacks: a number never used twice until reboot."""

_FORWARDING_KEYS = frozenset({"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"})
_ACCEPT_RA_KEY = re.compile(r"net/ipv6/conf/([^/]+)/accept_ra", re.ASCII)


class _BadJournal(Exception):
    """The file is not something that we would have written."""


class Journal:
    """The file for one interface of the network namespace that the caller is in."""

    def __init__(self, directory: Path, interface: str) -> None:
        self._interface = interface
        self._directory = directory
        self._namespace = _namespace_number()
        self.path = directory / f"{interface}.{self._namespace}.json"
        self._usable = True

    def leftover(self) -> tuple[Change, ...]:
        """Return what an earlier process did and did not undo, in the order it was done.

        A file that cannot be trusted is removed with a warning, and counts as empty.
        """
        try:
            text = _read_private(self.path)
            if text is None:
                return ()
            return self._parse_untrusted(text)
        except (_BadJournal, OSError) as error:
            logger.warning(
                "ignored and removed the journal %s: %s",
                self.path,
                error,
                advice="nothing, unless the last run ended by a crash: then see `ip route` and "
                "`nft list ruleset` for what it left",
            )
            self.remove()
            return ()

    def write(self, changes: Iterable[Change]) -> None:
        """Replace the file's content. Failing to write is told once and otherwise ignored."""
        if not self._usable:
            return
        entries = [entry for entry in map(self._to_entry, changes) if entry is not None]
        if not entries:
            self.remove()
            return
        document = {
            "version": VERSION,
            "boot": _boot_id(),
            "namespace": self._namespace,
            "interface": self._interface,
            "changes": entries,
        }
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_private(self.path, json.dumps(document) + "\n")
        except OSError as error:
            self._usable = False
            logger.warning(
                "cannot write %s (%s): after a crash, changes to this machine would stay",
                self.path,
                error.strerror,
                advice="let this program's user write there (StateDirectory= in its unit)",
            )

    def remove(self) -> None:
        """Delete the file, if there is one."""
        try:
            self.path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            logger.warning(
                "cannot remove %s: %s",
                self.path,
                error.strerror,
                advice="remove it by hand, and let this program's user write in its folder",
            )

    def _to_entry(self, change: Change) -> dict[str, Any] | None:
        if isinstance(change, Masquerade):
            return {"kind": "masquerade"}
        if isinstance(change, Sysctl):
            # The tunnel interface's own settings go with it.
            if _is_shared_key(change.key, self._interface):
                return {
                    "kind": "sysctl",
                    "key": change.key,
                    "before": change.before,
                    "after": change.after,
                }
        elif isinstance(change, Route) and change.interface != self._interface:
            return {
                "kind": "route",
                "destination": str(change.destination),
                "interface": change.interface,
                "gateway": None if change.gateway is None else str(change.gateway),
                "onlink": change.onlink,
                "source": None if change.source is None else str(change.source),
            }
        return None

    def _parse_untrusted(self, text: str) -> tuple[Change, ...]:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _BadJournal("it is not JSON") from error
        if (
            not isinstance(document, dict)
            or document.get("version") != VERSION
            or document.get("interface") != self._interface
            or not isinstance(document.get("changes"), list)
        ):
            raise _BadJournal("it is not a journal of this version for this interface")
        if (document.get("boot"), document.get("namespace")) != (_boot_id(), self._namespace):
            # What it tells of went away with the reboot.
            logger.debug("the journal %s is from before a reboot", self.path)
            self.remove()
            return ()
        return tuple(self._to_change_untrusted(entry) for entry in document["changes"])

    def _to_change_untrusted(self, entry: object) -> Change:
        match entry:
            case {"kind": "masquerade"}:
                return Masquerade(self._interface)
            case {"kind": "sysctl", "key": str(key), "before": int(before), "after": int(after)}:
                # Only the values that these settings can have (bool is an int, too).
                if _is_shared_key(key, self._interface) and {before, after} <= {0, 1, 2}:
                    return Sysctl(key, int(before), int(after))
            case {
                "kind": "route",
                "destination": str(destination),
                "interface": str(interface),
                "gateway": None | str() as gateway,
                "onlink": bool(onlink),
                "source": None | str() as source,
            }:
                try:
                    route = Route(
                        destination=ip_network(destination),
                        interface=interface,
                        gateway=None if gateway is None else ip_address(gateway),
                        onlink=onlink,
                        source=None if source is None else ip_address(source),
                    )
                except ValueError as error:
                    raise _BadJournal(f"{error}") from error
                single = route.destination.prefixlen == route.destination.max_prefixlen
                if single and INTERFACE_NAME.fullmatch(interface):
                    return route
            case _:
                pass
        raise _BadJournal(f"it holds a change that is not ours: {entry!r}"[:200])


def _is_shared_key(key: str, interface: str) -> bool:
    """Tell whether a setting is one of ours that outlives the tunnel interface."""
    if key in _FORWARDING_KEYS:
        return True
    match = _ACCEPT_RA_KEY.fullmatch(key)
    return (
        match is not None
        and match[1] not in (interface, "all", "default")
        and INTERFACE_NAME.fullmatch(match[1]) is not None
    )


def _read_private(path: Path) -> str | None:
    """Read a file that nobody but this user can have written; None if there is none."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _BadJournal("it is not a plain file")
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise _BadJournal("other users may have written it")
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise _BadJournal("it is too large")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _BadJournal("it is not UTF-8") from error


def _write_private(path: Path, text: str) -> None:
    """Replace a file at one stroke, so that a crash leaves the old or the new content."""
    fresh = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        fresh.replace(path)
    except OSError:
        # A full disk: what there is of it would only take the room that is left.
        fresh.unlink()
        raise


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace_number() -> int:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            cookie = probe.getsockopt(socket.SOL_SOCKET, _NAMESPACE_COOKIE, 8)
        except OSError:
            # Before Linux 5.14: this number may come back once its namespace is gone, which
            # the check of each value before it is restored makes bearable.
            return Path("/proc/thread-self/ns/net").stat().st_ino
    return int.from_bytes(cookie, sys.byteorder)
