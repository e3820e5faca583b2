"""What the demo shows a person: its progress, and the account of what was built and measured."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.align import Align
from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import (
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from polevpn_trio.completion import PROGRAM
from polevpn_trio.lab.overlay import PORT, TRANSPORTS

if TYPE_CHECKING:
    from polevpn_trio.lab.demo import Demonstration
    from polevpn_trio.lab.overlay import Site

DESCRIPTIONS = {
    "kcp": "KCP in DTLS 1.2 over UDP",
    "tls": "TLS over TCP",
    "wss": "WebSocket in TLS over TCP",
}


COLUMNS = (26, 7, 14, 7, 26)
"""Widths of the picture's parts: site, link, router, link, site; a terminal has 80."""


BAR = 20
"""Columns of the bar beside a step."""


class _Bar(ProgressColumn):
    """Fills while a step takes the seconds that it is known to take, or runs until it is done."""

    def render(self, task: Task) -> ProgressBar | Text:
        if task.finished:
            return Text()
        seconds: float = task.fields["seconds"]
        if not seconds:
            return ProgressBar(total=None, width=BAR, pulse=True)
        return ProgressBar(total=seconds, completed=min(task.elapsed or 0.0, seconds), width=BAR)


class Steps:
    """Tells one step after the other: a live list on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, *, silent: bool) -> None:
        self._console = console
        self._silent = silent
        self._progress: Progress | None = None
        self._current: TaskID | None = None
        self._started = time.monotonic()

    def __enter__(self) -> Steps:
        if self._console.is_terminal and not self._silent:
            self._progress = Progress(
                SpinnerColumn(finished_text="[green]✓"),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                _Bar(),
                console=self._console,
            )
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            if error is None:
                self._finish()
            self._progress.stop()

    def step(self, text: str, seconds: float = 0.0) -> None:
        """The step before is done; ``text`` is what happens next, for ``seconds`` if not 0."""
        if self._silent:
            return
        if self._progress is None:
            self._console.print(f"{time.monotonic() - self._started:5.1f} s  {text}")
            return
        self._finish()
        self._current = self._progress.add_task(text, total=1, seconds=seconds)

    def _finish(self) -> None:
        if self._progress is not None and self._current is not None:
            self._progress.update(self._current, completed=1)


def show_failure(console: Console, problem: str, logs: dict[str, str]) -> None:
    """Say what went wrong and show the last lines of the programs' logs."""
    console.print(Text(f"failed: {problem}", style="bold red"))
    for name, log in logs.items():
        console.print()
        console.print(Text(f"--- last lines of {name}", style="bold"))
        console.print(Text(log or "(it printed nothing)"), soft_wrap=True)


def show_account(console: Console, demonstration: Demonstration) -> None:
    """Show topology, measurements, routes, and what to try next."""
    console.print()
    console.print(_topology(demonstration))
    console.print(_measurements(demonstration))
    console.print(_routes(demonstration))
    console.print(_verdict(demonstration))
    console.print(_next(demonstration))


def _topology(demonstration: Demonstration) -> Table:
    overlay = demonstration.overlay
    a, b = overlay.sites
    link = Align.center(Text(f"\n\n<-{demonstration.transport}->", style="cyan"))
    router = Panel(
        Align.center(Text(f"\n{overlay.router_uplink.address}\nport {PORT}\n", justify="center")),
        title="router",
    )
    picture = Table.grid()
    for width in COLUMNS:
        picture.add_column(width=width, no_wrap=True)
    picture.add_row(_site_panel(a), link, router, link, _site_panel(b))
    return picture


def _site_panel(site: Site) -> Panel:
    lines = Table.grid(padding=(0, 1, 0, 0))
    lines.add_row("host", site.lan_host_address)
    lines.add_row("LAN", site.lan)
    lines.add_row("gateway", site.uplink.address)
    lines.add_row("tunnel", site.tunnel_address)
    return Panel(lines, title=site.name)


def _measurements(demonstration: Demonstration) -> Padding:
    echo = demonstration.echo
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    transport = demonstration.transport
    table.add_row("transport", f"{transport}: {DESCRIPTIONS[transport]}")
    table.add_row("first reply", f"{demonstration.first_reply:.2f} s after the programs' start")
    round_trip = "no reply"
    if echo.round_trips:
        round_trip = (
            f"{echo.minimum:.2f} / {echo.average:.2f} / {echo.percentile(99):.2f} ms "
            f"(min / avg / p99), {echo.received} of {echo.sent} answered"
        )
    table.add_row("round trip", round_trip)
    for name, way in (("TCP A to B", demonstration.forth), ("TCP B to A", demonstration.back)):
        check = "SHA-256 matches" if way.intact else "[red]SHA-256 DIFFERS[/red]"
        amount = f"{way.transferred / 1e6:.0f} MB in {way.seconds:.1f} s"
        table.add_row(name, f"{way.megabits_per_second:.0f} Mbit/s ({amount}, {check})")
    return Padding(table, (1, 0, 0, 1))


def _routes(demonstration: Demonstration) -> Padding:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    for name, routes in demonstration.routes.items():
        table.add_row(f"routes of {name}", "\n".join(routes) or "none")
    return Padding(table, (1, 0, 0, 1))


def _verdict(demonstration: Demonstration) -> Padding:
    if demonstration.passed:
        text = Text("Traffic passed both ways, intact.", style="bold green")
    else:
        text = Text("Traffic did NOT pass both ways intact.", style="bold red")
    return Padding(text, (1, 0, 0, 1))


def _next(demonstration: Demonstration) -> Padding:
    others = [name for name in TRANSPORTS if name != demonstration.transport]
    # Where it is installed there is no ./run.
    run = PROGRAM if Path(sys.argv[0]).name == PROGRAM else "./run"
    found = [(f"demo --transport {name}", DESCRIPTIONS[name]) for name in others]
    found.append(("demo --seconds 10 --json", "longer, for machines to read"))
    found.append(("router --config FILE", "the programs themselves; see conf/"))
    lines = [
        Text("Try next:", style="bold"),
        *(Text(f"  {run} {words:<27} {meaning}") for words, meaning in found),
    ]
    return Padding(Group(*lines), (1, 0, 0, 1))
