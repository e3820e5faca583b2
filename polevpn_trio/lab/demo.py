"""``polevpn-trio demo``: two sites and a router on this machine, and traffic between the LANs.

Six network namespaces are built: for each site a gateway and one host behind it, a router, and a
small internet between them. The real programs run in three of them, with a key and a certificate
made for the occasion; all of it is gone when the demo ends, however it ends.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs
from rich.console import Console

from polevpn_trio.errors import HostError
from polevpn_trio.lab.account import Steps, show_account, show_failure
from polevpn_trio.lab.namespaces import (
    Host,
    Lab,
    become_root_in_user_namespace,
    check_permitted,
)
from polevpn_trio.lab.overlay import TRANSPORTS, Overlay, python_path
from polevpn_trio.lab.probes import EchoResult, TransferResult

WARM_UP_PINGS, PINGS = 5, 20

PING_INTERVAL = 0.02
"""Seconds."""

SERVER_PORT = 7001

PROBE_MARGIN = 30.0
"""Seconds beyond its own time that a probe may take to start and end before it is given up."""

INTERRUPTED = 130
"""Exit status after Ctrl-C or SIGTERM, as shells report SIGINT."""


@attrs.frozen
class Demonstration:
    """What was built, and what was measured on it."""

    transport: str
    overlay: Overlay
    first_reply: float
    """Seconds from the start of the programs to the first reply from the other LAN."""
    echo: EchoResult
    forth: TransferResult
    """From site A to site B."""
    back: TransferResult
    routes: dict[str, tuple[str, ...]]
    """For each gateway, the routes into its tunnel."""

    @property
    def passed(self) -> bool:
        """Whether traffic passed both ways, and intact."""
        return (
            self.echo.received > 0
            and not self.echo.corrupted
            and all(way.intact and way.transferred > 0 for way in (self.forth, self.back))
        )

    def as_json(self) -> dict[str, Any]:
        sites = {
            site.name: {
                "lan": site.lan,
                "host": site.lan_host_address,
                "gateway": site.uplink.address,
                "tunnel": site.tunnel_address,
                "routes": self.routes[site.name],
            }
            for site in self.overlay.sites
        }
        return {
            "passed": self.passed,
            "transport": self.transport,
            "router": self.overlay.url(self.transport),
            "sites": sites,
            "first_reply_s": round(self.first_reply, 3),
            "ping": self.echo.as_json(),
            "tcp_a_to_b": self.forth.as_json(),
            "tcp_b_to_a": self.back.as_json(),
        }


class DemoFailed(Exception):
    """The programs did not carry traffic; ``logs`` are the last lines of each, by its name."""

    def __init__(self, problem: str, logs: dict[str, str]) -> None:
        super().__init__(problem)
        self.logs = logs


def main(argv: list[str]) -> int:
    """Run the demo; exit status 0 only if traffic passed both ways, 130 when interrupted."""
    options = _parser().parse_args(argv)
    console = Console(highlight=False)
    try:
        with _interruptible():
            become_root_in_user_namespace()
            check_permitted()
            with Steps(console, silent=options.json) as steps, Lab() as lab:
                demonstration = demonstrate(lab, options.transport, options.seconds, steps.step)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except HostError as error:
        if options.json:
            _print_json({"passed": False, "error": str(error)})
        print(f"polevpn-trio demo: {error.with_advice()}", file=sys.stderr)
        return 1
    except DemoFailed as error:
        if options.json:
            _print_json({"passed": False, "error": str(error), "logs": error.logs})
        else:
            show_failure(console, str(error), error.logs)
        return 1
    if options.json:
        _print_json(demonstration.as_json())
    else:
        show_account(console, demonstration)
    return 0 if demonstration.passed else 1


def demonstrate(
    lab: Lab, transport: str, seconds: float, step: Callable[[str, float], None]
) -> Demonstration:
    """Build the network in ``lab``, start the programs, and measure.

    ``step`` is told what is next, and for how many seconds, 0 if nobody knows. ``seconds`` is how
    long TCP data is moved each way. Raises DemoFailed and HostError.
    """
    step("building two sites, a router, and an internet between them", 0)
    overlay = Overlay(lab)
    a, b = overlay.add_site("site A"), overlay.add_site("site B")
    try:
        step("starting the router and two gateways", 0)
        overlay.start_router()
        for site in (a, b):
            overlay.start_gateway(site, overlay.gateway_config(site, overlay.url(transport)))
        step(f"waiting for a first reply, LAN to LAN over {transport}", 0)
        first_reply = overlay.wait_for_path(a.lan_host, b.lan_host_address)
        step(f"{PINGS} pings from {a.lan_host_address} to {b.lan_host_address}", 0)
        _ping(a.lan_host, b.lan_host_address, WARM_UP_PINGS)
        echo = _ping(a.lan_host, b.lan_host_address, PINGS)
        _start_server(b.lan_host)
        step(f"TCP from site A to site B for {seconds:g} s", seconds)
        forth = _transfer(a.lan_host, b.lan_host_address, "up", seconds)
        step(f"TCP from site B to site A for {seconds:g} s", seconds)
        back = _transfer(a.lan_host, b.lan_host_address, "down", seconds)
        routes = {
            site.name: site.gateway.state().routes_through(overlay.INTERFACE) for site in (a, b)
        }
    except (TimeoutError, ChildProcessError, _ProbeFailed) as error:
        logs = {f"{one.name} on {one.host.name}": one.log_tail() for one in overlay.programs()}
        raise DemoFailed(str(error), logs) from error
    step("taking everything away again", 0)
    return Demonstration(transport, overlay, first_reply, echo, forth, back, routes)


# --- Probes


class _ProbeFailed(Exception):
    pass


def _ping(origin: Host, address: str, count: int) -> EchoResult:
    words = ["ping", address, "--count", str(count), "--interval", str(PING_INTERVAL)]
    return EchoResult.from_json(_run_probe(origin, words, count * PING_INTERVAL))


def _transfer(origin: Host, address: str, direction: str, seconds: float) -> TransferResult:
    words = ["tcp", address, str(SERVER_PORT), "--direction", direction, "--seconds", str(seconds)]
    return TransferResult.from_json(_run_probe(origin, words, seconds))


def _run_probe(origin: Host, words: list[str], seconds: float) -> dict[str, Any]:
    """Run a probe in a process of its own, so that ours takes nothing from its time."""
    command = [sys.executable, "-m", "polevpn_trio.lab.probes", *words]
    try:
        done = origin.run(command, timeout=seconds + PROBE_MARGIN, environment=python_path())
    except subprocess.TimeoutExpired:
        raise _ProbeFailed(f"{words[0]} on {origin.name} did not end") from None
    if not done.stdout:
        raise _ProbeFailed(f"{words[0]} on {origin.name}: {done.stderr.strip()}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise _ProbeFailed(f"{words[0]} on {origin.name}: {answer['error']}")
    return answer


def _start_server(host: Host) -> None:
    command = [sys.executable, "-m", "polevpn_trio.lab.probes", "tcp-server", str(SERVER_PORT)]
    server = host.start(command, name="tcp-server", environment=python_path())
    server.wait_for_output("listening", PROBE_MARGIN)


# --- Command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="polevpn-trio demo",
        description="Two sites and a router in network namespaces of this machine, with traffic "
        "from LAN to LAN through the tunnel.",
        epilog="Exit status: 0 if traffic passed both ways, 1 if not, 130 when interrupted.",
    )
    add_arguments(parser)
    return parser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command to a parser."""
    parser.add_argument(
        "--transport",
        choices=TRANSPORTS,
        default="kcp",
        help="what links are made of (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=_positive,
        default=3.0,
        metavar="SECONDS",
        help="how long to move TCP data, each way (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document, only that")


def _positive(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError("expected seconds above 0, at most 3600")
    return seconds


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Within the block, SIGTERM unwinds it as Ctrl-C does; a second one does not disturb that."""

    def unwind(number: int, frame: FrameType | None) -> None:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, unwind) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
