"""What is seen while routers are asked: a line that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from polevpn_trio.control.log import printable


class ExaminationProgress:
    """Tells what is being done, on ``console``; use it by ``with``."""

    def __init__(self, console: Console, *, silent: bool) -> None:
        self._console = console
        self._silent = silent
        self._progress: Progress | None = None
        if console.is_terminal and not silent:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
            self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> ExaminationProgress:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def tell(self, what: str, share: float | None) -> None:
        """``what`` is done now; ``share`` of it (0 to 1) is behind us, None if nobody knows."""
        if self._silent:
            return
        if self._progress is None:
            done = "" if share is None else f" ({share:.0%} done)"
            self._console.print(Text(printable(f"{what}{done}")), soft_wrap=True)
            return
        self._progress.update(
            self._task,
            description=printable(what),
            total=None if share is None else 1.0,
            completed=share or 0.0,
        )
