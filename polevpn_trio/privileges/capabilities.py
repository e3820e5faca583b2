"""The capabilities of this process (capabilities(7)), by the system calls that Python lacks.

All of them are about the calling thread alone; threads that it starts later inherit what it has.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import os
from collections.abc import Collection
from pathlib import Path

_VERSION_3 = 0x20080522
"""linux/capability.h: 64 bits in two words."""
_WORDS = 2

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_LAST = Path("/proc/sys/kernel/cap_last_cap")


class Capability(enum.IntEnum):
    """Those that these programs know, by their numbers in linux/capability.h."""

    NET_BIND_SERVICE = 10
    """Listen on ports below 1024."""
    NET_ADMIN = 12
    """Addresses, routes, forwarding and NAT."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


_Sets = _Data * _WORDS

_libc = ctypes.CDLL(None, use_errno=True)


def permitted() -> int:
    """Return the permitted set, as bits. Raises OSError."""
    sets = _Sets()
    _checked(_libc.capget(ctypes.byref(_Header(_VERSION_3, 0)), ctypes.byref(sets)))
    return sum(sets[word].permitted << 32 * word for word in range(_WORDS))


def keep_only(capabilities: Collection[Capability]) -> None:
    """Have these and no others, effective at once, and hand none on to other programs.

    Raises OSError if one of them is not permitted.
    """
    bits = sum(1 << capability for capability in capabilities)
    sets = _Sets()
    for word in range(_WORDS):
        sets[word].effective = sets[word].permitted = bits >> 32 * word & 0xFFFFFFFF
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _checked(_libc.capset(ctypes.byref(_Header(_VERSION_3, 0)), ctypes.byref(sets)))


def empty_bounding_set() -> bool:
    """Let no program that is executed from now on have any; False if we may not. Raises OSError."""
    for number in range(int(_LAST.read_text()) + 1):
        try:
            _prctl(_PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
            return False
    return True


def gain_no_more() -> None:
    """Let no program that is executed from now on have more rights than we. Raises OSError."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def keep_over_change_of_user(keep: bool) -> None:
    """Let the permitted set survive that root becomes another user. Raises OSError."""
    _prctl(_PR_SET_KEEPCAPS, int(keep))


def death_signal() -> int:
    """Return the signal that the death of our parent brings us, 0 for none. Raises OSError."""
    number = ctypes.c_int()
    _checked(_libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0))
    return number.value


def set_death_signal(number: int) -> None:
    """Set it: the kernel forgets it when the user changes. Raises OSError."""
    _prctl(_PR_SET_PDEATHSIG, number)


def _prctl(option: int, argument: int) -> None:
    # The kernel takes longs, and refuses if those that have no meaning are not 0.
    rest = [ctypes.c_ulong(value) for value in (argument, 0, 0, 0)]
    _checked(_libc.prctl(option, *rest))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
