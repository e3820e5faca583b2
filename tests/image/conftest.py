"""The container's image, built from its Containerfile without asking any registry of images.

A root filesystem that mmdebstrap makes of Debian's packages, with Debian's Python, stands in for
the base image under its name. So this needs root, buildah, mmdebstrap, and a way to Debian and
PyPI.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import polevpn_trio

ROOT = Path(polevpn_trio.__file__).parents[1]
CONTAINERFILE = ROOT / "conf/Containerfile"

RELEASE = "trixie"
"""Its Python is that of the base image, 3.13."""

PACKAGES = "ca-certificates,python3,python3-venv,systemd,dbus,procps,iproute2"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

TOOLS = ("buildah", "mmdebstrap", "unshare", "nsenter")
PATIENCE = 580.0
"""Seconds for a step of building; the longest fetches packages and compiles the kernels."""


@attrs.frozen
class Image:
    """What was built: where its files are, and what it says of itself."""

    files: Path
    config: dict[str, Any]


@attrs.frozen
class Buildah:
    """buildah with a storage of its own in ``folder``, in which no kernel module is needed."""

    folder: Path

    def __call__(self, *words: str) -> str:
        places = ["--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run")]
        done = subprocess.run(
            ["buildah", *places, "--storage-driver", "vfs", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, (
            f"buildah {words[0]}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
        return done.stdout.strip()


def base_name() -> str:
    """The base image that the Containerfile is written for."""
    text = CONTAINERFILE.read_text()
    version = re.search(r"^ARG PYTHON=(\S+)", text, re.MULTILINE)
    name = re.search(r"^FROM (\S+) AS build", text, re.MULTILINE)
    assert version is not None
    assert name is not None
    return name[1].replace("${PYTHON}", version[1])


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Build the image once; it is taken away again after the tests, being large."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    folder = tmp_path_factory.mktemp("image")
    buildah = Buildah(folder)
    try:
        archive = folder / "root.tar"
        made = subprocess.run(
            ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(archive)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if made.returncode:
            pytest.skip(f"no packages of Debian: {made.stderr.strip().splitlines()[-1]}")
        base = buildah("from", "scratch")
        buildah("add", base, str(archive), "/")
        archive.unlink()
        buildah(
            "run",
            "--isolation=chroot",
            base,
            "--",
            "ln",
            "-s",
            "/usr/bin/python3",
            "/usr/local/bin/python",
        )
        buildah("commit", "--rm", base, base_name())
        trusted = f"{CERTIFICATES}:{CERTIFICATES}:ro"
        build = ["--isolation=chroot", "--pull-never", "--format=docker", "--volume", trusted]
        buildah("bud", *build, "--file", str(CONTAINERFILE), "--tag", "polevpn-trio", ".")
        said = json.loads(buildah("inspect", "--type=image", "polevpn-trio"))
        container = buildah("from", "--pull-never", "polevpn-trio")
        yield Image(Path(buildah("mount", container)), said["Docker"]["config"])
    finally:
        shutil.rmtree(folder)
