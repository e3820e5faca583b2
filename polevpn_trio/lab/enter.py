"""The few system calls that namespaces need, and a launcher that starts a program in them.

As a script, ``enter.py PARENT NET_FD MOUNT_FD PROGRAM [ARGUMENT...]`` joins the two namespaces
whose file descriptors it inherited and becomes PROGRAM. PROGRAM is killed by the kernel when its
parent dies, however that happens, so no test can leave a process behind.

Python's ``os.setns`` and ``os.unshare`` came with 3.12; on 3.11 the C library is asked directly.
The script runs under ``python -I -S``, which starts in a few milliseconds: it imports the standard
library alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

# Values of the kernel's interface: linux/sched.h, linux/mount.h, linux/prctl.h.
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def setns(descriptor: int, kind: int) -> None:
    """Move the calling thread into the namespace of type ``kind``. Raises OSError."""
    _checked("setns", _libc.setns(descriptor, kind))


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces of the types in ``flags``. Raises OSError."""
    _checked("unshare", _libc.unshare(flags))


def mount_private_tmpfs(directory: str) -> None:
    """Mount an empty tmpfs that only this mount namespace sees. Raises OSError."""
    _checked("mount", _libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    _checked("mount", _libc.mount(b"tmpfs", directory.encode(), b"tmpfs", 0, b"mode=755"))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends. Raises OSError."""
    _checked("prctl", _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    # A parent that died before the call above will never send the signal.
    if os.getppid() != parent:
        sys.exit(1)


def _main(arguments: list[str]) -> None:
    parent, net, mount = (int(word) for word in arguments[:3])
    program = arguments[3:]
    die_with_parent(parent)
    # Joining a mount namespace moves the working directory to its root.
    directory = os.getcwd()
    setns(mount, CLONE_NEWNS)
    setns(net, CLONE_NEWNET)
    os.close(mount)
    os.close(net)
    os.chdir(directory)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    _main(sys.argv[1:])
