"""Files that only their owner may read, written whole or not at all; and folders for them."""

from __future__ import annotations

import contextlib
import os
import tempfile
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


def _leave_to_owner_of(other: Path, file: Path | int) -> None:
    if os.geteuid() == 0:
        owner = other.stat()
        os.chown(file, owner.st_uid, owner.st_gid)
