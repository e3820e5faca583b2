"""The build: what the distributions hold, and that they work with and without a C compiler.

The test that compiles the kernels takes minutes; it is marked ``packaging``.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import polevpn_trio
from polevpn_trio.kernels import KERNELS

ROOT = Path(polevpn_trio.__file__).parent.parent

SOURCES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "noxfile.py",
    "polevpn_trio",
    "pyproject.toml",
    "run",
    "setup.py",
)

PAGES = {
    file.relative_to(ROOT).as_posix()
    for file in (ROOT / "polevpn_trio/dashboard/static").rglob("*.*")
}
"""What browsers load of a dashboard."""

BUILD = "import sys; from setuptools import build_meta as b; b.build_{0}(sys.argv[1])"
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")
THIS_BUILD = ("--no-deps", "--no-build-isolation")
"""With the setuptools and Cython of the environment that the tests run in."""
TELL_KERNELS = "from polevpn_trio import kernels; print(sorted(set(kernels.compiled().values())))"


@pytest.fixture
def source_tree(tmp_path: Path) -> Path:
    """A copy of the sources as a clone has them, in a folder whose name is awkward."""
    tree = tmp_path / "source tree"
    tree.mkdir()
    leave = shutil.ignore_patterns("__pycache__", "*.so", "*.c")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=leave)
        else:
            shutil.copy2(ROOT / name, tree / name)
    return tree


@pytest.fixture
def path_without_compiler(tmp_path: Path) -> str:
    """A search path on which only this Python is found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3").symlink_to(sys.executable)
    return str(folder)


def neutral_environment() -> dict[str, str]:
    """The environment without what chooses a build or a compiler."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "CC" and not name.startswith("POLEVPN_TRIO_")
    }


def run(tree: Path, *arguments: str, **env: str) -> str:
    """Run Python in a folder; give what it printed, or fail with it."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env=neutral_environment() | env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def build(tree: Path, kind: str, **env: str) -> tuple[Path, str]:
    """Build an ``sdist`` or ``wheel``; give the file and what the build said."""
    target = tree.parent / f"dist-{kind}"
    output = run(tree, "-c", BUILD.format(kind), str(target), **env)
    (made,) = target.iterdir()
    return made, output


def kernel_files(suffix: str) -> set[str]:
    return {name.replace(".", "/") + suffix for name in KERNELS}


def test_pure_takes_the_source_of_kernels_that_are_compiled_too() -> None:
    assert run(ROOT, "-c", TELL_KERNELS, POLEVPN_TRIO_PURE="1") == "[False]\n"


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_is_no_older_than_its_source(kernel: str) -> None:
    file = Path(importlib.import_module(kernel).__file__ or "")
    source = ROOT / (kernel.replace(".", "/") + ".py")
    for part in (source, source.with_suffix(".pxd")):
        if file != source:
            assert file.stat().st_mtime >= part.stat().st_mtime, "./run setup compiles it again"


def test_without_a_compiler_the_build_says_so_in_one_line(
    source_tree: Path, path_without_compiler: str
) -> None:
    output = run(
        source_tree, "setup.py", "--quiet", "build_ext", "--inplace", PATH=path_without_compiler
    )
    assert output == (
        "polevpn_trio: no C compiler found: its kernels run as plain Python, slower\n"
    )


def test_without_a_compiler_a_compiled_kernel_older_than_its_source_goes(
    source_tree: Path, path_without_compiler: str
) -> None:
    source = source_tree / (KERNELS[0].replace(".", "/") + ".py")
    stale = source.with_suffix(".cpython-300-there.so")
    stale.touch()
    os.utime(stale, (0, 0))
    run(source_tree, "setup.py", "--quiet", "build_ext", "--inplace", PATH=path_without_compiler)
    assert not stale.exists()


def test_the_sdist_holds_the_sources_of_the_kernels_and_nothing_built(source_tree: Path) -> None:
    sdist, _ = build(source_tree, "sdist")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert kernel_files(".py") | kernel_files(".pxd") | set(SOURCES) <= names
    assert {"polevpn_trio/py.typed", *PAGES} <= names
    assert not [name for name in names if name.endswith((".c", ".so", ".pyc"))]


@pytest.mark.packaging
def test_pip_builds_a_wheel_with_compiled_kernels_from_the_sdist(source_tree: Path) -> None:
    sdist, _ = build(source_tree, "sdist")
    folder = source_tree.parent / "wheels"
    run(folder.parent, *PIP, "wheel", *THIS_BUILD, "--wheel-dir", str(folder), str(sdist))
    (wheel,) = folder.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert kernel_files(".py") | kernel_files(".pxd") | PAGES <= names
    installed = Installed(source_tree.parent / "installed", wheel)
    assert installed.kernels() == "[True]"
    assert installed.kernels(POLEVPN_TRIO_PURE="1") == "[False]"
    assert installed.command("--version") == f"polevpn_trio {polevpn_trio.__version__}"


def test_without_a_compiler_pip_installs_pure_python_from_the_sdist(
    source_tree: Path, path_without_compiler: str
) -> None:
    sdist, _ = build(source_tree, "sdist")
    installed = Installed(source_tree.parent / "installed", sdist, PATH=path_without_compiler)
    assert "polevpn_trio: no C compiler found: its kernels run as plain Python" in installed.output
    assert installed.kernels() == "[False]"
    assert installed.command("--version") == f"polevpn_trio {polevpn_trio.__version__}"
    assert "complete " in installed.command("completion", "bash")


def test_without_a_compiler_the_wheel_is_for_every_machine(
    source_tree: Path, path_without_compiler: str
) -> None:
    wheel, output = build(source_tree, "wheel", PATH=path_without_compiler)
    assert "no C compiler found" in output
    assert wheel.name.endswith("-py3-none-any.whl")


def test_a_kernel_that_does_not_compile_stops_the_build(source_tree: Path) -> None:
    source = source_tree / (KERNELS[0].replace(".", "/") + ".pxd")
    source.write_text(source.read_text() + "\ncdef int broken(\n")
    with pytest.raises(AssertionError, match="broken"):
        build(source_tree, "wheel")


class Installed:
    """A distribution that pip installed into an environment that sees our dependencies."""

    def __init__(self, folder: Path, distribution: Path, **env: str) -> None:
        self._bin = folder / "bin"
        venv.create(folder, with_pip=False)
        purelib = run(folder, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
        site = self._call("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
        Path(site, "dependencies.pth").write_text(purelib)
        self.output = run(
            folder,
            *PIP,
            *("--python", str(self._bin / "python"), "--verbose", "install", *THIS_BUILD),
            *("--ignore-installed", str(distribution)),
            **env,
        )

    def kernels(self, **env: str) -> str:
        return self._call("python", "-c", TELL_KERNELS, **env)

    def command(self, *arguments: str) -> str:
        return self._call("polevpn-trio", *arguments)

    def _call(self, program: str, *arguments: str, **env: str) -> str:
        return subprocess.run(
            [self._bin / program, *arguments],
            cwd=self._bin,
            env=neutral_environment() | env,
            text=True,
            capture_output=True,
            check=True,
        ).stdout.strip()
