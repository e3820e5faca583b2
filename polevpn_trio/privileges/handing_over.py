"""Leaves files that root has made to the user that a program becomes.

A folder that belongs to root is handed over, and with it those files that the program will want to
write. In a folder of the user's own somebody else may have put anything: only plain files of root's
with no other name are handed over there, so that no link leads root to a file that was not meant.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from polevpn_trio.errors import HostError
from polevpn_trio.privileges.account import Account


def hand_over(folder: Path, patterns: Iterable[str], account: Account) -> None:
    """Give a folder, which is made if it is not there, and what matches in it, to an account.

    A folder of a third user is left alone, and so are its files. Raises HostError.
    """
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(handle).st_uid not in (0, account.uid):
                return
            os.fchown(handle, account.uid, account.gid)
            for pattern in patterns:
                for file in folder.glob(pattern):
                    _hand_over_file(handle, file.name, account)
        finally:
            os.close(handle)
    except OSError as error:
        raise HostError(
            f"cannot leave {folder} to the user {account.name}: "
            f"{(error.strerror or str(error)).lower()}",
            advice=f"make it, and chown it to {account.name}; in a container that takes "
            "--cap-add CHOWN",
        ) from error


def _hand_over_file(folder: int, name: str, account: Account) -> None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(name, flags, dir_fd=folder)
    except OSError:
        # A link, a socket, or gone.
        return
    try:
        found = os.fstat(handle)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == 0:
            os.fchown(handle, account.uid, account.gid)
    finally:
        os.close(handle)
