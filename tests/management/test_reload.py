"""A running program and its file: taken over, refused, confirmed, rolled back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from polevpn_trio.control.changes import ROUTER_KEYS, Changes
from polevpn_trio.control.config import ListenerConfig, RouterConfig
from polevpn_trio.errors import ConfigError, HostError
from polevpn_trio.management.answers import Reloaded
from polevpn_trio.management.events import EventLog
from polevpn_trio.management.reload import Reloader, Source
from polevpn_trio.management.view import Program
from polevpn_trio.nursery_tree import open_root

LISTENER = ListenerConfig("", 443, Path("a.crt"), Path("a.key"))
CONFIG = RouterConfig(Path("router.json"), "secret", tls=LISTENER, warnings=("an old one",))
BETTER = attrs.evolve(CONFIG, queue_bytes=70_000, warnings=())
BEST = attrs.evolve(CONFIG, queue_bytes=80_000, warnings=())


@pytest.fixture(autouse=True)
def _informative() -> Iterator[None]:
    package = logging.getLogger("polevpn_trio")
    level = package.level
    package.setLevel(logging.INFO)
    yield
    package.setLevel(level)


class World:
    """A program that writes down what it runs with."""

    def __init__(self, clock: trio.testing.MockClock) -> None:
        self._clock = clock
        self.file: RouterConfig | Exception = CONFIG
        self.in_force: list[RouterConfig] = []
        self.ends: Sequence[str] = ()
        self.refuses: HostError | None = None
        self.missing = ""
        self.prepared: list[RouterConfig] = []
        self.program = Program("router", CONFIG.path, CONFIG.warnings, EventLog(), None)
        self.source = Source(self._load)
        self.reloader = Reloader(
            self.program,
            CONFIG,
            self.source,
            ROUTER_KEYS,
            self._apply,
            prepare=self.prepared.append,
            missing=lambda: self.missing,
        )

    def _load(self) -> RouterConfig:
        if isinstance(self.file, Exception):
            raise self.file
        return self.file

    async def _apply(self, changes: Changes[RouterConfig]) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        if self.refuses is not None:
            raise self.refuses
        self.in_force.append(changes.config)
        return self.ends

    async def later(self, seconds: float) -> None:
        self._clock.jump(seconds)
        await trio.testing.wait_all_tasks_blocked()

    def troubles(self) -> list[str]:
        return [trouble.what for trouble in self.program.status().troubles]

    async def reload(self, file: RouterConfig | Exception, within: float | None = None) -> Reloaded:
        self.file = file
        return await self.reloader.reload(within)


def with_program(body: Callable[[World], Awaitable[None]]) -> None:
    # Files are read in a thread, for which a clock that jumps by itself would not wait.
    clock = trio.testing.MockClock()

    async def main() -> None:
        async with open_root("router") as root:
            world = World(clock)
            root.start_soon("reload", world.reloader.serve)
            await trio.testing.wait_all_tasks_blocked()
            await body(world)
            root.nursery.cancel_scope.cancel()

    trio.run(main, clock=clock)


def test_a_changed_file_is_taken_over_with_its_warnings() -> None:
    async def body(world: World) -> None:
        assert world.troubles() == ["an old one"]
        world.ends = ("berlin",)
        answer = await world.reload(attrs.evolve(BETTER, warnings=("a new one",)))
        assert (answer.outcome, answer.ended, answer.warnings) == (
            "applied",
            ("berlin",),
            ("a new one",),
        )
        [change] = answer.applied
        assert (change.key, change.effect) == ("queue_bytes", "for connections to come")
        assert answer.confirm_within is None
        assert [config.queue_bytes for config in world.in_force] == [70_000]
        assert world.prepared == [world.file]
        assert world.troubles() == ["a new one"]

    with_program(body)


def test_a_broken_file_is_refused_with_all_its_mistakes(caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        error = ConfigError("router.json", "kye", "unknown key")
        error.add_note("router.json: mtu: too small")
        answer = await world.reload(error, 30)
        assert (answer.outcome, answer.problems) == (
            "refused",
            ("router.json: kye: unknown key", "router.json: mtu: too small"),
        )
        assert world.in_force == []
        assert world.troubles() == ["an old one"]

    with_program(body)
    said = [record.getMessage() for record in caplog.records]
    assert "reload refused, all goes on as before: router.json: kye: unknown key" in said


def test_what_the_machine_does_not_let_us_is_refused_and_may_be_tried_again() -> None:
    async def body(world: World) -> None:
        world.refuses = HostError("no such certificate")
        answer = await world.reload(BETTER)
        assert (answer.outcome, answer.problems) == ("refused", ("no such certificate",))
        world.refuses = None
        assert (await world.reload(BETTER)).outcome == "applied"

    with_program(body)


def test_nothing_is_applied_where_nothing_has_changed() -> None:
    async def body(world: World) -> None:
        answer = await world.reload(CONFIG, 30)
        assert (answer.outcome, answer.confirm_within) == ("unchanged", None)
        assert world.in_force == []
        assert (await world.reloader.confirm()).outcome == "refused"

    with_program(body)


def test_what_takes_a_restart_is_a_trouble_until_the_file_is_put_back() -> None:
    async def body(world: World) -> None:
        moved = attrs.evolve(BETTER, tls=attrs.evolve(LISTENER, port=444))
        answer = await world.reload(moved)
        assert (answer.outcome, answer.restart) == ("applied", ("tls.listen",))
        assert world.troubles() == [
            "tls.listen: changed in the file, but not in force until a restart"
        ]
        assert world.in_force[0].tls == LISTENER
        answer = await world.reload(BETTER)
        assert (answer.outcome, answer.restart) == ("unchanged", ())
        assert world.troubles() == []

    with_program(body)


def test_a_hangup_reloads_and_a_second_one_does_so_again() -> None:
    async def body(world: World) -> None:
        for number, file in enumerate((BETTER, BEST), 1):
            world.file = file
            world.source.ask()
            while len(world.in_force) < number:
                await trio.lowlevel.checkpoint()
        assert [config.queue_bytes for config in world.in_force] == [70_000, 80_000]

    with_program(body)


def test_what_is_not_confirmed_in_time_is_rolled_back(caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        answer = await world.reload(BETTER, 30)
        assert answer.confirm_within == 30
        assert "is rolled back at" in world.troubles()[0]
        await world.later(29)
        assert world.in_force == [BETTER]
        await world.later(2)
        assert [config.queue_bytes for config in world.in_force] == [70_000, 4 << 20]
        assert world.troubles() == [
            "router.json: not confirmed within 30 s, so it was rolled back",
            "an old one",
        ]
        # A warning of the file is none of a monitor's business; that it is not what runs, is.
        assert world.program.status().state == "degraded"
        answer = await world.reloader.confirm()
        assert (answer.outcome, len(answer.problems)) == ("refused", 1)
        # The file is as it was: it can be applied again.
        assert (await world.reload(BETTER)).outcome == "applied"
        assert world.program.status().state == "up"

    with_program(body)
    advice = [
        record.__dict__["context"].get("advice", "")
        for record in caplog.records
        if "rolled back" in record.getMessage()
    ]
    assert "correct the file" in advice[-1]


def test_what_is_confirmed_in_time_stays() -> None:
    async def body(world: World) -> None:
        await world.reload(BETTER, 30)
        await world.later(29)
        assert (await world.reloader.confirm()).outcome == "confirmed"
        assert world.troubles() == []
        await world.later(60)
        assert world.in_force == [BETTER]

    with_program(body)


def test_it_cannot_be_confirmed_before_the_link_is_back() -> None:
    async def body(world: World) -> None:
        world.missing = "there is no link"
        await world.reload(BETTER, 30)
        answer = await world.reloader.confirm()
        assert (answer.outcome, answer.problems) == ("refused", ("there is no link",))
        world.missing = ""
        assert (await world.reloader.confirm()).outcome == "confirmed"

    with_program(body)


def test_another_trial_starts_the_clock_anew_and_goes_back_to_what_was_confirmed() -> None:
    async def body(world: World) -> None:
        await world.reload(BETTER, 30)
        await world.later(20)
        await world.reload(BEST, 30)
        await world.later(20)
        assert world.in_force == [BETTER, BEST]
        # The same once more does not.
        answer = await world.reload(BEST, 30)
        assert answer.confirm_within == pytest.approx(10, abs=1)
        await world.later(11)
        assert world.in_force[-1].queue_bytes == CONFIG.queue_bytes

    with_program(body)


def test_a_reload_without_a_trial_does_not_confirm_one() -> None:
    async def body(world: World) -> None:
        await world.reload(BETTER, 30)
        answer = await world.reload(BEST)
        assert answer.outcome == "refused"
        assert "has not been confirmed" in answer.problems[0]
        await world.later(31)
        assert world.in_force[-1].queue_bytes == CONFIG.queue_bytes

    with_program(body)


def test_a_roll_back_that_the_machine_refuses_is_a_trouble() -> None:
    async def body(world: World) -> None:
        await world.reload(BETTER, 30)
        world.refuses = HostError("no such certificate")
        await world.later(31)
        assert world.troubles()[0] == (
            "router.json: not confirmed, but it cannot be rolled back: no such certificate"
        )

    with_program(body)
