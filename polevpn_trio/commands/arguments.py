"""The command lines of the commands that look: at running programs, and at the machine.

Light: `check` should not wait.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from polevpn_trio import manual

STATUS_SECONDS = 1.0
"""What rates are measured over, unless said otherwise."""

TOP_SECONDS = 1.0

LONGEST_CONFIRM = 3600
"""Seconds; what the control socket takes."""

EVENTS_SHOWN, MOST_EVENTS = 50, 1000

LEVELS = ("info", "warning", "error")

AddCommand = Callable[[str, str, str], argparse.ArgumentParser]
"""Makes the parser of a command from its name, what it does, and more to say about it."""


def add_parsers(add_command: AddCommand) -> None:
    """Add these commands, each made by ``add_command``."""
    status = _add(add_command, "status", _status, "show how all sites are, and what to do")
    status.add_argument(
        "--over",
        type=_from(0, 60),
        default=STATUS_SECONDS,
        metavar="SECONDS",
        help="measure rates and losses over so long (default: %(default)g); 0 answers at once",
    )
    status.add_argument("--tree", action="store_true", help="show the live tree of tasks instead")
    top = _add(add_command, "top", _top, "watch all sites live; keys are shown there")
    top.add_argument(
        "--every",
        type=_from(0.2, 60),
        default=TOP_SECONDS,
        metavar="SECONDS",
        help="between two looks (default: %(default)g)",
    )
    routes = _add(add_command, "routes", _routes, "show the route table and its conflicts")
    routes.add_argument(
        "word", nargs="?", metavar="WORD", help="only routes with this in network, site, or way"
    )
    events = _add(add_command, "events", _events, "show what has happened of late")
    events.add_argument("-f", "--follow", action="store_true", help="go on with what happens next")
    events.add_argument(
        "-n",
        "--number",
        type=_whole_from(1, MOST_EVENTS, "a number"),
        default=EVENTS_SHOWN,
        metavar="N",
        help="so many of the latest (default: %(default)d)",
    )
    events.add_argument("--site", help="only those of this site")
    events.add_argument("--level", choices=LEVELS, default="info", help="only from this one on")
    reload = _add(add_command, "reload", _reload, "go on with what the configuration file says now")
    confirming = reload.add_mutually_exclusive_group()
    confirming.add_argument(
        "--confirm",
        type=_from(1, LONGEST_CONFIRM),
        metavar="SECONDS",
        help="go back by itself unless it is confirmed within so long",
    )
    confirming.add_argument(
        "--confirmed", action="store_true", help="keep what was reloaded with --confirm"
    )
    explain = _add(
        add_command, "explain", _explain, "say which way a packet goes, and why no other"
    )
    explain.add_argument("source", metavar="SRC", type=_address, help="IP address")
    explain.add_argument("destination", metavar="DST", type=_address, help="IP address")
    explain.add_argument(
        "protocol",
        metavar="PROTOCOL",
        nargs="?",
        help="tcp, udp, icmp, or a number: what the router's policy may tell apart",
    )
    explain.add_argument(
        "port",
        metavar="PORT",
        nargs="?",
        type=_whole_from(0, 65535, "a port"),
        help="of the destination, with tcp and udp",
    )
    doctor = add_command(
        "doctor",
        "examine this machine, a configuration, and the way to the router",
        manual.DOCTOR,
    )
    doctor.add_argument(
        "config",
        nargs="?",
        type=Path,
        metavar="CONFIG",
        help="configuration of a router or a gateway (default: look at the machine only)",
    )
    doctor.add_argument(
        "--offline", action="store_true", help="look up no names, and send nothing to the router"
    )
    doctor.add_argument("--json", action="store_true", help="print JSON for programs to read")
    doctor.set_defaults(run=_doctor)


def _status(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import inspect

    return inspect.guarded(inspect.status_command, options)


def _routes(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import inspect

    return inspect.guarded(inspect.routes_command, options)


def _events(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import inspect

    return inspect.guarded(inspect.events_command, options)


def _reload(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import inspect, reload

    return inspect.guarded(reload.reload_command, options)


def _explain(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import inspect

    return inspect.guarded(inspect.explain_command, options)


def _top(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import inspect, top

    return inspect.guarded(top.top_command, options)


def _doctor(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import doctor, inspect

    return inspect.guarded(doctor.doctor_command, options)


def _add(
    add_command: AddCommand,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = add_command(name, text, manual.ASKING[name])
    parser.add_argument(
        "--socket",
        type=Path,
        metavar="PATH",
        help="control socket of the program to ask (default: what runs on this machine)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for programs to read")
    parser.set_defaults(run=run)
    return parser


def _from(least: float, most: float, what: str = "seconds") -> Callable[[str], float]:
    """Make what reads a number between two others, these included."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected {what} from {least:g} to {most:g}")
        return value

    return read


def _whole_from(least: int, most: int, what: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        # int() would take signs, blanks, and underscores.
        value = int(text) if text.isdecimal() else -1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected {what} from {least} to {most}")
        return value

    return read


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address, expected one") from None
