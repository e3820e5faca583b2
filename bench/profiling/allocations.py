"""Counting what the programs allocate, without slowing them down: see allocation_counter.c.

Breakpoints in the allocation functions (uprobes) would need nothing built, but each costs more
than the packet that it is to be counted for, and a tunnel slowed down like that works otherwise.
"""

from __future__ import annotations

import os
import shlex
import struct
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import which

import attrs

_SOURCE = Path(__file__).with_name("allocation_counter.c")
_TOTALS = struct.Struct("=QQ")
_OF_TYPE = struct.Struct("=QQ48s")
"""The layout of the counts in allocation_counter.c."""

_ENVIRONMENT = "POLEVPN_TRIO_ALLOCATION_COUNTS"


@attrs.frozen
class Allocations:
    """What a program has allocated since its start."""

    blocks: int
    """Blocks of memory asked of the interpreter's allocators, or asked to be resized."""
    objects: int
    """Python objects; 0 where the interpreter does not show them."""
    types: Mapping[str, int]
    """Of these, how many of each type, by its name; types of one name are added up."""

    def since(self, earlier: Allocations) -> Allocations:
        """Give what was allocated between two looks at the same program."""
        return Allocations(
            blocks=self.blocks - earlier.blocks,
            objects=self.objects - earlier.objects,
            types={name: made - earlier.types.get(name, 0) for name, made in self.types.items()},
        )


def unavailable_reason() -> str | None:
    """Say in one line why nothing can be counted here, or None."""
    if _compiler() is None:
        return "there is no C compiler"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "the headers of Python are missing"
    return None


def build(folder: Path) -> Path:
    """Compile the counter into a folder. Raises subprocess.CalledProcessError."""
    library = folder / "allocation_counter.so"
    words = [
        *shlex.split(_compiler() or "cc"),
        *("-O2", "-shared", "-fPIC", "-I", sysconfig.get_path("include")),
        *("-o", str(library), str(_SOURCE), "-ldl"),
    ]
    subprocess.run(words, check=True, capture_output=True)
    return library


def _compiler() -> str | None:
    wanted = os.environ.get("CC", "").strip()
    if wanted:
        return wanted if which(shlex.split(wanted)[0]) else None
    return which("cc") or which("gcc")


@contextmanager
def counting(library: Path, folder: Path) -> Iterator[None]:
    """Have the Python programs that are started meanwhile count in files of ``folder``."""
    before = {name: os.environ.get(name) for name in ("LD_PRELOAD", _ENVIRONMENT)}
    others = [before["LD_PRELOAD"]] if before["LD_PRELOAD"] else []
    os.environ["LD_PRELOAD"] = ":".join([str(library), *others])
    os.environ[_ENVIRONMENT] = str(folder)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def read(folder: Path, pid: int) -> Allocations:
    """Look at the counts of a program that was started under `counting`.

    Raises FileNotFoundError for any other, and ValueError if the counter is not in use there.
    """
    data = (folder / str(pid)).read_bytes()
    blocks, objects = _TOTALS.unpack_from(data)
    if not blocks:
        raise ValueError(f"process {pid} counts no allocations: is PYTHONMALLOC set?")
    types: Counter[str] = Counter()
    for made, _, name in _OF_TYPE.iter_unpack(data[_TOTALS.size :]):
        if made:
            types[name.rstrip(b"\0").decode(errors="replace")] += made
    return Allocations(blocks, objects, types)
