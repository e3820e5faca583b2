"""The stage of a fault: a router and two sites under load, with somebody who starts them again.

::

    host - gateway "first" ------- internet ------- router
    host - gateway "second" ----------'

What a service manager does is done here: a program that has ended, by whatever cause, is started
again after `RESTART_SECONDS`. Everything that the programs may leave behind is compared with what
was there before they started.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from bench.endurance.between_sites import LoadBetween
from bench.endurance.health import SOCKETS, Health
from bench.endurance.outcome import Outcome, Recovery
from bench.side_by_side.network import RunFailed
from polevpn_trio.commands.client import NoAnswer
from polevpn_trio.lab import probes
from polevpn_trio.lab.host_state import HostState
from polevpn_trio.lab.namespaces import POLL_INTERVAL, Host, Lab, Process, wait_until
from polevpn_trio.lab.overlay import PORT, PROBE_TIMEOUT, Overlay, Site, python_path

ROUTER, FIRST, SECOND = PROGRAMS = ("router", "first", "second")

RESTART_SECONDS = 0.2
"""From the end of a program to its next start; the units in conf/ say two."""

RESTARTED_WITHIN = 4.0
"""Seconds until traffic flows, once a program that had ended is ready again."""

SETTLE_SECONDS = 90.0
"""Within which everything must be as it was: a router ends a silent connection after a minute."""

MEMORY_MIB = 16.0
"""By which a program's memory may have grown over one case. What waits for a link is bounded, some
ten MiB altogether; the allocator keeps that room for the next time."""

START_PATIENCE = 30.0
"""Seconds for a program to start again, and for the load to flow again."""

LONGEST_START = 120.0
"""Seconds after which a program that ends again and again will not be waited for."""

PATIENCE = 3
"""Times a limit that is waited for, to tell late from never."""


@attrs.frozen
class Circumstances:
    """What a case wants to be different from the usual, by names of `PROGRAMS`."""

    router: Mapping[str, Any] = attrs.field(factory=dict)
    """Changes to the router's configuration."""
    gateways: Mapping[str, Any] = attrs.field(factory=dict)
    """Changes to the gateways' configurations."""
    environment: Mapping[str, str] = attrs.field(factory=dict)
    """Of all programs."""
    shell: str = ""
    """Shell commands that run before each program, in its process."""


class Scene:
    """The hosts of a case, its programs, and what is known of them."""

    def __init__(
        self, lab: Lab, transport: str, rate: float, *, late_is_problem: bool = True
    ) -> None:
        """Build the network; ``rate`` is that of the load in Mbit/s, both directions together.

        Without ``late_is_problem`` the time that a recovery takes is told, but not judged.
        """
        self.transport = transport
        self.overlay = Overlay(lab)
        self.sites: list[Site] = []
        self.programs: dict[str, Process] = {}
        self._starting: set[str] = set()
        self.log_file: Path | None = None
        """Where the programs of each host log, if not where they usually do."""
        self._lab = lab
        self._rate = rate
        self._late_is_problem = late_is_problem
        self._configs: dict[str, dict[str, Any]] = {}
        self._circumstances = Circumstances()
        self._untouched: dict[str, HostState] = {}
        self._recoveries: list[Recovery] = []
        self._problems: list[str] = []
        self._before: dict[str, Health] = {}
        self._load: LoadBetween | None = None

    # --- Building

    def add_sites(self) -> None:
        """Add both sites, directly on the internet."""
        self.sites = [self.overlay.add_site(name) for name in (FIRST, SECOND)]

    def host(self, name: str) -> Host:
        """Give the host on which a program runs."""
        return self.overlay.router if name == ROUTER else self._site(name).gateway

    def _site(self, name: str) -> Site:
        return self.sites[(FIRST, SECOND).index(name)]

    def start(self, circumstances: Circumstances | None = None, server: str = "") -> None:
        """Start all programs and the load; wait until traffic flows and all is quiet.

        ``server`` is the URL by which the gateways know the router.
        """
        if not self.sites:
            self.add_sites()
        self._circumstances = circumstances or Circumstances()
        self._untouched = {name: self.host(name).state() for name in PROGRAMS}
        self._configs[ROUTER] = self.overlay.router_config(**self._circumstances.router)
        for name in (FIRST, SECOND):
            self._configs[name] = self.overlay.gateway_config(
                self._site(name),
                server or self.overlay.url(self.transport),
                **self._circumstances.gateways,
            )
        for name in PROGRAMS:
            self.launch(name)
            if name == ROUTER:
                self.overlay.wait_for_listener(self.transport)
        self._wait(self.flows, START_PATIENCE, "a first packet")
        self._load = LoadBetween(self.sites, self._rate)
        self._before = self._settled_health()

    def launch(self, name: str) -> Process:
        """Start a program on its host, by its usual configuration."""
        role = "router" if name == ROUTER else "gateway"
        host = self.host(name)
        file = self.overlay.write_config(host, f"{role}.json", self._configs[name])
        words = [sys.executable, "-m", "polevpn_trio", role, "--config", str(file)]
        if self._circumstances.shell:
            words = ["sh", "-c", f'{self._circumstances.shell}\nexec "$@"', "sh", *words]
        self.programs[name] = host.start(
            words,
            name=name,
            environment={
                **python_path(),
                "RUNTIME_DIRECTORY": "",
                **self._circumstances.environment,
            },
        )
        return self.programs[name]

    # --- Traffic

    def flows(self) -> bool:
        """Whether a ping from one site's host to the other's is answered at once."""
        first, second = self.sites
        try:
            reply = first.lan_host.call(probes.ping, second.lan_host_address, timeout=PROBE_TIMEOUT)
        except OSError:
            return False
        return reply.received > 0

    def tend(self) -> None:
        """Start again what has ended, as a service manager does."""
        for name, process in list(self.programs.items()):
            if process.returncode is not None:
                time.sleep(RESTART_SECONDS)
                self._starting.add(name)
                self.launch(name)

    def is_ready(self, name: str) -> bool:
        """Whether a program that was started has come so far that it could carry traffic."""
        if name == ROUTER:
            return self.host(name).listens("udp" if self.transport == "kcp" else "tcp", PORT)
        return self.host(name).has_interface(self.overlay.INTERFACE)

    def recover(self, what: str, limit: float) -> None:
        """Wait for traffic, starting again what has ended, and note the seconds it took.

        They count from now, or from when the last program that had to be started was ready.
        """
        began = counts_from = time.monotonic()
        deadline = began + max(limit * PATIENCE, START_PATIENCE)
        while time.monotonic() < deadline:
            self.tend()
            if self._starting:
                self._starting = {name for name in self._starting if not self.is_ready(name)}
                counts_from = time.monotonic()
                longest = began + LONGEST_START
                deadline = min(counts_from + max(limit * PATIENCE, START_PATIENCE), longest)
            if not self._starting and self.flows():
                break
            time.sleep(POLL_INTERVAL)
        else:
            self._note(Recovery(what, None, limit, counts_from - began))
            return
        self._note(Recovery(what, time.monotonic() - counts_from, limit, counts_from - began))

    def _note(self, recovery: Recovery) -> None:
        self._recoveries.append(recovery)
        if recovery.seconds is None or (self._late_is_problem and not recovery.in_time):
            self.problem(f"{recovery}, expected within {recovery.limit:g} s")

    def breaks(self, timeout: float = 5.0) -> None:
        """Wait until a ping stays unanswered; note it as a problem if none does."""
        with suppress(TimeoutError):
            wait_until(lambda: not self.flows(), timeout, "the path to break")
            return
        self.problem("the fault had no effect on traffic")

    # --- Findings

    def problem(self, text: str) -> None:
        """Note something that is not as it should be."""
        self._problems.append(text)

    def expect(self, held: bool, text: str) -> None:
        """Note a problem unless something held."""
        if not held:
            self.problem(text)

    def log(self, name: str) -> str:
        """Give all that the runs of a program have written so far."""
        host = self.host(name)
        if self.log_file is not None:
            return host.call(self.log_file.read_text, encoding="utf-8", errors="replace")
        return "".join(each.log() for each in host.processes if each.name == name)

    def said(self, *texts: str) -> tuple[str, ...]:
        """Give the first line of any program that holds each of these texts."""
        lines = [line for name in PROGRAMS for line in self.log(name).splitlines()]
        found = [next((line for line in lines if text in line), None) for text in texts]
        for text, line in zip(texts, found, strict=True):
            self.expect(line is not None, f"no program says {text!r}")
        return tuple(line for line in found if line is not None)

    def outcome(self, case: str, said: Sequence[str] = ()) -> Outcome:
        """Judge what is there now, end all programs, and judge what they leave."""
        if not all(one.seconds is not None for one in self._recoveries):
            self._show_logs()
        self._check_load()
        after = self._return_to(self._before)
        self._check_logs()
        leftovers = self._end()
        return Outcome(
            case=case,
            transport=self.transport,
            recoveries=tuple(self._recoveries),
            before=self._before,
            after=after,
            leftovers=leftovers,
            problems=tuple(self._problems),
            said=tuple(said),
        )

    def _check_load(self) -> None:
        """Both loads must get something through again."""
        load = self._load
        assert load is not None
        started = [counts[-1].tcp_received for counts in load.reports()]

        def received() -> bool:
            self.tend()
            return all(
                counts[-1].tcp_received > before
                for counts, before in zip(load.reports(), started, strict=True)
            )

        try:
            wait_until(received, START_PATIENCE, "the load")
        except TimeoutError:
            self.problem("the load does not flow in both directions")

    def _check_logs(self) -> None:
        for name in PROGRAMS:
            if "Traceback" in self.log(name):
                self.problem(f"a traceback in the log of {name}")
                self._show_logs()

    def _show_logs(self) -> None:
        for name in PROGRAMS:
            print(f"--- {name}\n{self.log(name)[-3000:]}", file=sys.stderr)

    # --- Health

    def health(self) -> dict[str, Health]:
        """Read what all programs hold. Raises OSError or NoAnswer while one is not there."""
        return {name: Health.of(process) for name, process in self.programs.items()}

    def _settled_health(self) -> dict[str, Health]:
        """Read it once two readings, a second apart, are the same."""
        last: dict[str, Health] = {}
        for _ in range(10):
            time.sleep(1)
            health = self.health()
            if last and all(_same(health[name], last[name]) for name in PROGRAMS):
                return health
            last = health
        return last

    def _return_to(self, before: Mapping[str, Health]) -> dict[str, Health]:
        """Wait until no program holds more than before; note what it does not let go of."""
        after: dict[str, Health] = {}

        def returned() -> bool:
            self.tend()
            try:
                after.update(self.health())
            except (OSError, NoAnswer, ValueError):
                return False
            return all(_no_more(after[name], before[name]) for name in PROGRAMS)

        with suppress(TimeoutError):
            wait_until(returned, SETTLE_SECONDS, "the programs to be as before")
        if len(after) < len(PROGRAMS):
            self.problem("a program does not answer on its control socket")
            return after
        for name in PROGRAMS:
            old, new = before[name], after[name]
            for what in ("descriptors", "tasks"):
                if getattr(new, what) > getattr(old, what):
                    grown = f"{getattr(old, what)} -> {getattr(new, what)}"
                    self.problem(f"{name} keeps {what}: {grown}")
            if new.memory > old.memory + MEMORY_MIB:
                self.problem(f"{name} keeps memory: {old.memory:.0f} -> {new.memory:.0f} MiB")
        return after

    # --- The end

    def _end(self) -> tuple[str, ...]:
        """End the programs in an orderly way; give what is left of them."""
        for name, process in self.programs.items():
            status = process.stop()
            self.expect(status == 0, f"{name} ended with status {status} when asked to")
        found: list[str] = []
        for name in PROGRAMS:
            host = self.host(name)
            before, after = attrs.asdict(self._untouched[name]), attrs.asdict(host.state())
            for kind, lines in after.items():
                found += [f"{name}: {kind}: {line}" for line in lines if line not in before[kind]]
                found += [f"{name}: lost: {line}" for line in before[kind] if line not in lines]
            found += [f"{name}: {file}" for file in host.call(left_files)]
        for each in found:
            self.problem(f"left: {each}")
        return tuple(found)

    def _wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        try:
            wait_until(condition, timeout, what)
        except TimeoutError as error:
            tails = " | ".join(f"{name}: {self.programs[name].log_tail(2)}" for name in PROGRAMS)
            raise RunFailed(f"{error} ({tails})") from error


def _same(one: Health, other: Health) -> bool:
    return (one.descriptors, one.tasks) == (other.descriptors, other.tasks)


def _no_more(new: Health, old: Health) -> bool:
    return new.descriptors <= old.descriptors and new.tasks <= old.tasks


def left_files() -> list[str]:
    """Give the files of this host that a program that has ended should not have left.

    Locks stay: to delete one that another program may be opening would be a race.
    """
    left = [file for file in SOCKETS.glob("*") if file.suffix != ".lock"]
    left += [file for file in Host.FILES.glob(".*") if file.name != ".lock"]
    return sorted(map(str, left))
