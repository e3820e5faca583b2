"""What the program runs in: the build of its kernels, a container, the limit of open files."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs

from polevpn_trio import kernels
from polevpn_trio.dashboard.service import missing_packages, pip_install
from polevpn_trio.doctor.finding import Finding, fail, ok, warn

FEW_FILES = 4096
"""Open files below which a router with a thousand sites over TCP comes into difficulties."""

KUBERNETES = "kubernetes"
STARTED_WITH_OPTIONS = ("docker", "podman")
"""Containers whose rights and devices are options of the command that starts them."""

_WHOLE_RANGE = ("0", "0", "4294967295")
"""How /proc/self/uid_map reads where no user namespace is between us and the machine."""


def judge_kernels(compiled: Mapping[str, bool]) -> Finding:
    """``compiled`` is what `kernels.compiled` tells."""
    plain = sorted(name for name, is_compiled in compiled.items() if not is_compiled)
    if not plain:
        return ok("kernels", f"all {len(compiled)} kernels are compiled")
    forced = " (POLEVPN_TRIO_PURE is set)" if os.environ.get("POLEVPN_TRIO_PURE") else ""
    return warn(
        "kernels",
        f"{len(plain)} of {len(compiled)} kernels run as plain Python{forced}",
        "the tunnel works, at a small part of its speed",
        "unset POLEVPN_TRIO_PURE"
        if forced
        else "apt install gcc python3-dev; then in its source "
        f"{sys.executable} -m pip install --force-reinstall --no-deps . (in a clone: ./run setup)",
    )


def look_at_kernels() -> Finding:
    return judge_kernels(kernels.compiled())


@attrs.frozen
class ContainerFacts:
    """Where signs of a container were seen."""

    kind: str
    """``docker``, ``podman``, ``kubernetes``, what systemd was told, or ""."""
    user_namespace: bool
    """Whether the ids in here are others than the machine's."""


def look_for_container(
    root: Path = Path("/"), environment: Mapping[str, str] = os.environ
) -> ContainerFacts:
    """Read the signs that container runtimes leave below ``root`` and in the environment."""
    kind = ""
    if environment.get("KUBERNETES_SERVICE_HOST"):
        kind = KUBERNETES
    elif (root / "run/.containerenv").exists():
        kind = "podman"
    elif (root / ".dockerenv").exists():
        kind = "docker"
    else:
        kind = _text(root / "run/systemd/container") or environment.get("container", "")
    map_of_ids = _text(root / "proc/self/uid_map").split()
    return ContainerFacts(kind, bool(map_of_ids) and tuple(map_of_ids) != _WHOLE_RANGE)


def judge_container(facts: ContainerFacts, *, has_site: bool) -> Finding:
    """``has_site`` tells whether this machine shall have a TUN device."""
    if not facts.kind and not facts.user_namespace:
        return ok("container", "no container")
    where = f"a container ({facts.kind})" if facts.kind else "a user namespace"
    if facts.kind and facts.user_namespace:
        where += " in a user namespace"
    if not has_site:
        return ok("container", f"{where}; a router without a site needs nothing but its port there")
    return ok(
        "container",
        f"{where}: what the site joins is the container's network, "
        "the machine's only with --network=host",
    )


def judge_packages() -> list[Finding]:
    """Whether what the dashboard of a router takes is installed; nothing if it is."""
    missing = missing_packages()
    if not missing:
        return []
    return [
        fail(
            "packages",
            f"`dashboard` is configured, but not installed: {', '.join(missing)}",
            "the router ends at its start",
            f'{pip_install(missing)}; or take "dashboard" out',
        )
    ]


def judge_open_files(soft: int, hard: int) -> Finding:
    """The limits of open files, -1 for none; the router raises the soft one by itself."""
    most = "any number of" if hard < 0 else str(hard)
    if 0 <= hard < FEW_FILES:
        return warn(
            "open-files",
            f"at most {most} open files are permitted ({soft} at the start)",
            "each gateway over TCP takes one: the router refuses those that are too many",
            "LimitNOFILE=65536 in the systemd unit, or: ulimit -n 65536",
        )
    return ok("open-files", f"{most} open files are permitted")


def look_at_open_files() -> Finding:
    return judge_open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return ""
