"""Linux's ``perf`` on programs that run: samples of where they are, counts of what they call."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from types import TracebackType
from typing import Self

from bench.profiling.samples import Sample, parse_samples
from bench.side_by_side.network import RunFailed

SAMPLES_PER_SECOND = 1999
"""Of processor time. A prime, lest the sampling walk in step with a timer of the programs."""

ALL_CALLS = "raw_syscalls:sys_enter"

CALLS = (
    *("sendmsg", "sendmmsg", "sendto", "recvmsg", "recvmmsg", "recvfrom"),
    *("read", "readv", "write", "writev"),
    *("epoll_wait", "epoll_pwait", "epoll_ctl", "poll", "ppoll", "futex"),
)
"""System calls that are told apart, of those that the kernel has."""

REPLY_TIMEOUT = 20.0
"""Seconds for perf to attach itself, or to write down what it has."""

_TRACING = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
_SEPARATOR = ";"


def unavailable_reason() -> str | None:
    """Say in one line why perf cannot sample and count here, or None."""
    if which("perf") is None:
        return "perf is not installed (Debian: apt-get install linux-perf)"
    words = ["perf", "stat", "-e", f"cpu-clock,{ALL_CALLS}", "true"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode or "<not supported>" in done.stderr:
        said = next(
            (line for line in done.stderr.splitlines() if line.strip()), "it gave no reason"
        )
        return f"perf may not sample and count here: {said.strip()} (root may)"
    return None


class _Perf:
    """A perf that is attached to programs and measures from `enable` to `disable`."""

    def __init__(self, words: Sequence[str], pids: Sequence[int], output: Path) -> None:
        commands, self._commands = os.pipe()
        self._replies, replies = os.pipe()
        self._output = output
        attach = ["-p", ",".join(map(str, pids)), "-o", str(output)]
        # Begin disabled, and be told when to measure.
        control = ["-D", "-1", "--control", f"fd:{commands},{replies}"]
        try:
            self._process = subprocess.Popen(
                ["perf", *words, *attach, *control],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=(commands, replies),
                start_new_session=True,
            )
        except OSError:
            os.close(self._commands)
            os.close(self._replies)
            raise
        finally:
            os.close(commands)
            os.close(replies)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.communicate(timeout=REPLY_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise
        finally:
            os.close(self._commands)
            os.close(self._replies)

    def enable(self) -> None:
        """Measure from now on. Raises RunFailed if perf could not attach itself."""
        self._command("enable")

    def disable(self) -> None:
        """Measure no longer. Raises RunFailed if perf has ended."""
        self._command("disable")

    def _command(self, name: str) -> None:
        try:
            os.write(self._commands, f"{name}\n".encode())
        except BrokenPipeError:
            answered = False
        else:
            ready, _, _ = select.select([self._replies], [], [], REPLY_TIMEOUT)
            answered = bool(ready) and bool(os.read(self._replies, 64))
        if not answered:
            self._process.kill()
            _, said = self._process.communicate()
            raise RunFailed(f"perf did not {name}: {' '.join(said.split())[-200:]}")


class Sampling(_Perf):
    """Looks at regular intervals of a program's processor time where the program is."""

    def __init__(self, pids: Sequence[int], folder: Path) -> None:
        rate = str(SAMPLES_PER_SECOND)
        # No copies of all libraries into the cache of the user who measures.
        words = ["record", "-q", "-B", "-N", "-e", "cpu-clock", "-F", rate]
        super().__init__(words, pids, folder / "samples")

    def samples(self) -> list[Sample]:
        """Give all of them, in the order of time; after the ``with`` block."""
        done = subprocess.run(
            ["perf", "script", "-i", str(self._output), "-F", "pid,ip,sym,dso"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            # Symbols come from this machine, not from a server of debugging information.
            env={**os.environ, "DEBUGINFOD_URLS": ""},
        )
        return list(parse_samples(done.stdout))


class CallCounting(_Perf):
    """Counts the system calls of one program."""

    def __init__(self, pid: int, folder: Path) -> None:
        events = ",".join([ALL_CALLS, *(f"syscalls:sys_enter_{name}" for name in _known_calls())])
        super().__init__(["stat", "-x", _SEPARATOR, "-e", events], [pid], folder / f"calls-{pid}")

    def counts(self) -> dict[str, int]:
        """Give the number of calls by name, "" for all; after the ``with`` block."""
        return parse_counts(self._output.read_text())


def _known_calls() -> list[str]:
    return [
        name
        for name in CALLS
        if any((root / "events/syscalls" / f"sys_enter_{name}").is_dir() for root in _TRACING)
    ]


def parse_counts(text: str) -> dict[str, int]:
    """Read what ``perf stat -x ';'`` writes of system calls: counts by name, "" for all.

    Raises ValueError for a count that the kernel did not make.
    """
    counts = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        value, _, event = line.split(_SEPARATOR)[:3]
        # So perf calls it when the program did not run at all.
        number = 0 if value == "<not counted>" else int(value)
        counts["" if event == ALL_CALLS else event.removeprefix("syscalls:sys_enter_")] = number
    return counts
