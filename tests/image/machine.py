"""A machine made of an image's files: namespaces of its own, and a process 1 of one's choice."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

PATIENCE = 60.0
"""Seconds that anything may take."""

CGROUPS = Path("/sys/fs/cgroup")

# Its devices are the host's few that every machine has, and the TUN device. The root of its tree of
# cgroups is a group of its own, since systemd makes groups, and nobody else would take them away.
_START = r"""
set -eu
root=$1; shift
mount --bind "$root" "$root"
cd "$root"
mkdir -p proc sys run tmp dev
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs dev
for name in null zero full random urandom tty net/tun; do
    mkdir -p "$(dirname "dev/$name")"
    : > "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
if [ -e /sys/fs/cgroup/systemd ]; then
    mount -t tmpfs tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
else
    mount -t cgroup2 cgroup2 sys/fs/cgroup
fi
ip link set lo up
exec chroot . "$@"
"""

_ENTER_GROUP = 'echo $$ > "$1/cgroup.procs"; shift; exec "$@"'
_NAMESPACES = ("--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup")


@attrs.frozen
class Machine:
    """A running one; ``first`` is the number that its process 1 has outside."""

    first: int
    process: subprocess.Popen[bytes]
    log: Path

    def run(self, *words: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run a command there; return its exit status, and what it said."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.first), "--all", "--root", "--wd", "--", *words],
            env={
                "PATH": "/opt/polevpn_trio/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                **(environment or {}),
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    def wait(self, what: str, ready: Callable[[], bool]) -> None:
        """Wait until something is so; AssertionError with the log if it does not come."""
        until = time.monotonic() + PATIENCE
        while not ready():
            assert time.monotonic() < until, f"{what}: never\n{self.log.read_text()[-6000:]}"
            time.sleep(0.1)


@contextmanager
def machine(
    root: Path, log: Path, words: Sequence[str], environment: Mapping[str, str]
) -> Iterator[Machine]:
    """Start one from the files in ``root``, which it writes to; it is gone after the block."""
    legacy = CGROUPS / "systemd"
    group = (legacy if legacy.exists() else CGROUPS) / f"polevpn-trio-{time.monotonic_ns()}"
    group.mkdir()
    enter = ["sh", "-c", _ENTER_GROUP, "sh", str(group)]
    apart = ["unshare", *_NAMESPACES, "--fork", "--kill-child=KILL"]
    with log.open("wb") as said:
        process = subprocess.Popen(
            [*enter, *apart, "sh", "-c", _START, "sh", str(root), *words],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Machine(_only_child(process.pid), process, log)
    finally:
        process.kill()
        process.wait()
        _remove(group)


def _only_child(parent: int) -> int:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise AssertionError("no process 1 came up")


def _remove(group: Path) -> None:
    """Remove a cgroup and those below it, once the kernel has ended what was in them."""
    until = time.monotonic() + PATIENCE
    while group.exists() and time.monotonic() < until:
        below = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
        for path in (*below, group):
            with contextlib.suppress(OSError):
                path.rmdir()
        time.sleep(0.05)
