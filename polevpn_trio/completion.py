"""``polevpn-trio completion SHELL``: a script that completes the command line in bash, zsh or fish.

The script is made from the parser itself, so that it knows every command and option there is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

SHELLS = ("bash", "zsh", "fish")

PROGRAM = "polevpn-trio"
"""What is completed: the console script. ``python -m polevpn_trio`` is two words too many."""

_FILES, _FOLDERS = frozenset({"FILE", "CONFIG", "PATH"}), frozenset({"DIR"})
"""Metavariables of arguments that are completed with names of files, and of folders."""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Give the script that ``shell`` (one of SHELLS) is to read; changes ``parser``."""
    # Not above: most commands never come here.
    import shtab

    for action in _actions(parser):
        if action.metavar in _FILES:
            # How shtab is told; argparse's own class has no such attribute.
            action.__dict__["complete"] = shtab.FILE
        elif action.metavar in _FOLDERS:
            action.__dict__["complete"] = shtab.DIRECTORY
    return str(shtab.complete(parser, shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
