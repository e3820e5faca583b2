"""``reload``: have a running program go on with what its configuration file says now.

::

    0   applied (or there was nothing to apply), or confirmed
    1   refused: all goes on as before
    2   no program answers, or the command line is wrong
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from polevpn_trio.commands.client import connect_one
from polevpn_trio.control.log import printable

EXIT_APPLIED, EXIT_REFUSED = 0, 1

READING_SECONDS = 30.0
"""How much longer than other answers this one may take: there may be thousands of sites' files."""


def reload_command(options: argparse.Namespace) -> int:
    """Ask for it, and tell what came of it."""
    with connect_one(options.socket) as client:
        if options.confirmed:
            found = client.call("confirm")
        elif options.confirm is not None:
            found = client.call("reload", READING_SECONDS, confirm=options.confirm)
        else:
            found = client.call("reload", READING_SECONDS)
    refused = found["outcome"] == "refused"
    if options.json:
        print(json.dumps(found))
    else:
        for line in reload_lines(found):
            print(line, file=sys.stderr if refused else sys.stdout)
    return EXIT_REFUSED if refused else EXIT_APPLIED


def reload_lines(found: dict[str, Any]) -> Iterator[str]:
    """Tell what came of a reload."""
    outcome, file = found["outcome"], found["config"]
    if outcome == "refused":
        yield from (printable(problem) for problem in found["problems"])
        yield "refused: all goes on as before"
        return
    if outcome == "confirmed":
        yield f"{file}: confirmed"
        return
    if outcome == "unchanged":
        yield f"{file}: nothing has changed that can be applied"
    for change in found["applied"]:
        detail = f" ({change['detail']})" if change["detail"] else ""
        yield printable(f"{change['key']}: applied {change['effect']}{detail}")
    for key in found["restart"]:
        yield printable(f"{key}: not applied, takes a restart")
    if found["ended"]:
        yield printable(f"links cut: {', '.join(found['ended'])}")
    yield from (printable(f"warning: {warning}") for warning in found["warnings"])
    if found["confirm_within"] is not None:
        yield (
            f"rolled back in {found['confirm_within']:.0f} s unless you say: "
            "polevpn-trio reload --confirmed"
        )
