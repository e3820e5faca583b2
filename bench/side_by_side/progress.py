"""Tells how far a benchmark is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)


class Progressing:
    """A context in which a benchmark says what it is at, and what came of it.

    ``total`` counts runs, or seconds; ``columns`` stand behind the bar. It is drawn between runs
    only: a thread that draws would cost the programs their time.
    """

    def __init__(self, console: Console, total: float, *columns: ProgressColumn) -> None:
        self.console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *(columns or (MofNCompleteColumn(), TimeElapsedColumn())),
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Progressing:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begins(self, what: str) -> None:
        """Show what is measured now."""
        self._bar.update(self._task, description=what, refresh=True)

    def reaches(self, done: float, what: str) -> None:
        """Show how much of ``total`` is done."""
        self._bar.update(self._task, completed=done, description=what, refresh=True)

    def ends(self, *lines: str) -> None:
        """Count one run more, and say what came of it."""
        self._bar.advance(self._task)
        self.say(*lines)

    def say(self, *lines: str) -> None:
        """Print lines above the bar."""
        for line in lines:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)
