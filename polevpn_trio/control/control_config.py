"""The ``control`` section of both roles' files: how a running program lets itself be asked."""

from __future__ import annotations

from pathlib import Path

import attrs

from polevpn_trio.control.members import Members

KEYS = ("enable", "socket", "group")


@attrs.frozen
class ControlConfig:
    """Where a program answers questions about itself."""

    enabled: bool = True
    path: Path | None = None
    """Of the Unix socket; None means one of the program's own in the machine's folder for them."""
    group: str | None = None
    """Whose members may ask, beside the user that runs the program."""


def control_config(top: Members) -> ControlConfig:
    """Read the section from the members of a file; mistakes are reported there."""
    members = top.section("control", KEYS) if top.has("control") else None
    if members is None:
        return ControlConfig()
    texts: dict[str, str | None] = {}
    for name, expected in (("socket", "the path of a socket"), ("group", "the name of a group")):
        texts[name] = members.text(name, expected) if members.has(name) else None
        if texts[name] == "":
            members.problem(name, f"empty, expected {expected}")
    path = texts["socket"]
    if path and not path.startswith("/"):
        members.problem("socket", "a relative path, expected one from / on")
    return ControlConfig(
        enabled=members.flag("enable", True),
        path=Path(path) if path else None,
        group=texts["group"] or None,
    )
