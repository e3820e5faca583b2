"""Where the control sockets of the programs on this machine are, and whose each one is.

::

    /run/polevpn_trio/gateway-berlin.sock    the socket
    /run/polevpn_trio/gateway-berlin.lock    locked by the program that the socket belongs to

Whoever holds the lock owns the name, so a socket that a killed program left behind can be
replaced, and one in use cannot. Locks are left lying about on purpose: to remove one that another
program is about to take would let two of them own the name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from polevpn_trio.control.control_config import ControlConfig
from polevpn_trio.control.log import printable
from polevpn_trio.errors import HostError

SUFFIX = ".sock"

MOST_INSTANCES = 64
"""Programs of one name on one machine that each get a socket of their own."""

LONGEST_PATH = 107
"""Bytes (unix(7))."""

BACKLOG = 16

OWNER_ONLY, OWNER_AND_GROUP = 0o600, 0o660


@attrs.frozen
class ControlSocket:
    """A listening socket. ``instance`` is the name by which the command line knows it."""

    listening: socket.socket
    path: Path

    @property
    def instance(self) -> str:
        return self.path.stem


def folders() -> list[Path]:
    """Where sockets may be: the first is where our own go.

    systemd's ``RuntimeDirectory=`` comes first, then ``/run`` for root, or the user's own folder.
    """
    found = []
    given = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if given:
        found.append(Path(given))
    shared = Path("/run/polevpn_trio")
    own = os.environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() == 0 or not own:
        found.append(shared)
    if own:
        found.append(Path(own) / "polevpn_trio")
    if shared not in found:
        found.append(shared)
    return found


def sockets() -> list[Path]:
    """The sockets on this machine, by name; some may be stale."""
    found: dict[Path, None] = {}
    for folder in folders():
        with contextlib.suppress(OSError):
            found.update(dict.fromkeys(sorted(folder.glob(f"*{SUFFIX}"))))
    return list(found)


@contextmanager
def control_socket(role: str, config_file: Path, config: ControlConfig) -> Iterator[ControlSocket]:
    """Own a control socket as long as the block lasts. Raises HostError."""
    with contextlib.ExitStack() as stack:
        path = _claim(role, config_file, config.path, stack)
        if len(os.fsencode(path)) > LONGEST_PATH:
            raise HostError(
                f"the control socket's path is longer than {LONGEST_PATH} bytes: {path}",
                advice="set control.socket to a shorter one",
            )
        # Ours, since the name is: what lies there was left by a program that was killed.
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listening = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            _bind(listening, path, config.group)
        except OSError as error:
            raise _host_error(path, error) from error
        try:
            yield ControlSocket(listening, path)
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def _bind(listening: socket.socket, path: Path, group: str | None) -> None:
    # Linux gives the file the mode of the socket: there is no moment in which it is wider.
    os.fchmod(listening.fileno(), OWNER_ONLY)
    listening.bind(os.fspath(path))
    if group is not None:
        os.chown(path, -1, _group_id(group))
    if group is not None or os.geteuid() == 0:
        os.chmod(path, OWNER_AND_GROUP)
    listening.listen(BACKLOG)


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise HostError(
            f"control.group: this machine has no group {printable(name)}",
            advice=f"groupadd --system {printable(name)}, or name another one",
        ) from None


def _claim(role: str, config_file: Path, path: Path | None, stack: contextlib.ExitStack) -> Path:
    """Lock a name that nobody has locked, and return the path of its socket."""
    if path is not None:
        if _lock(path, stack):
            return path
        raise HostError(
            f"another program answers on the control socket {path}",
            advice="end that program, or give each a control.socket of its own",
        )
    stem = config_file.stem
    name = role if stem in (role, "config") else f"{role}-{_plain(stem.removeprefix(f'{role}-'))}"
    folder = folders()[0]
    for number in range(1, MOST_INSTANCES + 1):
        path = folder / (f"{name}{SUFFIX}" if number == 1 else f"{name}-{number}{SUFFIX}")
        if _lock(path, stack):
            return path
    raise HostError(
        f"{MOST_INSTANCES} programs have control sockets named {name} in {folder}",
        advice="set control.socket",
    )


def _plain(text: str) -> str:
    """A part of a file name that needs no quoting in a shell."""
    return "".join(each if each.isascii() and each.isalnum() else "-" for each in text)[:32]


def _lock(path: Path, stack: contextlib.ExitStack) -> bool:
    """Lock the name of a socket until the stack is closed; False if another program has it."""
    lock = path.with_suffix(".lock")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _host_error(lock, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno == errno.EWOULDBLOCK:
            return False
        raise _host_error(lock, error) from error
    stack.callback(os.close, handle)
    return True


def _host_error(path: Path, error: OSError) -> HostError:
    return HostError(
        f"cannot make {path} for the control socket: {(error.strerror or str(error)).lower()}",
        advice='set control.socket to a path that may be written to, or "control": '
        '{"enable": false}',
    )
