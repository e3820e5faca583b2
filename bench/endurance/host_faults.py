"""Faults of a machine: killed programs, no memory, a full disk, a deleted device, a wrong clock."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which

from bench.endurance.outcome import Outcome
from bench.endurance.scene import (
    FIRST,
    PROGRAMS,
    RESTARTED_WITHIN,
    ROUTER,
    SECOND,
    Circumstances,
    Scene,
)
from polevpn_trio.lab.namespaces import Host, wait_until

# --- SIGKILL

LONGEST_WAIT = 3.0
"""Seconds from one kill to the next, at random from none."""

IMPATIENT_SHARE = 0.25
"""Of the kills that do not wait until traffic flows again after the one before."""


def kill(scene: Scene, case: str, kills: int, seed: int) -> Outcome:
    """Kill one program after the other by SIGKILL, at random moments under load."""
    chance = random.Random(seed)
    scene.start()
    for number in range(1, kills + 1):
        time.sleep(chance.uniform(0, LONGEST_WAIT))
        victim = chance.choice(PROGRAMS)
        scene.programs[victim].kill()
        if chance.random() < IMPATIENT_SHARE and number < kills:
            scene.tend()
        else:
            scene.recover(f"kill {number}, of {victim}", RESTARTED_WITHIN)
        if number % 10 == 0:
            print(f"{case}: {number} of {kills} kills", flush=True)
    return scene.outcome(case)


# --- Memory

_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")
_LIMITS = ("memory.limit_in_bytes", "memory.max")
"""Of either version."""


def missing_memory_limit() -> str:
    """Say why the memory of a program cannot be limited here; "" if it can."""
    try:
        with memory_group():
            return ""
    except OSError as error:
        return f"no cgroup with a memory limit can be made ({error.strerror})"


@contextmanager
def memory_group() -> Iterator[Path]:
    """Make a control group for memory, version 1 or 2. Raises OSError."""
    first = (_V1 / _LIMITS[0]).exists()
    group = (_V1 if first else _V2) / f"lab-{os.getpid()}"
    group.mkdir()
    try:
        if not any((group / name).exists() for name in _LIMITS):
            raise OSError(0, "its memory controller is not enabled")
        yield group
    finally:
        # The kernel lets go of a process that was killed by and by.
        for _ in range(100):
            with suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.05)


_GREEDY = """
import pathlib, sys
pathlib.Path(sys.argv[1]).write_text("0")
held = []
while True:
    held.append(bytearray(b"x") * (1 << 20))
"""
"""A program that joins a control group and takes memory until it is stopped."""

_GROUP_BYTES = 64 << 20


def run_out_of_memory(scene: Scene, case: str) -> Outcome:
    """Have another program take all memory, and the kernel kill the router for it."""
    with memory_group() as group:
        scene.start()
        router = scene.programs[ROUTER]
        limit = next(group / name for name in _LIMITS if (group / name).exists())
        limit.write_text(str(_GROUP_BYTES))
        (group / "cgroup.procs").write_text(str(router.pid))
        # Which of its programs the kernel chooses is no question of this case.
        Path(f"/proc/{router.pid}/oom_score_adj").write_text("1000")
        greedy = scene.host(ROUTER).start(
            [sys.executable, "-c", _GREEDY, str(group / "cgroup.procs")], name="greedy"
        )
        try:
            wait_until(lambda: router.returncode is not None, 60, "the kernel to kill the router")
        finally:
            greedy.kill()
        scene.expect(
            router.returncode == -signal.SIGKILL, f"the router ended with {router.returncode}"
        )
        scene.recover("router killed by the kernel, out of memory", RESTARTED_WITHIN)
        return scene.outcome(case)


# --- Disk

_DISK = Host.FILES / "disk"
_STATE = Path("/run/polevpn_trio")
_FULL = "full"


def fill_disk(scene: Scene, case: str) -> Outcome:
    """Fill the disk that holds logs, journal, known routers and the dashboard's history."""
    scene.add_sites()
    for name in PROGRAMS:
        host = scene.host(name)
        for folder in (_DISK, _STATE):
            host.call(folder.mkdir, exist_ok=True)
            done = host.run(
                ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], timeout=10
            )
            if done.returncode:
                return Outcome(case, scene.transport, skipped=f"mount: {done.stderr[:200]}")
    scene.log_file = _DISK / "log"
    token = scene.overlay.router.write_file("token", "0123456789abcdef" * 3, mode=0o600)
    scene.start(
        Circumstances(
            router={"dashboard": {"token_file": str(token), "listen": "127.0.0.1:8443"}}
            if _has_dashboard()
            else {},
            environment={"STATE_DIRECTORY": str(_DISK)},
            shell=f"exec 2>>{_DISK}/log",
        )
    )
    for name in PROGRAMS:
        scene.host(name).call(_fill)
    scene.programs[ROUTER].kill()
    scene.recover("router killed, all disks full", RESTARTED_WITHIN)
    # As if it had never met the router: it cannot write down that it does now.
    with suppress(FileNotFoundError):
        scene.host(FIRST).call((_DISK / "known_routers").unlink)
    scene.host(FIRST).call(_fill)
    scene.programs[FIRST].kill()
    scene.recover("gateway killed, all disks full", RESTARTED_WITHIN)
    for name in PROGRAMS:
        scene.programs[name].send_signal(signal.SIGHUP)
    time.sleep(2)
    scene.recover("reload, all disks full", 1)
    lengths = {}
    for name in PROGRAMS:
        host = scene.host(name)
        for folder in (_DISK, _STATE):
            host.call((folder / _FULL).unlink)
        lengths[name] = len(scene.log(name))
    for name in PROGRAMS:
        scene.programs[name].send_signal(signal.SIGHUP)
    time.sleep(1)
    for name in PROGRAMS:
        scene.expect(len(scene.log(name)) > lengths[name], f"{name} does not log again")
    scene.recover("disks have room again", 1)
    return scene.outcome(case)


def _has_dashboard() -> bool:
    try:
        import hypercorn  # noqa: F401
        import starlette  # noqa: F401
    except ImportError:
        return False
    return True


def _fill() -> None:
    for folder in (_DISK, _STATE):
        with suppress(OSError), (folder / _FULL).open("ab", buffering=0) as file:
            for size in (4096, 1):
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))


# --- Device


def delete_device(scene: Scene, case: str) -> Outcome:
    """Delete the TUN device of a running gateway."""
    scene.start()
    program = scene.programs[SECOND]
    scene.host(SECOND).delete_link(scene.overlay.INTERFACE)
    scene.recover("TUN device deleted", RESTARTED_WITHIN)
    scene.expect(program.returncode in (None, 1), f"it ended with status {program.returncode}")
    return scene.outcome(case, scene.said("the interface was deleted"))


# --- Clock

_CLOCK = Host.FILES / "clock"
_SOURCE = Path(__file__).with_name("clock_shift.c")
_HOUR, _DAY = 3600, 86400

JUMPS = (_HOUR, -_HOUR, 30 * _DAY, -30 * _DAY, 0)
"""Seconds that the wall clock is wrong, one after the other."""


def missing_compiler() -> str:
    """Say why no clock can be shifted here; "" if it can."""
    return "" if which("cc") else "there is no C compiler (cc)"


def shift_clock(scene: Scene, case: str) -> Outcome:
    """Let the wall clock of all programs jump forward and back, and make links meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "clock_shift.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl"], check=True
        )
        scene.add_sites()
        for name in PROGRAMS:
            scene.host(name).write_file(_CLOCK.name, bytes(8))
        scene.start(
            Circumstances(environment={"LD_PRELOAD": str(library), "CLOCK_SHIFT_FILE": str(_CLOCK)})
        )
        for shift in JUMPS:
            lost = _links_lost(scene)
            for name in PROGRAMS:
                scene.host(name).call(_shift, shift)
            # Longer than any silence that a link is doubted for.
            time.sleep(3)
            title = f"clock {shift / _HOUR:+g} h"
            scene.recover(f"{title}, no pause", 0.5)
            scene.expect(_links_lost(scene) == lost, f"{title}: a link was lost")
            wrong = time.time() + shift
            stamp = time.strftime("%Y-%m-%dT%H:", time.localtime(wrong))
            scene.programs[FIRST].kill()
            scene.recover(f"{title}, gateway killed", RESTARTED_WITHIN)
            scene.expect(stamp in scene.log(FIRST), f"{title}: the log's clock did not jump")
        return scene.outcome(case)


def _links_lost(scene: Scene) -> int:
    logs = [scene.log(name) for name in (FIRST, SECOND)]
    return sum(log.count(" lost: ") + log.count("fallen silent") for log in logs)


def _shift(seconds: int) -> None:
    # In place: the programs have it mapped.
    with _CLOCK.open("r+b") as file:
        file.write(struct.pack("=q", seconds))
