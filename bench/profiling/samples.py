"""From samples of perf to the part of the work that each belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import attrs

PYTHON = "Python and Trio"
KERNELS = "our kernels"
AES_GCM = "AES-GCM"
COPYING = "copying memory"
LINUX = "Linux"
OTHER = "other"

GROUPS = (PYTHON, KERNELS, AES_GCM, COPYING, LINUX, OTHER)
"""In the order in which they are shown."""

LINUX_COPYING = "copying"
"""Part of `LINUX`."""

_LINE = re.compile(r"\s*(?P<pid>\d+)\s+(?P<address>[0-9a-f]+)\s+(?P<symbol>.*) \((?P<binary>.*)\)")

_ADDRESS_BITS = 64
"""Linux keeps the upper half of the addresses to itself, on every 64-bit machine."""

_OUR_KERNEL = re.compile(r"/polevpn_trio/(?:\w+/)*(?P<name>\w+)\.[^/]*so$")

_AES_GCM = re.compile(r"(?:libcrypto|libssl)\b|_rust\.abi3\.so$")
"""Names of libraries: OpenSSL, and that of ``cryptography``, which brings its own OpenSSL."""

_PYTHON = re.compile(r"(?:lib)?python[\d.]|.*\.(?:cpython-[^/]*|abi3)\.so$|libffi\b")
"""Names of the interpreter, and of modules written in C, except those that stand above."""

_COPYING = re.compile(r"_*(?:memcpy|memmove|mempcpy)")
_LINUX_COPYING = re.compile(
    r"_*(?:copy_(?:from|to|user|page)|rep_movs|memcpy|memmove|csum_(?:and|partial)_copy|arch_copy)"
)


@attrs.frozen
class Sample:
    """Where a program was at one tick of its clock."""

    pid: int
    address: int
    symbol: str
    binary: str


def parse_samples(text: str) -> Iterator[Sample]:
    """Read what ``perf script -F pid,ip,sym,dso`` prints. Raises ValueError for anything else."""
    for line in text.splitlines():
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.rstrip())
        if found is None:
            raise ValueError(f"perf script printed what is no sample: {line.strip()[:80]}")
        yield Sample(
            pid=int(found["pid"]),
            address=int(found["address"], 16),
            symbol=found["symbol"].strip(),
            binary=found["binary"],
        )


def group_of(sample: Sample) -> tuple[str, str]:
    """Say to which of `GROUPS` a sample belongs, and to which part of it; "" for no part.

    The parts of `KERNELS` are the names of the modules; that of `LINUX` is `LINUX_COPYING`.
    """
    if sample.address >> (_ADDRESS_BITS - 1):
        return LINUX, LINUX_COPYING if _LINUX_COPYING.match(sample.symbol) else ""
    kernel = _OUR_KERNEL.search(sample.binary)
    if kernel is not None:
        return KERNELS, kernel["name"]
    name = PurePosixPath(sample.binary).name
    if _AES_GCM.match(name):
        return AES_GCM, ""
    if _PYTHON.match(name):
        return PYTHON, ""
    # In the C library, whichever it is; compilers also put copies of these into programs.
    if _COPYING.match(sample.symbol):
        return COPYING, ""
    return OTHER, ""
