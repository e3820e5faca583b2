"""Goes on with a changed configuration, or with the one before if that turns out to be wrong.

::

    SIGHUP, `reload` --> read --> compare --> apply --> in force
                          |                    |           | `reload --confirm`: in time?
                          v                    v           v no
                       refused              refused     apply the one before

A configuration that cannot be read, or that the machine refuses, changes nothing. The file itself
is never written to: what is rolled back is what the program runs with.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol

import attrs
import trio

from polevpn_trio.control.advice import CHECK
from polevpn_trio.control.changes import Changes, Config, Key, compare
from polevpn_trio.control.log import ContextLogger, set_level
from polevpn_trio.errors import ConfigError, HostError
from polevpn_trio.management.answers import AppliedChange, Reloaded, Trouble
from polevpn_trio.management.service_manager import service_manager
from polevpn_trio.management.view import Program

log = ContextLogger(logging.getLogger("polevpn_trio.reload"))

APPLIED, UNCHANGED, CONFIRMED, REFUSED = "applied", "unchanged", "confirmed", "refused"

RESTART_ADVICE = "restart the program when that suits"
CONFIRM_ADVICE = "`reload --confirmed` if all is well"
ROLLED_BACK_ADVICE = "correct the file and reload; until then a restart would take it as it is"

Apply = Callable[[Changes[Config]], Awaitable[Sequence[str]]]
"""Puts a configuration in force, and returns whose links that has ended.

Raises HostError if this machine does not let us; then everything is as before."""


class Source(Generic[Config]):
    """Where a program's configuration comes from: ``load`` reads it. Raises ConfigError."""

    def __init__(self, load: Callable[[], Config]) -> None:
        self.load = load
        self._asked = trio.Event()

    def ask(self) -> None:
        """Ask the program to read it anew, as SIGHUP does."""
        self._asked.set()

    async def wait_asked(self) -> None:
        """Wait until somebody asks."""
        await self._asked.wait()
        self._asked = trio.Event()


class Reloads(Protocol):
    """What the control socket asks for."""

    async def reload(self, within: float | None) -> Reloaded:
        """Read the file and apply it; roll back unless confirmed ``within`` so many seconds."""

    async def confirm(self) -> Reloaded:
        """Keep what was applied."""


@attrs.define(eq=False)
class _Trial(Generic[Config]):
    """A configuration in force that has to be confirmed; ``before`` is the one to return to."""

    before: Config
    seconds: float
    deadline: float
    over: trio.Event = attrs.field(factory=trio.Event)


class Reloader(Generic[Config]):
    """Keeps a running program in step with its file.

    ``prepare`` does what takes long with what was read, in a thread. ``missing`` says what is still
    to come before a reload can be confirmed, "" if nothing is.
    """

    def __init__(
        self,
        program: Program,
        config: Config,
        source: Source[Config],
        keys: Sequence[Key],
        apply: Apply[Config],
        prepare: Callable[[Config], object] = lambda _: None,
        missing: Callable[[], str] = str,
    ) -> None:
        self._program = program
        self._started = self._running = config
        self._source = source
        self._keys = keys
        self._apply = apply
        self._prepare = prepare
        self._missing = missing
        self._lock = trio.Lock()
        self._trial: _Trial[Config] | None = None
        self._trial_began = trio.Event()

    async def serve(self) -> None:
        """Task "reload": reload when the source asks, roll back when time is up."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reload_when_asked)
            nursery.start_soon(self._roll_back_in_time)

    async def _reload_when_asked(self) -> None:
        manager = service_manager()
        while True:
            await self._source.wait_asked()
            with manager.telling_of_reload() if manager else contextlib.nullcontext():
                await self.reload(None)

    async def reload(self, within: float | None) -> Reloaded:
        """Read the file and put it in force."""
        async with self._lock:
            trial = self._trial
            if trial is not None and within is None:
                left = max(0.0, trial.deadline - trio.current_time())
                return self._refuse(
                    f"the last reload has not been confirmed, and is rolled back in {left:.0f} s; "
                    "expected `reload --confirmed` before, or another `reload --confirm`"
                )
            try:
                # There may be thousands of sites' files.
                new = await trio.to_thread.run_sync(self._read)
            except ConfigError as error:
                return self._refuse(str(error), *getattr(error, "__notes__", ()))
            changes = compare(self._keys, self._started, self._running, new)
            before = self._running if trial is None else trial.before
            try:
                ended = await self._put_in_force(changes)
            except HostError as error:
                return self._refuse(str(error), advice=error.advice)
            restart = _restart_notice(changes)
            self._program.warnings = new.warnings
            self._program.notices = restart
            self._report(changes, ended)
            if changes.applied and within is not None:
                self._begin_trial(before, within, restart)
            elif trial is not None:
                # Nothing more has changed: the clock goes on.
                within = max(0.0, trial.deadline - trio.current_time())
                self._program.notices = (*restart, _trial_notice(within))
            else:
                within = None
            return Reloaded(
                outcome=APPLIED if changes.applied else UNCHANGED,
                config=str(self._started.path),
                applied=_applied(changes),
                restart=changes.restart,
                ended=tuple(ended),
                warnings=new.warnings,
                confirm_within=within,
            )

    def _read(self) -> Config:
        config = self._source.load()
        self._prepare(config)
        return config

    async def confirm(self) -> Reloaded:
        """Keep what was put in force on trial."""
        async with self._lock:
            trial = self._trial
            file = str(self._started.path)
            if trial is None:
                problem = "nothing waits to be confirmed; `events` tells whether it was rolled back"
                return Reloaded(REFUSED, file, (problem,))
            missing = self._missing()
            if missing:
                return Reloaded(REFUSED, file, (missing,))
            self._end_trial(trial)
            self._program.notices = self._program.notices[:-1]
            log.info("%s: confirmed", file)
            return Reloaded(CONFIRMED, file)

    async def _put_in_force(self, changes: Changes[Config]) -> Sequence[str]:
        if not changes.applied:
            return ()
        ended = await self._apply(changes)
        set_level(changes.config.log_level)
        self._running = changes.config
        return ended

    def _refuse(self, *problems: str, advice: str = CHECK) -> Reloaded:
        for problem in problems:
            log.warning("reload refused, all goes on as before: %s", problem, advice=advice)
        if advice not in ("", CHECK):
            problems = tuple(f"{problem}; what to do: {advice}" for problem in problems)
        return Reloaded(REFUSED, str(self._started.path), problems)

    def _report(self, changes: Changes[Config], ended: Sequence[str]) -> None:
        file = self._started.path
        said = [
            f"{change.key} {change.effect.value}" + (f" ({change.detail})" if change.detail else "")
            for change in changes.applied
        ]
        cut = f"; links cut: {len(ended)}" if ended else ""
        log.info("%s: reloaded: %s%s", file, ", ".join(said) or "nothing has changed", cut)
        for notice in self._program.notices:
            log.warning("%s", notice.what, advice=notice.advice)
        for warning in self._program.warnings:
            log.warning("%s: %s", file, warning, advice=CHECK)

    # --- On trial

    def _begin_trial(self, before: Config, seconds: float, notices: tuple[Trouble, ...]) -> None:
        if self._trial is not None:
            self._trial.over.set()
        self._trial = _Trial(before, seconds, trio.current_time() + seconds)
        self._trial_began.set()
        notice = _trial_notice(seconds)
        self._program.notices = (*notices, notice)
        log.warning("%s", notice.what, advice=notice.advice)

    def _end_trial(self, trial: _Trial[Config]) -> None:
        trial.over.set()
        self._trial = None

    async def _roll_back_in_time(self) -> None:
        while True:
            await self._trial_began.wait()
            self._trial_began = trio.Event()
            while (trial := self._trial) is not None:
                with trio.move_on_at(trial.deadline):
                    await trial.over.wait()
                if not trial.over.is_set():
                    await self._roll_back(trial)

    async def _roll_back(self, trial: _Trial[Config]) -> None:
        async with self._lock:
            if self._trial is not trial:
                return
            self._end_trial(trial)
            file = self._started.path
            changes = compare(self._keys, self._started, self._running, trial.before)
            try:
                await self._put_in_force(changes)
            except HostError as error:
                what = f"{file}: not confirmed, but it cannot be rolled back: {error}"
                notice = Trouble(what, error.advice)
            else:
                what = f"{file}: not confirmed within {trial.seconds:g} s, so it was rolled back"
                notice = Trouble(what, ROLLED_BACK_ADVICE)
            self._program.warnings = trial.before.warnings
            self._program.notices = (notice,)
            log.warning("%s", notice.what, advice=notice.advice)


def _applied(changes: Changes[Config]) -> tuple[AppliedChange, ...]:
    return tuple(
        AppliedChange(change.key, change.effect.value, change.detail) for change in changes.applied
    )


def _restart_notice(changes: Changes[Config]) -> tuple[Trouble, ...]:
    if not changes.restart:
        return ()
    what = f"{', '.join(changes.restart)}: changed in the file, but not in force until a restart"
    return (Trouble(what, RESTART_ADVICE),)


def _trial_notice(seconds: float) -> Trouble:
    at = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
    return Trouble(f"the reload is rolled back at {at:%H:%M:%S} unless confirmed", CONFIRM_ADVICE)
