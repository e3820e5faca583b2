"""Where a program keeps what it must still know after its next start."""

from __future__ import annotations

import os
from pathlib import Path

SYSTEM_DIRECTORY = Path("/var/lib/polevpn_trio")


def state_file(name: str) -> Path:
    """The path of a file, unless the configuration says otherwise."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        # Set by systemd for a service that has one.
        return Path(given) / name
    if os.geteuid() == 0:
        return SYSTEM_DIRECTORY / name
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "polevpn_trio" / name
