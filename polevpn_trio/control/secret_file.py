"""Files that only their owner may read, written whole or not at all; and folders for them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

SECRET_MODE = 0o600
SECRET_FOLDER_MODE = 0o700


def write_file(file: Path, text: str, *, replace: bool, mode: int = SECRET_MODE) -> None:
    """Write a file that others never see unfinished, nor with another mode.

    Who has root leaves it to the owner of the file that it replaces, or else of the directory:
    what is to read it may run as another user. Raises FileExistsError if there is one that it
    must not ``replace``, or another OSError.
    """
    # 0600 from the start: mkstemp sees to that.
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            _leave_to_owner_of(file if file.exists() else file.parent, stream.fileno())
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        if replace:
            Path(name).replace(file)
        else:
            # Unlike a look beforehand, this cannot come too late.
            os.link(name, file)
            Path(name).unlink()
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def make_folder(folder: Path) -> None:
    """Make a folder in one that is there, for whom that one belongs to. Raises OSError."""
    folder.mkdir(mode=SECRET_FOLDER_MODE)
    _leave_to_owner_of(folder.parent, folder)


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """Keep others who lock this folder, too, from changing what is in it.

    Raises BlockingIOError if one is at it and this one does not ``wait``, or another OSError.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def _leave_to_owner_of(other: Path, file: Path | int) -> None:
    if os.geteuid() == 0:
        owner = other.stat()
        os.chown(file, owner.st_uid, owner.st_gid)
