"""The engine that watches which ways an input takes through the code: Atheris, on libFuzzer.

It sees the plain build, whose bytecode it rewrites; the compiled build is given the same inputs
and must come to the same results. A process of its own for each target, since libFuzzer ends
the one that it runs in: ``python -m tests.fuzz.coverage TARGET [OPTIONS OF LIBFUZZER]``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import attrs

from tests.fuzz import builds
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

MEMORY_LIMIT_MB = 600
SECONDS_PER_INPUT = 20
_EXECUTED = re.compile(r"stat::number_of_executed_units: (\d+)")


@attrs.frozen
class Run:
    """What became of one run; ``failure`` is libFuzzer's own account of it, or empty."""

    inputs: int
    failure: str


def available() -> bool:
    """Whether Atheris is installed."""
    try:
        import atheris  # noqa: F401 - only to see whether it can be
    except ImportError:
        return False
    return True


def fuzz(target: Target, inputs: int, seconds: int, learnt: Path, failures: Path) -> Run:
    """Try up to so many inputs or seconds (0: no limit) of new ones, found from those ``learnt``.

    What reaches something new is added to that folder, what fails goes into ``failures``.
    """
    return _libfuzzer(
        target,
        f"-runs={inputs or -1}",
        f"-max_total_time={seconds}",
        f"-artifact_prefix={failures / target.name}-",
        str(learnt),
    )


def pick(target: Target, learnt: Path, chosen: Path) -> Run:
    """Copy into the empty folder ``chosen`` the fewest inputs that reach what all of them do."""
    return _libfuzzer(target, "-merge=1", str(chosen), str(learnt))


def _libfuzzer(target: Target, *options: str) -> Run:
    command = [
        *(sys.executable, "-m", "tests.fuzz.coverage", target.name),
        f"-max_len={target.longest}",
        f"-rss_limit_mb={MEMORY_LIMIT_MB}",
        f"-timeout={SECONDS_PER_INPUT}",
        "-print_final_stats=1",
        "-verbosity=1",
        *options,
    ]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    executed = _EXECUTED.search(done.stderr)
    return Run(
        inputs=int(executed.group(1)) if executed else 0,
        failure=done.stderr[-6000:] if done.returncode else "",
    )


def main(arguments: list[str]) -> None:
    """Be the process that tries the inputs; does not return."""
    import atheris

    target = next(target for target in TARGETS if target.name == arguments[1])
    copies = [builds.plain(atheris.instrument_imports(include=["polevpn_trio"]))]
    if target.kernel and (in_use := builds.in_use()).name == "compiled":
        copies.append(in_use)

    def try_one(data: bytes) -> None:
        target.run(copies, data)

    # libFuzzer starts itself again to merge, by what it believes to be its program's name.
    itself = f"{sys.executable} -m tests.fuzz.coverage {target.name}"
    atheris.Setup([itself, *arguments[2:]], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
