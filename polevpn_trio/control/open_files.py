"""How many files this process may have open."""

from __future__ import annotations

import resource

MAX_FILES = 1 << 16
"""Open files asked of the kernel: each TCP connection is one, and the usual limit is 1,024."""


def allow_many_files() -> None:
    """Raise the limit of open files as far as we may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
